"""Erases a subject again and again, and is killed each time when it has come to the next of the given moments."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

# Loaded once, before the forks.
import pyarrow.parquet  # noqa: F401
import pyiceberg.catalog.sql
import pyiceberg.io.pyarrow  # noqa: F401

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.erasure import ErasureReport, erase
from platform_assets.governance.subjects import Subject
from platform_assets.ledger.ledger import Ledger
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks, Locks
from resources.object_store import LocalObjectStore
from tests.governance.conftest import NOON

SALT = b"a salt of the tests"


def systems(home: Path) -> dict[str, Any]:
    """Ledger, warehouse and object store of a home, as any process would open them."""
    return {
        "ledger": Ledger.open(home / "ledger.db", principal="ada", clock=lambda: NOON),
        "warehouse": IcebergWarehouse(
            f"sqlite:///{home / 'catalog.sqlite'}", str(home / "warehouse"), locks=FileLocks(home / "locks")
        ),
        "store": LocalObjectStore(home / "objects"),
    }


def erase_subject(home: Path, subject: str, *, locks: Locks | None = None, **instead: Any) -> ErasureReport:
    """Erase it from a home."""
    return erase(
        Subject.parse(subject),
        by="grace",
        reason="request 7",
        salt=SALT,
        content_hash=content_hash,
        environment="dev",
        now=NOON,
        locks=locks or FileLocks(home / "locks"),
        **systems(home) | instead,
    )


class KillAt(logging.Handler):
    """Kills this process when its log tells that it has come to a moment."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self._moment = moment

    def emit(self, record: logging.LogRecord) -> None:  # noqa: D102
        if self._moment in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    for moment in sys.argv[3:]:
        child = os.fork()  # nothing has run yet, so there are no threads and no connections to inherit
        if child == 0:
            logging.basicConfig(level=logging.INFO, handlers=[KillAt(moment)])
            erase_subject(Path(sys.argv[1]), sys.argv[2])
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

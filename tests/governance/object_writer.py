"""Puts an object about subjects and is killed on the way: `before`, `within` or `after` the put.

object_writer.py HOME KEY MOMENT
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from platform_assets.governance.suppression import put_unless_erased
from resources.locks import FileLocks, Locks
from resources.object_store import LocalObjectStore, ObjectStore
from tests.governance.eraser import SALT, systems

ROWS = {"applicant_id": [4711, 4712, 4711], "score": [0.1, 0.2, 0.3]}


def put(
    home: Path,
    key: str,
    *,
    rows: dict[str, list[Any]] = ROWS,
    namespace: str = "applicant",
    store: ObjectStore | None = None,
    locks: Locks | None = None,
) -> None:
    """Put rows, unless somebody among them was erased."""
    known = systems(home)
    put_unless_erased(
        store or known["store"],
        key,
        pa.table(rows),
        namespace=namespace,
        column="applicant_id",
        gdpr_class="personal",
        retention_days=30,
        source_commit="0c0ffee",
        ledger=known["ledger"],
        salt=SALT,
        locks=locks or FileLocks(home / "locks"),
    )


class DyingStore(LocalObjectStore):
    """Dies with its process when it puts."""

    moment = "before"

    def put(self, *given: Any, **named: Any) -> Any:
        """Before the put, within it (its bytes are written, and not yet in place), or after it."""
        if self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.moment == "within":
            self._lock = DyingLock()  # type: ignore[assignment]
        super().put(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)


class DyingLock:
    """Is asked for between a put's bytes and their place."""

    def __enter__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def __exit__(self, *problem: object) -> None:
        """Never comes to this."""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    dying = DyingStore(folder / "objects")
    dying.moment = sys.argv[3]
    put(folder, sys.argv[2], store=dying)

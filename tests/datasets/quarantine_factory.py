"""Builders for tests of the quarantine: files that are held, published as an ingestion does, and people who decide."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from platform_assets.datasets.quarantine import (
    Choice,
    Held,
    decide,
    publish_quarantine,
    quarantine_schema,
)
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.registry import find_task
from platform_assets.tasks.task import AnyTask
from resources.policy_engine import Decision
from resources.settings import Principal
from resources.warehouse import Snapshot
from tests.tasks.toys import TOY, toy_task

LINE, ROLE = "toy", "readers"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
READER = Principal(user="lee", groups=("ml-engineers", ROLE))


@contextmanager
def holding_task() -> Iterator[AnyTask]:
    """The toy as a task that holds files back, found as every task is."""
    with toy_task() as toy, pytest.MonkeyPatch.context() as patch:
        # A class of its own: what was once known to hold files back is taken to do so for good.
        kind = type("HoldingIngestion", (type(toy.ingestion),), {"released_by": lambda *_: ROLE})
        patch.setattr("platform_assets.tasks.toy_parity.task.TASK", replace(toy, ingestion=kind()))
        find_task.cache_clear()
        yield find_task(TOY)
    find_task.cache_clear()


def file_id(name: str) -> str:
    """The id of a file whose bytes are its name."""
    return sha256(name.encode()).hexdigest()


def held_file(of: str, /, *rules: str, verdict: str = "quarantine", **given: Any) -> dict[str, Any]:
    """A row of the table: a file that breaks these rules."""
    broken = sorted(rules) or ["shape.wrong"]
    return {
        "file_id": file_id(of),
        "name": of,
        "source": "folder",
        "verdict": verdict,
        "rules": broken,
        "findings": [
            {"rule": each, "verdict": verdict, "tags": ["Width"], "count": at}
            for at, each in enumerate(broken, 1)
        ],
        "thumbnail": PNG,
        "size_bytes": 1234,
        "visitor": f"visitor of {of}",
    } | given


def publish(
    outside: OutsideSystems, *rows: Mapping[str, Any], line: str = LINE, gdpr_class: str = "personal"
) -> Snapshot:
    """The table of a line that holds these rows."""
    import pyarrow as pa

    schema = quarantine_schema().append(pa.field("visitor", pa.string()))
    return publish_quarantine(
        pa.Table.from_pylist(list(rows), schema=schema),
        line=line,
        subject_column="visitor",
        subject_namespace="visitor",
        gdpr_class=gdpr_class,
        retention_days=30,
        source_commit="c0ffee",
        warehouse=outside.warehouse,
        ledger=outside.ledger,
        salt=outside.salt,
    )


def held(name: str, *rules: str, verdict: str = "quarantine") -> Held:
    """What a decision is about."""
    return Held(LINE, file_id(name), verdict, tuple(sorted(rules)) or ("shape.wrong",))


def decided(
    ledger: Ledger,
    about: Held,
    decision: Choice = "release",
    *,
    principal: Principal = READER,
    denied: list[tuple[Mapping[str, Any], Decision]] | None = None,
    **given: str,
) -> Entry:
    """The entry of a decision."""
    signed = {"by": "Dr. Lee", "reason": "a frame, no text"} | given
    return decide(
        ledger,
        about,
        decision,
        **signed,
        principal=principal,
        role=ROLE,
        on_denial=lambda request, why: (denied if denied is not None else []).append((request, why)),
    )


def kinds_of(ledger: Ledger) -> list[str]:
    """Kinds of all entries, oldest first."""
    return [entry.kind for entry in ledger.entries()]


def names(cases: Iterable[Any]) -> list[str]:
    """Names of cases."""
    return [case.name for case in cases]

"""Retention: what is past its days goes, and a verdict says what went.

An object's days count from when it was stored, a table version's from when its rows were first written,
a single row's from its time column, where the table has one.

Personal and sensitive data past their date go, whoever uses them. What is public or internal and in use
(a table's current version, whatever an active release names) stays until something newer takes its
place. What is under legal hold stays in any case.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from platform_assets.governance import release as releases
from platform_assets.governance.errors import RetentionError
from platform_assets.governance.release import POINTERS, RETENTION
from platform_assets.governance.verdict import Outcome, Verdict, record
from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from resources.errors import PlatformError
from resources.object_store import GdprClass, ObjectMissingError, ObjectStore, ObjectStoreError
from resources.provenance import code_commit
from resources.warehouse import Snapshot, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

RULE_SET = "retention"
LEGAL_HOLD = "legal-hold"
"""Kind of the entries that say who placed or lifted a hold."""
_RULE_SET_HASH = fingerprint_of(rule="nothing is past its days but what is held or in use")
_GOES_WHOEVER_USES_IT = frozenset({"personal", "sensitive"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expired:
    """Something past its days."""

    kind: Literal["object", "version", "rows"]
    name: str
    """The object's key, or the table."""
    gdpr_class: GdprClass
    rows: int = 0
    """Of a table, how many rows are past their days."""
    version: Snapshot | None = None
    """None for an object."""
    spared: Literal["", "legal hold", "in use"] = ""
    """Why it stays."""


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What a sweep did."""

    deleted: tuple[Expired, ...]
    spared: tuple[Expired, ...]
    problems: tuple[str, ...]
    """What is past its days and could not be removed."""
    leftovers: int
    """How many files went that nothing refers to, such as those of killed runs."""
    verdict: Entry
    outcome: Outcome

    @property
    def counts(self) -> dict[str, int]:
        """How much was deleted by class and kind, `personal_version: 2`, and how much stays, `held: 1`."""
        deleted = Counter(f"{each.gdpr_class}_{each.kind}" for each in self.deleted)
        stays = Counter("held" if each.spared == "legal hold" else "in_use" for each in self.spared)
        return dict(sorted((deleted + stays).items()))


def expired(
    store: ObjectStore,
    warehouse: Warehouse,
    ledger: Ledger,
    *,
    now: datetime,
    problems: list[str] | None = None,
) -> list[Expired]:
    """What is past its days, and of that, what stays all the same.

    Args:
        store: The objects.
        warehouse: The tables.
        ledger: Says which releases are active.
        now: The current time, with its time zone.
        problems: Gets what cannot be judged; without it, the first such thing raises.
    """
    named = _named_by_active_releases(ledger)
    found = list(_expired_objects(store, named, now, problems))
    for table in warehouse.tables():
        found += _expired_versions(warehouse, table, named, now)
    return found


def retain(
    store: ObjectStore,
    warehouse: Warehouse,
    ledger: Ledger,
    *,
    content_hash: "Callable[[pa.Table], str]",
    by: str,
    environment: str,
    now: datetime,
) -> RetentionReport:
    """Remove what is past its days and not spared, and what killed runs have left. Repeatable after a kill.

    The ledger names the table versions before they are touched: releases made of them are erased.

    Args:
        store: Loses objects.
        warehouse: Loses versions and rows.
        ledger: Gets the removal and the verdict.
        content_hash: The identity of a table's rows.
        by: Who or what sweeps.
        environment: Whose objects `store` shows, for the record: objects lie by environment.
        now: The current time, with its time zone.
    """
    problems: list[str] = []
    found = expired(store, warehouse, ledger, now=now, problems=problems)
    due = [each for each in found if not each.spared]
    _record_removal(ledger, due, by=by)
    removed = [
        each for each in due if each.kind == "object" and _tried(problems, partial(store.delete, each.name))
    ]
    for table in dict.fromkeys(each.name for each in due if each.version):
        of_table = [each for each in due if each.name == table]
        if _tried(problems, partial(_remove_from, warehouse, table, of_table, content_hash, now)):
            removed += of_table
    leftovers: list[int] = []
    _tried(problems, lambda: leftovers.append(warehouse.sweep()))
    _tried(problems, lambda: leftovers.append(store.sweep()))
    return _reported(
        ledger, found, removed, problems, sum(leftovers), by=by, environment=environment, now=now
    )


def set_legal_hold(
    name: str, *, held: bool, by: str, reason: str, store: ObjectStore, warehouse: Warehouse, ledger: Ledger
) -> Entry:
    """Place or lift the legal hold on a table or an object, and say in the ledger who did, and why.

    Raises:
        RetentionError: There is no such table or object, or nobody says who acts and why.
    """
    if not (by.strip() and reason.strip()):
        raise RetentionError("a legal hold names who places or lifts it, and why")
    is_table = name in warehouse.tables()
    if not is_table and not store.exists(name):
        raise RetentionError(f"there is neither a table nor an object {name}")
    enforce = warehouse.set_legal_hold if is_table else store.set_legal_hold
    # A kill in between may leave a hold without its entry, never an entry without its hold.
    if held:
        enforce(name, held=True)
    previous = ledger.latest(LEGAL_HOLD, name)
    body = {"held": held, "by": by, "reason": reason, "previous": previous.hash if previous else None}
    entry = ledger.append(LEGAL_HOLD, name, fingerprint=fingerprint_of(**body), body=body)
    if not held:
        enforce(name, held=False)
    return entry


# --- What is past its days -----------------------------------------------------------------------------


def _expired_objects(
    store: ObjectStore, named: set[str], now: datetime, problems: list[str] | None
) -> Iterator[Expired]:
    for key in store.list():
        try:
            info = store.info(key)
        except ObjectMissingError:
            continue  # gone meanwhile
        except ObjectStoreError as problem:
            if problems is None:
                raise
            problems.append(str(problem))
            continue
        if info.stored_at + timedelta(days=info.retention_days) <= now:
            in_use = not named.isdisjoint([key, *map(str, PurePosixPath(key).parents)])
            yield Expired(
                "object",
                key,
                info.gdpr_class,
                spared=_spared(info.gdpr_class, held=info.legal_hold, in_use=in_use),
            )


def _expired_versions(warehouse: Warehouse, table: str, named: set[str], now: datetime) -> list[Expired]:
    held, current = warehouse.policy(table).legal_hold, warehouse.current(table)

    def stays(version: Snapshot) -> Literal["", "legal hold", "in use"]:
        in_use = version == current or version.snapshot_id in named
        return _spared(version.gdpr_class, held=held, in_use=in_use)

    found = [
        Expired("version", table, version.gdpr_class, version.rows, version, stays(version))
        for version in warehouse.versions(table, unpublished=True)
        if version.committed_at + timedelta(days=version.retention_days) <= now
    ]
    whole = {each.version for each in found}
    partly = warehouse.affected(
        table, _young_enough(now), columns=lambda version: () if version in whole else _time_of(version)
    )
    found += [
        Expired("rows", table, version.gdpr_class, rows, version, stays(version)) for version, rows in partly
    ]
    return found


def _time_of(version: Snapshot) -> tuple[str, ...]:
    """Where the times of its rows stand; nowhere in a version of before the table had the column."""
    return (version.time_column,) if version.time_column in version.columns else ()


def _spared(gdpr_class: GdprClass, *, held: bool, in_use: bool) -> Literal["", "legal hold", "in use"]:
    if held:
        return "legal hold"
    return "in use" if in_use and gdpr_class not in _GOES_WHOEVER_USES_IT else ""


def _young_enough(now: datetime) -> "Callable[[Snapshot, pa.Table], pa.Array]":
    """Which rows are within their days; rows without a time have those of their version.

    So have all rows of a version in which the column was of another type than a time.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def keep(version: Snapshot, rows: "pa.Table") -> "pa.Array":
        times = rows.column(0)
        if not (pa.types.is_timestamp(times.type) or pa.types.is_date(times.type)):
            return pa.repeat(pa.scalar(value=True), rows.num_rows)
        cutoff = pa.scalar(now - timedelta(days=version.retention_days), pa.timestamp("us", "UTC"))
        return pc.fill_null(pc.greater(times, pc.cast(cutoff, times.type, safe=False)), fill_value=True)

    return keep


def _named_by_active_releases(ledger: Ledger) -> set[str]:
    """Every text in the releases in production and in staging: keys, folders and snapshot ids are among them.

    And the folder of each transformer's state, as a model's is: what it is stands beside it.
    """
    lines = {
        (entry.subject, stage): None
        for stage, kind in POINTERS.items()
        for entry in ledger.entries(kind=kind)
    }
    active = [each for line, stage in lines if (each := releases.active(ledger, line, stage))]
    transformers = [
        each for release in active for each in release.card.registered.report.model.features.transformers
    ]
    return {
        *(text for each in active for text in _texts(each.model_dump(mode="json"))),
        *(str(PurePosixPath(each.object_key).parent) for each in transformers),
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _texts(child)


# --- Removing it ---------------------------------------------------------------------------------------


def _record_removal(ledger: Ledger, due: Sequence[Expired], *, by: str) -> None:
    versions = [
        {
            "table": each.name,
            "snapshot_id": each.version.snapshot_id,
            "content_hash": each.version.content_hash,
            "rows": each.rows,
        }
        for each in due
        if each.version
    ]
    if versions:
        body = {"by": by, "versions": versions}
        entry = ledger.append(RETENTION, "tables", fingerprint=fingerprint_of(**body), body=body)
        log.info("recorded in entry %s", entry.seq)


def _remove_from(
    warehouse: Warehouse,
    table: str,
    due: Sequence[Expired],
    content_hash: "Callable[[pa.Table], str]",
    now: datetime,
) -> None:
    if whole := [each.version.snapshot_id for each in due if each.version and each.kind == "version"]:
        # Since it was judged, a run may have published a version anew.
        also_current = warehouse.policy(table).gdpr_class in _GOES_WHOEVER_USES_IT
        warehouse.drop(table, whole, also_current=also_current)
    partly = {each.version.snapshot_id for each in due if each.version and each.kind == "rows"}
    if partly:
        warehouse.rewrite(
            table,
            _young_enough(now),
            columns=lambda version: _time_of(version) if version.snapshot_id in partly else (),
            content_hash=content_hash,
        )
    log.info("table %s: what is past its days is removed", table)


def _tried(problems: list[str], act: Callable[[], object]) -> bool:
    """Whether the act succeeded. What cannot be removed must not keep the rest."""
    try:
        act()
    except PlatformError as problem:
        problems.append(str(problem))
        return False
    except Exception as problem:
        # A disk or a file format has errors of its own.
        log.exception("removal failed")
        problems.append(f"{type(problem).__name__}: {problem}")
        return False
    return True


def _reported(
    ledger: Ledger,
    found: Sequence[Expired],
    removed: Sequence[Expired],
    problems: Sequence[str],
    leftovers: int,
    *,
    by: str,
    environment: str,
    now: datetime,
) -> RetentionReport:
    outcome: Outcome = "error" if problems else "pass"
    spared = tuple(each for each in found if each.spared)
    by_class: dict[str, Any] = {}
    for (gdpr_class, kind), count in Counter((each.gdpr_class, each.kind) for each in removed).items():
        by_class.setdefault(gdpr_class, {})[kind] = count
    at = now.astimezone(UTC).isoformat()
    verdict = Verdict(
        subject=f"{RULE_SET}@{at}",
        rule_set=RULE_SET,
        rule_set_hash=_RULE_SET_HASH,
        outcome=outcome,
        evidence={
            "environment": environment,
            "deleted": by_class,
            "held": sorted(each.name for each in spared if each.spared == "legal hold"),
            "in_use": sorted(each.name for each in spared if each.spared == "in use"),
            "problems": list(problems),
        },
        producer={"code_commit": code_commit(), "by": by},
    )
    entry = record(ledger, verdict, evaluation_id=at)
    return RetentionReport(tuple(removed), spared, tuple(problems), leftovers, entry, outcome)

"""Erasure: every row of a subject leaves every version of every table and every stored table, for good.

In this order, so that a process that dies at any point can simply be started again:

1. an entry in the ledger names the versions concerned. From then on their releases are erased, their
   models must be retrained, and the subject's rows are left out of whatever is read in again;
2. tables and objects are written again without the rows, and the old files removed;
3. everything is searched again, and a verdict says what was found.

The ledger knows a subject by a salted hash alone.
"""

import io
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from platform_assets.governance.errors import ErasureError
from platform_assets.governance.ledger import Entry, Ledger, fingerprint_of
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.release import ERASURE, RELEASE, Release, data_of, removed_by
from platform_assets.governance.verdict import Outcome, Verdict, record
from platform_assets.references import RegisteredVersion, TableSnapshot
from resources.object_store import ObjectStore
from resources.provenance import code_commit
from resources.row_salt import salted_hash
from resources.warehouse import Snapshot, Warehouse, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

RULE_SET = "erasure"
RETRAIN = "retrain required: it was trained on erased data"
_RULE_SET_HASH = fingerprint_of(rule="no version of a table and no object holds the subject")
_PARQUET = b"PAR1"
_TELLING_LENGTH = 16
"""Shorter ids may occur in bytes that have nothing to do with them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeldRows:
    """A table version or an object that holds rows of the subject."""

    name: str
    """The table, or the object's key."""
    rows: int
    column: str
    """Where the subject stands."""
    version: Snapshot | None = None
    """None for an object."""


@dataclass(frozen=True, slots=True)
class Search:
    """What holds a subject."""

    found: tuple[HeldRows, ...]
    mentions: tuple[str, ...]
    """Objects that are no tables and hold the id: a person must look at them."""
    held: tuple[str, ...]
    """Tables and objects among them that are under legal hold."""
    versions_searched: int
    objects_searched: int
    ancestors: tuple[TableSnapshot, ...] = ()
    """What the versions found were before earlier rewrites: models were made of these."""

    @property
    def versions(self) -> list[dict[str, Any]]:
        """The table versions, as the ledger names them."""
        return [
            {
                "table": each.name,
                "snapshot_id": each.version.snapshot_id,
                "content_hash": each.version.content_hash,
                "rows": each.rows,
            }
            for each in self.found
            if each.version
        ] + [each.model_dump() for each in self.ancestors]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects, as the ledger names them."""
        return [{"key": each.name, "rows": each.rows} for each in self.found if each.version is None]


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What an erasure concerns."""

    subject: str
    """The salted hash of its id."""
    search: Search
    releases: tuple[tuple[str, str], ...]
    """(line, release id)."""
    models: tuple[str, ...]
    """`<line>_model@<fingerprint>`."""
    earlier: tuple[Entry, ...]
    """Entries of earlier erasures of the same subject, finished or not."""


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What an erasure did."""

    plan: ErasurePlan
    entry: Entry
    """What the ledger says of it."""
    verdict: Entry
    outcome: Outcome
    left: tuple[str, ...]
    """What still holds the subject."""


def plan_erasure(
    subject_id: str, *, ledger: Ledger, warehouse: Warehouse, store: ObjectStore, salt: bytes
) -> ErasurePlan:
    """What erasing a subject would concern; nothing is touched.

    Args:
        subject_id: A value of the tables' subject column.
        ledger: Holds releases, models and earlier erasures.
        warehouse: Searched in every version of every table.
        store: Searched in every object.
        salt: Of the hash by which the ledger knows subjects.

    Raises:
        ErasureError: No table names a subject column, the id is blank, or the salt is not that of
            earlier erasures.
        ResourceError: Something cannot be read, so nobody knows what it holds.
    """
    if not subject_id.strip():
        raise ErasureError("the subject's id is blank")
    subject = salted_hash(salt, subject_id.encode())
    search = _search(subject_id, warehouse, store)
    earlier = tuple(entry for entry in _erasures(ledger, salt) if entry.subject == subject)
    registered, released = list(_registered(ledger)), [_release_of(e) for e in ledger.entries(kind=RELEASE)]
    known = [*registered, *(each.card.registered for each in released)]
    search = replace(search, ancestors=_ancestors(known, search, warehouse))
    gone = {(version["table"], version["content_hash"]) for version in search.versions}
    gone = gone.union(*map(removed_by, earlier))
    made_of_it = [each for each in released if data_of(each.card.registered.report.model.features) & gone]
    models = [each.card.registered for each in made_of_it]
    models += [each for each in registered if data_of(each.report.model.features) & gone]
    return ErasurePlan(
        subject=subject,
        search=search,
        releases=tuple((each.line, each.release_id) for each in made_of_it),
        models=tuple(dict.fromkeys(map(_model_subject, models))),
        earlier=earlier,
    )


def erase(
    subject_id: str,
    *,
    by: str,
    reason: str,
    ledger: Ledger,
    warehouse: Warehouse,
    store: ObjectStore,
    salt: bytes,
    content_hash: "Callable[[pa.Table], str]",
    environment: str,
    now: datetime,
) -> ErasureReport:
    """Take every row of a subject out of everything that is stored. Repeatable.

    Args:
        subject_id: A value of the tables' subject column.
        by: Who asks for it.
        reason: Why, e.g. the number of the request.
        ledger: Gets the erasure, the objections to the models, and the verdict.
        warehouse: Loses the rows.
        store: Loses the rows.
        salt: Of the hash by which the ledger knows subjects.
        content_hash: The identity of a table's rows.
        environment: Whose objects `store` shows, for the record: objects lie by environment.
        now: The current time, with its time zone.

    Raises:
        ErasureError: Nothing holds the subject and it was never erased, or something that holds it is
            under legal hold; nothing was touched.
        ResourceError: Something could not be read or written; run it again.
    """
    if not (by.strip() and reason.strip()):
        raise ErasureError("an erasure names who asks for it, and why")
    plan = plan_erasure(subject_id, ledger=ledger, warehouse=warehouse, store=store, salt=salt)
    if plan.search.held:
        raise ErasureError(
            f"the subject cannot be erased: {', '.join(plan.search.held)} is under legal hold; nothing was touched. "
            "Whoever placed the hold must lift it first"
        )
    if not (plan.search.found or plan.search.mentions or plan.earlier):
        raise ErasureError(
            f"no table and no object holds this subject ({plan.search.versions_searched} versions and "
            f"{plan.search.objects_searched} objects were searched), and it was never erased"
        )
    entry = _recorded(ledger, plan, by=by, reason=reason, salt=salt)
    log.info("recorded in entry %s", entry.seq)
    _object_to_models(ledger, plan, entry)
    log.info("objected to %s models", len(plan.models))
    for each in plan.search.found:
        if each.version is None:
            _rewrite_object(store, each, subject_id, now=now)
            log.info("object %s is written again", each.name)
    for table, column in dict.fromkeys(
        (each.name, each.column) for each in plan.search.found if each.version
    ):
        warehouse.rewrite(table, _others(subject_id), columns=[column], content_hash=content_hash)
        log.info("table %s is written again", table)
    # Also what an earlier run that was killed had written again and not yet cleared away.
    removed = warehouse.sweep() + store.sweep()
    log.info("%s files that nothing refers to are removed", removed)
    return _verified(subject_id, plan, entry, environment, ledger=ledger, warehouse=warehouse, store=store)


@dataclass(frozen=True, slots=True)
class Suppression:
    """The subjects that were erased, for whoever reads sources in again."""

    _salt: bytes = field(repr=False)
    subjects: frozenset[str]
    """Salted hashes."""

    @classmethod
    def of(cls, ledger: Ledger, salt: bytes) -> Self:
        """The subjects of all erasures, finished or not.

        Raises:
            ErasureError: They were hashed under another salt, so none would be recognised.
        """
        return cls(salt, frozenset(entry.subject for entry in _erasures(ledger, salt)))

    @property
    def hash(self) -> str:
        """Identity, for fingerprints; empty where nothing was erased."""
        return fingerprint_of(subjects=sorted(self.subjects)) if self.subjects else ""

    def covers(self, subject_id: str) -> bool:
        """Whether this subject was erased."""
        return bool(self.subjects) and salted_hash(self._salt, subject_id.encode()) in self.subjects

    def covers_each(self, subject_ids: Sequence[str]) -> list[bool]:
        """`covers` of each id, in their order."""
        return [self.covers(subject_id) for subject_id in subject_ids]


def publish_unless_erased(
    staged: Snapshot,
    subject_ids: Sequence[str | None],
    *,
    warehouse: Warehouse,
    ledger: Ledger,
    salt: bytes,
) -> Snapshot:
    """Publishes staged rows. A subject that was erased since they were read does not come back with them.

    An erasure that is recorded after this look finds the staged rows in its own last search.

    Raises:
        ErasureError: A subject among the rows was erased; the staged rows are gone.
    """
    try:
        refuse_erased(subject_ids, of=f"table {staged.table}", ledger=ledger, salt=salt)
    except ErasureError:
        warehouse.drop(staged.table, [staged.snapshot_id])
        raise
    return warehouse.publish(staged)


def refuse_erased(subject_ids: Sequence[str | None], *, of: str, ledger: Ledger, salt: bytes) -> None:
    """Nothing, where none of the subjects was erased.

    Raises:
        ErasureError: Some were.
    """
    erased = sum(Suppression.of(ledger, salt).covers_each([each for each in subject_ids if each is not None]))
    if erased:
        raise ErasureError(
            f"{of}: {erased} of {len(subject_ids)} rows are about subjects that were erased meanwhile; materialize the dataset again"
        )


# --- Searching -----------------------------------------------------------------------------------------


def _search(subject_id: str, warehouse: Warehouse, store: ObjectStore) -> Search:
    policies = {table: warehouse.policy(table) for table in warehouse.tables()}
    columns = sorted({each.subject_column for each in policies.values() if each.subject_column})
    if not columns:
        raise ErasureError(
            "no table says which column names the subject of its rows; materialize the datasets with this version first"
        )
    # A table of an earlier version says nothing: a column that is a subject elsewhere is one there too.
    found = [
        HeldRows(table, rows, column, version)
        for table in policies
        for column in columns
        for version, rows in warehouse.affected(table, _others(subject_id), columns=[column])
    ]
    mentions, keys = [], list(store.list())
    for key in keys:
        content = store.get(key)
        if content.startswith(_PARQUET):
            found += _rows_in(key, content, subject_id, columns)
        elif len(subject_id) >= _TELLING_LENGTH and subject_id.encode() in content:
            mentions.append(key)
    in_tables = {each.name for each in found if each.version}
    in_objects = {each.name for each in found if each.version is None} | {*mentions}
    return Search(
        found=tuple(found),
        mentions=tuple(mentions),
        held=(
            *(f"table {table}" for table in sorted(in_tables) if policies[table].legal_hold),
            *(f"object {key}" for key in sorted(in_objects) if store.info(key).legal_hold),
        ),
        versions_searched=sum(len(warehouse.versions(table, unpublished=True)) for table in policies),
        objects_searched=len(keys),
    )


def _rows_in(key: str, content: bytes, subject_id: str, columns: Collection[str]) -> Iterator[HeldRows]:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    for column in columns:
        if column in table.column_names and (
            gone := table.num_rows - _without(table, column, subject_id).num_rows
        ):
            yield HeldRows(key, gone, column)


def _without(table: "pa.Table", column: str, subject_id: str) -> "pa.Table":
    return table.filter(_mask(table[column], subject_id))


def _others(subject_id: str) -> "Callable[[Snapshot, pa.Table], pa.Array]":
    return lambda _, rows: _mask(rows.column(0), subject_id)


def _mask(subjects: "pa.ChunkedArray", subject_id: str) -> "pa.ChunkedArray":
    """Which rows are about somebody else, or about nobody."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(pc.not_equal(subjects.cast(pa.string()), subject_id), fill_value=True)


# --- What was made of it -------------------------------------------------------------------------------


def _release_of(entry: Entry) -> Release:
    return Release.model_validate(entry.body)


def _registered(ledger: Ledger) -> Iterator[RegisteredVersion]:
    return (RegisteredVersion.model_validate(entry.body) for entry in ledger.entries(kind=LINEAGE))


def _ancestors(
    models: Sequence[RegisteredVersion], search: Search, warehouse: Warehouse
) -> tuple[TableSnapshot, ...]:
    """The versions that models were made of, and that are today one of those found."""
    found = {(each.name, each.version.snapshot_id) for each in search.found if each.version}
    made_of = (model.report.model.features for model in models)
    snapshots = {each for features in made_of for each in (features.snapshot, features.dataset.snapshot)}
    older = []
    for each in snapshots - {s for s in snapshots if (s.table, s.snapshot_id) in found}:
        # A table or snapshot that is no more can have become nothing that was found.
        with suppress(WarehouseError):
            if (each.table, warehouse.left_of(each.table, each.snapshot_id)) in found:
                older.append(each)
    return tuple(sorted(older, key=lambda each: (each.table, each.snapshot_id)))


def _model_subject(registered: RegisteredVersion) -> str:
    model = registered.report.model
    return f"{model.features.dataset.line}_model@{model.version}"


# --- Acting --------------------------------------------------------------------------------------------


def _recorded(ledger: Ledger, plan: ErasurePlan, *, by: str, reason: str, salt: bytes) -> Entry:
    """The entry that names all that is to be written again: an earlier one, if it does, or a new one."""
    search = plan.search
    named = set().union(*map(removed_by, plan.earlier))
    known_keys = {each["key"] for entry in plan.earlier for each in entry.body["objects"]}
    if (
        plan.earlier
        and {(version["table"], version["content_hash"]) for version in search.versions} <= named
        and {each["key"] for each in search.objects} <= known_keys
    ):
        return plan.earlier[-1]
    return ledger.append(
        ERASURE,
        plan.subject,
        fingerprint=fingerprint_of(
            versions=search.versions, objects=search.objects, earlier=[entry.hash for entry in plan.earlier]
        ),
        body={
            "by": by,
            "reason": reason,
            "versions": search.versions,
            "objects": search.objects,
            "releases": [{"line": line, "release_id": release_id} for line, release_id in plan.releases],
            "models": list(plan.models),
            "salt_check": _salt_check(salt),
        },
    )


def _object_to_models(ledger: Ledger, plan: ErasurePlan, entry: Entry) -> None:
    for model in plan.models:
        verdict = Verdict(
            subject=model,
            rule_set=RULE_SET,
            rule_set_hash=_RULE_SET_HASH,
            outcome="fail",
            evidence={"reason": RETRAIN, "entry": entry.hash},
            producer={"code_commit": code_commit()},
        )
        record(ledger, verdict, evaluation_id=entry.hash)


def _rewrite_object(store: ObjectStore, held: HeldRows, subject_id: str, *, now: datetime) -> None:
    """Put a stored table again without the subject's rows, under the same key and classification."""
    import pyarrow.parquet as pq

    info = store.info(held.name)
    left = _without(pq.read_table(io.BytesIO(store.get(held.name))), held.column, subject_id)
    buffer = io.BytesIO()
    pq.write_table(left, buffer)
    store.put(
        held.name,
        buffer.getvalue(),
        gdpr_class=info.gdpr_class,
        # Its days count from now again, and end when they would have.
        retention_days=max(1, info.retention_days - (now - info.stored_at).days),
        source_commit=info.source_commit,
        region=info.region,
    )


def _verified(
    subject_id: str,
    plan: ErasurePlan,
    entry: Entry,
    environment: str,
    *,
    ledger: Ledger,
    warehouse: Warehouse,
    store: ObjectStore,
) -> ErasureReport:
    again = _search(subject_id, warehouse, store)
    left = tuple(
        f"{each.name} ({each.rows} rows{f', version {each.version.content_hash[:12]}' if each.version else ''})"
        for each in again.found
    )
    left += again.mentions
    outcome: Outcome = "error" if left else "pass"
    verdict = Verdict(
        subject=f"{RULE_SET}@{plan.subject}",
        rule_set=RULE_SET,
        rule_set_hash=_RULE_SET_HASH,
        outcome=outcome,
        evidence={
            "entry": entry.hash,
            "environment": environment,
            "versions_written_again": sum(each.version is not None for each in plan.search.found),
            "objects_written_again": len(plan.search.objects),
            "rows_removed": sum(each.rows for each in plan.search.found),
            "releases_erased": len(plan.releases),
            "models_to_retrain": len(plan.models),
            "versions_searched": again.versions_searched,
            "objects_searched": again.objects_searched,
            "left": list(left),
        },
        producer={"code_commit": code_commit()},
    )
    recorded = record(ledger, verdict, evaluation_id=uuid4().hex)
    return ErasureReport(plan=plan, entry=entry, verdict=recorded, outcome=outcome, left=left)


# --- Salt ----------------------------------------------------------------------------------------------


def _salt_check(salt: bytes) -> str:
    return salted_hash(salt, b"salt check")


def _erasures(ledger: Ledger, salt: bytes) -> Iterator[Entry]:
    """All erasures, each known to be under this salt."""
    for entry in ledger.entries(kind=ERASURE):
        if entry.body["salt_check"] != _salt_check(salt):
            raise ErasureError(
                f"entry {entry.seq} names an erased subject under another salt, so its rows would not be recognised; "
                "restore the salt (PLATFORM_ROW_SALT, or keys/row-salt)"
            )
        yield entry

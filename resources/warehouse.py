"""Versioned tables (Apache Iceberg through pyiceberg): write, audit, publish; and take rows out for good.

A new version is staged on the branch `audit`, looked at there, and only then published: one atomic
commit moves `main` and tags the snapshot. Until then every reader sees the last published version.
Readers that matter never follow `main`; they read by snapshot id.

| where | name | meaning |
|---|---|---|
| branch | `main` | what was published last |
| branch | `audit` | what was written last, published or not |
| tag | `v-<16 digits of the content hash>` | a published version |
| tag | `git-<12 digits of a commit>-<8 digits of the content hash>` | who produced it |
| snapshot property | `platform.content-hash`, `platform.source-commit`, `platform.written-at` | of one version |
| table property | `platform.gdpr-class`, `platform.retention-days`, … | the policy, of every version |
| table property | `platform.gone.<snapshot id>` | what is left of a version that was rewritten or dropped |
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from resources.errors import ResourceError
from resources.locks import Held, Locks
from resources.object_store import GdprClass
from resources.postgres import ADDRESS_ADVICE, address_of, is_postgres
from resources.provenance import UNVERSIONED

if TYPE_CHECKING:
    import pyarrow as pa

    Keep = Callable[["Snapshot", pa.Table], pa.Array]

AUDIT_BRANCH = "audit"
_MAIN = "main"
_REWRITE_BRANCH = "rewrite"
_VERSION_TAG, _COMMIT_TAG = "v-", "git-"
_CONTENT_HASH = "platform.content-hash"
_SOURCE_COMMIT = "platform.source-commit"
_WRITTEN_AT = "platform.written-at"
_GDPR_CLASS = "platform.gdpr-class"
_RETENTION_DAYS = "platform.retention-days"
_SUBJECT_COLUMN = "platform.subject-column"
_SUBJECT_NAMESPACE = "platform.subject-namespace"
_TIME_COLUMN = "platform.time-column"
_LEGAL_HOLD = "platform.legal-hold"
_GONE = "platform.gone."
# One old metadata file is kept for whoever is about to open it; the sweep removes the others.
_NEW_TABLE = {"write.metadata.previous-versions-max": "1"}
_COMMIT = re.compile(r"([0-9a-f]{7,64})(\+dirty)?")
_HASH_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_LOCK_TIMEOUT_SECONDS = 600
_LOAD_ATTEMPTS = 3

log = logging.getLogger(__name__)


class WarehouseError(ResourceError):
    """A table or one of its versions does not exist, cannot be written, or must not be changed."""


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """What holds for every version of a table. Tables of earlier versions carry none and have the defaults."""

    gdpr_class: GdprClass = "internal"
    retention_days: int = 3650
    subject_column: str | None = None
    """Whose values name the person that a row is about."""
    time_column: str | None = None
    """A date or timestamp from which the retention of single rows counts."""
    legal_hold: bool = False
    subject_namespace: str | None = None
    """Within which those values are unique; None beside a column, as in tables of earlier versions: `review`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable state of a table."""

    table: str
    snapshot_id: str
    """Opaque; a string, since JSON has no 64-bit integers."""
    content_hash: str
    rows: int
    committed_at: datetime
    """When these rows were first written; a rewritten version keeps the time of the one it replaces."""
    published: bool
    gdpr_class: GdprClass = "internal"
    retention_days: int = 3650
    source_commit: str = UNVERSIONED


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A version that lost rows."""

    old: Snapshot
    new: Snapshot
    rows_removed: int


class Warehouse(Protocol):
    """The contract of every warehouse. All methods raise WarehouseError for unknown tables or snapshots."""

    def stage(
        self,
        table: str,
        rows: "pa.Table",
        *,
        content_hash: str,
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
        subject_column: str | None = None,
        subject_namespace: str | None = None,
        time_column: str | None = None,
    ) -> Snapshot:
        """Write `rows` where only an audit reads them. Rows that are already there are not written again.

        Class, retention and columns become the policy of the whole table, older versions included.
        """
        ...

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """Make a staged snapshot the table's current one, and tag it, atomically. Idempotent."""
        ...

    def read(self, table: str, snapshot_id: str, *, columns: Sequence[str] | None = None) -> "pa.Table":
        """The rows of one snapshot, in the order in which they were written."""
        ...

    def left_of(self, table: str, snapshot_id: str) -> str | None:
        """The snapshot that a version is today: itself, the one that took its place, or None if it was dropped."""
        ...

    def current(self, table: str) -> Snapshot | None:
        """What `main` points at, or None before the first publication."""
        ...

    def staged(self, table: str) -> Snapshot | None:
        """The newest write, published or not: where a failed contract's rows can be looked at."""
        ...

    def tables(self) -> list[str]:
        """Names of all tables, sorted."""
        ...

    def versions(self, table: str, *, unpublished: bool = False) -> list[Snapshot]:
        """The published versions, oldest first; with `unpublished`, the newest write as well."""
        ...

    def at(self, table: str, version: str) -> Snapshot:
        """The published version with this content hash (8 digits suffice) or from this Git commit (7 do)."""
        ...

    def policy(self, table: str) -> TablePolicy:
        """What holds for every version of a table."""
        ...

    def set_legal_hold(self, table: str, *, held: bool) -> TablePolicy:
        """Place or lift a table's legal hold: under it, nothing of the table is removed."""
        ...

    def affected(self, table: str, keep: "Keep", *, columns: Sequence[str]) -> list[tuple[Snapshot, int]]:
        """What `rewrite` would do: each version that would lose rows, and how many."""
        ...

    def rewrite(
        self, table: str, keep: "Keep", *, columns: Sequence[str], content_hash: "Callable[[pa.Table], str]"
    ) -> list[Rewrite]:
        """Write every version that loses rows again, then remove the old ones with all their files.

        Killed at any moment and run again, it ends in the same state. One version is in memory at a time.

        Args:
            table: The table.
            keep: Tells of the given columns of a version which rows stay: a mask without nulls.
            columns: What `keep` looks at; a version that lacks one of them stays as it is.
            content_hash: Of the rows that stay.
        """
        ...

    def drop(self, table: str, snapshot_ids: Sequence[str], *, also_current: bool = True) -> None:
        """Remove versions with all their files. A table whose current version goes is as before its first.

        Without `also_current` it raises WarehouseError, and removes nothing, where one of them is current.
        """
        ...

    def sweep(self) -> int:
        """Remove what nothing refers to any more; returns how many files went."""
        ...


class IcebergWarehouse:
    """Iceberg tables in a SQL catalogue; files on this machine or behind any URI that pyiceberg's FileIO reads.

    Args:
        catalog_uri: SQLAlchemy URL of the catalogue; `postgresql://…` is reached by psycopg2.
        warehouse_uri: root of the table files.
        locks: serialise all who write or sweep; they must reach as far as the catalogue does.
        properties: passed to the FileIO, e.g. `s3.endpoint`.
    """

    def __init__(
        self, catalog_uri: str, warehouse_uri: str, *, locks: Locks, properties: dict[str, str] | None = None
    ) -> None:
        self._catalog_uri = catalog_uri
        self._warehouse_uri = warehouse_uri
        self._properties = properties or {}
        self._locks = locks

    @cached_property
    def _catalog(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy.exc import SQLAlchemyError

        if self._catalog_uri.startswith("sqlite:///"):
            Path(self._catalog_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        uri, address = _driven(self._catalog_uri)
        try:
            # Of two processes that find a new database, one creates the tables.
            with self._locks.hold("catalog", timeout_seconds=_LOCK_TIMEOUT_SECONDS):
                return SqlCatalog(
                    "platform",
                    uri=uri,
                    warehouse=self._warehouse_uri,
                    # A process that waited for hours finds out that the server was started anew.
                    pool_pre_ping="true",
                    **self._properties,
                )
        except (SQLAlchemyError, ModuleNotFoundError) as problem:
            # The driver's own words; SQLAlchemy's may repeat the address.
            reason = " ".join(str(getattr(problem, "orig", None) or type(problem).__name__).split())
            raise WarehouseError(
                f"the catalogue of tables at {address} cannot be opened ({reason}); "
                "check PLATFORM_CATALOG_URI, PGPASSWORD, and that the server runs"
            ) from problem

    def _locked(self) -> AbstractContextManager[Held]:
        return self._locks.hold("warehouse", timeout_seconds=_LOCK_TIMEOUT_SECONDS)

    # --- Write, audit, publish -------------------------------------------------------------------------

    def stage(
        self,
        table: str,
        rows: "pa.Table",
        *,
        content_hash: str,
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
        subject_column: str | None = None,
        subject_namespace: str | None = None,
        time_column: str | None = None,
    ) -> Snapshot:
        """See `Warehouse.stage`."""
        from pyiceberg.table.update.snapshot import ManageSnapshots

        policy = _checked(
            table,
            TablePolicy(
                gdpr_class,
                retention_days,
                subject_column,
                time_column,
                subject_namespace=subject_namespace,
            ),
            rows.schema,
        )
        with self._locked() as held:
            self._catalog.create_namespace_if_not_exists(table.split(".", 1)[0])
            # create_table_if_not_exists would write a metadata file before it finds the table.
            if self._catalog.table_exists(table):
                target = self._load(table)
                _set_policy(target, policy)
            else:
                properties = _NEW_TABLE | _properties_of(policy)
                target = self._catalog.create_table(table, schema=rows.schema, properties=properties)
            for existing in _kept(target, table):
                if existing.content_hash == content_hash:
                    return replace(existing, source_commit=source_commit)
            with target.update_schema() as update:
                update.union_by_name(rows.schema)
            if target.current_snapshot() is None:
                # Iceberg takes branches only from an existing snapshot: `main` starts with no rows.
                target.append(rows.slice(0, 0))
            carried = {_CONTENT_HASH: content_hash, _SOURCE_COMMIT: source_commit}
            with target.transaction() as change:
                if AUDIT_BRANCH in target.metadata.refs:
                    with ManageSnapshots(change) as refs:
                        refs.remove_branch(AUDIT_BRANCH)
                # A branch that does not exist begins empty, so the append is the whole version.
                change.append(rows, branch=AUDIT_BRANCH, snapshot_properties=carried)
                # Without the lock, a sweep may have taken the new files for a dead writer's.
                held.check()
            staged = _at(target.refresh(), table, AUDIT_BRANCH)
            if staged is None or staged.rows != rows.num_rows:
                found = staged.rows if staged else 0
                raise WarehouseError(f"table {table}: {found} rows are staged, {rows.num_rows} were written")
            return staged

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """See `Warehouse.publish`."""
        with self._locked():
            target = self._load(snapshot.table)
            snapshot_id = _known_id(target, snapshot.table, snapshot.snapshot_id)
            with target.manage_snapshots() as refs:
                for tag in _tags(snapshot.content_hash, snapshot.source_commit):
                    if tag not in target.metadata.refs:
                        refs.create_tag(snapshot_id, tag)
                refs.set_current_snapshot(snapshot_id=snapshot_id)
        return replace(snapshot, published=True)

    # --- Reading ---------------------------------------------------------------------------------------

    def read(self, table: str, snapshot_id: str, *, columns: Sequence[str] | None = None) -> "pa.Table":
        """See `Warehouse.read`."""
        target = self._load(table)
        known_id = _known_id(target, table, snapshot_id)
        try:
            return _rows(target, known_id, columns)
        except OSError as problem:
            # Either it was taken out while it was being read, and this tells so, or the table is damaged.
            _known_id(self._load(table), table, snapshot_id)
            raise WarehouseError(
                f"table {table}: snapshot {snapshot_id} cannot be read ({problem}); restore its files or build it again"
            ) from problem

    def left_of(self, table: str, snapshot_id: str) -> str | None:
        """See `Warehouse.left_of`."""
        target = self._load(table)
        left = _left_of(target, snapshot_id)
        return str(_known_id(target, table, left)) if left else None

    def current(self, table: str) -> Snapshot | None:
        """See `Warehouse.current`."""
        return _at(self._load(table), table, _MAIN) if self._catalog.table_exists(table) else None

    def staged(self, table: str) -> Snapshot | None:
        """See `Warehouse.staged`."""
        if not self._catalog.table_exists(table):
            return None
        target = self._load(table)
        return _at(target, table, AUDIT_BRANCH) or _at(target, table, _MAIN)

    def tables(self) -> list[str]:
        """See `Warehouse.tables`."""
        return sorted(
            ".".join(identifier)
            for namespace in self._catalog.list_namespaces()
            for identifier in self._catalog.list_tables(namespace)
        )

    def versions(self, table: str, *, unpublished: bool = False) -> list[Snapshot]:
        """See `Warehouse.versions`."""
        return [found for found in _kept(self._load(table), table) if found.published or unpublished]

    def at(self, table: str, version: str) -> Snapshot:
        """See `Warehouse.at`."""
        target = self._load(table)
        published = [found for found in _kept(target, table) if found.published]
        produced = _produced_by(target, version)
        by_hash = _HASH_PREFIX.fullmatch(version) is not None
        found = [
            each
            for each in published
            if each.snapshot_id in produced or (by_hash and each.content_hash.startswith(version))
        ]
        if len(found) == 1:
            return found[0]
        problem = "is ambiguous" if found else "does not exist"
        listed = ", ".join(
            f"{each.content_hash[:12]} (commit {each.source_commit[:12]})" for each in published
        )
        raise WarehouseError(
            f"table {table}: version {version!r} {problem}; name 8 digits of a content hash or 7 of a commit; "
            f"there are {listed or 'no published versions'}"
        )

    # --- Policy ----------------------------------------------------------------------------------------

    def policy(self, table: str) -> TablePolicy:
        """See `Warehouse.policy`."""
        return _policy_of(self._load(table))

    def set_legal_hold(self, table: str, *, held: bool) -> TablePolicy:
        """See `Warehouse.set_legal_hold`."""
        with self._locked():
            target = self._load(table)
            if _policy_of(target).legal_hold != held:
                with target.transaction() as change:
                    change.set_properties({_LEGAL_HOLD: str(held).lower()})
            return _policy_of(target)

    # --- Taking out ------------------------------------------------------------------------------------

    def affected(self, table: str, keep: "Keep", *, columns: Sequence[str]) -> list[tuple[Snapshot, int]]:
        """See `Warehouse.affected`."""
        target = self._load(table)
        losses = ((version, _loss(target, version, keep, columns)) for version in _kept(target, table))
        return [(version, rows) for version, rows in losses if rows]

    def rewrite(
        self, table: str, keep: "Keep", *, columns: Sequence[str], content_hash: "Callable[[pa.Table], str]"
    ) -> list[Rewrite]:
        """See `Warehouse.rewrite`."""
        rewrites: list[Rewrite] = []
        with self._locked() as held:
            target = self._unheld(table)
            for old in _kept(target, table):
                if not _loss(target, old, keep, columns):
                    continue
                rows = _rows(target, int(old.snapshot_id))
                left = rows.filter(keep(old, rows.select(list(columns))))
                log.info("table %s: version %s is being written again", table, old.content_hash[:12])
                new = _replace(target, old, left, content_hash(left), held)
                log.info(
                    "table %s: version %s has become %s", table, old.content_hash[:12], new.content_hash[:12]
                )
                rewrites.append(Rewrite(old, new, old.rows - new.rows))
            self._clear(target, held)
        return rewrites

    def drop(self, table: str, snapshot_ids: Sequence[str], *, also_current: bool = True) -> None:
        """See `Warehouse.drop`."""
        with self._locked() as held:
            target = self._unheld(table)
            current = _at(target, table, _MAIN)
            if current and current.snapshot_id in snapshot_ids and not also_current:
                raise WarehouseError(
                    f"table {table}: version {current.content_hash[:12]} has become current meanwhile; it stays"
                )
            for snapshot_id in snapshot_ids:
                _known_id(target, table, snapshot_id)
            for old in _kept(target, table):
                if old.snapshot_id in snapshot_ids:
                    _drop(target, old, held)
                    log.info("table %s: version %s is dropped", table, old.content_hash[:12])
            self._clear(target, held)

    def sweep(self) -> int:
        """Remove files that no snapshot refers to, and snapshots that were never published.

        A killed writer leaves such files. The newest write stays, published or not, so that a failed
        contract can be looked into; of a table under legal hold everything stays. Returns how many files went.
        """
        with self._locked() as held:
            loaded = [self._load(table) for table in self.tables()]
            return sum(self._clear(target, held) for target in loaded if not _policy_of(target).legal_hold)

    def _clear(self, target: Any, held: Held) -> int:
        from pyarrow import fs
        from pyiceberg.io.pyarrow import PyArrowFileIO

        _expire_unpublished(target)
        referenced = _referenced_files(target.refresh())
        log.debug("table %s: %s files are referred to", target.name(), len(referenced))
        # The FileIO that wrote the files: its endpoint, its account, its idea of a path.
        scheme, netloc, root = PyArrowFileIO.parse_location(target.location())
        filesystem = target.io.fs_by_scheme(scheme, netloc)
        removed = 0
        for file in filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
            if file.type == fs.FileType.File and file.path not in referenced:
                # Without the lock, it may be a file that another writer is about to refer to.
                held.check()
                filesystem.delete_file(file.path)
                removed += 1
        return removed

    def _unheld(self, table: str) -> Any:
        target = self._load(table)
        if _policy_of(target).legal_hold:
            raise WarehouseError(
                f"table {table} is under legal hold: nothing of it may be removed before the hold is lifted"
            )
        return target

    def _load(self, table: str) -> Any:
        from pyiceberg.exceptions import NoSuchTableError

        for attempt in range(_LOAD_ATTEMPTS):
            try:
                return self._catalog.load_table(table)
            except NoSuchTableError:
                break
            except FileNotFoundError:
                # A sweep removed the metadata file between the catalogue's answer and its opening.
                if attempt == _LOAD_ATTEMPTS - 1:
                    raise
        raise WarehouseError(f"table {table} does not exist in {self._warehouse_uri}; materialize it first")


def _driven(catalog_uri: str) -> tuple[str, str]:
    """The address with the driver that we install, and how messages name it."""
    if not is_postgres(catalog_uri):
        return catalog_uri, catalog_uri if catalog_uri.startswith("sqlite:") else "PLATFORM_CATALOG_URI"
    if find_spec("psycopg2") is None:
        raise WarehouseError("a catalogue in Postgres needs psycopg2: install the extra `cluster`")
    address = address_of(catalog_uri)
    if address is None:
        raise WarehouseError(f"the address of the catalogue {ADDRESS_ADVICE}")
    return f"postgresql+psycopg2://{catalog_uri.partition('://')[2]}", address


# --- Policy as table properties ------------------------------------------------------------------------


def _checked(table: str, policy: TablePolicy, schema: "pa.Schema") -> TablePolicy:
    from pyarrow import types

    if policy.gdpr_class not in get_args(GdprClass):
        known = ", ".join(get_args(GdprClass))
        raise WarehouseError(
            f"table {table}: GDPR class {policy.gdpr_class!r} is unknown; use one of {known}"
        )
    if policy.retention_days <= 0:
        raise WarehouseError(f"table {table}: retention_days is {policy.retention_days}; give at least 1")
    for role, column in (("subject", policy.subject_column), ("time", policy.time_column)):
        if column is not None and column not in schema.names:
            raise WarehouseError(
                f"table {table}: its {role} column {column!r} is not among its columns {', '.join(schema.names)}"
            )
    if policy.subject_namespace is not None and policy.subject_column is None:
        raise WarehouseError(
            f"table {table}: subject namespace {policy.subject_namespace!r} comes without a subject column; "
            "say which column holds the ids"
        )
    if policy.time_column is not None:
        kind = schema.field(policy.time_column).type
        if not (types.is_timestamp(kind) or types.is_date(kind)):
            raise WarehouseError(
                f"table {table}: its time column {policy.time_column!r} holds {kind}; give a date or a timestamp"
            )
    return policy


def _properties_of(policy: TablePolicy) -> dict[str, str]:
    optional = {
        _SUBJECT_COLUMN: policy.subject_column,
        _SUBJECT_NAMESPACE: policy.subject_namespace,
        _TIME_COLUMN: policy.time_column,
    }
    return {
        _GDPR_CLASS: policy.gdpr_class,
        _RETENTION_DAYS: str(policy.retention_days),
        **{name: value for name, value in optional.items() if value is not None},
    }


def _policy_of(target: Any) -> TablePolicy:
    properties, default = target.properties, TablePolicy()
    return TablePolicy(
        gdpr_class=properties.get(_GDPR_CLASS, default.gdpr_class),
        retention_days=int(properties.get(_RETENTION_DAYS, default.retention_days)),
        subject_column=properties.get(_SUBJECT_COLUMN),
        subject_namespace=properties.get(_SUBJECT_NAMESPACE),
        time_column=properties.get(_TIME_COLUMN),
        legal_hold=properties.get(_LEGAL_HOLD) == "true",
    )


def _set_policy(target: Any, policy: TablePolicy) -> None:
    held = _policy_of(target).legal_hold
    if _policy_of(target) == replace(policy, legal_hold=held):
        return
    wanted = _properties_of(policy)
    with target.transaction() as change:
        if (
            stale := {_SUBJECT_COLUMN, _SUBJECT_NAMESPACE, _TIME_COLUMN}
            & target.properties.keys() - wanted.keys()
        ):
            change.remove_properties(*stale)
        change.set_properties(_NEW_TABLE | wanted)


# --- Snapshots -----------------------------------------------------------------------------------------


def _snapshots(target: Any, table: str) -> list[Snapshot]:
    tagged = {ref.snapshot_id for name, ref in target.metadata.refs.items() if name.startswith(_VERSION_TAG)}
    policy = _policy_of(target)
    found = []
    for snapshot in target.metadata.snapshots:
        carried = snapshot.summary.additional_properties if snapshot.summary else {}
        if content_hash := carried.get(_CONTENT_HASH):
            written_at = carried.get(_WRITTEN_AT)
            found.append(
                Snapshot(
                    table=table,
                    snapshot_id=str(snapshot.snapshot_id),
                    content_hash=content_hash,
                    rows=int(carried["total-records"]),
                    committed_at=datetime.fromisoformat(written_at)
                    if written_at
                    else datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
                    published=snapshot.snapshot_id in tagged,
                    gdpr_class=policy.gdpr_class,
                    retention_days=policy.retention_days,
                    source_commit=carried.get(_SOURCE_COMMIT, UNVERSIONED),
                )
            )
    return found


def _kept(target: Any, table: str) -> list[Snapshot]:
    """What a sweep keeps: the published versions and the newest write, oldest first."""
    kept = {str(ref.snapshot_id) for ref in target.metadata.refs.values()}
    found = [snapshot for snapshot in _snapshots(target, table) if snapshot.snapshot_id in kept]
    return sorted(found, key=lambda snapshot: snapshot.committed_at)


def _at(target: Any, table: str, ref: str) -> Snapshot | None:
    pointer = target.metadata.refs.get(ref)
    known = {snapshot.snapshot_id: snapshot for snapshot in _snapshots(target, table)}
    return known.get(str(pointer.snapshot_id)) if pointer else None


def _tags(content_hash: str, source_commit: str) -> list[str]:
    tags = [f"{_VERSION_TAG}{content_hash[:16]}"]
    if commit := _COMMIT.fullmatch(source_commit):
        digits, dirty = commit.groups(default="")
        tags.append(f"{_COMMIT_TAG}{digits[:12]}{dirty}-{content_hash[:8]}")
    return tags


def _produced_by(target: Any, commit: str) -> set[str]:
    """Ids of the snapshots that are tagged with this commit; 7 digits suffice."""
    asked = _COMMIT.fullmatch(commit)
    if asked is None:
        return set()
    digits, dirty = asked.groups(default="")
    name = re.compile(f"{_COMMIT_TAG}{digits[:12]}[0-9a-f]*{re.escape(dirty)}-[0-9a-f]+")
    return {str(ref.snapshot_id) for tag, ref in target.metadata.refs.items() if name.fullmatch(tag)}


def _rows(target: Any, snapshot_id: int, columns: Sequence[str] | None = None) -> "pa.Table":
    fields = tuple(columns) if columns else ("*",)
    rows: pa.Table = target.scan(snapshot_id=snapshot_id, selected_fields=fields).to_arrow()
    return rows.select(list(columns)) if columns else rows


def _loss(target: Any, version: Snapshot, keep: "Keep", columns: Sequence[str]) -> int:
    """How many rows of a version would not be kept."""
    import pyarrow.compute as pc

    snapshot = target.metadata.snapshot_by_id(int(version.snapshot_id))
    if not set(columns) <= set(target.schemas()[snapshot.schema_id].column_names):
        return 0
    kept: int = pc.sum(keep(version, _rows(target, int(version.snapshot_id), columns)), min_count=0).as_py()
    return version.rows - kept


def _left_of(target: Any, snapshot_id: str) -> str:
    """What a version has become, however often it was rewritten; empty where it was dropped."""
    left: str = snapshot_id
    while (further := target.properties.get(f"{_GONE}{left}")) is not None:
        left = further
    return left


def _known_id(target: Any, table: str, snapshot_id: str) -> int:
    if snapshot_id.isdigit() and target.metadata.snapshot_by_id(int(snapshot_id)) is not None:
        return int(snapshot_id)
    left = _left_of(target, snapshot_id)
    if left == snapshot_id:
        raise WarehouseError(f"table {table} has no snapshot {snapshot_id}; it was expired or never written")
    remains = f"what is left of it is snapshot {left}" if left else "nothing is left of it"
    raise WarehouseError(
        f"table {table}: snapshot {snapshot_id} was erased, in part or as a whole; {remains}"
    )


# --- Taking out ----------------------------------------------------------------------------------------


def _replace(target: Any, old: Snapshot, left: "pa.Table", content_hash: str, held: Held) -> Snapshot:
    """Put `left` in the place of a version, in one commit; an equal version takes the place by itself."""
    from pyiceberg.table.update import SetCurrentSchemaUpdate

    table = old.table
    equal = next(
        (
            each
            for each in _kept(target, table)
            if each.content_hash == content_hash and each.published >= old.published
        ),
        None,
    )
    with target.transaction() as change:
        if equal:
            new_id = int(equal.snapshot_id)
        else:
            # Written under the columns that the version had, so that it reads as before.
            now_id = target.schema().schema_id
            then_id = target.metadata.snapshot_by_id(int(old.snapshot_id)).schema_id
            carried = {
                _CONTENT_HASH: content_hash,
                _SOURCE_COMMIT: old.source_commit,
                _WRITTEN_AT: old.committed_at.isoformat(),
            }
            change._apply((SetCurrentSchemaUpdate(schema_id=then_id),))  # noqa: SLF001 - no public way
            new_id = _append_alone(change, left, carried)
            change._apply((SetCurrentSchemaUpdate(schema_id=now_id),))  # noqa: SLF001
        _move_refs(change, old, new_id, content_hash)
        held.check()
    return next(each for each in _snapshots(target, table) if each.snapshot_id == str(new_id))


def _drop(target: Any, old: Snapshot, held: Held) -> None:
    """Remove a version in one commit; `main` falls back to an empty beginning if it was there."""
    with target.transaction() as change:
        new_id = None
        if str(target.metadata.refs[_MAIN].snapshot_id) == old.snapshot_id:
            new_id = _append_alone(change, target.schema().as_arrow().empty_table(), {})
        _move_refs(change, old, new_id, content_hash=None)
        held.check()


def _append_alone(change: Any, rows: "pa.Table", carried: dict[str, str]) -> int:
    """Add a snapshot that begins empty, on a branch that the same commit removes again."""
    from pyiceberg.table.update.snapshot import ManageSnapshots

    change.append(rows, branch=_REWRITE_BRANCH, snapshot_properties=carried)
    new_id: int = change.table_metadata.refs[_REWRITE_BRANCH].snapshot_id
    with ManageSnapshots(change) as refs:
        refs.remove_branch(_REWRITE_BRANCH)
    return new_id


def _move_refs(change: Any, old: Snapshot, new_id: int | None, content_hash: str | None) -> None:
    """Let all that names a version name the new one, and expire the old one.

    Tags are derived from the content, so they are named anew; without content they go.
    """
    from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

    refs = change.table_metadata.refs
    pointing = [name for name, ref in refs.items() if str(ref.snapshot_id) == old.snapshot_id]
    for name in pointing:
        with ManageSnapshots(change) as moved:
            if name == _MAIN:
                moved.set_current_snapshot(snapshot_id=new_id)
            elif name == AUDIT_BRANCH:
                moved.remove_branch(name)
                if content_hash is not None:
                    moved.create_branch(new_id, name)
            else:
                moved.remove_tag(name)
                tag = _renamed(name, content_hash)
                if tag and tag not in refs:
                    moved.create_tag(new_id, tag)
    change.set_properties(
        _NEW_TABLE | {f"{_GONE}{old.snapshot_id}": str(new_id) if content_hash is not None else ""}
    )
    ExpireSnapshots(change).by_id(int(old.snapshot_id)).commit()


def _renamed(tag: str, content_hash: str | None) -> str | None:
    """The name that a tag has on other content."""
    if content_hash is None:
        return None
    if tag.startswith(_VERSION_TAG):
        return f"{_VERSION_TAG}{content_hash[:16]}"
    return f"{tag.rpartition('-')[0]}-{content_hash[:8]}"


def _expire_unpublished(target: Any) -> None:
    kept = {ref.snapshot_id for ref in target.metadata.refs.values()}
    # A parent that no ref names (the delete half of an overwrite) is history only.
    dropped = [
        snapshot.snapshot_id for snapshot in target.metadata.snapshots if snapshot.snapshot_id not in kept
    ]
    if dropped:
        target.maintenance.expire_snapshots().by_ids(dropped).commit()


def _referenced_files(target: Any) -> set[str]:
    """Paths, as the file system names them, of everything the table's metadata still refers to."""
    from pyiceberg.io.pyarrow import PyArrowFileIO

    metadata = target.metadata
    uris = {target.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    for snapshot in metadata.snapshots:
        uris.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(target.io):
            uris.add(manifest.manifest_path)
            for entry in manifest.fetch_manifest_entry(target.io, discard_deleted=False):
                uris.add(entry.data_file.file_path)
    return {PyArrowFileIO.parse_location(uri)[2] for uri in uris}

"""The warehouse on Apache Iceberg, through pyiceberg: a catalogue in SQL, and files wherever its FileIO reads.

Who changes a table holds one lock, and commits once. `iceberg_versions` tells the names by which versions are found,
`iceberg_rows` how one is written and read under its own schema, `iceberg_removal` how rows and versions go.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources import iceberg_removal, iceberg_rows
from resources.iceberg_change import change_of
from resources.iceberg_days import MARK, DayFile, day_files, hash_of_days, new_name
from resources.iceberg_files import TableFiles
from resources.iceberg_policy import (
    LEGAL_HOLD,
    NEW_TABLE,
    Subject,
    checked,
    policy_of,
    properties_of,
    set_policy,
    version_properties,
)
from resources.iceberg_types import as_text, kept
from resources.iceberg_versions import (
    AUDIT_BRANCH,
    CONTENT_HASH,
    MAIN,
    SOURCE_COMMIT,
    kept_versions,
    known_id,
    left_of,
    new_tags,
    version_at,
    version_named,
)
from resources.locks import Held, Locks
from resources.object_store import GdprClass
from resources.postgres import ADDRESS_ADVICE, address_of, is_postgres
from resources.row_batches import RowBatches
from resources.warehouse import Rewrite, Snapshot, TablePolicy, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.warehouse import Columns, Keep

_LOCK_TIMEOUT_SECONDS = 600
_LOAD_ATTEMPTS = 3


@dataclass(frozen=True)
class _Draft:
    """A version that is to be there: what makes it equal to one that is there already, or else is written."""

    table: str
    content_hash: str
    schema: "pa.Schema"
    """Of its rows as they were given."""
    written: "pa.Schema"
    """The same in the types that Iceberg has."""
    num_rows: int
    policy: TablePolicy
    subject: Subject
    source_commit: str


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
        rows: "pa.Table | RowBatches",
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
        subject = subject_column, subject_namespace
        policy = checked(
            table, TablePolicy(gdpr_class, retention_days, time_column=time_column), subject, rows.schema
        )
        given = RowBatches.of(rows)
        written = iceberg_rows.checked_schema(table, kept(table, given.schema.empty_table()).schema)
        for _ in _kept_parts(table, given):
            pass  # what cannot be kept is told before anything is there

        def append(change: Any, carried: dict[str, str]) -> None:
            iceberg_rows.append(
                change,
                _kept_parts(table, given),
                arrow=as_text(given.schema),
                branch=AUDIT_BRANCH,
                carried=carried,
            )

        with self._locked() as held:
            target = self._table(table, written, policy)
            return self._staged(
                target,
                _Draft(
                    table, content_hash, given.schema, written, given.num_rows, policy, subject, source_commit
                ),
                append,
                held,
            )

    def stage_days(
        self,
        table: str,
        days: "Mapping[date, pa.Table]",
        *,
        on: Snapshot | None,
        keep: Collection[date] = (),
        content_hash: "Callable[[pa.Table], str]",
        gdpr_class: GdprClass,
        retention_days: int,
        source_commit: str,
        marks: Mapping[date, str] | None = None,
        subject_column: str | None = None,
        subject_namespace: str | None = None,
    ) -> Snapshot:
        """See `Warehouse.stage_days`."""
        if not days:
            raise WarehouseError(f"table {table}: no day is to be written")
        marked: Mapping[date, str | None] = dict.fromkeys(days) if marks is None else marks
        if marked.keys() != days.keys() or not all(
            mark is None or MARK.fullmatch(mark) for mark in marked.values()
        ):
            raise WarehouseError(
                f"table {table}: each day that is written has a mark of 64 hexadecimal digits, or none has"
            )
        policy, subject = TablePolicy(gdpr_class, retention_days), (subject_column, subject_namespace)
        (schema, *others) = dict.fromkeys(rows.schema for rows in days.values())
        if others:
            raise WarehouseError(f"table {table}: days of one version have one schema")
        checked(table, policy, subject, schema)
        told = {day: (content_hash(rows), marked[day]) for day, rows in days.items()}
        with self._locked() as held:
            target = self._table(table, kept(table, schema.empty_table()).schema, policy)
            known = self._kept_days(target, table, on, keep, schema)
            # What is as it was keeps its file.
            as_before = {day: (each.content_hash, each.mark) for day, each in known.items()}
            new = {day: rows for day, rows in days.items() if told[day] != as_before.get(day)}
            told = {day: as_before[day] for day in keep} | told

            def append(change: Any, carried: dict[str, str]) -> None:
                write = iceberg_rows.writer(change)
                files = [
                    write([kept(table, new[day])], new_name(day, *told[day]))
                    if day in new
                    else known[day].file
                    for day in sorted(told)
                ]
                iceberg_rows.append_files(
                    change, files, arrow=as_text(schema), branch=AUDIT_BRANCH, carried=carried
                )

            counted = sum(rows.num_rows for rows in new.values()) + sum(
                known[day].file.record_count for day in told if day not in new
            )
            draft = _Draft(
                table,
                hash_of_days((day, *each) for day, each in told.items()),
                schema,
                kept(table, schema.empty_table()).schema,
                counted,
                policy,
                subject,
                source_commit,
            )
            return self._staged(target, draft, append, held)

    def _kept_days(
        self, target: Any, table: str, on: Snapshot | None, keep: Collection[date], schema: "pa.Schema"
    ) -> dict[date, DayFile]:
        """The days of the version that a new one goes on from."""
        current = version_at(target, table, MAIN)
        if (current and current.snapshot_id) != (on and on.snapshot_id):
            raise WarehouseError(f"table {table}: another version has become current meanwhile; run it again")
        known = self._days(target, current, schema) if current else {}
        if missing := sorted(set(keep) - (known or {}).keys()):
            raise WarehouseError(
                f"table {table}: its current version has no file of {missing[0]} by itself; write that day"
            )
        return known or {}

    @staticmethod
    def _days(target: Any, version: Snapshot, schema: "pa.Schema") -> dict[date, DayFile] | None:
        snapshot = target.metadata.snapshot_by_id(int(version.snapshot_id))
        return (
            day_files(target, snapshot) if iceberg_rows.arrow_schema_of(snapshot) == as_text(schema) else None
        )

    def days(self, snapshot: Snapshot, schema: "pa.Schema") -> dict[date, int] | None:
        """See `Warehouse.days`."""
        target = self._load(snapshot.table)
        known_id(target, snapshot.table, snapshot.snapshot_id)
        found = self._days(target, snapshot, schema)
        return None if found is None else {day: each.file.record_count for day, each in found.items()}

    def marks(self, snapshot: Snapshot) -> dict[date, str | None] | None:
        """See `Warehouse.marks`."""
        target = self._load(snapshot.table)
        found_id = known_id(target, snapshot.table, snapshot.snapshot_id)
        found = day_files(target, target.metadata.snapshot_by_id(found_id))
        return None if found is None else {day: each.mark for day, each in found.items()}

    def read_days(self, snapshot: Snapshot, schema: "pa.Schema", days: Collection[date]) -> "pa.Table":
        """See `Warehouse.read_days`."""
        target = self._load(snapshot.table)
        known_id(target, snapshot.table, snapshot.snapshot_id)
        found = self._days(target, snapshot, schema) or {}
        if missing := sorted(set(days) - found.keys()):
            raise WarehouseError(
                f"table {snapshot.table}: version {snapshot.snapshot_id} has no file of {missing[0]}"
            )
        return iceberg_rows.read_files(
            target.io, [found[day].file.file_path for day in sorted(set(days))], schema
        )

    def _table(self, table: str, written: "pa.Schema", policy: TablePolicy) -> Any:
        """The table, made if need be; the lock is held."""
        schema = iceberg_rows.checked_schema(table, written)
        self._catalog.create_namespace_if_not_exists(table.split(".", 1)[0])
        # create_table_if_not_exists would write a metadata file before it finds the table.
        if (found := self._found(table)) is not None:
            return found
        properties = NEW_TABLE | properties_of(policy)
        return self._catalog.create_table(table, schema=schema, properties=properties)

    @staticmethod
    def _staged(
        target: Any, draft: "_Draft", append: Callable[[Any, dict[str, str]], None], held: Held
    ) -> Snapshot:
        """The version that equals a draft, or a new one on the audit branch, whose rows `append` brings."""
        from pyiceberg.table.update.snapshot import ManageSnapshots

        table, policy = draft.table, draft.policy
        versions = kept_versions(target, table)
        for existing in versions:
            if (
                existing.content_hash == draft.content_hash
                and (existing.subject_column, existing.subject_namespace) == draft.subject
                and (existing.published or _policy_with(existing) == policy)
                and iceberg_rows.is_shaped(target, existing, draft.schema, draft.written)
            ):
                return replace(
                    existing,
                    source_commit=draft.source_commit,
                    gdpr_class=policy.gdpr_class,
                    retention_days=policy.retention_days,
                    time_column=policy.time_column,
                )
        if target.current_snapshot() is None:
            # Iceberg takes branches only from an existing snapshot: `main` starts with no rows.
            target.append(target.schema().as_arrow().empty_table())
        carried = {CONTENT_HASH: draft.content_hash, SOURCE_COMMIT: draft.source_commit}
        carried |= version_properties(policy, draft.subject)
        with change_of(target) as change:
            if not any(each.published for each in versions):
                set_policy(change, target, policy)
            if AUDIT_BRANCH in target.metadata.refs:
                with ManageSnapshots(change) as refs:
                    refs.remove_branch(AUDIT_BRANCH)
            # A branch that does not exist begins empty, so the append is the whole version.
            with iceberg_rows.under(change, iceberg_rows.schema_id_for(change, draft.written)):
                append(change, carried)
            # Without the lock, a sweep may have taken the new files for a dead writer's.
            held.check()
        staged = version_at(target.refresh(), table, AUDIT_BRANCH)
        if staged is None or staged.rows != draft.num_rows:
            found = staged.rows if staged else 0
            raise WarehouseError(f"table {table}: {found} rows are staged, {draft.num_rows} were written")
        return staged

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """See `Warehouse.publish`."""
        from pyiceberg.table.update.snapshot import ManageSnapshots

        with self._locked():
            target = self._load(snapshot.table)
            snapshot_id = known_id(target, snapshot.table, snapshot.snapshot_id)
            with change_of(target) as change:
                with ManageSnapshots(change) as refs:
                    for tag in new_tags(target, snapshot):
                        refs.create_tag(snapshot_id, tag)
                    refs.set_current_snapshot(snapshot_id=snapshot_id)
                iceberg_rows.make_current(change, target.metadata.snapshot_by_id(snapshot_id).schema_id)
                set_policy(change, target, _policy_with(snapshot))
        return replace(snapshot, published=True)

    # --- Reading ---------------------------------------------------------------------------------------

    def read(self, table: str, snapshot_id: str, *, columns: Sequence[str] | None = None) -> "pa.Table":
        """See `Warehouse.read`."""
        return self._read(
            table, snapshot_id, lambda target, found: iceberg_rows.read(table, target, found, columns)
        )

    def read_between(
        self,
        table: str,
        snapshot_id: str,
        time_column: str,
        first: datetime,
        last: datetime,
        *,
        columns: Sequence[str],
    ) -> "pa.Table":
        """See `Warehouse.read_between`."""
        span = iceberg_rows.Span(time_column, first, last)
        return self._read(
            table, snapshot_id, lambda target, found: iceberg_rows.read(table, target, found, columns, span)
        )

    def _read(self, table: str, snapshot_id: str, read: "Callable[[Any, int], pa.Table]") -> "pa.Table":
        target = self._load(table)
        found_id = known_id(target, table, snapshot_id)
        with self._reading(table, snapshot_id):
            return read(target, found_id)

    def batches(self, table: str, snapshot_id: str) -> RowBatches:
        """See `Warehouse.batches`."""
        target = self._load(table)
        with self._reading(table, snapshot_id):
            rows = iceberg_rows.batches(table, target, known_id(target, table, snapshot_id))

        def scan(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
            with self._reading(table, snapshot_id):
                yield from rows.scan(columns)

        return replace(rows, scan=scan)

    @contextmanager
    def _reading(self, table: str, snapshot_id: str) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            # Either it was taken out while it was being read, and this tells so, or the table is damaged.
            known_id(self._load(table), table, snapshot_id)
            raise WarehouseError(
                f"table {table}: snapshot {snapshot_id} cannot be read ({problem}); restore its files or build it again"
            ) from problem

    def left_of(self, table: str, snapshot_id: str) -> str | None:
        """See `Warehouse.left_of`."""
        target = self._load(table)
        left = left_of(target, snapshot_id)
        return str(known_id(target, table, left)) if left else None

    def current(self, table: str) -> Snapshot | None:
        """See `Warehouse.current`."""
        target = self._found(table)
        return None if target is None else version_at(target, table, MAIN)

    def staged(self, table: str) -> Snapshot | None:
        """See `Warehouse.staged`."""
        target = self._found(table)
        if target is None:
            return None
        return version_at(target, table, AUDIT_BRANCH) or version_at(target, table, MAIN)

    def location(self, table: str) -> str:
        """See `Warehouse.location`."""
        return str(self._load(table).location())

    def tables(self) -> list[str]:
        """See `Warehouse.tables`."""
        return sorted(
            ".".join(identifier)
            for namespace in self._catalog.list_namespaces()
            for identifier in self._catalog.list_tables(namespace)
        )

    def versions(self, table: str, *, unpublished: bool = False) -> list[Snapshot]:
        """See `Warehouse.versions`."""
        return [found for found in kept_versions(self._load(table), table) if found.published or unpublished]

    def at(self, table: str, version: str) -> Snapshot:
        """See `Warehouse.at`."""
        return version_named(self._load(table), table, version)

    # --- Policy ----------------------------------------------------------------------------------------

    def policy(self, table: str) -> TablePolicy:
        """See `Warehouse.policy`."""
        return policy_of(self._load(table))

    def set_legal_hold(self, table: str, *, held: bool) -> TablePolicy:
        """See `Warehouse.set_legal_hold`."""
        with self._locked():
            target = self._load(table)
            if policy_of(target).legal_hold != held:
                with change_of(target) as change:
                    change.set_properties({LEGAL_HOLD: str(held).lower()})
            return policy_of(target)

    # --- Taking out ------------------------------------------------------------------------------------

    def affected(self, table: str, keep: "Keep", *, columns: "Columns") -> list[tuple[Snapshot, int]]:
        """See `Warehouse.affected`."""
        return list(iceberg_removal.affected(self._load(table), table, keep, columns))

    def rewrite(
        self, table: str, keep: "Keep", *, columns: "Columns", content_hash: "Callable[[pa.Table], str]"
    ) -> list[Rewrite]:
        """See `Warehouse.rewrite`."""
        files = self._files_of(table)
        with self._locked() as held:
            target = self._unheld(table)
            rewrites = iceberg_removal.rewrite(target, table, keep, columns, content_hash, held)
            iceberg_removal.clear(target, held, files)
        return rewrites

    def expire(self, table: str, *, written_before: datetime) -> int:
        """See `Warehouse.expire`."""
        with self._locked() as held:
            target = self._load(table)
            if policy_of(target).legal_hold:
                return 0
            return iceberg_removal.expire(target, table, written_before, held)

    def drop(self, table: str, snapshot_ids: Sequence[str], *, also_current: bool = True) -> None:
        """See `Warehouse.drop`."""
        files = self._files_of(table)
        with self._locked() as held:
            target = self._unheld(table)
            current = version_at(target, table, MAIN)
            if current and current.snapshot_id in snapshot_ids and not also_current:
                raise WarehouseError(
                    f"table {table}: version {current.content_hash[:12]} has become current meanwhile; it stays"
                )
            for snapshot_id in snapshot_ids:
                known_id(target, table, snapshot_id)
            for old in kept_versions(target, table):
                if old.snapshot_id in snapshot_ids:
                    iceberg_removal.drop(target, old, held)
            iceberg_removal.clear(target, held, files)

    def sweep(self) -> int:
        """Remove files that no snapshot refers to, and snapshots that were never published.

        A killed writer leaves such files. The newest write stays, published or not, so that a failed
        contract can be looked into; of a table under legal hold everything stays. Returns how many files went.
        """
        return sum(map(self._sweep, self.tables()))

    def _sweep(self, table: str) -> int:
        """Sweep one table. What can be read before the lock is, so that writers wait for removals alone."""
        files = self._files_of(table)
        # Whoever writes holds the lock, so what is there now and is named by nothing then is nobody's.
        there = files.there()
        with self._locked() as held:
            target = self._load(table)
            return 0 if policy_of(target).legal_hold else iceberg_removal.clear(target, held, files, there)

    def _files_of(self, table: str) -> TableFiles:
        files = TableFiles(self._load(table))
        files.look_ahead()
        return files

    def _unheld(self, table: str) -> Any:
        target = self._load(table)
        if policy_of(target).legal_hold:
            raise WarehouseError(
                f"table {table} is under legal hold: nothing of it may be removed before the hold is lifted"
            )
        return target

    def _load(self, table: str) -> Any:
        if (found := self._found(table)) is None:
            raise WarehouseError(
                f"table {table} does not exist in {self._warehouse_uri}; materialize it first"
            )
        return found

    def _found(self, table: str) -> Any:
        """The table; None where there is none."""
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
        return None


def _kept_parts(table: str, rows: RowBatches) -> "Iterator[pa.Table]":
    import pyarrow as pa

    for batch in rows.batches():
        yield kept(table, pa.Table.from_batches([batch], rows.schema))


def _policy_with(snapshot: Snapshot) -> TablePolicy:
    """The policy that a table has when this is published."""
    return TablePolicy(snapshot.gdpr_class, snapshot.retention_days, time_column=snapshot.time_column)


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

"""Versioned tables (Apache Iceberg through pyiceberg): write, audit, publish.

A new version is staged on the branch `audit`, looked at there, and only then published: one atomic
commit moves `main` and tags the snapshot. Until then every reader sees the last published version.
Readers that matter never follow `main`; they read by snapshot id.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock

from resources.errors import ResourceError

if TYPE_CHECKING:
    import pyarrow as pa

AUDIT_BRANCH = "audit"
_CONTENT_HASH = "platform.content-hash"
_LOCK_TIMEOUT_SECONDS = 600


class WarehouseError(ResourceError):
    """A table or one of its versions does not exist, or cannot be written."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable state of a table."""

    table: str
    snapshot_id: str
    """Opaque; a string, since JSON has no 64-bit integers."""
    content_hash: str
    rows: int
    committed_at: datetime
    published: bool


class Warehouse(Protocol):
    """The contract of every warehouse. All methods raise WarehouseError for unknown tables or snapshots."""

    def stage(self, table: str, rows: "pa.Table", *, content_hash: str) -> Snapshot:
        """Write `rows` where only an audit reads them. Rows that are already there are not written again."""
        ...

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """Make a staged snapshot the table's current one, atomically. Idempotent."""
        ...

    def read(self, table: str, snapshot_id: str, *, columns: Sequence[str] | None = None) -> "pa.Table":
        """The rows of one snapshot, in the order in which they were written."""
        ...

    def current(self, table: str) -> Snapshot | None:
        """What `main` points at, or None before the first publication."""
        ...

    def staged(self, table: str) -> Snapshot | None:
        """The newest write, published or not: where a failed contract's rows can be looked at."""
        ...


class IcebergWarehouse:
    """Iceberg tables in a SQL catalogue; files on this machine or behind any URI that pyiceberg's FileIO reads.

    Args:
        catalog_uri: SQLAlchemy URL of the catalogue.
        warehouse_uri: root of the table files.
        locks: folder for the lock that serialises writers and the sweep on this machine.
        properties: passed to the FileIO, e.g. `s3.endpoint`.
    """

    def __init__(
        self, catalog_uri: str, warehouse_uri: str, *, locks: Path, properties: dict[str, str] | None = None
    ) -> None:
        self._catalog_uri = catalog_uri
        self._warehouse_uri = warehouse_uri
        self._properties = properties or {}
        self._locks = locks

    @cached_property
    def _catalog(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        if self._catalog_uri.startswith("sqlite:///"):
            Path(self._catalog_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return SqlCatalog(
            "platform", uri=self._catalog_uri, warehouse=self._warehouse_uri, **self._properties
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self._locks / "warehouse.lock", timeout=_LOCK_TIMEOUT_SECONDS):
            yield

    def stage(self, table: str, rows: "pa.Table", *, content_hash: str) -> Snapshot:
        """See `Warehouse.stage`."""
        with self._locked():
            self._catalog.create_namespace_if_not_exists(table.split(".", 1)[0])
            # create_table_if_not_exists would write a metadata file before it finds the table.
            if self._catalog.table_exists(table):
                target = self._catalog.load_table(table)
            else:
                target = self._catalog.create_table(table, schema=rows.schema)
            branch = target.metadata.refs.get(AUDIT_BRANCH)
            for existing in self._snapshots(target, table):
                kept = existing.published or (branch and existing.snapshot_id == str(branch.snapshot_id))
                if kept and existing.content_hash == content_hash:
                    return existing
            with target.update_schema() as update:
                update.union_by_name(rows.schema)
            if target.current_snapshot() is None:
                # Iceberg takes branches only from an existing snapshot: `main` starts with no rows.
                target.append(rows.slice(0, 0))
            if branch is not None:
                with target.manage_snapshots() as refs:
                    refs.remove_branch(AUDIT_BRANCH)
            # A branch that does not exist begins empty, so the append is the whole version.
            target.append(rows, branch=AUDIT_BRANCH, snapshot_properties={_CONTENT_HASH: content_hash})
            staged_id = target.refresh().metadata.refs[AUDIT_BRANCH].snapshot_id
            staged = next(
                found for found in self._snapshots(target, table) if found.snapshot_id == str(staged_id)
            )
            if staged.rows != rows.num_rows:
                raise WarehouseError(
                    f"table {table}: {staged.rows} rows are staged, {rows.num_rows} were written"
                )
            return staged

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """See `Warehouse.publish`."""
        with self._locked():
            target = self._load(snapshot.table)
            snapshot_id = _known_id(target, snapshot.table, snapshot.snapshot_id)
            tag = f"v-{snapshot.content_hash[:16]}"
            with target.manage_snapshots() as refs:
                if tag not in target.metadata.refs:
                    refs.create_tag(snapshot_id, tag)
                refs.set_current_snapshot(snapshot_id=snapshot_id)
        return replace(snapshot, published=True)

    def read(self, table: str, snapshot_id: str, *, columns: Sequence[str] | None = None) -> "pa.Table":
        """See `Warehouse.read`."""
        target = self._load(table)
        rows: pa.Table = target.scan(
            snapshot_id=_known_id(target, table, snapshot_id),
            selected_fields=tuple(columns) if columns else ("*",),
        ).to_arrow()
        return rows.select(list(columns)) if columns else rows

    def current(self, table: str) -> Snapshot | None:
        """See `Warehouse.current`."""
        return self._at(table, "main")

    def staged(self, table: str) -> Snapshot | None:
        """See `Warehouse.staged`."""
        return self._at(table, AUDIT_BRANCH) or self.current(table)

    def sweep(self) -> int:
        """Remove files that no snapshot refers to, and snapshots that were never published.

        A killed writer leaves such files. The newest write stays, published or not, so that a failed
        contract can be looked into. Returns how many files went.
        """
        from pyarrow import fs
        from pyiceberg.io.pyarrow import PyArrowFileIO

        removed = 0
        with self._locked():
            for namespace in self._catalog.list_namespaces():
                for identifier in self._catalog.list_tables(namespace):
                    target = self._catalog.load_table(identifier)
                    self._expire_unpublished(target)
                    referenced = _referenced_files(target.refresh())
                    # The FileIO that wrote the files: its endpoint, its account, its idea of a path.
                    scheme, netloc, root = PyArrowFileIO.parse_location(target.location())
                    filesystem = target.io.fs_by_scheme(scheme, netloc)
                    for file in filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
                        if file.type == fs.FileType.File and file.path not in referenced:
                            filesystem.delete_file(file.path)
                            removed += 1
        return removed

    def _expire_unpublished(self, target: Any) -> None:
        kept = {ref.snapshot_id for ref in target.metadata.refs.values()}
        # A parent that no ref names (the delete half of an overwrite) is history only.
        dropped = [
            snapshot.snapshot_id for snapshot in target.metadata.snapshots if snapshot.snapshot_id not in kept
        ]
        if dropped:
            target.maintenance.expire_snapshots().by_ids(dropped).commit()

    def _snapshots(self, target: Any, table: str) -> list[Snapshot]:
        tagged = {ref.snapshot_id for name, ref in target.metadata.refs.items() if name.startswith("v-")}
        return [
            Snapshot(
                table=table,
                snapshot_id=str(snapshot.snapshot_id),
                content_hash=content_hash,
                rows=int(snapshot.summary.additional_properties["total-records"]),
                committed_at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
                published=snapshot.snapshot_id in tagged,
            )
            for snapshot in target.metadata.snapshots
            if snapshot.summary
            and (content_hash := snapshot.summary.additional_properties.get(_CONTENT_HASH))
        ]

    def _at(self, table: str, ref: str) -> Snapshot | None:
        if not self._catalog.table_exists(table):
            return None
        target = self._load(table)
        pointer = target.metadata.refs.get(ref)
        known = {snapshot.snapshot_id: snapshot for snapshot in self._snapshots(target, table)}
        return known.get(str(pointer.snapshot_id)) if pointer else None

    def _load(self, table: str) -> Any:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._catalog.load_table(table)
        except NoSuchTableError:
            raise WarehouseError(
                f"table {table} does not exist in {self._warehouse_uri}; materialize it first"
            ) from None


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


def _known_id(target: Any, table: str, snapshot_id: str) -> int:
    if not snapshot_id.isdigit() or target.metadata.snapshot_by_id(int(snapshot_id)) is None:
        raise WarehouseError(f"table {table} has no snapshot {snapshot_id}; it was expired or never written")
    return int(snapshot_id)

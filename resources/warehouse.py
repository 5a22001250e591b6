"""Versioned tables: write, audit, publish; and take rows out for good. The contract; `iceberg_warehouse` fulfils it.

A new version is staged where only an audit looks, and only then published, atomically. Until then every
reader sees the last published version. Readers that matter read by snapshot id.

Each version has a schema of its own: columns may go, come, move or change their type from one to the next, and
each is read as it was written.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Protocol

from resources.errors import ResourceError
from resources.object_store import GdprClass
from resources.provenance import UNVERSIONED
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pyarrow as pa

    Keep = Callable[["Snapshot", pa.Table], pa.Array]
    Columns = Callable[["Snapshot"], Sequence[str]]


SUBJECT_NAMESPACE: Final = r"^[a-z][a-z0-9_-]*$"
"""What a namespace of subjects looks like: `applicant`. It holds no colon, since `applicant:4711` names a subject."""


class WarehouseError(ResourceError):
    """A table or one of its versions does not exist, cannot be written, or must not be changed."""


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """What holds for every published version of a table. Tables of earlier versions carry none and have the defaults."""

    gdpr_class: GdprClass = "internal"
    retention_days: int = 3650
    time_column: str | None = None
    """A date or timestamp from which the retention of single rows counts."""
    legal_hold: bool = False


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
    """Class, days and time column are the table's once it is published, and until then its own."""
    retention_days: int = 3650
    source_commit: str = UNVERSIONED
    time_column: str | None = None
    """See `TablePolicy`; versions of before it may lack the column."""
    columns: tuple[str, ...] = ()
    """Its own, in their order."""
    subject_column: str | None = None
    """Whose values name the person that a row is about. Its own; in versions of earlier releases, the table's."""
    subject_namespace: str | None = None
    """Within which those values are unique; None beside a column, as in earlier releases: `review`."""


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
        """Write `rows` where only an audit reads them; all that is published stays as it is.

        Rows that come in batches are written as they come, and never lie in memory together. Equal rows of equal schema
        and subject are not written again. The columns, and which of them names whom, are this version's own for good; metadata of the Arrow schema is not kept. Class, retention and time
        column become the table's policy with the publication, or now where nothing is published yet.

        Raises:
            WarehouseError: The policy is not sound, or a column's type or a value cannot be kept as it is;
                nothing was written.
        """
        ...

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
        """Write a version of these days, and of those that it has in common with the current one.

        Its rows lie by day, in the order of the days. Only a day whose rows are new is written; all others are the
        files that the current version has of them. So the cost is that of the new days, and of one list of days.

        Args:
            table: The table.
            days: Rows of each day that is written, all of one schema.
            on: The current version, as the caller has found it; None where there is none.
            keep: Other days of `on` that the version has as well.
            content_hash: Of the rows of a day. The version's own is made of those of its days.
            gdpr_class: See `stage`, as for the rest.
            retention_days: See `stage`.
            source_commit: See `stage`.
            marks: 64 hexadecimal digits for each day that is written, which `marks` tells again; with none, days have none.
            subject_column: See `stage`.
            subject_namespace: See `stage`.

        Raises:
            WarehouseError: The current version is no longer `on`, or has no file of its own for a day to keep; or a mark
                is none.
        """
        ...

    def days(self, snapshot: Snapshot, schema: "pa.Schema") -> dict[date, int] | None:
        """How many rows each day of a version has, oldest first; None where it is of another schema, or not by day."""
        ...

    def marks(self, snapshot: Snapshot) -> dict[date, str | None] | None:
        """What each day of a version was marked with, oldest first; None where it is not by day."""
        ...

    def read_days(self, snapshot: Snapshot, schema: "pa.Schema", days: Collection[date]) -> "pa.Table":
        """The rows of some days of a version, in the order of the days; no others are read.

        Raises:
            WarehouseError: It has no such day.
        """
        ...

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """Make a staged snapshot the table's current one, and tag it, atomically. Idempotent.

        Its class, retention and time column become those of the whole table, older versions included.
        """
        ...

    def read(self, table: str, snapshot_id: str, *, columns: Sequence[str] | None = None) -> "pa.Table":
        """The rows of one snapshot as they were written: order, columns, types, nullability.

        Args:
            table: The table.
            snapshot_id: One of its versions.
            columns: These only, in this order.
        """
        ...

    def batches(self, table: str, snapshot_id: str) -> RowBatches:
        """The rows of one snapshot as `read` has them, in small batches; they are there as long as the snapshot is."""
        ...

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
        """The rows of one snapshot that may lie in a span of time, in their order: all that do, and others beside them.

        Args:
            table: The table.
            snapshot_id: One of its versions.
            time_column: Tells when a row was.
            first: The beginning, with its time zone.
            last: The end, which may belong to the span.
            columns: These only, in this order.
        """
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

    def location(self, table: str) -> str:
        """Where the files of a table lie, as other engines address it."""
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
        """What holds for every published version of a table."""
        ...

    def set_legal_hold(self, table: str, *, held: bool) -> TablePolicy:
        """Place or lift a table's legal hold: under it, nothing of the table is removed."""
        ...

    def affected(self, table: str, keep: "Keep", *, columns: "Columns") -> list[tuple[Snapshot, int]]:
        """What `rewrite` would do: each version that would lose rows, and how many."""
        ...

    def rewrite(
        self, table: str, keep: "Keep", *, columns: "Columns", content_hash: "Callable[[pa.Table], str]"
    ) -> list[Rewrite]:
        """Write every version that loses rows again, then remove the old ones with all their files.

        Of one that lies by day, the days that lose rows; each keeps its mark.
        Killed at any moment and run again, it ends in the same state. One version is in memory at a time.

        Args:
            table: The table.
            keep: Tells of these columns of a version which rows stay: a mask without nulls.
            columns: What `keep` looks at in a version; where that is nothing, the version stays as it is.
            content_hash: Of the rows that stay.

        Raises:
            WarehouseError: A version lacks a column that is to be looked at; versions before it may be
                written again.
        """
        ...

    def drop(self, table: str, snapshot_ids: Sequence[str], *, also_current: bool = True) -> None:
        """Remove versions with all their files. A table whose current version goes is as before its first.

        Without `also_current` it raises WarehouseError, and removes nothing, where one of them is current.
        """
        ...

    def expire(self, table: str, *, written_before: datetime) -> int:
        """Forget published versions that were written before then; returns how many went, some hundred at most.

        For tables that no release names, and whose versions nobody asks for later: what became of them is not told.
        The current version and the newest write stay, and under legal hold all. `sweep` removes their files.
        """
        ...

    def sweep(self) -> int:
        """Remove what nothing refers to any more; returns how many files went."""
        ...

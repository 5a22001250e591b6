"""What holds a subject: every version of every table, and every object, that says it is of its namespace."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

from platform_assets.governance.errors import ErasureError, SubjectError
from platform_assets.governance.subject_columns import SubjectColumn, about_others, subject_of
from platform_assets.governance.subjects import REVIEW, Subject
from platform_assets.references import TableSnapshot
from resources.object_store import ObjectStore
from resources.warehouse import Snapshot, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET = b"PAR1"
_TELLING_LENGTH = 16
"""Shorter ids may occur in bytes, or in columns of another meaning, that have nothing to do with them."""


IsAbout = Callable[[Subject, bytes], bool]
"""Whether an object with these bytes is about a subject."""


def about_nobody(subject: Subject, content: bytes) -> bool:  # noqa: ARG001 - an `IsAbout`
    """False: no object names its subject in a way of its own."""
    return False


@dataclass(frozen=True, slots=True)
class HeldRows:
    """A table version or an object that holds rows of the subject."""

    name: str
    """The table, or the object's key."""
    rows: int
    columns: tuple[str, ...]
    """Where the subject may stand."""
    version: Snapshot | None = None
    """None for an object."""


@dataclass(frozen=True, slots=True)
class Places:
    """The columns in which a subject may stand."""

    namespace: str
    of_silent: tuple[str, ...]
    """In what does not say of whom it holds rows."""

    @classmethod
    def of(cls, subject: Subject, told: Iterable[SubjectColumn | None]) -> Self:
        """Those of a subject, where table versions say this of themselves."""
        reviews = {each.column for each in told if each and each.namespace == REVIEW}
        # Earlier versions had long ids alone; a short one may be the number of something else there.
        may_be_old = subject.namespace == REVIEW and len(subject.id) >= _TELLING_LENGTH
        return cls(subject.namespace, tuple(sorted(reviews)) if may_be_old else ())

    def within(self, told: SubjectColumn | None) -> tuple[str, ...]:
        """In what says so of itself."""
        if told is None:
            return self.of_silent
        return (told.column,) if told.namespace == self.namespace else ()

    def in_version(self, version: Snapshot) -> tuple[str, ...]:
        """In a version of a table; for `Warehouse.affected` and `Warehouse.rewrite`.

        Raises:
            SubjectError: It lacks the column that is said to name its subjects.
        """
        told = _told_by(version)
        columns = self.within(told)
        if told and not {*columns} <= {*version.columns}:
            raise SubjectError(
                f"table {version.table}: column {told.column} is said to name a {told.namespace} in version "
                f"{version.content_hash[:12]}, which has no such column, so nobody knows whom it is about; "
                f"it has {', '.join(version.columns)}. Drop that version first"
            )
        return tuple(column for column in columns if column in version.columns)


@dataclass(frozen=True, slots=True)
class Search:
    """What holds a subject."""

    places: Places
    namespaces: frozenset[str]
    """That tables and objects say they hold rows of."""
    found: tuple[HeldRows, ...]
    mentions: tuple[str, ...]
    """Objects that are no tables, and hold the id or are about the subject: a person must look at them."""
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


def search(
    subject: Subject,
    warehouse: Warehouse,
    store: ObjectStore,
    salt: bytes,
    *,
    is_about: IsAbout = about_nobody,
) -> Search:
    """What holds a subject. Rows of other namespaces are not looked at.

    Each version of a table, and each object that is one, says of whom it holds rows. Those of earlier
    releases may say nothing; they can hold reviews only, in a column that is the subject column of reviews
    elsewhere.

    Args:
        subject: Who is looked for.
        warehouse: Searched in every version of the namespace, of every table.
        store: Searched in every object.
        salt: Of the hash by which tables may name a subject.
        is_about: Tells of objects that are no tables, and name their subject in a way of their own.

    Raises:
        ErasureError: An object that says that it holds rows of this namespace lacks the column.
        SubjectError: So does a version of a table, or a subject column can hold no ids.
        ResourceError: Something cannot be read, so nobody knows what it holds.
    """
    kept = {table: warehouse.versions(table, unpublished=True) for table in warehouse.tables()}
    versions = [version for each in kept.values() for version in each]
    told = {_told_by(version) for version in versions}
    places, written = Places.of(subject, told), subject.written(salt)
    found = [
        HeldRows(table, rows, places.in_version(version), version)
        for table in kept
        for version, rows in warehouse.affected(table, others(written), columns=places.in_version)
    ]
    namespaces = {each.namespace for each in told if each}
    mentions, keys = [], list(store.list())
    for key in keys:
        content = store.get(key)
        if content.startswith(_PARQUET):
            with _named(f"object {key}"):
                told_by_object = subject_of(content)
                namespaces |= {told_by_object.namespace} if told_by_object else set()
                found += _rows_in(key, content, told_by_object, places, written)
        elif is_about(subject, content) or any(
            len(text) >= _TELLING_LENGTH and text.encode() in content for text in written
        ):
            mentions.append(key)
    in_tables = {each.name for each in found if each.version}
    in_objects = {each.name for each in found if each.version is None} | {*mentions}
    return Search(
        places=places,
        namespaces=frozenset(namespaces),
        found=tuple(found),
        mentions=tuple(mentions),
        held=(
            *(f"table {table}" for table in sorted(in_tables) if warehouse.policy(table).legal_hold),
            *(f"object {key}" for key in sorted(in_objects) if store.info(key).legal_hold),
        ),
        versions_searched=sum(bool(places.in_version(version)) for version in versions),
        objects_searched=len(keys),
    )


def others(written: Sequence[str]) -> "Callable[[Snapshot, pa.Table], pa.Array]":
    """Which rows stay, of a version's subject columns alone; for `Warehouse.rewrite`.

    Args:
        written: How these may write the subject, as `Subject.written` has it.
    """

    def keep(version: Snapshot, rows: "pa.Table") -> "pa.Array":
        with _named(f"table {version.table}"):
            return rows_of_others(rows, written)

    return keep


def rows_of_others(rows: "pa.Table", written: Sequence[str]) -> "pa.ChunkedArray":
    """Which rows name the subject in none of these columns, all of which may: a mask without nulls.

    Raises:
        SubjectError: A column can hold no ids.
    """
    import pyarrow.compute as pc

    return reduce(pc.and_, (about_others(column, written) for column in rows.columns))


def _told_by(version: Snapshot) -> SubjectColumn | None:
    if version.subject_column is None:
        return None
    return SubjectColumn(version.subject_namespace or REVIEW, version.subject_column)


def _rows_in(
    key: str, content: bytes, told: SubjectColumn | None, places: Places, written: Sequence[str]
) -> Iterator[HeldRows]:
    import pyarrow.parquet as pq

    names = pq.read_schema(io.BytesIO(content)).names
    columns = places.within(told)
    if told and not {*columns} <= {*names}:
        raise ErasureError(
            f"object {key} says that its column {told.column} names a {told.namespace}, and has no such column, so nobody "
            "knows whom it is about: write it again, or delete it"
        )
    if present := [column for column in columns if column in names]:
        ids = pq.read_table(io.BytesIO(content), columns=present)
        if rows := len(ids) - len(ids.filter(rows_of_others(ids, written))):
            yield HeldRows(key, rows, tuple(present))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Says of an error about a subject column which table or object it is in."""
    try:
        yield
    except SubjectError as problem:
        raise SubjectError(f"{where}: {problem}") from problem

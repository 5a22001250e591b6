"""What holds a subject: every version of every table of its namespace, and every object."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from platform_assets.governance.errors import ErasureError, SubjectError
from platform_assets.governance.subject_columns import SubjectColumn, about_others, subject_of
from platform_assets.governance.subjects import REVIEW, Subject
from platform_assets.references import TableSnapshot
from resources.object_store import ObjectStore
from resources.warehouse import Snapshot, TablePolicy, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET = b"PAR1"
_TELLING_LENGTH = 16
"""Shorter ids may occur in bytes, or in columns of another meaning, that have nothing to do with them."""


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


def search(subject: Subject, warehouse: Warehouse, store: ObjectStore) -> Search:
    """What holds a subject. Rows of other namespaces are not looked at.

    A table, or an object that is one, says of whom it holds rows. Those of earlier versions may say
    nothing; they can hold reviews only, in a column that is the subject column of reviews elsewhere.

    Args:
        subject: Who is looked for.
        warehouse: Searched in every version of every table of the namespace.
        store: Searched in every object.

    Raises:
        ErasureError: No table and no object says that it holds rows of this namespace, or one that does
            lacks the column.
        SubjectError: A subject column can hold no ids.
        ResourceError: Something cannot be read, so nobody knows what it holds.
    """
    policies = {table: warehouse.policy(table) for table in warehouse.tables()}
    told = {table: _told_by(policy) for table, policy in policies.items()}
    places = _Places.of(subject, told.values())
    tables = {table: columns for table in policies if (columns := places.within(told[table]))}
    found = [
        HeldRows(table, rows, column, version)
        for table, columns in tables.items()
        for column in columns
        for version, rows in _affected(warehouse, table, column, subject)
    ]
    namespaces = {each.namespace for each in told.values() if each}
    mentions, keys = [], list(store.list())
    for key in keys:
        content = store.get(key)
        if content.startswith(_PARQUET):
            with _named(f"object {key}"):
                told_by_object = subject_of(content)
                namespaces |= {told_by_object.namespace} if told_by_object else set()
                found += _rows_in(key, content, told_by_object, places, subject)
        elif len(subject.id) >= _TELLING_LENGTH and subject.id.encode() in content:
            mentions.append(key)
    if subject.namespace not in namespaces:
        known = ", ".join(sorted(namespaces)) or "none at all"
        raise ErasureError(
            f"no table and no object says which of its columns names a {subject.namespace}; the namespaces that are "
            f"named are: {known}. Correct the subject, or materialize the datasets with this version first"
        )
    in_tables = {each.name for each in found if each.version}
    in_objects = {each.name for each in found if each.version is None} | {*mentions}
    return Search(
        found=tuple(found),
        mentions=tuple(mentions),
        held=(
            *(f"table {table}" for table in sorted(in_tables) if policies[table].legal_hold),
            *(f"object {key}" for key in sorted(in_objects) if store.info(key).legal_hold),
        ),
        versions_searched=sum(len(warehouse.versions(table, unpublished=True)) for table in tables),
        objects_searched=len(keys),
    )


def others(subject: Subject) -> "Callable[[Snapshot, pa.Table], pa.Array]":
    """Which rows stay, of a version's subject column alone; for `Warehouse.rewrite`."""
    return lambda _, rows: about_others(rows.column(0), subject.id)


@dataclass(frozen=True, slots=True)
class _Places:
    """The columns in which a subject may stand."""

    namespace: str
    of_silent: tuple[str, ...]
    """In what does not say of whom it holds rows."""

    @classmethod
    def of(cls, subject: Subject, told: Iterable[SubjectColumn | None]) -> Self:
        reviews = {each.column for each in told if each and each.namespace == REVIEW}
        # Earlier versions had long ids alone; a short one may be the number of something else there.
        may_be_old = subject.namespace == REVIEW and len(subject.id) >= _TELLING_LENGTH
        return cls(subject.namespace, tuple(sorted(reviews)) if may_be_old else ())

    def within(self, told: SubjectColumn | None) -> tuple[str, ...]:
        """In a table that says so of itself."""
        if told is None:
            return self.of_silent
        return (told.column,) if told.namespace == self.namespace else ()


def _told_by(policy: TablePolicy) -> SubjectColumn | None:
    if policy.subject_column is None:
        return None
    return SubjectColumn(policy.subject_namespace or REVIEW, policy.subject_column)


def _affected(warehouse: Warehouse, table: str, column: str, subject: Subject) -> list[tuple[Snapshot, int]]:
    with _named(f"table {table}"):
        return warehouse.affected(table, others(subject), columns=[column])


def _rows_in(
    key: str, content: bytes, told: SubjectColumn | None, places: _Places, subject: Subject
) -> Iterator[HeldRows]:
    import pyarrow.parquet as pq

    names = pq.read_schema(io.BytesIO(content)).names
    for column in places.within(told):
        if column in names:
            ids = pq.read_table(io.BytesIO(content), columns=[column])[column]
            if rows := len(ids) - len(ids.filter(about_others(ids, subject.id))):
                yield HeldRows(key, rows, column)
        elif told is not None:
            raise ErasureError(
                f"object {key} says that its column {column} names a {told.namespace}, and has no such column, so nobody "
                "knows whom it is about: write it again, or delete it"
            )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Says of an error about a subject column which table or object it is in."""
    try:
        yield
    except SubjectError as problem:
        raise SubjectError(f"{where}: {problem}") from problem

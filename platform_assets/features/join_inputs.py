"""What is joined: label rows, tables of features, and what names whose and of when their rows are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.fitting import placed
from platform_assets.features.join_entities import entity_kind
from platform_assets.features.row_files import RowFiles
from platform_assets.features.table_columns import decoded, first_missing
from platform_assets.features.window_columns import LARGEST_TIME, NEVER, times_of
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    import pyarrow as pa

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Labels:
    """Rows that features are to be known for."""

    rows: RowFiles
    entity: tuple[str, ...]
    """Columns that name whose a row is; those of features have the same names."""
    time: str
    """The column of the time at which features are to be known."""
    include_current: bool = False
    """Whether what became available at that very time counts; by default only what was available before does."""


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of entities, each row of a time."""

    rows: RowFiles
    time: str
    """The column of the time that a row is of."""
    available: str | None = None
    """The column of the time at which a row became available, null where it has not yet; the row's time if None."""
    max_age: timedelta | None = None
    """Oldest that a row may be, from its time to the label's."""
    prefix: str = ""
    """In front of the names of its columns, among those of the labels."""

    def keys(self, entity: Sequence[str]) -> list[str]:
        """Columns that say whose and of when a row is."""
        return list(dict.fromkeys([*entity, self.time, *([self.available] if self.available else [])]))

    def features(self, entity: Sequence[str]) -> dict[str, str]:
        """All other columns, and how they are called behind the labels'."""
        keys = self.keys(entity)
        return {name: f"{self.prefix}{name}" for name in self.rows.schema.names if name not in keys}

    @property
    def max_age_us(self) -> int | None:
        """Likewise in microseconds."""
        return None if self.max_age is None else self.max_age // _MICROSECOND


@dataclass(frozen=True, slots=True)
class KeyRows:
    """Whose and of when some rows are."""

    entity: list["pa.ChunkedArray"]
    """Without nulls."""
    times: NDArray[np.int64]
    """Microseconds UTC, shape (rows,)."""
    available: NDArray[np.int64]
    """Likewise, `NEVER` where a row has not become available; empty: at their times."""


def read_keys(
    rows: RowFiles, chunk: "pa.Table", entity: Sequence[str], time: str, available: str | None, *, start: int
) -> KeyRows:
    """The columns that say whose and of when rows are.

    Args:
        rows: What the chunk is of.
        chunk: The next rows.
        entity: Columns of the entity.
        time: That of the time.
        available: That of the availability.
        start: Rows in front of the chunk.

    Raises:
        FeatureError: an entity or a time is missing, or is none; the message names the file, the column and the first row.
    """
    import pyarrow.compute as pc

    with placed(rows, start):
        for name in (*entity, time):
            count, first = first_missing(chunk.column(name))
            if count:
                raise FeatureError(
                    f"column {shown_name(name)} is null in {count:,} of {chunk.num_rows:,} rows (first: row {first:,}); whose "
                    "such a row is, or of when, is unknown: fill it in, or leave the row out"
                )
        known = np.empty(0, np.int64)
        if available is not None:
            column = decoded(chunk.column(available))
            known = times_of(column, available)
            if column.null_count:
                known = np.where(np.asarray(pc.is_null(column)), NEVER, known)
        columns = [_with_room(chunk.column(name), name) for name in entity]
        return KeyRows(columns, times_of(chunk.column(time), time), known)


def _with_room(column: "pa.ChunkedArray", name: str) -> "pa.ChunkedArray":
    """The same integers with a sign; other columns as they are."""
    import pyarrow as pa

    plain = decoded(column)
    if not pa.types.is_uint64(plain.type):
        return column
    try:
        return plain.cast(pa.int64())
    except pa.ArrowInvalid:
        raise FeatureError(
            f"column {shown_name(name)} has integers of 2^63 and more, which have no room; name entities by texts"
        ) from None


def refuse_unjoinable(labels: Labels, features: Sequence[FeatureTable]) -> None:
    """Refuse what cannot be joined, before any row is read.

    Raises:
        FeatureError: a column is missing, stands twice or is of a type that does not fit, a name would be taken twice, or an
            age is none; the message says which of which file, and what to do.
    """
    if not features:
        raise FeatureError("there is no table of features; name one")
    if not labels.entity or len(set(labels.entity)) != len(labels.entity):
        raise FeatureError("entity: name the columns that say whose a row is, each once")
    kinds = _kinds(labels.rows, labels.entity, [labels.time])
    taken = dict.fromkeys(labels.rows.schema.names, labels.rows.name)
    for table in features:
        name = table.rows.name
        times = [table.time, *([table.available] if table.available else [])]
        for column, mine, theirs in zip(
            labels.entity, kinds, _kinds(table.rows, labels.entity, times), strict=True
        ):
            if mine != theirs:
                raise FeatureError(
                    f"{name}: column {shown_name(column)} is of type {table.rows.schema.field(column).type}, and in "
                    f"{labels.rows.name} of type {labels.rows.schema.field(column).type}; an entity is named by texts on both "
                    "sides, or by integers: convert one of them"
                )
        _refuse_age(table)
        made = table.features(labels.entity)
        if not made:
            raise FeatureError(
                f"{name}: has no column besides those of entity and time; name a file with features"
            )
        for column, output in made.items():
            if output in taken:
                raise FeatureError(
                    f"{name}: column {shown_name(column)} would be called {shown_name(output)}, as one of {taken[output]} is; "
                    "give its features a prefix, or rename it"
                )
            taken[output] = name


def _kinds(rows: RowFiles, entity: Sequence[str], times: Sequence[str]) -> list[Literal["text", "integer"]]:
    names = rows.schema.names
    if repeated := [name for name in names if names.count(name) > 1]:
        raise FeatureError(
            f"{rows.name}: column {shown_name(repeated[0])} stands {names.count(repeated[0])} times; rename all but one"
        )
    rows.refuse_missing([*entity, *times])
    empty = rows.schema.empty_table()
    with placed(rows, 0):
        for name in times:
            if name in entity:
                raise FeatureError(f"column {shown_name(name)} is named as entity and as time; name another")
            times_of(empty.column(name), name)
        return [entity_kind(rows.schema.field(name).type, name) for name in entity]


def _refuse_age(table: FeatureTable) -> None:
    age = table.max_age_us
    if age is not None and not 0 < age < LARGEST_TIME:
        raise FeatureError(
            f"{table.rows.name}: a largest age is more than 0 and less than 146,000 years; give another, or none"
        )

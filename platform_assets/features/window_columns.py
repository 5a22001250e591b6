"""Columns of an Arrow table as the arrays that windows are computed from."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.table_columns import column_of, decoded, first_missing
from platform_assets.features.transformer_spec import TransformerSpec

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_VALUE: Final = 1e140
"""Its square has room in a float64, and so have a million of them, a million times."""
SMALLEST_DEVIATION: Final = 1e-140
"""Below it, the population deviation of a window's values, times their number, counts as 0: its square has lost digits."""
LARGEST_TIME: Final = 2**62
"""Microseconds from 1970 on, either way: 146,000 years."""
NEVER: Final = 2**63 - 1
"""When a value becomes known of which nobody knows it yet."""
_DAY: Final = 86_400_000_000
_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows in the order in which they came."""

    entity: "pa.ChunkedArray"
    codes: NDArray[Any]
    """Whose each row is, as int64 or int32 with nothing else to say; shape (rows,)."""
    codes_count: int | None
    """All codes are below it and at least 0; None where they are the keys themselves, which ascend."""
    times: Integers
    """Microseconds UTC, shape (rows,)."""
    available: Integers
    """When the row's values became known, `NEVER` where nobody knows yet; empty: at its time."""
    values: tuple[Floats, ...]
    """NaN where a value is missing; an array of shape (rows,) for each of the spec's columns."""

    def key(self, row: int) -> str:
        """Whose this row is: an integer as it is written."""
        return str(self.entity[row].as_py())


def read_window_rows(spec: TransformerSpec, table: "pa.Table") -> WindowRows:
    """The columns that this spec reads.

    Raises:
        FeatureError: a column is missing, stands twice, is of a type that it cannot be, or has a value that no window has
            place for.
    """
    import pyarrow.compute as pc

    assert spec.entity_key is not None and spec.timestamp_column is not None  # noqa: PT018 - the spec saw to both
    entity = column_of(table, spec.entity_key)
    _refuse_missing(entity, spec.entity_key, "whose history the row belongs to is not said")
    codes, count = _codes(entity, spec.entity_key)
    time = column_of(table, spec.timestamp_column)
    _refuse_missing(time, spec.timestamp_column, "a row without a time has no place in a history")
    available = np.empty(0, np.int64)
    if spec.available_column is not None:
        known = decoded(column_of(table, spec.available_column))
        available = times_of(known, spec.available_column)
        if known.null_count:
            available = np.where(pc.is_null(known).to_numpy(), NEVER, available)
    return WindowRows(
        entity=entity,
        codes=codes,
        codes_count=count,
        times=times_of(time, spec.timestamp_column),
        available=available,
        values=tuple(_values(column_of(table, name), name) for name in spec.columns),
    )


def known_times(table: "pa.Table", name: str) -> "pa.Array":
    """A column of times as int64 microseconds UTC, null where it is; shape (rows,).

    Raises:
        FeatureError: it is missing, stands twice, or holds no times.
    """
    import pyarrow as pa

    column = decoded(column_of(table, name))
    return pa.array(times_of(column, name), mask=np.asarray(column.is_null(), bool))


def _refuse_missing(column: "pa.ChunkedArray", name: str, why: str) -> None:
    missing, first = first_missing(column)
    if missing:
        raise FeatureError(
            f"column {name}: {missing} of {len(column)} values are missing (first: row {first}); {why}: fill it in, or "
            "leave the row out"
        )


def _codes(column: "pa.ChunkedArray", name: str) -> tuple[NDArray[Any], int | None]:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    from platform_assets.features import window_kernels

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_integer(kind):
        if types.is_dictionary(column.type):
            column = column.cast(kind)
        if kind != pa.uint64():
            keys = _numpy(column.cast(pa.int64()))
            if window_kernels.ascends(keys):
                return keys, None
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        if types.is_dictionary(column.type):
            column = column.unify_dictionaries()
            if column.num_chunks and len(column.chunk(0).dictionary.unique()) == len(
                column.chunk(0).dictionary
            ):
                codes = np.concatenate(
                    [chunk.indices.cast(pa.int32()).to_numpy(zero_copy_only=False) for chunk in column.chunks]
                )
                count = len(column.chunk(0).dictionary)
                window_kernels.number_by_appearance(codes, count)
                return codes, count
            column = column.cast(pa.large_string())
        elif types.is_string_view(kind):
            column = column.cast(pa.large_string())
    else:
        raise FeatureError(
            f"column {name}: is of type {column.type}; an entity is named by a text or an integer"
        )
    encoded = pc.dictionary_encode(column)
    if not encoded.num_chunks:
        return np.empty(0, np.int32), 0
    parts = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)), max(
        len(chunk.dictionary) for chunk in encoded.chunks
    )


def _numpy(column: "pa.ChunkedArray") -> Any:
    """Of a column of numbers without nulls; no copy of a single chunk."""
    parts: list[NDArray[Any]] = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, column.type.to_pandas_dtype())


def _integers(column: "pa.ChunkedArray") -> Any:
    """Of a column whose values are integers inside; 0 where it is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = column.cast(pa.int64())
    return _numpy(pc.fill_null(plain, 0) if plain.null_count else plain)


def times_of(column: "pa.ChunkedArray", name: str) -> Integers:
    """Microseconds UTC; anything where it is null."""
    import pyarrow as pa
    from pyarrow import types

    from platform_assets.features import window_kernels

    column = decoded(column)
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _times_of_texts(column, name)
    if types.is_integer(kind):
        raise FeatureError(
            f"column {name}: is of type {kind}; whether an integer counts seconds, milliseconds or days is not known:"
            f" make it a timestamp"
        )
    if types.is_date32(kind):
        return np.asarray(_integers(column.cast(pa.int32())) * _DAY)
    if types.is_date64(kind):
        count, unit = _integers(column), "ms"
    elif types.is_timestamp(kind):
        count, unit = _integers(column), kind.unit
    else:
        raise FeatureError(
            f"column {name}: is of type {kind}; a time is a timestamp, a date, or ISO 8601 text"
        )
    if unit == "ns":
        # Rounded down, also before 1970, so that no time becomes a later one.
        return np.asarray(count // 1_000)
    limit = LARGEST_TIME // _MICROSECONDS[unit]
    at = window_kernels.first_outside(count, limit)
    if at >= 0:
        raise FeatureError(
            f"column {name}: the time of row {at + 1} is more than 146,000 years from 1970; correct it, or the unit"
        )
    return np.asarray(count if unit == "us" else count * _MICROSECONDS[unit])


def _times_of_texts(column: "pa.ChunkedArray", name: str) -> Integers:
    import pyarrow as pa

    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    # Texts without an offset and texts with one: Arrow reads a column of either, not a mixture.
    for zone in (None, "UTC"):
        try:
            return np.asarray(_integers(column.cast(pa.timestamp("us", zone))))
        except pa.ArrowInvalid:
            continue
    read: list[int] = []
    wrong: list[int] = []
    for row, text in enumerate(column.to_pylist(), start=1):
        try:
            read.append(0 if text is None else _time_of(text))
        except ValueError:
            wrong.append(row)
    if wrong:
        raise FeatureError(
            f"column {name}: {len(wrong)} of {len(column)} texts are no time (first: row {wrong[0]}); write it as"
            " 2024-05-01T08:30:00 or 2024-05-01T08:30:00+02:00"
        )
    return np.array(read, np.int64)


def _time_of(text: str) -> int:
    stated = datetime.fromisoformat(text)
    if stated.tzinfo is None:
        stated = stated.replace(tzinfo=UTC)
    passed = stated - datetime(1970, 1, 1, tzinfo=UTC)
    return passed // timedelta(microseconds=1)


def _values(column: "pa.ChunkedArray", name: str) -> Floats:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    from platform_assets.features import window_kernels

    column = decoded(column)
    kind = column.type
    numeric: tuple[Callable[[Any], bool], ...] = (
        types.is_floating,
        types.is_integer,
        types.is_decimal,
        types.is_boolean,
        types.is_null,
    )
    if not any(accepts(kind) for accepts in numeric):
        raise FeatureError(f"column {name}: is of type {kind}; a window is computed of numbers")
    if types.is_decimal(kind):
        column = column.cast(pa.string())  # by itself, Arrow would not round to the nearest float
    try:
        floats = column if kind == pa.float64() else column.cast(pa.float64())
    except pa.ArrowInvalid as problem:
        raise FeatureError(
            f"column {name}: has integers beyond 2^53, which no float64 tells apart; an identifier is no measurement:"
            " leave it out, or scale it"
        ) from problem
    values: Floats = _numpy(pc.fill_null(floats, float("nan")) if floats.null_count else floats)
    at = window_kernels.first_beyond(values, LARGEST_VALUE)
    if at >= 0:
        raise FeatureError(
            f"column {name}: the value of row {at + 1} is infinite or beyond 1e140; no window has a mean with it: make it"
            " null where nothing was measured"
        )
    return values

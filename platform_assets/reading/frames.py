"""Arrow tables as pandas frames, exactly: what asks for a frame sees the values of the table, and no others.

| Arrow | pandas |
|---|---|
| integers, booleans | numpy's; pandas' nullable ones of the same width where one is missing |
| floats | numpy's, halves as float32; NaN where one is missing |
| timestamps, durations | of the same unit; NaT where one is missing. Zones are kept where pandas knows them |
| times of day | `datetime.time`; a duration since midnight where they have nanoseconds |
| texts, bytes, decimals, dates, lists, objects, unions | Python's own; None where one is missing |
"""

from typing import TYPE_CHECKING, Any, Final

from platform_assets.reading.errors import ReadingError, shown_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
"""Of the years 1 and 9999, since 1970 in UTC."""
_LAST_DAY: Final = _LAST_SECOND // 86_400
_FIRST_DAY: Final = _FIRST_SECOND // 86_400
_WIDEST_OFFSET_SECONDS: Final = 86_400
_NO_YEAR: Final = "holds a time outside the years 1 to 9999"
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NO_TIME: Final = -(2**63)
"""What numpy has for a missing time."""
_LAST_TIME: Final = 2**63 - 1


class _InexactError(ValueError):
    """pandas has no such value."""

    def __init__(self, reason: str, wrong: "pa.ChunkedArray | None" = None) -> None:
        super().__init__(reason)
        self.row = None if wrong is None else wrong.index(value=True).as_py() + 1


def to_frame(table: "pa.Table", *, name: str) -> "pd.DataFrame":
    """The frame of a table whose names are unique; its index counts from 0.

    Args:
        table: As `read_table` gives it.
        name: What it is called in messages.

    Raises:
        ReadingError: a time lies outside the years 1 to 9999, where neither Python nor pandas has any.
    """
    import pandas as pd

    columns = {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        try:
            columns[column] = _values(values)
        except _InexactError as problem:
            label = f"column {shown_name(column)}"
            raise ReadingError(name, str(problem), row=problem.row, column=label) from None
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)


def series_of(column: "pa.ChunkedArray") -> "pd.Series[Any]":
    """One column, as `to_frame` gives it; its times lie within the years 1 to 9999."""
    import pandas as pd

    return pd.Series(_values(column), copy=False)


def _values(column: "pa.ChunkedArray") -> Any:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _whole(column)
    if pa.types.is_float16(kind):
        column = column.cast(pa.float32())
    if pa.types.is_timestamp(kind):
        return _timestamps(column)
    if pa.types.is_duration(kind):
        _refuse(column.cast(pa.int64()), _NO_TIME + 1, _LAST_TIME, "holds a duration that pandas has not")
    if pa.types.is_date(kind):
        _refuse(column.cast(pa.date32()).cast(pa.int32()), _FIRST_DAY, _LAST_DAY, _NO_YEAR)
    if pa.types.is_time64(kind):
        return _times(column)
    if pa.types.is_nested(kind):
        return _objects(column)
    return column.to_pandas()


def _whole(column: "pa.ChunkedArray") -> Any:
    import pandas as pd
    import pyarrow as pa

    if not column.null_count:
        return column.to_numpy()
    given, missing = column.fill_null(pa.scalar(0).cast(column.type)).to_numpy(), column.is_null().to_numpy()
    array = pd.arrays.BooleanArray if pa.types.is_boolean(column.type) else pd.arrays.IntegerArray
    return array(given, missing)


def _timestamps(column: "pa.ChunkedArray") -> Any:
    import pyarrow as pa

    kind = column.type
    second = _PER_SECOND[kind.unit]
    first = max(_FIRST_SECOND * second, _NO_TIME + 1)
    last = min((_LAST_SECOND + 1) * second - 1, _LAST_TIME)
    counted = column.cast(pa.int64())
    _refuse(counted, first, last, _NO_YEAR)
    if kind.tz is None:
        return column.to_pandas()
    # In local time it might be another year, at which pandas falls over.
    day = _WIDEST_OFFSET_SECONDS * second
    if _outside(counted, first + day, last - day) is not None:
        return _in_utc(column)
    try:
        return column.to_pandas()
    except LookupError:  # a zone that this machine does not know
        return _in_utc(column)


def _in_utc(column: "pa.ChunkedArray") -> Any:
    import pyarrow as pa

    return column.cast(pa.timestamp(column.type.unit, "UTC")).to_pandas()


def _times(column: "pa.ChunkedArray") -> Any:
    import pyarrow as pa

    try:
        return column.cast(pa.time64("us")).to_pandas()
    except pa.ArrowInvalid:  # of `safe` casts: some have nanoseconds
        return column.cast(pa.int64()).cast(pa.duration("ns")).to_pandas()


def _objects(column: "pa.ChunkedArray") -> Any:
    import pandas as pd

    try:
        return pd.Series(column.to_pylist(), dtype=object)
    except (ValueError, OverflowError):
        raise _InexactError(f"{_NO_YEAR}, or a time with nanoseconds, within a list or an object") from None


def _outside(counted: "pa.ChunkedArray", least: int, most: int) -> "pa.ChunkedArray | None":
    """Where integers lie outside these bounds; None where none does."""
    import pyarrow.compute as pc

    wrong = pc.or_(pc.less(counted, least), pc.greater(counted, most))
    return wrong if pc.any(wrong).as_py() else None


def _refuse(counted: "pa.ChunkedArray", least: int, most: int, reason: str) -> None:
    if (wrong := _outside(counted, least, most)) is not None:
        raise _InexactError(reason, wrong)

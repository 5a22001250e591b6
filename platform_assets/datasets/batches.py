"""A table as batches of rows that can be read again, and the cells of one column of a batch in a form that compares exactly.

Whole numbers, decimals, dates and times are counts of a unit: 1, 0.01, a day, a microsecond. A bound or a member of a set is
exact in these units, whatever a float would make of it. A float of 32 or 16 bits is the shortest decimal that it stands for.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from platform_assets.datasets.contract_values import Kind, instant
from platform_assets.datasets.errors import NoTableError
from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.parquet_table import plain_type
from platform_assets.reading.texts import refuse_odd_texts

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_BATCH_ROWS: Final = 1 << 16
_BATCH_BYTES: Final = 32 << 20
_LOOKED_AT_ROWS: Final = 1 << 10
_BUFFER_BYTES: Final = 1 << 20
"""Of a column of Parquet that is being read. Without it a whole row group would lie in memory, and with what Arrow reads
in advance the whole file."""

Family = Literal["whole", "float", "narrow", "decimal", "time", "boolean", "text", "nothing", "other"]
"""How cells are compared."""

_KINDS: Final[dict[Family, Kind]] = {
    "whole": "number",
    "float": "number",
    "narrow": "number",
    "decimal": "number",
    "time": "time",
    "boolean": "boolean",
    "text": "text",
    "nothing": "empty",
    "other": "other",
}
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NANOSECONDS: Final = 10**9
_DAY: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND: Final = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
_NO_TIME: Final = -(2**63)
"""What numpy has for a missing time."""
_LAST_SECOND: Final = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())


@dataclass(frozen=True, slots=True)
class BatchedTable:
    """Rows of one schema that come in batches, as often as they are asked for."""

    name: str
    """What they are called in messages."""
    schema: "pa.Schema"
    """Of plain types, as `plain_type` tells; names are unique."""
    scan: "Callable[[Sequence[str]], Iterator[pa.RecordBatch]]"
    """The batches from the first row on, of these columns in the schema's order; small ones."""

    def batches(self, columns: Collection[str]) -> "Iterator[pa.RecordBatch]":
        """The batches from the first row on, of these columns at least, of plain types."""
        names = [name for name in self.schema.names if name in columns] or self.schema.names[:1]
        for batch in self.scan(names):
            yield _plain(batch)


def batched(table: "pa.Table", *, name: str = "the table") -> BatchedTable:
    """A table in memory as batches."""
    rows = rows_of_a_batch(table.nbytes, table.num_rows)

    def scan(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        yield from table.select(list(columns)).to_batches(max_chunksize=rows)

    return BatchedTable(name, plain_schema(table.schema), scan)


def rows_of_a_batch(size_bytes: int, rows: int) -> int:
    """How many rows a batch may have where so many take so many bytes."""
    return max(1, min(MOST_BATCH_ROWS, _BATCH_BYTES * rows // max(1, size_bytes)))


def parquet_batches(file: Path, *, name: str, columns: Sequence[str]) -> BatchedTable:
    """A Parquet file as batches: its columns in this order, which are all of them.

    Args:
        file: That has been looked at already: see `platform_assets.datasets.large_files`.
        name: What it is called in messages.
        columns: In the order of the table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen = _state_of(file)
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as opened:
        schema = plain_schema(opened.schema_arrow)
        rows = _rows_of_parquet(opened)

    def scan(wanted: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        first_row, odd = 0, None
        try:
            with pq.ParquetFile(
                file, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
            ) as opened:
                _refuse_changes(file, seen, name)
                for batch in opened.iter_batches(rows, columns=list(wanted), use_threads=False):
                    plain = _plain(batch.select(list(wanted)))
                    odd = _earlier(odd, _odd_text(plain, name, first_row))
                    first_row += plain.num_rows
                    if odd is None:
                        yield plain
        except (pa.ArrowException, OSError, ValueError):
            _refuse_changes(file, seen, name)
            raise NoTableError(
                f"{name}: is no Parquet file that can be read to its end: it is damaged or cut off; write it again"
            ) from None
        _refuse_changes(file, seen, name)
        if odd is not None:
            raise NoTableError(str(odd.problem))

    return BatchedTable(name, pa.schema([schema.field(column) for column in columns]), scan)


def _rows_of_parquet(opened: "pq.ParquetFile") -> int:
    """How many rows a batch of the file may have.

    What a file says of its size counts a text that repeats once, so its first rows are looked at, too.
    """
    import pyarrow as pa

    metadata = opened.metadata
    unpacked = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    rows = rows_of_a_batch(unpacked, metadata.num_rows)
    try:
        first = next(opened.iter_batches(_LOOKED_AT_ROWS, use_threads=False), None)
    except (pa.ArrowException, OSError, ValueError):  # which is told where the rows are read
        return rows
    return rows if first is None else min(rows, rows_of_a_batch(first.nbytes, first.num_rows))


def _state_of(file: Path) -> tuple[int, ...] | None:
    """What changes where a file does; None where there is none."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _refuse_changes(file: Path, seen: tuple[int, ...] | None, name: str) -> None:
    if _state_of(file) != seen:
        raise NoTableError(
            f"{name}: has changed while it was read; check it again when nobody writes it"
        ) from None


class _Odd(NamedTuple):
    """A text that is none. Where a file is read whole, the first column that has one is told, and its first row."""

    order: tuple[int, bool]
    """Position of the column; bytes that are no text come before NUL."""
    problem: ReadingError


def _odd_text(batch: "pa.RecordBatch", name: str, first_row: int) -> _Odd | None:
    import pyarrow as pa

    def refused(columns: Sequence[str]) -> ReadingError | None:
        rows = pa.Table.from_batches([batch.select(list(columns))])
        try:
            refuse_odd_texts(rows, name=name, is_named=True, first_row=first_row)
        except ReadingError as problem:
            return problem
        return None

    if refused(batch.schema.names) is None:
        return None
    return next(
        _Odd((at, "NUL" in problem.reason), problem)
        for at, column in enumerate(batch.schema.names)
        if (problem := refused([column]))
    )


def _earlier(one: _Odd | None, other: _Odd | None) -> _Odd | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda each: each.order)


def plain_schema(schema: "pa.Schema") -> "pa.Schema":
    """The schema with types that encode nothing, and without metadata."""
    import pyarrow as pa

    return pa.schema([pa.field(each.name, plain_type(each.type)) for each in schema])


def _plain(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    import pyarrow as pa

    schema = plain_schema(batch.schema)
    columns = [
        column if column.type.equals(field.type) else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def family_of(type_: "pa.DataType") -> Family:
    """How cells of this type are compared."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_null(type_):
        return "nothing"
    if kinds.is_boolean(type_):
        return "boolean"
    if kinds.is_integer(type_):
        return "whole"
    if kinds.is_floating(type_):
        return "float" if kinds.is_float64(type_) else "narrow"
    if kinds.is_decimal(type_):
        return "decimal"
    if kinds.is_timestamp(type_) or kinds.is_date(type_):
        return "time"
    if kinds.is_string(type_) or kinds.is_large_string(type_):
        return "text"
    return "other"


def kind_of_type(type_: "pa.DataType") -> Kind:
    """What a column of this type holds, as far as a contract can state it, where it holds anything."""
    return _KINDS[family_of(type_)]


class Cells:
    """The cells of one column of a batch.

    Raises:
        NoTableError: a time lies outside the years 1 to 9999, where neither engine has any; a duration is the one that
            pandas has for none.
    """

    def __init__(self, array: "pa.Array", *, table: str, column: str, first_row: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.array, self.family = array, family_of(array.type)
        self._table, self._column, self._first_row = table, column, first_row
        self._numbers: np.ndarray[Any, Any] | None = None
        self._texts: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None
        self.given: np.ndarray[Any, Any] | None = None
        """True where there is a value; None where there is one everywhere."""
        if array.null_count:
            self.given = pc.is_valid(array).to_numpy(zero_copy_only=False)
        if self.family in {"float", "narrow"}:
            missing = np.isnan(self.numbers)
            if missing.any():
                self.given = ~missing
        if self.family == "time":
            self._refuse_odd_years(self.numbers)
        if pa.types.is_duration(array.type):
            counted = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
            self._refuse_where(counted == _NO_TIME, "a duration that pandas has not")
        self.filled = len(array) if self.given is None else int(np.count_nonzero(self.given))
        """How many there are."""

    @property
    def numbers(self) -> "np.ndarray[Any, Any]":
        """Floats, with NaN where none is; or counts of the unit, with anything there. Not of decimals."""
        import pyarrow as pa

        if self._numbers is not None:
            return self._numbers
        array = self.array
        if pa.types.is_float16(array.type):
            array = array.cast(pa.float32())
        if self.family == "time":
            array = _counted(array)
        if array.null_count and self.family not in {"float", "narrow"}:
            array = array.fill_null(pa.scalar(0).cast(array.type))
        found: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
        self._numbers = found
        return found

    def distinct_texts(self) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        """The texts, each once, and where in them each row's is; anything where a row has none."""
        import pyarrow as pa

        if self._texts is None:
            coded = self.array.dictionary_encode()
            codes = coded.indices.fill_null(pa.scalar(0).cast(coded.indices.type))
            self._texts = (
                coded.dictionary.to_numpy(zero_copy_only=False),
                codes.to_numpy(zero_copy_only=False),
            )
        return self._texts

    def _refuse_odd_years(self, counted: "np.ndarray[Any, Any]") -> None:
        if not len(counted):
            return
        per_second = Fraction(_NANOSECONDS) / unit_of(self.array.type)
        first, last = _FIRST_SECOND * per_second, (_LAST_SECOND + 1) * per_second
        wrong = (counted < int(first)) | (counted >= int(last)) | (counted == _NO_TIME)
        self._refuse_where(
            wrong if self.given is None else wrong & self.given, "a time outside the years 1 to 9999"
        )

    def _refuse_where(self, wrong: "np.ndarray[Any, Any]", what: str) -> None:
        if wrong.any():
            row = self._first_row + int(wrong.argmax()) + 1
            raise NoTableError(
                f"{self._table}: row {row:,}: column {shown_name(self._column)} holds {what}; correct the row"
            )


def _counted(times: "pa.Array") -> "pa.Array":
    import pyarrow as pa

    if pa.types.is_date(times.type):
        return times.cast(pa.date32(), safe=False).cast(pa.int32())
    return times.cast(pa.int64())


def unit_of(type_: "pa.DataType") -> Fraction:
    """What one of a count stands for: of whole numbers 1, of decimals their last digit, of times so many nanoseconds."""
    import pyarrow as pa

    if pa.types.is_decimal(type_):
        return Fraction(1, 10**type_.scale) if type_.scale >= 0 else Fraction(10**-type_.scale)
    if pa.types.is_date(type_):
        return Fraction(_DAY * _NANOSECONDS)
    if pa.types.is_timestamp(type_):
        return Fraction(_NANOSECONDS, _PER_SECOND[type_.unit])
    return Fraction(1)


def exact_value(stated: Any, type_: "pa.DataType") -> Fraction:
    """A value of a contract in units of a column: of a time its instant, of a number the decimal that is written."""
    value: Any = instant(stated) if isinstance(stated, str) else stated
    written = Decimal(repr(value)) if isinstance(value, float) else value
    return Fraction(written) / unit_of(type_)

"""The content hash of a table: equal rows, equal hash, on every machine and however they were chunked.

Types of one kind that hold the same values have one hash, so that a hash outlives the library that made the table:

| kind | types | bytes of a value |
|---|---|---|
| string | string, large_string | length, UTF-8 |
| binary | binary, large_binary, fixed_size_binary | length, bytes |
| integer | int32, int64, uint32, uint64 | int64; uint64 where a value is above 2^63 - 1 |
| int8, uint8, int16, uint16 | each a kind of its own | its own width |
| float | float16, float32, float64 | float64 |
| decimal(precision, scale) | decimal32, decimal64, decimal128, decimal256 | unscaled, 16 bytes; 32 above 38 digits |
| boolean, null | bool, null | int64, none |
| date, time, timestamp | each in all units, timestamps in all zones | days (int32), microseconds (int64) |
| list | list, large_list, fixed_size_list | length, then the items as a column |
| struct | struct | names, then each field as a column |
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from platform_assets.datasets.errors import DatasetError
from resources.row_batches import RowBatches

if TYPE_CHECKING:
    import pyarrow as pa

    Chunks = Callable[[], Iterator[pa.Array]]
    """A column from its beginning, as often as it is asked for."""

_LARGEST_INT64 = 2**63 - 1
_DECIMAL128_DIGITS = 38
_OWN_WIDTH_BITS = 16
"""Integers up to this width are hashed as they are: pixels would be eight times as many bytes."""


def content_hash(rows: "pa.Table | RowBatches") -> str:
    """SHA-256 over names, kinds and values, row order included; of rows in batches that of their table.

    A column is read three times at most, and lies never in memory as a whole.

    Args:
        rows: columns of the types above, with or without nulls.

    Raises:
        DatasetError: a column has no canonical bytes: another type, days or microseconds that are no whole ones.
    """
    import pyarrow as pa

    digest = hashlib.sha256(f"{rows.num_rows} rows".encode())
    for at, field in enumerate(rows.schema):
        digest.update(f"\0{field.name}\0".encode())
        try:
            for part in _value_bytes(field.type, partial(_column, rows, at)):
                digest.update(part)
        except (TypeError, pa.ArrowInvalid) as problem:
            # Arrow's own message quotes the value.
            reason = (
                str(problem)
                if type(problem) is TypeError
                else "in whole days or microseconds it would lose data"
            )
            raise DatasetError(
                f"column {field.name!r} ({field.type}) cannot be hashed: {reason}; cast it to a type that says the same"
            ) from None
    return digest.hexdigest()


def _column(rows: "pa.Table | RowBatches", at: int) -> "Iterator[pa.Array]":
    if isinstance(rows, RowBatches):
        for batch in rows.batches([rows.schema.names[at]]):
            yield batch.column(0)
    else:  # whose names may repeat
        yield from rows.column(at).chunks


def _value_bytes(kind: "pa.DataType", chunks: "Chunks") -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from chain([b"string"], _validity(chunks), _lengths(chunks, pc.binary_length))
        yield from _text_bytes(chunks)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        yield from chain([b"binary"], _validity(chunks), _lengths(chunks, pc.binary_length))
        yield from _text_bytes(chunks)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from chain([b"list"], _validity(chunks), _lengths(chunks, pc.list_value_length))
        yield from _value_bytes(kind.value_type, lambda: map(pc.list_flatten, chunks()))
    elif pa.types.is_struct(kind):
        yield from chain([b"struct"], _validity(chunks), [kind.num_fields.to_bytes(8, "little")])
        for at, field in enumerate(kind):
            name = field.name.encode()
            yield from (len(name).to_bytes(8, "little"), name)
            yield from _value_bytes(field.type, partial(_fields, chunks, at))
    elif pa.types.is_null(kind):
        yield b"null"
    else:
        tag, bytes_of = _numbers(kind, chunks)
        yield from chain([tag], _validity(chunks), map(bytes_of, filter(len, chunks())))


def _fields(chunks: "Chunks", at: int) -> "Iterator[pa.Array]":
    for chunk in chunks():
        yield chunk.flatten()[at]


def _numbers(kind: "pa.DataType", chunks: "Chunks") -> "tuple[bytes, Callable[[pa.Array], Any]]":
    """The tag of a kind, and what the bytes of some of its values are, all of one width."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        instant = pa.timestamp("us", tz="UTC")
        return b"timestamp", lambda values: _filled(values.cast(instant).cast(pa.int64()), 0)
    if pa.types.is_date(kind):
        return b"date", lambda values: _filled(values.cast(pa.date32()).cast(pa.int32()), 0)
    if pa.types.is_time(kind):
        return b"time", lambda values: _filled(values.cast(pa.time64("us")).cast(pa.int64()), 0)
    if pa.types.is_integer(kind) and kind.bit_width <= _OWN_WIDTH_BITS:
        return str(kind).encode(), lambda values: _filled(values, 0)
    if pa.types.is_uint64(kind) and _largest(chunks) > _LARGEST_INT64:
        return b"uint64", lambda values: _filled(values, 0)
    if pa.types.is_integer(kind):
        return b"integer", lambda values: _filled(values.fill_null(0).cast(pa.int64()), 0)
    if pa.types.is_floating(kind):
        return b"float", lambda values: _filled(values.fill_null(0.0).cast(pa.float64()), 0.0)
    if pa.types.is_boolean(kind):
        return b"boolean", lambda values: _filled(values.cast(pa.int64()), 0)
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})".encode(), _unscaled
    raise TypeError(f"there are no canonical bytes for {kind}")


def _filled(values: "pa.Array", nothing: float) -> Any:
    return values.fill_null(nothing).to_numpy(zero_copy_only=False)


def _largest(chunks: "Chunks") -> int:
    import pyarrow.compute as pc

    return max((pc.max(chunk).as_py() or 0 for chunk in chunks()), default=0)


def _validity(chunks: "Chunks") -> Iterator[Any]:
    """A bit for each row, eight to a byte wherever a batch ends."""
    import numpy as np

    left = np.empty(0, dtype=bool)
    for chunk in chunks():
        bits = np.concatenate([left, chunk.is_valid().to_numpy(zero_copy_only=False)])
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole])
        left = bits[whole:]
    yield np.packbits(left)


def _lengths(chunks: "Chunks", length_of: "Callable[[pa.Array], pa.Array]") -> Iterator[Any]:
    import pyarrow as pa

    for chunk in chunks():
        yield _filled(length_of(chunk).cast(pa.int64()), 0)


def _text_bytes(chunks: "Chunks") -> Iterator[Any]:
    """All bytes in their order, chunk by chunk: together they may be more than one array holds."""
    import pyarrow as pa

    for chunk in chunks():
        values = chunk.cast(pa.large_binary()).fill_null(b"")
        _, offsets, data = values.buffers()
        if len(values) and data is not None:
            first, last = (
                int.from_bytes(offsets[8 * at : 8 * at + 8].to_pybytes(), "little")
                for at in (values.offset, values.offset + len(values))
            )
            yield data[first:last]


def _unscaled(values: "pa.Array") -> Any:
    from decimal import Decimal

    import pyarrow as pa

    precision, scale = values.type.precision, values.type.scale
    wide = pa.decimal128 if precision <= _DECIMAL128_DIGITS else pa.decimal256
    kind = wide(precision, scale)
    width = kind.bit_width // 8
    filled = values.cast(kind).fill_null(pa.scalar(Decimal(0), kind))
    return filled.buffers()[1][width * filled.offset : width * (filled.offset + len(filled))]

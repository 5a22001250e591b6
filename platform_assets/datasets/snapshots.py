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
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from platform_assets.datasets.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_INT64 = 2**63 - 1
_DECIMAL128_DIGITS = 38
_OWN_WIDTH_BITS = 16
"""Integers up to this width are hashed as they are: pixels would be eight times as many bytes."""


def content_hash(table: "pa.Table") -> str:
    """SHA-256 over names, kinds and values, row order included.

    Args:
        table: columns of the types above, with or without nulls.

    Raises:
        DatasetError: a column has no canonical bytes: another type, days or microseconds that are no whole ones.
    """
    import pyarrow as pa

    digest = hashlib.sha256(f"{table.num_rows} rows".encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"\0{name}\0".encode())
        try:
            for part in _value_bytes(column):
                digest.update(part)
        except (TypeError, pa.ArrowInvalid) as problem:
            # Arrow's own message quotes the value.
            reason = (
                str(problem)
                if type(problem) is TypeError
                else "in whole days or microseconds it would lose data"
            )
            raise DatasetError(
                f"column {name!r} ({column.type}) cannot be hashed: {reason}; cast it to a type that says the same"
            ) from None
    return digest.hexdigest()


def _value_bytes(column: "pa.ChunkedArray") -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from (b"string", _validity(column), *_lengths(pc.binary_length(column)))
        yield from _text_bytes(column)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        yield from (b"binary", _validity(column), *_lengths(pc.binary_length(column)))
        yield from _text_bytes(column)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from (b"list", _validity(column), *_lengths(pc.list_value_length(column)))
        yield from _value_bytes(pc.list_flatten(column))
    elif pa.types.is_struct(kind):
        yield from (b"struct", _validity(column), kind.num_fields.to_bytes(8, "little"))
        for field, values in zip(kind, column.flatten(), strict=True):
            name = field.name.encode()
            yield from (len(name).to_bytes(8, "little"), name)
            yield from _value_bytes(values)
    elif pa.types.is_null(kind):
        yield b"null"
    else:
        tag, values = _numbers(column)
        yield from (tag, _validity(column), *values)


def _numbers(column: "pa.ChunkedArray") -> tuple[bytes, Iterable[Any]]:
    """The tag of a kind, and the bytes of its values, all of one width."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_timestamp(kind):
        instants = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        return b"timestamp", [instants.fill_null(0).to_numpy()]
    if pa.types.is_date(kind):
        return b"date", [column.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy()]
    if pa.types.is_time(kind):
        return b"time", [column.cast(pa.time64("us")).cast(pa.int64()).fill_null(0).to_numpy()]
    if pa.types.is_integer(kind) and kind.bit_width <= _OWN_WIDTH_BITS:
        return str(kind).encode(), [column.fill_null(0).to_numpy()]
    if pa.types.is_uint64(kind) and (pc.max(column).as_py() or 0) > _LARGEST_INT64:
        return b"uint64", [column.fill_null(0).to_numpy()]
    if pa.types.is_integer(kind):
        return b"integer", [column.fill_null(0).cast(pa.int64()).to_numpy()]
    if pa.types.is_floating(kind):
        return b"float", [column.fill_null(0.0).cast(pa.float64()).to_numpy()]
    if pa.types.is_boolean(kind):
        return b"boolean", [column.fill_null(False).cast(pa.int64()).to_numpy()]  # noqa: FBT003 - takes no keyword
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})".encode(), _unscaled(column)
    raise TypeError(f"there are no canonical bytes for {kind}")


def _validity(column: "pa.ChunkedArray") -> Any:
    import numpy as np

    return np.packbits(column.is_valid().to_numpy())


def _lengths(lengths: "pa.ChunkedArray") -> list[Any]:
    import pyarrow as pa

    return [lengths.fill_null(0).cast(pa.int64()).to_numpy()]


def _text_bytes(column: "pa.ChunkedArray") -> Iterator[Any]:
    """All bytes in their order, chunk by chunk: together they may be more than one array holds."""
    import pyarrow as pa

    for chunk in column.chunks:
        values = chunk.cast(pa.large_binary()).fill_null(b"")
        _, offsets, data = values.buffers()
        if len(values) and data is not None:
            first, last = (
                int.from_bytes(offsets[8 * at : 8 * at + 8].to_pybytes(), "little")
                for at in (values.offset, values.offset + len(values))
            )
            yield data[first:last]


def _unscaled(column: "pa.ChunkedArray") -> Iterator[Any]:
    from decimal import Decimal

    import pyarrow as pa

    precision, scale = column.type.precision, column.type.scale
    wide = pa.decimal128 if precision <= _DECIMAL128_DIGITS else pa.decimal256
    kind = wide(precision, scale)
    width = kind.bit_width // 8
    for chunk in column.cast(kind).fill_null(pa.scalar(Decimal(0), kind)).chunks:
        if len(chunk):
            yield chunk.buffers()[1][width * chunk.offset : width * (chunk.offset + len(chunk))]

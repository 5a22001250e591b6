"""Arrow types that Iceberg does not have: kept as types that hold all their values, and given back exactly.

| Arrow | kept as |
|---|---|
| int8, uint8, int16, uint16 | int |
| uint32; uint64 | long; decimal(20, 0) |
| float16 | float |
| decimal32, decimal64, decimal256 up to 38 digits | decimal |
| date64 | date |
| time and timestamp in any unit, timestamps in any zone | time, timestamp, timestamptz, in microseconds |
| large_string, large_binary | string, binary |
| large_list, fixed_size_list | list |
| null | boolean |

A version carries its Arrow schema beside its content hash. What cannot be given back exactly is refused before
anything is written: other types, and values finer than a microsecond or outside the years 1 to 9999.
"""

import base64
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from resources.warehouse import WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL_DIGITS = 38
_FIRST, _LAST = (
    (limit - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    for limit in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
)


def kept(table: str, rows: "pa.Table") -> "pa.Table":
    """The rows in the types that Iceberg has.

    Raises:
        WarehouseError: A column's type or one of its values could not be given back as it is.
    """
    import pyarrow as pa

    if not rows.num_columns:
        raise WarehouseError(f"table {table}: there are no columns to write")
    fields, columns = [], []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        where = f"table {table}: column {field.name!r} ({field.type})"
        if not field.name:
            raise WarehouseError(f"{where} has no name; give it one")
        kind = _kept_type(field.type)
        if kind is None:
            raise WarehouseError(
                f"{where} is of a type that tables do not keep; cast it, e.g. a dictionary to the type of its values"
            )
        if found := _unkept_value(column, field):
            raise WarehouseError(f"{where} holds {found}; replace it, or cast the column")
        try:
            columns.append(_converted(column, kind))
        except pa.ArrowInvalid as problem:
            raise WarehouseError(
                f"{where} cannot be kept as it is: {problem}; round it, or cast it to text"
            ) from problem
        fields.append(pa.field(field.name, kind, nullable=field.nullable))
    return pa.table(columns, schema=pa.schema(fields))


def given_back(rows: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Kept rows as they were: columns of `schema`, in its order and types."""
    import pyarrow as pa

    columns = [_converted(rows.column(field.name), field.type) for field in schema]
    return pa.table(columns, schema=schema)


def as_text(schema: "pa.Schema") -> str:
    """A schema as a version carries it."""
    return base64.b64encode(zlib.compress(schema.remove_metadata().serialize())).decode()


def from_text(text: str) -> "pa.Schema":
    """The schema that `as_text` was given."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.BufferReader(zlib.decompress(base64.b64decode(text))))


def _kept_type(kind: "pa.DataType") -> "pa.DataType | None":
    """Where the values of a type are kept; None where they are not."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = _kept_field(kind.value_field)
        return item and pa.large_list(item.with_name("element"))
    if types.is_struct(kind):
        fields = [_kept_field(field) for field in kind]
        names = {field.name for field in kind}
        return (
            pa.struct(fields) if all(fields) and "" not in names and len(names) == len(fields) > 0 else None
        )
    if types.is_decimal(kind):
        fits = kind.precision <= _DECIMAL_DIGITS and 0 <= kind.scale <= kind.precision
        return pa.decimal128(kind.precision, kind.scale) if fits else None
    if types.is_fixed_size_binary(kind):
        return kind if kind.byte_width else None
    if types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if types.is_date(kind):
        return pa.date32()
    if types.is_time(kind):
        return pa.time64("us")
    return {
        pa.null(): pa.bool_(),
        pa.bool_(): pa.bool_(),
        **dict.fromkeys((pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32()), pa.int32()),
        **dict.fromkeys((pa.uint32(), pa.int64()), pa.int64()),
        pa.uint64(): pa.decimal128(20, 0),
        **dict.fromkeys((pa.float16(), pa.float32()), pa.float32()),
        pa.float64(): pa.float64(),
        **dict.fromkeys((pa.string(), pa.large_string()), pa.large_string()),
        **dict.fromkeys((pa.binary(), pa.large_binary()), pa.large_binary()),
    }.get(kind)


def _kept_field(field: "pa.Field") -> "pa.Field | None":
    import pyarrow as pa

    kind = _kept_type(field.type)
    return kind and pa.field(field.name, kind, nullable=field.nullable)


def _converted(column: "pa.ChunkedArray", kind: "pa.DataType") -> "pa.ChunkedArray":
    import pyarrow as pa

    return pa.chunked_array([_array_as(chunk, kind) for chunk in column.chunks], kind)


def _array_as(values: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    """The values in another type that holds them, at every depth.

    Arrow's own casts stumble over what lies below a null: padding that a type declares not to be null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = values.is_null() if values.null_count else None
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if pa.types.is_fixed_size_list(kind):
        items = _array_as(_padded(values, kind.list_size), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(items, type=kind, mask=mask)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        wide = pa.types.is_large_list(kind)
        lengths = pc.cumulative_sum(pc.list_value_length(values).fill_null(0).cast(pa.int64()))
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), lengths])
        return (pa.LargeListArray if wide else pa.ListArray).from_arrays(
            offsets if wide else offsets.cast(pa.int32()),
            _array_as(pc.list_flatten(values), kind.value_type),
            type=kind,
            mask=mask,
        )
    if pa.types.is_struct(kind):
        parts = [_array_as(values.field(at), field.type) for at, field in enumerate(kind)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)
    return values.cast(kind)


def _padded(values: "pa.Array", size: int) -> "pa.Array":
    """The items of lists, and as many nulls for each that is null or below a null: it has none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
    there = np.repeat(lengths == size, size)
    items = pc.list_flatten(values)
    return items if there.all() else items.take(pa.array(np.cumsum(there) - 1, mask=~there))


def _unkept_value(column: "pa.ChunkedArray", field: "pa.Field") -> str | None:
    """What a column of a type that is kept holds and must not, at any depth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = field.type
    if column.null_count and not field.nullable:
        return f"a null in {field.name!r}, which is declared not to be null"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        # Iceberg's statistics are Python's dates.
        seconds = column.cast(pa.timestamp("s", getattr(kind, "tz", None)), safe=False)
        limits = pc.min_max(seconds.cast(pa.int64()))
        if limits["min"].is_valid and not (_FIRST <= limits["min"].as_py() <= limits["max"].as_py() <= _LAST):
            return "a time outside the years 1 to 9999"
    if pa.types.is_struct(kind):
        # Below a struct that is null everything is null.
        parts = zip(column.drop_null().flatten(), kind, strict=True)
        return next(filter(None, (_unkept_value(values, part) for values, part in parts)), None)
    if pa.types.is_nested(kind):
        return _unkept_value(pc.list_flatten(column), kind.value_field)
    return None

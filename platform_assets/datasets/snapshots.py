"""The content hash of a table: equal rows, equal hash, on every machine and however they were chunked."""

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def content_hash(table: "pa.Table") -> str:
    """SHA-256 over names, types and values, row order included.

    Args:
        table: columns of strings, lists of integers, integers, floats, booleans or timestamps, with or without nulls.

    Raises:
        TypeError: a column's type has no canonical bytes here.
    """
    digest = hashlib.sha256(f"{table.num_rows} rows".encode())
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        digest.update(f"\0{name}\0".encode())
        for part in _value_bytes(column):
            digest.update(part)
    return digest.hexdigest()


def _value_bytes(column: "pa.Array") -> list[Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    validity = np.packbits(column.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = column.fill_null("").cast(pa.large_binary())
        lengths = pc.binary_length(values).cast(pa.int64())
        offsets = values.buffers()[1]
        first, last = (
            int.from_bytes(offsets[8 * at : 8 * at + 8].to_pybytes(), "little")
            for at in (values.offset, values.offset + len(values))
        )
        data = values.buffers()[2]
        return [b"string", validity, lengths.to_numpy(), data[first:last] if data is not None else b""]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.list_value_length(column).fill_null(0).cast(pa.int64())
        return [b"list", validity, lengths.to_numpy(), *_value_bytes(pc.list_flatten(column))]
    if pa.types.is_timestamp(kind):
        instants = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).fill_null(0)
        return [b"timestamp", validity, instants.to_numpy()]
    if pa.types.is_integer(kind):
        return [b"integer", validity, column.fill_null(0).cast(pa.int64()).to_numpy()]
    if pa.types.is_floating(kind):
        return [b"float", validity, column.fill_null(0.0).cast(pa.float64()).to_numpy()]
    if pa.types.is_boolean(kind):
        return [b"boolean", validity, column.fill_null(False).cast(pa.int64()).to_numpy()]  # noqa: FBT003 - takes no keyword
    raise TypeError(f"content_hash knows no canonical bytes for {kind}")

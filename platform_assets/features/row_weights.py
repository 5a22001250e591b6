"""What each row of a table takes in memory, by its own values: one text may be a million times as long as another."""

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Weights = NDArray[np.int64]
_OFFSET_BYTES: Final = 8


def row_weights(table: "pa.Table") -> Weights | None:
    """Bytes of each row, shape (rows,); None where all rows take the same.

    Rows share the values of dictionaries, so these do not count. Of layouts that are rare, as views, each value counts as
    the mean of its column.
    """
    if all(_width(column.type) is not None for column in table.columns):
        return None
    found = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        start = 0
        for chunk in column.chunks:
            found[start : start + len(chunk)] += _weights(chunk)
            start += len(chunk)
    return found


def _width(kind: "pa.DataType") -> int | None:
    """Bytes of a value, at least one; None where that depends on the value."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _width(kind.index_type)
    if types.is_null(kind):
        return 1
    if types.is_struct(kind) or types.is_fixed_size_list(kind):
        inner = [_width(kind.field(at).type) for at in range(kind.num_fields)]
        many = kind.list_size if types.is_fixed_size_list(kind) else 1
        return None if None in inner else max(1, many * sum(each or 0 for each in inner))
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return None


def _weights(values: "pa.Array") -> Weights:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    kind, width = values.type, _width(values.type)
    if width is not None:
        return np.full(len(values), width, np.int64)
    if isinstance(values, pa.ExtensionArray):
        return _weights(values.storage)
    if isinstance(values, pa.StructArray):
        return np.asarray(np.sum([_weights(each) for each in values.flatten()], axis=0))
    if isinstance(values, pa.ListArray | pa.LargeListArray):  # maps, too
        offsets = np.asarray(values.offsets, np.int64)
        ends = np.append(0, np.cumsum(_weights(values.values.slice(offsets[0], offsets[-1] - offsets[0]))))
        return np.asarray(np.diff(ends[offsets - offsets[0]]) + _OFFSET_BYTES)
    if any(
        of_kind(kind)
        for of_kind in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    ):
        return np.asarray(pc.fill_null(pc.binary_length(values), 0), np.int64) + _OFFSET_BYTES
    return np.full(len(values), values.nbytes // max(1, len(values)), np.int64)

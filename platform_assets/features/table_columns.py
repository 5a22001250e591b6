"""Columns of an Arrow table by their names, and which of their values are missing."""

from typing import TYPE_CHECKING

from platform_assets.features.errors import FeatureError

if TYPE_CHECKING:
    import pyarrow as pa


def column_of(rows: "pa.Table", name: str) -> "pa.ChunkedArray":
    """The one column of this name.

    Raises:
        FeatureError: there is none, or there are several.
    """
    found = rows.schema.get_all_field_indices(name)
    if len(found) != 1:
        many = f"stands {len(found)} times" if found else "is missing"
        raise FeatureError(f"column {name} {many}; there are {', '.join(rows.column_names) or 'no columns'}")
    return rows.column(found[0])


def decoded(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """The same values without a dictionary, which may hold null itself: then none is counted in the column."""
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def first_missing(column: "pa.ChunkedArray") -> tuple[int, int]:
    """How many values of a column are null or NaN, and the first row of them, from 1."""
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(column.type) and any(
        types.is_floating(column.type.value_type) or chunk.dictionary.null_count for chunk in column.chunks
    ):
        column = decoded(column)
    missing = pc.is_null(column, nan_is_null=True)
    return int(pc.sum(missing, min_count=0).as_py()), int(pc.index(missing, True).as_py()) + 1

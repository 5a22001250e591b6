"""A Parquet file as one Arrow table: its physical columns, whatever a writer has noted about them.

What pandas notes about an index is no schema: its columns are columns. It puts them behind the others, though, so
they are put back to where they stood, in front.
"""

import json
from typing import TYPE_CHECKING, Any, Final

from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.forms import refuse_foreign_form
from platform_assets.reading.texts import refuse_repeated_names

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PANDAS: Final = b"pandas"
_OLD_TIME: Final = "INT96"


def read_parquet(content: bytes, *, name: str) -> "pa.Table":
    """The table, without metadata; types that only encode others (dictionaries, runs, views) are plain.

    Raises:
        ReadingError: it is no Parquet file, or is damaged; two columns have one name; a time lies where its old
            type (INT96) cannot be read exactly.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    refuse_foreign_form(content, ".parquet", name=name)
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        refuse_repeated_names(file.schema_arrow.names, name=name, is_named=True)
        old = [
            column.path for column in map(file.schema.column, range(len(file.schema)))
            if column.physical_type == _OLD_TIME
        ]  # fmt: skip
        table = file.read()
        coarse = pq.read_table(pa.BufferReader(content), coerce_int96_timestamp_unit="us") if old else None
        table.validate()
    except (pa.ArrowException, OSError, ValueError):
        raise ReadingError(
            name,
            "is no Parquet file that can be read: it is damaged, cut off, encrypted or of an unknown kind; write it again",
        ) from None
    if coarse is not None:
        table = _exact_times(table, coarse, name)
    plain = pa.table([_plain(column) for column in table.columns], names=table.column_names)
    return plain.select(index_first(table.schema))


def plain_type(kind: "pa.DataType") -> "pa.DataType":
    """The type that holds the same values and encodes nothing."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.Bool8Type):
        return pa.bool_()
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([each.with_type(plain_type(each.type)).remove_metadata() for each in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if not pa.types.is_nested(kind) or pa.types.is_union(kind):
        return kind
    items = kind.value_field.with_type(plain_type(kind.value_type)).remove_metadata()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(items, kind.list_size)
    return pa.list_(items) if pa.types.is_list(kind) else pa.large_list(items)


def _plain(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    kind = plain_type(column.type)
    return column if kind.equals(column.type) else column.cast(kind)


def _exact_times(table: "pa.Table", coarse: "pa.Table", name: str) -> "pa.Table":
    """The table whose nanoseconds of old times, which wrap around, are replaced by microseconds where these do not.

    Nanoseconds reach from 1677 to 2262; what they are beyond is known but for multiples of 2^64.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, (fine, rough) in enumerate(zip(table.columns, coarse.columns, strict=True)):
        if fine.type == rough.type:
            continue
        if not pa.types.is_timestamp(fine.type):
            raise ReadingError(
                name, "has times of the old type INT96 within lists or objects; write it again"
            )
        nanoseconds, microseconds = (
            np.asarray(pc.fill_null(each.cast(pa.int64()), 0)) for each in (fine, rough)
        )
        rest = nanoseconds.view(np.uint64) - microseconds.view(np.uint64) * np.uint64(1000)
        thousand = np.int64(1000)
        wrapped = np.abs(microseconds) > np.iinfo(np.int64).max // thousand
        if not wrapped.any():
            continue
        if rest.any():
            raise ReadingError(
                name,
                "has times to the nanosecond of the old type INT96, some outside 1677 to 2262; write it again",
                row=int(rest.argmax()) + 1,
                column=f"column {shown_name(table.column_names[at])}",
            )
        table = table.set_column(at, table.schema.field(at).with_type(rough.type), rough)
    return table


def has_old_times(schema: "pq.ParquetSchema") -> bool:
    """Whether there are times of the old type INT96, which are read exactly from a whole table alone."""
    return any(schema.column(at).physical_type == _OLD_TIME for at in range(len(schema)))


def index_first(schema: "pa.Schema") -> list[str]:
    """The columns of a file, those first of which pandas has noted that they were an index."""
    names: list[str] = schema.names
    noted = (schema.metadata or {}).get(_PANDAS)
    if noted is None:
        return names
    try:
        index: Any = json.loads(noted)["index_columns"]
    except (ValueError, TypeError, KeyError):
        return names
    levels = (
        [each for each in index if isinstance(each, str) and each in names] if isinstance(index, list) else []
    )
    return [*dict.fromkeys(levels), *(each for each in names if each not in levels)]

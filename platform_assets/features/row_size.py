"""What rows take in memory, before they are read: by a few row groups, a little of each, and by what they repeat."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_SAMPLES: Final = 4
"""Row groups that are looked at, of all files together."""
_FEW_ROWS: Final = 16
_MOST_ROWS: Final = 1 << 12
_CODED_ROWS: Final = 1 << 16
_SAMPLE_BYTES: Final = 1 << 22
_CODED_BYTES: Final = 1 << 24
"""Of a column in a row group: one that has more has so many different texts that its size on disk tells enough."""
_BUFFER_BYTES: Final = 1 << 20
_OFFSET_BYTES: Final = 4


class RowBytes(NamedTuple):
    """Bytes of a row in memory."""

    usual: float
    """On average."""
    most: float
    """On average over the thousands of rows in a row where they are the largest."""


def bytes_by_row(table: "pa.Table") -> tuple[int, int]:
    """The bytes of a table that grow with its rows; and of the values of dictionaries, which lie there once."""
    import pyarrow as pa

    by_row = once = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            by_row += sum(chunk.indices.nbytes for chunk in column.chunks)
            once += max((chunk.dictionary.nbytes for chunk in column.chunks), default=0)
        else:
            by_row += column.nbytes
    return by_row, once


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to `count` - 1, at even distances, the first and the last among them."""
    return sorted({int(at) for at in np.linspace(0, count - 1, min(count, most)).round()}) if count else []


def sampled_row_bytes(file: Path, names: Sequence[str] | None, *, most_groups: int) -> list[RowBytes]:
    """What rows of some row groups of a Parquet file take.

    Args:
        file: Of it, at most some megabytes lie in memory at once.
        names: Of columns; all of them if None.
        most_groups: Row groups to be looked at.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet:
        return [
            _of_group(file, parquet, group, names)
            for group in spread(parquet.metadata.num_row_groups, most_groups)
            if parquet.metadata.row_group(group).num_rows
        ]


def _of_group(file: Path, parquet: "pq.ParquetFile", group: int, names: Sequence[str] | None) -> RowBytes:
    import pyarrow as pa

    metadata = parquet.metadata.row_group(group)
    leaves = [metadata.column(at) for at in range(metadata.num_columns)]
    if names is not None:
        leaves = [leaf for leaf in leaves if leaf.path_in_schema.split(".")[0] in names]
    unpacked = sum(leaf.total_uncompressed_size for leaf in leaves) / metadata.num_rows
    texts = {
        field.name
        for field in parquet.schema_arrow
        if pa.types.is_string(field.type) or pa.types.is_binary(field.type)
    }
    coded = [
        leaf.path_in_schema
        for leaf in leaves
        if leaf.has_dictionary_page
        and leaf.total_uncompressed_size <= _CODED_BYTES
        and leaf.path_in_schema in texts
    ]
    by_row, once = 0.0, 0
    for most_rows in (_FEW_ROWS, _MOST_ROWS):
        count = _rows_of(max(by_row, unpacked), most_rows)
        batches = parquet.iter_batches(batch_size=count, row_groups=[group], columns=names, use_threads=False)
        first = pa.Table.from_batches([next(batches)])
        if names is not None:
            first = first.select(list(names))  # by a name with a dot, a field of an object comes along
        found, once = bytes_by_row(first.drop_columns([name for name in coded if name in first.column_names]))
        by_row = found / first.num_rows
    usual, most = by_row, by_row
    for mean, largest in _of_coded(file, group, coded, unpacked):
        usual, most = usual + mean, most + largest
    share = once / metadata.num_rows
    return RowBytes(max(usual + share, unpacked), max(most + share, unpacked))


def _of_coded(file: Path, group: int, names: Sequence[str], unpacked: float) -> Iterable[tuple[float, float]]:
    """Of texts that are written once and repeated by number: on disk, nothing tells how long those are that repeat."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(
        file, pre_buffer=False, buffer_size=_BUFFER_BYTES, read_dictionary=list(names)
    ) as parquet:
        for name in names:
            total, rows, largest = 0, 0, 0.0
            for batch in parquet.iter_batches(
                batch_size=_rows_of(unpacked, _CODED_ROWS),
                row_groups=[group],
                columns=[name],
                use_threads=False,
            ):
                for coded in [batch.column(0)] if batch.num_rows else []:
                    lengths = np.append(
                        np.asarray(pc.binary_length(coded.dictionary).fill_null(0), np.int64), 0
                    )
                    found = lengths[np.asarray(coded.indices.fill_null(lengths.size - 1))]
                    sums = np.add.reduceat(found, np.arange(0, found.size, _MOST_ROWS))
                    largest = max(largest, float(sums.max()) / min(found.size, _MOST_ROWS))
                    total, rows = total + int(found.sum()), rows + found.size
            yield total / max(rows, 1) + _OFFSET_BYTES, largest + _OFFSET_BYTES


def _rows_of(row_bytes: float, most: int) -> int:
    return max(_FEW_ROWS, min(most, int(_SAMPLE_BYTES / max(row_bytes, 1.0))))

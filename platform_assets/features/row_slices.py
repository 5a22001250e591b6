"""Rows of files in slices that are read apart from each other: row groups of one file that stand side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from platform_assets.features.row_files import RowFiles, readable


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Some of the rows."""

    start: int
    """Rows in front of them."""
    rows: RowFiles
    """These; they are called what all of them are."""


def slices_of(rows: RowFiles, *, most_rows: int) -> list[RowSlice]:
    """All rows in slices, in their order.

    Args:
        rows: In Parquet files.
        most_rows: Of a slice; a row group that has more is one by itself, for it is read from its beginning.

    Raises:
        FeatureError: a file is damaged; the message names it.
    """
    found: list[RowSlice] = []
    start = 0
    for file in rows.files:
        for first, end, count in _groups_of(file, most_rows):
            part = replace(rows, files=(file,), rows=count, row_groups=(first, end))
            found.append(RowSlice(start, part))
            start += count
    return found


def _groups_of(file: Path, most_rows: int) -> Iterator[tuple[int, int, int]]:
    """Row groups from and to, and how many rows they have."""
    import pyarrow.parquet as pq

    with readable(file):
        metadata = pq.read_metadata(file)
        counts = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    first, together = 0, 0
    for at, count in enumerate(counts):
        if together and together + count > most_rows:
            yield first, at, together
            first, together = at, 0
        together += count
    if together:
        yield first, len(counts), together

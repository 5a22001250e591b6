"""Files that are too large to be read whole: Parquet on this machine, in batches."""

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platform_assets.datasets.batch_judge import MOST_BYTES_FOR_GE, MOST_ROWS_FOR_GE
from platform_assets.datasets.batches import BatchedTable, parquet_batches
from platform_assets.datasets.errors import NoTableError
from platform_assets.datasets.sources import selected_hash, without_secrets
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.frames import to_frame
from platform_assets.reading.parquet_table import has_old_times, index_first

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_FILE: Final = "file://"
_PROGRESS_INTERVAL_SECONDS: Final = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LargeSource:
    """A large file, of which only a part is in memory at a time."""

    uri: str
    name: str
    """As `Source` has it, and so the rest."""
    suffix: str
    sha256: str
    table: BatchedTable


@dataclass(frozen=True, slots=True)
class LargeRows:
    """The rows of a large file, every one of which can be read."""

    table: BatchedTable
    num_rows: int
    in_utc: frozenset[str]
    """Columns whose times are shown in UTC and not in their own zone, as `to_frame` does where one needs it."""

    def frames(self) -> "Iterator[pd.DataFrame]":
        """The rows from the first one on, in parts, as `read_frame` gives them all at once."""
        for rows in self._tables():
            yield to_frame(rows, name=self.table.name)

    def whole(self) -> "pd.DataFrame":
        """All rows at once, for those who need them so."""
        import pyarrow as pa

        return to_frame(pa.concat_tables(self._tables()), name=self.table.name)

    def _tables(self) -> "Iterator[pa.Table]":
        import pyarrow as pa

        done, reported = 0, time.monotonic()
        for batch in self.table.batches(self.table.schema.names):
            rows = pa.Table.from_batches([batch])
            for name in self.in_utc:
                at = rows.schema.get_field_index(name)
                rows = rows.set_column(at, name, rows[name].cast(pa.timestamp(rows[name].type.unit, "UTC")))
            yield rows
            done += batch.num_rows
            if time.monotonic() - reported > _PROGRESS_INTERVAL_SECONDS:
                reported = time.monotonic()
                log.info("%s: %s of %s rows", self.table.name, f"{done:,}", f"{self.num_rows:,}")


def large_source(uri: str) -> LargeSource | None:
    """A large Parquet file of this machine; None of any other source, which is read whole."""
    table = large_parquet(uri)
    if table is None:
        return None
    file = _path(uri)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    # Whoever scans the table looks whether the file is still the one from before this.
    return LargeSource(table.name, file.stem, file.suffix.lower(), selected_hash(digest, ()), table)


def read_large(source: LargeSource) -> LargeRows:
    """The rows of a large file, after each was looked at.

    Raises:
        NoTableError: As where the file is read whole: of several columns with what cannot be kept the first one is
            named, with its first row.
    """
    import pyarrow as pa

    schema = source.table.schema
    looked_at = [field.name for field in schema if _may_be_refused(field.type)]
    refused: dict[int, ReadingError] = {}
    in_utc, done = set[str](), 0
    for batch in source.table.batches(schema.names):
        for name in looked_at:
            at = schema.get_field_index(name)
            if at in refused:
                continue
            try:
                values = to_frame(pa.table({name: batch.column(name)}), name=source.uri)[name]
            except ReadingError as problem:
                row = None if problem.row is None else done + problem.row
                refused[at] = ReadingError(source.uri, problem.reason, row=row, column=problem.column)
                continue
            if pa.types.is_timestamp(batch.column(name).type) and _is_in_utc(values):
                in_utc.add(name)
        done += batch.num_rows
    if refused:
        raise NoTableError(str(refused[min(refused)])) from None
    return LargeRows(source.table, done, frozenset(in_utc))


def _may_be_refused(kind: "pa.DataType") -> bool:
    """Whether pandas has not every value of a type, or has some in another zone."""
    import pyarrow as pa

    return bool(pa.types.is_temporal(kind) or pa.types.is_nested(kind))


def _is_in_utc(values: "pd.Series[Any]") -> bool:
    return str(getattr(values.dtype, "tz", None)) == "UTC"


def large_parquet(uri: str) -> BatchedTable | None:
    """The rows of a large Parquet file of this machine; None of any other source, which is read whole.

    So is a file with times of the type INT96, and one that cannot be opened: reading it whole tells what it is.

    Args:
        uri: A path, or a URI of the scheme `file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if "://" in uri and not uri.startswith(_FILE):
        return None
    file = _path(uri)
    if file.suffix.lower() != ".parquet" or not file.is_file():
        return None
    try:
        with pq.ParquetFile(file) as opened:
            metadata, names = opened.metadata, index_first(opened.schema_arrow)
            unpacked = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
            is_large = metadata.num_rows > MOST_ROWS_FOR_GE or unpacked > MOST_BYTES_FOR_GE
            is_odd = len({*names}) < len(names) or any("\0" in each for each in names)
            if not is_large or is_odd or has_old_times(opened.schema):
                return None
    except (pa.ArrowException, OSError, ValueError):
        return None
    return parquet_batches(file, name=without_secrets(uri), columns=names)


def _path(uri: str) -> Path:
    """The file that is opened where it is read whole."""
    from fsspec.core import strip_protocol

    return Path(strip_protocol(uri) if "://" in uri else uri)

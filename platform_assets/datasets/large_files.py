"""Files that are too large to be read whole: Parquet on this machine, in batches."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from platform_assets.datasets.batch_judge import MOST_BYTES_FOR_GE, MOST_ROWS_FOR_GE
from platform_assets.datasets.batches import BatchedTable, parquet_batches
from platform_assets.datasets.sources import without_secrets
from platform_assets.reading.parquet_table import has_old_times, index_first

_FILE: Final = "file"


def large_parquet(uri: str) -> BatchedTable | None:
    """The rows of a large Parquet file of this machine; None of any other source, which is read whole.

    So is a file with times of the type INT96, and one that cannot be opened: reading it whole tells what it is.

    Args:
        uri: A path, or a URI of the scheme `file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = urlsplit(uri)
    if "://" in uri and parts.scheme != _FILE:
        return None
    file = Path(unquote(parts.path) if "://" in uri else uri)
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

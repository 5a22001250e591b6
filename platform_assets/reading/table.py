"""One reader for every format: bytes and their ending become one Arrow table, exactly."""

from typing import TYPE_CHECKING, Final

from platform_assets.reading.csv_table import read_csv
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.json_table import read_json_lines
from platform_assets.reading.parquet_table import read_parquet
from platform_assets.reading.texts import refuse_odd_texts

if TYPE_CHECKING:
    import pyarrow as pa

_READERS: Final = {".csv": read_csv, ".jsonl": read_json_lines, ".parquet": read_parquet}
FORMATS: Final = tuple(_READERS)


def read_table(content: bytes, suffix: str, *, name: str) -> "pa.Table":
    """The table that the bytes hold, each value as it was written.

    Columns of csv are texts, null where a field is empty. Other formats keep their types; a column of JSON Lines has
    the one type that holds all its values exactly: whole numbers of any length, decimals where floats would lose
    digits, a dense union where it has values of several types. No row is left out but blank lines. Names are unique.

    Args:
        content: The whole file.
        suffix: The ending of its name, in any case: `.csv`, `.jsonl` or `.parquet`.
        name: What the file is called in messages.

    Raises:
        ReadingError: the bytes are not what the ending says, or hold what no table holds exactly. The message names
            file, row and column, and holds no value and no library's text.
    """
    try:
        table = _READERS[suffix.lower()](content, name=name)
        refuse_odd_texts(table, name=name, is_named=suffix.lower() != ".csv")
    except RecursionError:
        raise ReadingError(name, "is nested too deeply to be read") from None
    return table

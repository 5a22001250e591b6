"""The table of labels beside images: which file, or which object, is labelled how, by whom.

| column | type | meaning |
|---|---|---|
| file, or instance | text | name of the file within its source, or its SOP Instance UID |
| label | 0 or 1 | what a reader has said; other whole numbers are for the contract to refuse |
| adjudicated_label | 0 or 1 | what several have agreed on: in the test split it takes the reader's place |
| reader, finding, site | text | who has read it, what was found, where it was taken |
| grade | whole number | how plain the finding is |
| box_top, box_left, box_bottom, box_right | whole numbers | where it is, in pixels of the image, ends exclusive |

All but the first two may be left out. What else stands there is left out, and told.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from platform_assets.datasets.errors import DatasetError, NoTableError, WrongRowsError
from platform_assets.reading.errors import ReadingError
from platform_assets.reading.table import FORMATS, read_table

if TYPE_CHECKING:
    import pyarrow as pa

KEYS: Final = ("file", "instance")
LABEL, ADJUDICATED = "label", "adjudicated_label"
TEXTS: Final = ("reader", "finding", "site")
NUMBERS: Final = ("grade", "box_top", "box_left", "box_bottom", "box_right")
_COLUMNS: Final = (LABEL, ADJUDICATED, *TEXTS, *NUMBERS)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")
"""Few enough digits for 32 bits; tools that know no missing whole number write `1.0`."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table says of each file, by its key."""

    key: Literal["file", "instance"]
    rows: "pa.Table"
    """Columns `_COLUMNS`, texts and int32, null where the table says nothing."""
    row_of: Mapping[str, int]
    """Row by key."""
    ignored: tuple[str, ...]
    """Columns that nobody reads."""

    def rows_of(self, files: Sequence[str]) -> list[int | None]:
        """The row of each of these keys; None where there is none.

        A name is found as it stands; else as another system would write it, where that is one file's alone.
        """
        alike = Counter(map(_form, self.row_of))
        by_form = {form: row for key, row in self.row_of.items() if alike[form := _form(key)] == 1}
        files_alike = Counter(map(_form, files))
        return [
            self.row_of.get(name, by_form.get(form) if files_alike[form := _form(name)] == 1 else None)
            for name in files
        ]


def _form(name: str) -> str:
    """A name as archives of other systems may have it: with slashes, and letters composed."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def label_columns() -> "dict[str, pa.DataType]":
    """Type by column of `Labels.rows`, in order."""
    import pyarrow as pa

    return {name: pa.string() if name in TEXTS else pa.int32() for name in _COLUMNS}


def read_labels(content: bytes, name: str) -> Labels:
    """The labels in a csv, JSON Lines or Parquet file.

    Args:
        content: Of the file.
        name: Of the file, for messages; its ending tells the format.

    Raises:
        DatasetError: it is no such table, has no key or no label, names a file twice, or holds a value that fits no column.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in FORMATS:
        raise DatasetError(f"{name}: is no table of labels; give one that ends in {', '.join(FORMATS)}")
    try:
        table = read_table(content, suffix, name=name)
    except ReadingError as problem:
        raise NoTableError(str(problem)) from None
    return labels_of(table, name)


def labels_of(table: "pa.Table", name: str) -> Labels:
    """The labels of a table, as `read_labels` has them.

    Raises:
        DatasetError: as there.
    """
    import pyarrow as pa

    key = next((each for each in KEYS if each in table.column_names), None)
    if key is None or LABEL not in table.column_names:
        lacks = LABEL if key else " or ".join(KEYS)
        # Others are not told: where the first line is missing, they are what stands in the first row.
        known = [each for each in table.column_names if each in (*KEYS, *_COLUMNS)]
        raise DatasetError(
            f"{name}: has no column {lacks}; it needs file or instance, and label. Of its {len(table.column_names)} columns "
            f"{', '.join(known) or 'none'} can be told by name; the first line of a csv file names them"
        )
    rows = pa.table(
        {
            column: _typed(table, column, kind, name)
            if column in table.column_names
            else pa.nulls(table.num_rows, kind)
            for column, kind in label_columns().items()
        }
    )
    return Labels(
        "file" if key == "file" else "instance",
        rows,
        _row_by_key(table[key].cast(pa.string()).to_pylist(), key, name),
        tuple(each for each in table.column_names if each not in (*_COLUMNS, key)),
    )


def _row_by_key(keys: list[str | None], key: str, name: str) -> dict[str, int]:
    row_of: dict[str, int] = {}
    for at, each in enumerate(keys):
        text = (each or "").strip().removeprefix("./")
        if not text:
            raise WrongRowsError(
                f"{name}, column {key}", "rows name no file", wrong=1, rows=len(keys), first=at + 1
            )
        if text in row_of:
            raise WrongRowsError(
                f"{name}, column {key}",
                "rows name what an earlier one names",
                wrong=1,
                rows=len(keys),
                first=at + 1,
                advice=f"; the other is row {row_of[text] + 1}. Keep one, or nobody knows which label holds",
            )
        row_of[text] = at
    return row_of


def _typed(table: "pa.Table", column: str, kind: "pa.DataType", name: str) -> "pa.ChunkedArray":
    """The values as this type; where one is none, it says in which row."""
    import pyarrow as pa

    given = table[column]
    if kind == pa.string():
        return given.cast(pa.string())
    texts = given.cast(pa.string()).to_pylist()
    wrong = [at for at, text in enumerate(texts) if text is not None and not _WHOLE.fullmatch(text.strip())]
    if wrong:
        raise WrongRowsError(
            f"{name}, column {column}",
            "rows hold no whole number",
            wrong=len(wrong),
            rows=len(texts),
            first=wrong[0] + 1,
        )
    numbers = [None if text is None else int(text.strip().partition(".")[0]) for text in texts]
    return pa.chunked_array([pa.array(numbers, pa.int32())])

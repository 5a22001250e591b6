"""csv as one Arrow table of texts: RFC 4180, strictly, in UTF-8 with commas.

A field is what stands between two commas, and nothing is left away or guessed: a row has as many fields as the header,
a quote within a quoted field is doubled, and only an empty field is missing.

Arrow's parser is fast and lenient; Python's is slow and can be told to refuse what it would have to guess. So Arrow's
reads the files about which they cannot differ: those whose quotes all stand where the rules want them. Whatever else,
and whatever it objects to, Python's reads, or says where it is wrong.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from platform_assets.reading.errors import ReadingError
from platform_assets.reading.forms import (
    not_utf8,
    refuse_foreign_form,
    refuse_foreign_separator,
    without_mark,
)
from platform_assets.reading.texts import is_text, refuse_repeated_names

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS: Final = 50_000
_BATCH_CHARACTERS: Final = 1 << 24
"""Rows, or characters, that are kept as Python's objects at a time."""
_BLOCK_BYTES: Final = 1 << 24
_QUOTE: Final = b'"'
_BLANKS: Final = " \t\r\n"
_BLANK_AND_QUOTE: Final = re.compile(r'[ \t]+"')
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class _Lines:
    """The lines of a text, and how much of it was read."""

    def __init__(self, content: bytes) -> None:
        # What is no UTF-8 becomes what no Arrow text can hold, so that its cell is known.
        self._text = io.TextIOWrapper(
            io.BytesIO(content), encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        self.last, self.read, self.ended = "", 0, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last = self._text.readline()
        if not self.last:
            self.ended = True
            raise StopIteration
        self.read += len(self.last)
        return self.last


class _Rows:
    """The rows of a csv file that are not blank, with the place of the newest."""

    def __init__(self, content: bytes, name: str) -> None:
        # A text may be of any length; the limit is one of the process and guards against nothing here.
        csv.field_size_limit(sys.maxsize)
        self._content, self._name = content, name
        self._lines = _Lines(content)
        self._reader = csv.reader(self._lines, strict=True)
        self.number = -1
        """Of the newest row, from 1; the header is 0."""
        self.width = 0
        """Fields of the header, once it is known. A blank line is a row only where a row is one field."""

    @property
    def characters(self) -> int:
        """How many were read."""
        return self._lines.read

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        while True:
            before = self._reader.line_num
            try:
                row = next(self._reader)
            except csv.Error:
                self.number += 1
                reason = (
                    "has a quoted field without an end; close it with a quote"
                    if self._lines.ended
                    else "has a quote within a quoted field, and something else than a comma behind it; double the quote"
                )
                raise self.refusal(reason, line=before + 1) from None
            if row and (len(row) == self.width or self._lines.last.strip(_BLANKS)):
                self.number += 1
                return row

    def line(self, row: Sequence[str]) -> int:
        """The line that the newest row, this one, begins with."""
        return self._reader.line_num - sum(len(_LINE_END.findall(field)) for field in row)

    def refusal(self, reason: str, *, line: int, column: str | None = None) -> ReadingError:
        """Why the newest row is refused."""
        if self.number == 0:
            return ReadingError(self._name, f"the header {reason}")
        return ReadingError(self._name, reason, row=self.number, line=line, column=column)


def read_csv(content: bytes, *, name: str) -> "pa.Table":
    """The table; every column is of texts, and null where the field is empty.

    A column without a name is called by its position, as `Unnamed: 0`.

    Raises:
        ReadingError: it is of another form, no UTF-8, or not rectangular; something else than commas separates its
            columns; a quote is left open; two columns have one name.
    """
    import pyarrow as pa

    refuse_foreign_form(content, ".csv", name=name)
    rows = _Rows(content, name)
    header = next(rows, None)
    if header is None:
        raise ReadingError(name, "is empty (0 rows); give a file with a header and rows")
    for position, column in enumerate(header, start=1):
        if not is_text(column):
            raise ReadingError(name, f"the name of column {position} {not_utf8(content)}")
    names = [column or f"Unnamed: {at}" for at, column in enumerate(header)]
    refuse_foreign_separator(content, header, name=name)
    refuse_repeated_names(names, name=name, is_named=False)
    rows.width = len(names)
    if (table := _read_fast(content, header)) is not None:
        return table.rename_columns(names)
    schema = pa.schema([(column, pa.string()) for column in names])
    batches = []
    for first, fields in _batches(rows):
        try:
            batches.append(_batch(fields, schema))
        except UnicodeEncodeError:
            raise _no_text(first, fields, content, name) from None
    return pa.Table.from_batches(batches, schema)


def _read_fast(content: bytes, header: list[str]) -> "pa.Table | None":
    """The table by Arrow's parser; None where Python's has to look."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    if not _quotes_are_regular(content):
        return None
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            # One thread: how many there may be is for others to say.
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
        names = table.column_names
    except (pa.ArrowInvalid, UnicodeDecodeError):  # the latter of names
        return None
    return table if names == header else None


def _quotes_are_regular(content: bytes) -> bool:
    """Whether every quote opens a field, ends one, or is one of two within: then nobody can take it otherwise.

    Counted from the first, the even quotes open and the odd ones close; two within a field close and open again.
    """
    import numpy as np

    if _QUOTE not in content:
        return True
    text = np.frombuffer(content, np.uint8)
    is_border = np.zeros(256, bool)
    is_border[list(b',\r\n"')] = True
    count, mark = 0, without_mark(content)
    for start in range(0, len(text), _BLOCK_BYTES):
        quotes = start + np.flatnonzero(text[start : start + _BLOCK_BYTES] == ord(_QUOTE))
        opening, closing = quotes[count % 2 :: 2], quotes[1 - count % 2 :: 2]
        count += len(quotes)
        before, after = opening[opening > mark] - 1, closing[closing < len(text) - 1] + 1
        if not (is_border[text[before]].all() and is_border[text[after]].all()):
            return False
    return count % 2 == 0


def _batches(rows: _Rows) -> Iterator[tuple[int, list[list[str]]]]:
    """(number of the first row, rows), each row as wide as the header."""
    batch: list[list[str]] = []
    first, end = 1, _BATCH_CHARACTERS
    for row in rows:
        if len(row) != rows.width:
            wanted = (
                "remove the blank before the quote, or it opens no quoted field"
                if any(map(_BLANK_AND_QUOTE.match, row))
                else "write every field, and put those that hold commas into quotes"
            )
            raise rows.refusal(
                f"has {len(row):,} field{'s'[: len(row) != 1]}, and the header {rows.width:,}; {wanted}",
                line=rows.line(row),
            )
        batch.append(row)
        if len(batch) == _BATCH_ROWS or rows.characters >= end:
            yield first, batch
            batch, first, end = [], rows.number + 1, rows.characters + _BATCH_CHARACTERS
    if batch:
        yield first, batch


def _batch(rows: list[list[str]], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = []
    for fields in zip(*rows, strict=True):
        texts = pa.array(fields, pa.string())
        empty = pc.equal(texts, "")
        arrays.append(
            pc.if_else(empty, pa.scalar(None, pa.string()), texts) if pc.any(empty).as_py() else texts
        )
    return pa.record_batch(arrays, schema)


def _no_text(first: int, rows: list[list[str]], content: bytes, name: str) -> ReadingError:
    """The refusal of the first field that is no UTF-8."""
    wanted, position = next(
        (number, position)
        for number, row in enumerate(rows, start=first)
        for position, field in enumerate(row)
        if not is_text(field)
    )
    again = _Rows(content, name)
    again.width = len(rows[0])
    row = next(row for row in again if again.number == wanted)
    return again.refusal(not_utf8(content), line=again.line(row), column=f"column {position + 1}")

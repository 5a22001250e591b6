"""What form bytes are of, where it is not the one that was promised."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import Final

from platform_assets.reading.errors import ReadingError

_BEGINNINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "compressed by gzip; unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstandard; unpack it"),
    (b"\xfd7zXZ\0", "compressed by xz; unpack it"),
    (b"PK\x03\x04", "a zip archive, as spreadsheets are, too; unpack it, or save the sheet as csv in UTF-8"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old spreadsheet; save it as csv in UTF-8"),
    (b"ARROW1\0\0", "an Arrow file; save it as Parquet"),
    (b"Obj\x01", "an Avro file; save it as Parquet"),
)
_BZIP2: Final = (b"BZh", b"1AY&SY")
_PARQUET: Final = b"PAR1"
_MARKS: Final = (
    # A mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What spreadsheets put in the place of commas."""
HEADER_BYTES: Final = 1 << 16
"""That hold any header, and the first rows."""
_FIRST_ROWS: Final = 10
_SHEET_LINE: Final = re.compile(r"\ufeff?sep=(.)\r?(?:\n|\Z)")
"""A line before the header by which spreadsheets tell one another what separates."""
_HEAD: Final = 1024
"""Bytes that tell an encoding without a mark."""
_ONLY_IN_WINDOWS: Final = frozenset(range(0x80, 0xA0))
"""In Latin-1 these bytes are control characters, which no text has."""
_UNKNOWN: Final = frozenset(b"\x81\x8d\x8f\x90\x9d")
"""Bytes that are nothing in Windows' encoding."""


def encoding_of(content: bytes) -> str:
    """The name, to Python and to iconv, of the encoding that the bytes of a text are most likely of."""
    if wide := _wide_encoding(content):
        return wide
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return (
            "cp1252"
            if _ONLY_IN_WINDOWS.intersection(content) and not _UNKNOWN.intersection(content)
            else "latin1"
        )
    return "utf-8"


def not_utf8(content: bytes, *, what: str = "the file") -> str:
    """What is to be said of a text that is not UTF-8."""
    return f"is not UTF-8 text, {what} reads as {encoding_of(content)}; save it as UTF-8"


def foreign_form(content: bytes, suffix: str) -> str | None:
    """What the bytes are, by their beginning, and what to do; None where they may be what the ending says."""
    for beginning, form in _BEGINNINGS:
        if content.startswith(beginning):
            return form
    if content.startswith(_BZIP2[0]) and content[4:].startswith(_BZIP2[1]):
        return "compressed by bzip2; unpack it"
    is_parquet = content.startswith(_PARQUET) and content.endswith(_PARQUET)
    if suffix == ".parquet":
        return None if is_parquet else "another file, or cut off; write it again"
    # `PAR1` alone may be the name of a column.
    return "a Parquet file; give it the ending .parquet" if is_parquet else None


def refuse_foreign_form(content: bytes, suffix: str, *, name: str) -> None:
    """Refuse bytes that are of another form than the ending says, as far as their beginning tells.

    Raises:
        ReadingError: they are; the message names the form.
    """
    if form := foreign_form(content, suffix):
        raise ReadingError(name, f"is no {suffix[1:]}, it is {form}")
    if suffix != ".parquet" and (encoding := _wide_encoding(content)):
        raise ReadingError(name, f"is not UTF-8 text, it reads as {encoding}; save it as UTF-8")


def separator_of(text: str) -> str:
    """What the first line is separated by; a comma where nothing else separates more."""

    def fields(separator: str) -> int:
        return len(next(csv.reader(io.StringIO(text), delimiter=separator), ()))

    if _SHEET_LINE.match(text):  # which is no header
        return ","
    try:
        return max((",", *SEPARATORS), key=fields)
    except csv.Error:  # a field without end: the reader says what is wrong with it
        return ","


def refuse_foreign_separator(content: bytes, header: Sequence[str], *, name: str) -> None:
    """Refuse a csv file whose columns something else than commas separates.

    Where the first rows have no more of it than the header, nor fewer, it separates; else it is text of one column.

    Args:
        content: The file.
        header: Its first row by commas.
        name: What it is called in messages.

    Raises:
        ReadingError: it does, or the line stands before the header by which spreadsheets tell what separates.
    """
    text = content[without_mark(content) : HEADER_BYTES].decode("utf-8", errors="replace")
    if line := _SHEET_LINE.match(text):
        also = "" if line[1] == "," else ", and save it with commas"
        raise ReadingError(
            name, f"begins with a line sep={line[1]!r}, which is for spreadsheets alone; remove it{also}"
        )
    if len(header) > 1:
        return
    if len(content) > HEADER_BYTES:
        text = text[: text.rfind("\n") + 1]
    for separator, called in SEPARATORS.items():
        try:
            rows = filter(any, csv.reader(io.StringIO(text, newline=""), delimiter=separator))
            widths = {len(row) for row in islice(rows, _FIRST_ROWS)}
        except csv.Error:
            continue
        if len(widths) == 1 and max(widths) > 1:
            raise ReadingError(name, f"separates its columns by {called}; save it with commas")


def without_mark(content: bytes) -> int:
    """Where the text begins: behind the mark that some programs put before UTF-8."""
    return len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0


def _wide_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark or by the zeros in the place of every other byte."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    head = content[:_HEAD]
    if len(head) > 1 and head.count(0) * 3 > len(head):
        if not any(head[::2]) or head[::2].count(0) > head[1::2].count(0):
            return "utf-16be"
        return "utf-16le"
    return None

"""What the texts of a csv column are: numbers, times, texts, or something that cannot be told.

Texts that hardly come twice have no distance to speak of. So a column of numbers must not become one of texts by a few
fields that are none: it is said what they are, and that the column is not compared.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from platform_assets.drift.column_types import is_text

if TYPE_CHECKING:
    import pyarrow as pa

_CODE: Final = r"^[+-]?0\d"
"""Digits behind a leading zero."""
_DIGITS: Final = r"^[+-]?\d[\d.]*$"
_CODE_NUMBER: Final = r"^[+-]?0\d+(\.\d*)?([eE][+-]?\d+)?$"
_IDENTIFIER: Final = r"^[+-]?\d{19,}$"
"""Integers that 64 bits may not hold, and floating-point numbers would round."""
_NUMBER: Final = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan|inf|infinity))$"
_NUMBER_OF_PEOPLE: Final = (
    r"^[\s(+\-$€£¥]*(\d+([.,]\d*)?([eE][+-]?\d+)?|[.,]\d+|\d{1,3}([,.'\s]\d{3})+([.,]\d+)?)[\s)%$€£¥]*$"
)
"""Such as 1,234.50 or 12 %: nobody but its author knows for sure which number it is."""
_TIME: Final = r"^\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_ZONE: Final = r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$"


def typed(column: "pa.ChunkedArray") -> "tuple[pa.ChunkedArray, str | None]":
    """The values of a csv column, and why they cannot be compared, if so.

    Args:
        column: Texts, null where a field is empty.

    Returns:
        Integers, floating-point numbers, dates or times where every field that is not empty is one; else the texts, as
        codes are. With a reason where more than half of the distinct texts are numbers or times, and others are not; and where integers are too long for numbers.
    """
    import pyarrow as pa

    if not is_text(column.type) or column.null_count == len(column):
        return column, None
    if codes := _rows(column, _CODE):
        return column, None if _are_codes(column, codes) else _oddity(column)
    if not _rows(column, _IDENTIFIER):
        for kind in (
            pa.int64(),
            pa.float64(),
            pa.date32(),
            *(pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")),
        ):
            with suppress(pa.ArrowInvalid):
                return column.cast(kind), None
    return column, _oddity(column)


def _are_codes(column: "pa.ChunkedArray", codes: int) -> bool:
    """Whether its digits are codes: most of them begin with zero, or all are as long as each other."""
    import pyarrow.compute as pc

    numbers = column.filter(pc.match_substring_regex(column, _DIGITS))
    lengths = pc.min_max(pc.utf8_length(numbers)).as_py()
    return 2 * codes > len(numbers) or lengths["min"] == lengths["max"]


def _oddity(column: "pa.ChunkedArray") -> str | None:
    distinct = column.unique().drop_null()
    if 2 * _rows(distinct, _NUMBER_OF_PEOPLE) > len(distinct):
        odd = len(column) - column.null_count - _rows(column, _NUMBER) + _rows(column, _CODE_NUMBER)
        if odd:
            return _told(odd, len(column), "no number", "1234.5")
        return "integers of 19 and more digits are identifiers rather than measurements"
    if 2 * _rows(distinct, _TIME) > len(distinct):
        times, with_zone = _rows(column, _TIME), _rows(column, _ZONE)
        if odd := len(column) - column.null_count - times:
            return _told(odd, len(column), "no time", "2026-01-31T12:00:00")
        if 0 < with_zone < times:
            return f"{with_zone:,} of {times:,} times have a zone; write it to all of them, or to none"
        return "some of its times do not exist, or lie beyond what nanoseconds reach; leave them empty"
    return None


def _told(odd: int, rows: int, what: str, form: str) -> str:
    be, them = ("is", "it") if odd == 1 else ("are", "them")
    return f"{odd:,} of {rows:,} fields {be} {what}; write {them} as {form}, or leave {them} empty"


def _rows(texts: "pa.ChunkedArray", pattern: str) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(pc.match_substring_regex(texts, pattern)).as_py() or 0)

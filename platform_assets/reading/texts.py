"""Texts that are none: bytes that are no UTF-8, and NUL, at which other programs end a text or which they drop."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from platform_assets.reading.errors import ReadingError, column_label

if TYPE_CHECKING:
    import pyarrow as pa


def refuse_odd_texts(table: "pa.Table", *, name: str) -> None:
    """Refuse a table that holds such texts, on whatever level.

    Raises:
        ReadingError: it does; the message names the first row, and its column.
    """
    for position, column in enumerate(table.columns, start=1):
        for is_odd, reason in (
            (_is_invalid, "holds bytes that are no UTF-8 text; write it again as UTF-8"),
            (_holds_nul, "holds the character NUL, which is no text; remove it"),
        ):
            if is_odd(column):
                raise ReadingError(
                    name,
                    reason,
                    row=_first_row(column, is_odd) + 1,
                    column=column_label(table.column_names[position - 1], position),
                )


def _is_invalid(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


def _holds_nul(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return bool(pc.any(pc.match_substring(column, "\0")).as_py())
    if pa.types.is_nested(kind):
        return any(map(_nul_within, column.to_pylist()))
    return False


def _nul_within(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_nul_within(each) for pair in value.items() for each in pair)
        case list() | tuple():
            return any(map(_nul_within, value))
    return False


def _first_row(column: "pa.ChunkedArray", is_odd: "Callable[[pa.ChunkedArray], bool]") -> int:
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_odd(column.slice(low, middle - low)) else (middle, high)
    return low

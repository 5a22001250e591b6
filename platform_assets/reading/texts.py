"""Texts that are none, and names that do not tell columns apart.

Texts: bytes that are no UTF-8, half a surrogate pair, and NUL, at which other programs end a text or which they drop.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from platform_assets.reading.errors import ReadingError, column_label, shown_name

if TYPE_CHECKING:
    import pyarrow as pa


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold the text: half a surrogate pair it cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_repeated_names(names: Sequence[str], *, name: str, is_named: bool) -> None:
    """Refuse columns of one name.

    Args:
        names: Of all columns, in order.
        name: What the file is called in messages.
        is_named: As `column_label` takes it.

    Raises:
        ReadingError: two have one; the message gives both positions.
    """
    if len(set(names)) == len(names):
        return
    first: dict[str, int] = {}
    for position, column in enumerate(names, start=1):
        if column in first:
            twice = f" {shown_name(column)}" if is_named else ""
            raise ReadingError(
                name,
                f"columns {first[column]} and {position} have one name{twice}; rename or remove one of them",
            )
        first[column] = position


def refuse_odd_texts(table: "pa.Table", *, name: str, is_named: bool, first_row: int = 0) -> None:
    """Refuse a table that holds such texts, on whatever level.

    Args:
        table: Its names are unique.
        name: What the file is called in messages.
        is_named: As `column_label` takes it.
        first_row: Of the table in its file, from 0.

    Raises:
        ReadingError: it does; the message names the first row, and its column.
    """
    # Columns and names are made anew at each asking.
    for position, (column_name, column) in enumerate(
        zip(table.column_names, table.columns, strict=True), start=1
    ):
        if "\0" in column_name:
            raise ReadingError(name, f"the name of column {position} holds the character NUL; rename it")
        for is_odd, reason in (
            (_is_invalid, "holds bytes that are no UTF-8 text; write it again as UTF-8"),
            (_holds_nul, "holds the character NUL, which is no text; remove it"),
        ):
            if is_odd(column):
                raise ReadingError(
                    name,
                    reason,
                    row=first_row + _first_row(column, is_odd) + 1,
                    column=column_label(column_name, position, is_named=is_named),
                )


def _is_invalid(column: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


def _holds_nul(column: "pa.ChunkedArray") -> bool:
    return _has_text(column.type) and any(map(_nul_within, column.chunks))


def _has_text(kind: "pa.DataType") -> bool:
    """Whether texts are somewhere within, or names that hold NUL."""
    return _is_text_type(kind) or any(
        "\0" in field.name or _has_text(field.type) for field in map(kind.field, range(kind.num_fields))
    )


def _is_text_type(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _nul_within(values: "pa.Array") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if not _has_text(kind) or values.null_count == len(values):
        return False
    if _is_text_type(kind):
        return bool(pc.any(pc.match_substring(values, "\0")).as_py())
    if pa.types.is_struct(kind):
        return any("\0" in field.name for field in kind) or any(
            _nul_within(_field(values, at)) for at, field in enumerate(kind) if _has_text(field.type)
        )
    if pa.types.is_map(kind):
        # Of a slice, its keys would still be those of all rows.
        return _nul_within(values.cast(pa.list_(pa.struct([kind.key_field, kind.item_field]))))
    if pa.types.is_union(kind):
        return any(map(_nul_in_value, values.to_pylist()))
    return _nul_within(values.flatten())


def _field(values: "pa.Array", at: int) -> "pa.Array":
    """Those of a field that are in an object; what lies beneath a missing one is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow gives up on unions there, which cannot be missing themselves.
    return values.field(at) if pa.types.is_union(values.type[at].type) else pc.struct_field(values, [at])


def _nul_in_value(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_nul_in_value(each) for pair in value.items() for each in pair)
        case list() | tuple():
            return any(map(_nul_in_value, value))
    return False


def _first_row(column: "pa.ChunkedArray", is_odd: "Callable[[pa.ChunkedArray], bool]") -> int:
    import pyarrow as pa

    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        # Of lists and objects a slice would still hold the values of all rows.
        part = column.take(pa.array(range(low, middle), pa.int64()))
        low, high = (low, middle) if is_odd(part) else (middle, high)
    return low

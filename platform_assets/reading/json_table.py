"""JSON Lines as one Arrow table: a column for each name, in the order of first appearance."""

import json
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.joining import joined
from platform_assets.reading.json_lines import objects, once
from platform_assets.reading.values import Room, UnfitValueError, arrow_array, exact_number

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS: Final = 500
"""Rows that are Python's objects at a time: few of them stay in the caches, and out of the way of the garbage collector."""
_CELLS: Final = 1 << 22
_CELLS_PER_BYTE: Final = 8
"""That a table may have whatever its file has, and more of a larger file. A value that is written takes 4 bytes at
least, so that only where most of the names are missing in most of the rows there are more."""


def read_json_lines(content: bytes, *, name: str) -> "pa.Table":
    """The table; what an object does not name is null.

    NaN and Infinity, which Python's own writer writes and JSON does not have, are the floats that they say.

    Raises:
        ReadingError: as `json_lines`; a number has no exact type; or there are so many names, and so few of them
            in an object, that the table would be many times the file.
    """
    import pyarrow as pa

    table = _read(content, exact_number, name=name)
    inexact = [field.name for field in table.schema if _has_fractions(field.type)]
    if not inexact:
        return table
    # A float has only the digits that it needs, and beside decimals all that were written count.
    exact = dict(zip(inexact, _read(content, Decimal, name=name, only=inexact).columns, strict=True))
    return pa.table(
        [exact.get(field.name, table.column(at)) for at, field in enumerate(table.schema)], table.schema.names
    )


def _has_fractions(kind: "pa.DataType") -> bool:
    """Whether decimals with digits behind the point are somewhere within."""
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        return bool(kind.scale > 0)
    return any(_has_fractions(kind.field(at).type) for at in range(kind.num_fields))


def _read(
    content: bytes,
    number: Callable[[str], float | Decimal],
    *,
    name: str,
    only: Collection[str] | None = None,
) -> "pa.Table":
    import pyarrow as pa

    decoder = json.JSONDecoder(object_pairs_hook=once, parse_float=number)
    columns: dict[str, list[pa.Array]] = {}
    rows, most_cells = 0, max(_CELLS, _CELLS_PER_BYTE * len(content))
    room = Room(most_cells)
    for batch in _batches(objects(content, decoder, name=name)):
        values = [value for _, _, value in batch]
        for column in dict.fromkeys(chain.from_iterable(values)) if only is None else only:
            columns.setdefault(column, [pa.nulls(rows)] if rows else [])
        try:
            Room(most_cells).check(len(columns), rows + len(values))
        except UnfitValueError as problem:
            row, line, _ = batch[-1]
            raise ReadingError(name, problem.reason, row=row, line=line) from None
        for column, chunks in columns.items():
            try:
                chunks.append(arrow_array([value.get(column) for value in values], room))
            except RecursionError:
                reason = f"column {shown_name(column)} is nested too deeply to be read"
                raise ReadingError(name, reason) from None
            except UnfitValueError as problem:
                row, line, _ = batch[-1 if problem.position is None else problem.position]
                raise ReadingError(
                    name, problem.reason, row=row, line=line, column=f"column {shown_name(column)}"
                ) from None
        rows += len(values)
    arrays, room = [], Room(most_cells)
    for column, chunks in columns.items():
        try:
            arrays.append(joined(chunks, room))
        except UnfitValueError as problem:
            row = rows if problem.position is None else problem.position + 1
            raise ReadingError(name, problem.reason, row=row, column=f"column {shown_name(column)}") from None
    return pa.table(arrays, names=list(columns))


def _batches(found: Iterator[tuple[int, int, Any]]) -> Iterator[list[tuple[int, int, Any]]]:
    batch = []
    for each in found:
        batch.append(each)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch

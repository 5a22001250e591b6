"""JSON Lines as one Arrow table: a column for each name, in the order of first appearance."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from platform_assets.reading.errors import ReadingError, shown_name
from platform_assets.reading.json_lines import objects, once
from platform_assets.reading.values import UnfitValueError, arrow_array, exact_number

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS: Final = 500
"""Rows that are Python's objects at a time: few of them stay in the caches, and out of the way of the garbage collector."""


def read_json_lines(content: bytes, *, name: str) -> "pa.Table":
    """The table; what an object does not name is null.

    NaN and Infinity, which Python's own writer writes and JSON does not have, are the floats that they say.

    Raises:
        ReadingError: as `json_lines`, or a number has no exact type.
    """
    table = _read(content, exact_number, name=name)
    inexact = [field.name for field in table.schema if _has_fractions(field.type)]
    if inexact:
        # A float has only the digits that it needs, and beside decimals all that were written count.
        exact = _read(content, Decimal, name=name, only=inexact)
        for column in inexact:
            at = table.column_names.index(column)
            table = table.set_column(at, column, exact[column])
    return table


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
    rows = 0
    for batch in _batches(objects(content, decoder, name=name)):
        values = [value for _, _, value in batch]
        for column in dict.fromkeys(chain.from_iterable(values)) if only is None else only:
            columns.setdefault(column, [pa.nulls(rows)] if rows else [])
        for column, chunks in columns.items():
            try:
                chunks.append(arrow_array([value.get(column) for value in values]))
            except RecursionError:
                reason = f"column {shown_name(column)} is nested too deeply to be read"
                raise ReadingError(name, reason) from None
            except UnfitValueError as problem:
                row, line, _ = batch[problem.position]
                raise ReadingError(
                    name, problem.reason, row=row, line=line, column=f"column {shown_name(column)}"
                ) from None
        rows += len(values)
    arrays = []
    for column, chunks in columns.items():
        try:
            arrays.append(_joined(chunks))
        except UnfitValueError as problem:
            raise ReadingError(
                name, problem.reason, row=problem.position + 1, column=f"column {shown_name(column)}"
            ) from None
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


def _joined(chunks: "Sequence[pa.Array]") -> "pa.ChunkedArray":
    """One column of all chunks; where their types differ, of the type that all their values have together."""
    import pyarrow as pa

    kinds = {chunk.type for chunk in chunks} - {pa.null()}
    if not kinds:
        return pa.chunked_array(chunks, pa.null())
    if len(kinds) == 1:
        (kind,) = kinds
        return pa.chunked_array(
            [pa.nulls(len(chunk), kind) if chunk.type == pa.null() else chunk for chunk in chunks], kind
        )
    return pa.chunked_array([arrow_array(list(chain.from_iterable(chunk.to_pylist() for chunk in chunks)))])

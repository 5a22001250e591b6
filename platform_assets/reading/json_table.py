"""JSON Lines as one Arrow table: a column for each name, in the order of first appearance."""

import json
from collections.abc import Iterator, Sequence
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
    import pyarrow as pa

    decoder = json.JSONDecoder(object_pairs_hook=once, parse_float=exact_number)
    columns: dict[str, list[pa.Array]] = {}
    rows = 0
    for batch in _batches(objects(content, decoder, name=name)):
        values = [value for _, _, value in batch]
        for column in dict.fromkeys(chain.from_iterable(values)):
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

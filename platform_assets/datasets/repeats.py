"""Which values of a column occur more than once, in bounded memory and exactly.

Each batch gives its distinct values, with how often each occurs and in which row first. Where they become many, they are
dealt out to files by a hash, so that all of one value are in one file, and each file is looked at by itself. Nothing is decided
by the hash: in a file the values themselves are compared. A value that fills half the table is one entry of each batch.
"""

import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.datasets.batches import Cells

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_BYTES: Final = 32 << 20
"""Of entries in memory."""
_FILES: Final = 64
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: its multiples spread neighbours over the upper bits."""
_UPPER_BITS: Final = np.uint64(58)
"""What is left is a number below 64."""


class Repeats:
    """The values of one column, batch by batch."""

    def __init__(self, *, most_named: int, most_bytes: int = _MOST_BYTES) -> None:
        self._most_named, self._most_bytes = most_named, most_bytes
        self._entries: list[pa.RecordBatch] = []
        self._bytes = 0
        self._open = ExitStack()
        self._files: list[IO[bytes]] = []
        self._writers: list[Any] = []

    def add(self, cells: Cells, *, first_row: int) -> None:
        """The cells of a batch.

        Args:
            cells: Of a type that `keys` has a form of.
            first_row: Of the batch in the table, from 0.
        """
        import pyarrow as pa

        rows = np.arange(len(cells.array)) if cells.given is None else np.flatnonzero(cells.given)
        values, first, counts = _distinct(keys(cells, rows))
        entries = pa.RecordBatch.from_arrays(
            [values, pa.array(first_row + rows[first]), pa.array(counts.astype(np.int32))],
            ["value", "first", "count"],
        )
        self._entries.append(entries)
        self._bytes += entries.nbytes
        if self._bytes > self._most_bytes:
            self._spill()

    def result(self) -> "tuple[int, pa.Array]":
        """Rows whose value occurs again; and of such values those that begin first, at most so many, as `keys` has them."""
        import pyarrow as pa

        if not self._files:
            parts = iter([self._entries])
        else:
            self._spill()
            for writer in self._writers:
                writer.close()
            parts = map(_read, self._files)
        rows, found = 0, []
        for part in parts:
            if part:
                repeated, values, first = _repeated(pa.Table.from_batches(part))
                rows += repeated
                order = np.argsort(first)[: self._most_named]
                found.append((values.take(pa.array(order)), first[order]))
        if not found:
            return 0, pa.nulls(0)
        first = np.concatenate([each for _, each in found])
        values = pa.concat_arrays([each for each, _ in found])
        return rows, values.take(pa.array(np.argsort(first)[: self._most_named]))

    def close(self) -> None:
        """Remove what lies on disk."""
        self._entries = []
        self._open.close()

    def _spill(self) -> None:
        import pyarrow as pa

        if not self._entries:
            return
        table = pa.Table.from_batches(self._entries).combine_chunks()
        self._entries, self._bytes = [], 0
        if not self._files:
            # Without names, so that nothing stays of a process that is killed.
            self._files = [
                self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - `close` closes it
                for _ in range(_FILES)
            ]
            self._writers = [
                self._open.enter_context(pa.ipc.new_stream(file, table.schema)) for file in self._files
            ]
        part = _parts(table["value"].combine_chunks())
        order = np.argsort(part, kind="stable")
        sorted_table = table.take(pa.array(order))
        ends = np.cumsum(np.bincount(part, minlength=_FILES)).tolist()
        for writer, start, end in zip(self._writers, [0, *ends[:-1]], ends, strict=True):
            if end > start:
                writer.write_table(sorted_table.slice(start, end - start))


def keys(cells: Cells, rows: "np.ndarray[Any, Any]") -> "pa.Array":
    """The values of these rows in a form in which equal ones are equal: integers, texts or bytes."""
    import pyarrow as pa

    match cells.family:
        case "float" | "narrow":
            # Both zeros are one value, as pandas has it.
            numbers = cells.numbers[rows] + cells.numbers.dtype.type(0)
            return pa.array(numbers.astype(np.float64).view(np.int64))
        case "whole" | "time":
            return pa.array(cells.numbers[rows])
        case "boolean":
            return cells.array.take(pa.array(rows)).cast(pa.int8())
        case "decimal":
            return cells.array.take(pa.array(rows)).cast(pa.string())
        case _:
            texts = cells.array if len(rows) == len(cells.array) else cells.array.take(pa.array(rows))
            return texts.cast(pa.large_string())


def _distinct(values: "pa.Array") -> "tuple[pa.Array, np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Each value once, where it stands first, and how often it occurs."""
    import pyarrow as pa

    everywhere, once = np.arange(len(values)), np.ones(len(values), dtype=np.int64)
    if pa.types.is_integer(values.type):
        numbers = values.to_numpy()
        ordered = np.sort(numbers)
        if not (ordered[1:] == ordered[:-1]).any():
            return values, everywhere, once
        found, first, counts = np.unique(numbers, return_index=True, return_counts=True)
        return pa.array(found), first, counts
    coded = values.dictionary_encode()
    if len(coded.dictionary) == len(values):
        return values, everywhere, once
    codes = coded.indices.to_numpy()
    first = np.empty(len(coded.dictionary), dtype=np.int64)
    first[codes[::-1]] = everywhere[::-1]
    return coded.dictionary, first, np.bincount(codes)


def _repeated(entries: "pa.Table") -> "tuple[int, pa.Array, np.ndarray[Any, Any]]":
    """Rows whose value occurs again among the entries, those values, and where each stands first."""
    import pyarrow as pa

    values = entries["value"].combine_chunks()
    first, counts = entries["first"].to_numpy(), entries["count"].to_numpy()
    if pa.types.is_integer(values.type):
        numbers = values.to_numpy()
        ordered = np.sort(numbers)
        if not (ordered[1:] == ordered[:-1]).any():
            chosen = np.flatnonzero(counts > 1)
            return int(counts[chosen].sum()), values.take(pa.array(chosen)), first[chosen]
        found, codes = np.unique(numbers, return_inverse=True)
        distinct = pa.array(found)
    else:
        coded = values.dictionary_encode()
        distinct, codes = coded.dictionary, coded.indices.to_numpy()
    totals = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(totals, codes, counts)
    earliest = np.full(len(distinct), np.iinfo(np.int64).max)
    np.minimum.at(earliest, codes, first)
    chosen = np.flatnonzero(totals > 1)
    return int(totals[chosen].sum()), distinct.take(pa.array(chosen)), earliest[chosen]


def _parts(values: "pa.Array") -> "np.ndarray[Any, Any]":
    """A number below 64 for each value, the same for equal ones."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_integer(values.type):
        hashed = values.to_numpy().astype(np.int64, copy=False).view(np.uint64)
    else:
        hashed = pd.util.hash_array(values.to_numpy(zero_copy_only=False), categorize=False)
    return np.asarray((hashed * _MIX) >> _UPPER_BITS, dtype=np.uint8)


def _read(file: IO[bytes]) -> "list[pa.RecordBatch]":
    import pyarrow as pa

    file.seek(0)
    with pa.ipc.open_stream(file) as stream:
        return list(stream)

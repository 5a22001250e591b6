"""Rows that have something in common, found in bounded memory: by SHA-256 of what they have, the earliest row first.

The digests and numbers of rows are dealt out to files by the first bits, so that all of one group are in one file, and each
file is looked at by itself. Groups are as exact as row ids, which are such digests themselves.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.datasets.scratch_file import scratch_file

_MOST_BYTES: Final = 32 << 20
"""Of digests in memory; 40 bytes a row."""
_FILES: Final = 64
_UPPER_BITS: Final = np.uint64(58)
"""What is left is a number below 64."""
_NUMBERS: Final = 4
"""Of 64 bits, in a digest."""
_ENTRY_BYTES: Final = 8 * (_NUMBERS + 1)
_BLOCK_ROWS: Final = 1 << 18
"""Of a file that are sorted together."""


class RowGroups:
    """Which rows are of one group."""

    def __init__(self, *, most_bytes: int = _MOST_BYTES, block_rows: int = _BLOCK_ROWS) -> None:
        self._most_bytes, self._block_bytes = most_bytes, block_rows * _ENTRY_BYTES
        self._entries: list[NDArray[np.uint64]] = []
        self._bytes = self._rows = 0
        self._files: list[IO[bytes]] = []

    def add(self, names: Iterable[bytes]) -> None:
        """What the groups of the next rows are called."""
        digests = b"".join([hashlib.sha256(name).digest() for name in names])
        numbers = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, _NUMBERS)
        rows = np.arange(self._rows, self._rows + len(numbers), dtype=np.uint64)
        self._rows += len(numbers)
        self._entries.append(np.column_stack([numbers, rows]))
        self._bytes += self._entries[-1].nbytes
        if self._bytes > self._most_bytes:
            self._spill()

    def repeated(self) -> NDArray[np.bool_]:
        """Which rows have an earlier one in their group."""
        found = np.zeros(self._rows, dtype=bool)
        for rows, groups in self._parts():
            found[rows] = _of_the_first(rows, groups)[groups] != rows
        return found

    def strays(self, kinds: NDArray[np.uint8], counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the counted rows are of another kind than the first of them in their group."""
        found = np.zeros(self._rows, dtype=bool)
        for rows, groups in self._parts():
            chosen = counted[rows]
            groups_of, kinds_of = groups[chosen], kinds[rows[chosen]]
            found[rows[chosen]] = _of_the_first(kinds_of, groups_of)[groups_of] != kinds_of
        return found

    def shared(self, some: NDArray[np.bool_], others: NDArray[np.bool_]) -> int:
        """How many of some rows have one of the others in their group."""
        count = 0
        for rows, groups in self._parts():
            known = np.zeros(groups.max(initial=-1) + 1, dtype=bool)
            known[groups[others[rows]]] = True
            count += int(np.count_nonzero(known[groups] & some[rows]))
        return count

    def _spill(self) -> None:
        if not self._files:
            self._files = [scratch_file(self) for _ in range(_FILES)]
        entries = np.concatenate(self._entries)
        self._entries, self._bytes = [], 0
        part = (entries[:, 0] >> _UPPER_BITS).astype(np.uint8)
        for at, file in enumerate(self._files):
            file.write(entries[part == at].tobytes())

    def _parts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32]]]:
        """Some rows at a time, ascending, and the number of each one's group; all rows of a group come together."""
        if not self._files:
            if self._entries:
                yield _numbered([np.concatenate(self._entries)])
            return
        if self._entries:
            self._spill()
        for file in self._files:
            file.seek(0)
            blocks = iter(partial(file.read, self._block_bytes), b"")
            entries = (np.frombuffer(block, np.uint64).reshape(-1, _NUMBERS + 1) for block in blocks)
            if (first := next(entries, None)) is not None:
                yield _numbered(chain([first], entries))


def _of_the_first(values: NDArray[Any], groups: NDArray[np.int32]) -> NDArray[Any]:
    """What the first row of each group has."""
    found = np.zeros(groups.max(initial=-1) + 1, dtype=values.dtype)
    found[groups[::-1]] = values[::-1]  # of those that come to one place, the last one stays
    return found


def _numbered(blocks: Iterable[NDArray[np.uint64]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The rows of all blocks, and the number of each one's group.

    Each block leaves its digests once: a group that fills a file takes no more than its rows.
    """
    rows, groups, digests, known = [], [], [], 0
    for entries in blocks:
        own, of_block = _grouped(entries[:, :_NUMBERS])
        rows.append(entries[:, _NUMBERS].astype(np.int64))
        groups.append(of_block + np.int32(known))
        digests.append(own)
        known += len(own)
    if len(digests) == 1:
        return rows[0], groups[0]
    _, merged = _grouped(np.concatenate(digests))
    return np.concatenate(rows), merged[np.concatenate(groups)]


def _grouped(digests: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """The digests, each once, and where among them each one is."""
    # The first number nearly always decides, and is sorted several times as fast.
    order = np.argsort(digests[:, 0], kind="stable")
    ordered = digests[order]
    same = ordered[1:] == ordered[:-1]
    if (same[:, 0] & ~same.all(axis=1)).any():
        order = np.lexsort(digests[:, ::-1].T)
        ordered = digests[order]
        same = ordered[1:] == ordered[:-1]
    begins = np.ones(len(ordered), dtype=bool)
    begins[1:] = ~same.all(axis=1)
    places = np.empty(len(order), dtype=np.int32)
    places[order] = np.cumsum(begins) - 1
    return ordered[begins], places

"""Rows that have something in common, found in bounded memory: by SHA-256 of what they have, the earliest row first.

The digests and numbers of rows are dealt out to files by the first bits, so that all of one group are in one file, and each
file is looked at by itself. Groups are as exact as row ids, which are such digests themselves.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import IO, Final

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


class RowGroups:
    """Which rows are of one group."""

    def __init__(self, *, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
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
        for rows, begins in self._parts():
            found[rows[~begins]] = True
        return found

    def strays(self, kinds: NDArray[np.uint8], counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the counted rows are of another kind than the first of them in their group."""
        found = np.zeros(self._rows, dtype=bool)
        for rows, begins in self._parts():
            chosen = counted[rows]
            group = np.cumsum(begins)[chosen]
            rows_of_group = rows[chosen]
            first = np.flatnonzero(np.diff(group, prepend=0))
            firsts = np.repeat(kinds[rows_of_group[first]], np.diff(first, append=len(group)))
            found[rows_of_group] = firsts != kinds[rows_of_group]
        return found

    def shared(self, some: NDArray[np.bool_], others: NDArray[np.bool_]) -> int:
        """How many of some rows have one of the others in their group."""
        count = 0
        for rows, begins in self._parts():
            group = np.cumsum(begins) - 1
            known = np.zeros(len(rows), dtype=bool)
            known[group[others[rows]]] = True
            count += int(np.count_nonzero(known[group] & some[rows]))
        return count

    def _spill(self) -> None:
        if not self._files:
            self._files = [scratch_file(self) for _ in range(_FILES)]
        entries = np.concatenate(self._entries)
        self._entries, self._bytes = [], 0
        part = (entries[:, 0] >> _UPPER_BITS).astype(np.uint8)
        for at, file in enumerate(self._files):
            file.write(entries[part == at].tobytes())

    def _parts(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
        """Rows by group, ascending within each, and where a group begins."""
        if not self._files:
            if self._entries:
                yield _grouped(np.concatenate(self._entries))
            return
        if self._entries:
            self._spill()
        for file in self._files:
            file.seek(0)
            yield _grouped(np.frombuffer(file.read(), dtype=np.uint64).reshape(-1, _NUMBERS + 1))


def _grouped(entries: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    # The first number nearly always decides, and is sorted several times as fast.
    ordered = entries[np.argsort(entries[:, 0], kind="stable")]
    same = ordered[1:] == ordered[:-1]
    if (same[:, 0] & ~same[:, 1:_NUMBERS].all(axis=1)).any():
        ordered = entries[np.lexsort(entries[:, _NUMBERS - 1 :: -1].T)]
        same = ordered[1:] == ordered[:-1]
    begins = np.ones(len(ordered), dtype=bool)
    begins[1:] = ~same[:, :_NUMBERS].all(axis=1)
    return ordered[:, _NUMBERS].astype(np.int64), begins

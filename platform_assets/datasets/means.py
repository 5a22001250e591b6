"""The mean of a column that comes in batches, to the last bit what pandas gives of the whole.

A sum of floats depends on the order of its additions. numpy adds floats in halves, which it can only tell once it knows how
many there are, so they are kept, on disk where they are many; missing ones count as 0. Whole numbers it turns into floats on
the way, in blocks of 8,192, and adds each run between missing ones by itself.
"""

import tempfile
from typing import Any, Final, Protocol

import numpy as np

_BLOCK: Final = 8192
"""Whole numbers that numpy turns into floats at once: its buffer."""
_LEAF: Final = 1 << 16
"""Floats that are read and added at once; numpy halves below it as it does above."""
_HALVES_OF: Final = 8
"""numpy halves in multiples of what it adds side by side."""
_MOST_BYTES: Final = 32 << 20
"""Of floats in memory; more of them lie on disk."""
_FLOAT_BYTES: Final = 8
_WIDEST: Final = 2.0**53
"""Whole numbers whose sum stays below add up to the same in any order."""


class Mean(Protocol):
    """A mean that grows."""

    def add(self, values: "np.ndarray[Any, Any]", given: "np.ndarray[Any, Any] | None") -> None:
        """The next rows.

        Args:
            values: Floats of 64 bits, one for each row, with anything where none is.
            given: True where one is; None for everywhere.
        """

    def value(self) -> float | None:
        """The mean of those that are given; None of none."""

    def close(self) -> None:
        """Forget them."""


class FloatMean:
    """Of floats."""

    def __init__(self) -> None:
        self._kept = tempfile.SpooledTemporaryFile(max_size=_MOST_BYTES)  # noqa: SIM115 - `close` closes it
        self._rows = self._count = 0

    def add(self, values: "np.ndarray[Any, Any]", given: "np.ndarray[Any, Any] | None") -> None:
        """See `Mean`."""
        kept = values if given is None else np.where(given, values, 0.0)
        self._kept.write(np.ascontiguousarray(kept, dtype=np.float64).tobytes())
        self._rows += len(values)
        self._count += len(values) if given is None else int(np.count_nonzero(given))

    def value(self) -> float | None:
        """See `Mean`."""
        self._kept.seek(0)
        with np.errstate(invalid="ignore", over="ignore"):
            return float(self._sum(self._rows) / self._count) if self._count else None

    def close(self) -> None:
        """See `Mean`."""
        self._kept.close()

    def _sum(self, rows: int) -> Any:
        if rows <= _LEAF:
            return np.add.reduce(np.frombuffer(self._kept.read(rows * _FLOAT_BYTES)))
        half = rows // 2
        half -= half % _HALVES_OF
        return self._sum(half) + self._sum(rows - half)


class WholeMean:
    """Of whole numbers, or of true and false."""

    def __init__(self) -> None:
        self._sum, self._count = np.float64(0), 0
        self._rest, self._rest_given = np.zeros(0), np.zeros(0, dtype=bool)

    def add(self, values: "np.ndarray[Any, Any]", given: "np.ndarray[Any, Any] | None") -> None:
        """See `Mean`."""
        present = np.ones(len(values), dtype=bool) if given is None else given
        self._count += int(np.count_nonzero(present))
        values = np.concatenate([self._rest, values])
        present = np.concatenate([self._rest_given, present])
        whole = len(values) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._sum = _added(self._sum, values[start : start + _BLOCK], present[start : start + _BLOCK])
        self._rest, self._rest_given = values[whole:], present[whole:]

    def value(self) -> float | None:
        """See `Mean`."""
        return float(_added(self._sum, self._rest, self._rest_given) / self._count) if self._count else None

    def close(self) -> None:
        """Nothing lies anywhere."""


def _added(total: Any, values: "np.ndarray[Any, Any]", given: "np.ndarray[Any, Any]") -> Any:
    """The total with a block added, run by run where it makes a difference."""
    if given.all():
        return total + np.add.reduce(values)
    present = values[given]
    if abs(total) + np.add.reduce(np.abs(present)) < _WIDEST:
        return total + np.add.reduce(present)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], given, [False]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        total += np.add.reduce(values[start:stop])
    return total

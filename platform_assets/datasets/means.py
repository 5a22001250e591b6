"""The mean of a column that comes in batches, to the last bit what pandas gives of the whole.

A sum of floats depends on the order of its additions. numpy adds floats in halves, which it can only tell once it knows how
many there are, so they are kept, on disk where they are many; and whole numbers, which it turns into floats on the way, in
blocks of 8,192.
"""

import tempfile
from typing import Any, Final, Self

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


class FloatMean:
    """Of floats of 64 bits."""

    def __init__(self) -> None:
        self._kept = tempfile.SpooledTemporaryFile(max_size=_MOST_BYTES)  # noqa: SIM115 - `close` closes it
        self._count = 0

    def add(self, values: "np.ndarray[Any, Any]") -> Self:
        """More of them, none of which is missing."""
        self._kept.write(np.ascontiguousarray(values, dtype=np.float64).tobytes())
        self._count += len(values)
        return self

    def value(self) -> float | None:
        """The mean; None of none."""
        self._kept.seek(0)
        with np.errstate(invalid="ignore", over="ignore"):
            return float(self._sum(self._count) / self._count) if self._count else None

    def close(self) -> None:
        """Forget them."""
        self._kept.close()

    def _sum(self, count: int) -> Any:
        if count <= _LEAF:
            return np.add.reduce(np.frombuffer(self._kept.read(count * _FLOAT_BYTES)))
        half = count // 2
        half -= half % _HALVES_OF
        return self._sum(half) + self._sum(count - half)


class WholeMean:
    """Of whole numbers, or of true and false."""

    def __init__(self) -> None:
        self._sum, self._count = np.float64(0), 0
        self._rest = np.zeros(0)

    def add(self, values: "np.ndarray[Any, Any]") -> Self:
        """More of them, as floats, none of which is missing."""
        self._count += len(values)
        pending = np.concatenate([self._rest, values])
        whole = len(pending) // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            self._sum += np.add.reduce(pending[start : start + _BLOCK])
        self._rest = pending[whole:]
        return self

    def value(self) -> float | None:
        """The mean; None of none."""
        return float((self._sum + np.add.reduce(self._rest)) / self._count) if self._count else None

    def close(self) -> None:
        """Nothing lies anywhere."""

"""Where a value falls: bins of a numeric or of a category column.

Bin i of a numeric column is the interval (edges[i-1], edges[i]]; the first has no lower end and the last no upper
one. A bin that holds a single number (an *atom*) has edges at that number and at the one just below it.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.layout import FAST_COMPARES

Bins = NDArray[np.uint32]

_CHUNK_ROWS: Final = 65_536
"""Values are taken in pieces, so that converting them (integers to floats) needs no memory to speak of."""
_KERNEL_VALUES: Final = 10_000_000
"""From so many values on, the compiled loops save more than the second that importing them takes."""
_ONE: Final = np.float64(1.0).view(np.int64)
EXACT_INTEGERS: Final = 2**53
"""Up to here every integer is a float of its own."""
_WIDE_BYTES: Final = 8
"""Integers of fewer bytes are all among these."""


class Missing(NamedTuple):
    """How many values could not be compared, by what they were."""

    nan: int = 0
    """NaN and null."""
    positive_infinity: int = 0
    negative_infinity: int = 0
    unknown: int = 0
    """Such as came as a bin's index, which does not say."""

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self)

    def plus(self, other: "Missing") -> "Missing":
        """Both together."""
        return Missing(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, eq=False)
class KeyTable:
    """The cells through which the compiled loops find a bin in constant time.

    The key of x is the leading bits of 1 + |x - centre| / scale, negated on the left of the centre: floating-point
    numbers being exponent and mantissa, it is linear in x near the centre and logarithmic in the tails. Rounding is
    monotone, so the key is; hence all edges of earlier cells lie below x, and those of later ones do not.
    """

    centre: float
    inverse_scale: float
    shift: int
    """Bits of the key that are dropped: the fewer, the more cells."""
    half: int
    """Cells on each side of the centre; all values farther out share the last one."""
    table: NDArray[np.uint32]
    edges: NDArray[np.float64]
    compares: int

    _MAX_HALF = 1 << 15
    _SHIFTS = range(48, 36, -1)

    @classmethod
    def of(cls, edges: NDArray[np.float64]) -> Self:
        """The smallest table with the fewest edges in one cell."""
        centre = float(edges[edges.size // 2])
        with np.errstate(over="ignore"):
            spread = np.abs(edges - centre)
        spread = spread[(spread > 0) & np.isfinite(spread)]
        scales = np.quantile(spread, (0.1, 0.25, 0.5, 0.75)) if spread.size else np.ones(1)
        best: tuple[tuple[int, int], float, int] | None = None
        for scale in np.clip(scales, 1e-300, 1e300):
            # All sizes of cells follow from the finest: a shift by one bit joins two neighbours.
            finest = _keys(edges, centre, 1 / scale, cls._SHIFTS[-1])
            for shift in cls._SHIFTS:
                keys = finest >> (shift - cls._SHIFTS[-1])
                half = min(int(max(keys[-1], -1 - keys[0], 0)) + 2, cls._MAX_HALF)
                compares = _most_in_one_cell(keys.clip(-half, half - 1))
                # Where the place is searched for by halving, small cells leave less to halve.
                found = (compares, half if compares <= FAST_COMPARES else -half)
                if best is None or found < best[0]:
                    best = found, float(1 / scale), shift
                if compares == 1 or half == cls._MAX_HALF:
                    break  # finer cells only make the table larger
        assert best is not None
        (compares, half), inverse_scale, shift = best
        half = abs(half)
        cells = half + np.clip(_keys(edges, centre, inverse_scale, shift), -half, half - 1)
        return cls(
            centre=centre,
            inverse_scale=inverse_scale,
            shift=shift,
            half=half,
            table=np.append(0, np.bincount(cells, minlength=2 * half).cumsum()).astype(np.uint32),
            edges=np.append(edges, np.full(FAST_COMPARES, np.inf)),
            compares=compares,
        )

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As the compiled loops take them."""
        return (self.centre, self.inverse_scale, self.shift, self.half, self.table, self.edges, self.compares)


def _keys(x: NDArray[np.float64], centre: float, inverse_scale: float, shift: int) -> NDArray[np.int64]:
    with np.errstate(over="ignore"):
        keys = ((1.0 + np.abs(x - centre) * inverse_scale).view(np.int64) - _ONE) >> shift
    return np.where(x < centre, ~keys, keys)


def _most_in_one_cell(ascending: NDArray[np.int64]) -> int:
    """The longest run of equal keys; if longer than `FAST_COMPARES`, one more than that."""
    for run in range(1, FAST_COMPARES + 1):
        if not (ascending[run:] == ascending[:-run]).any():
            return run
    return FAST_COMPARES + 1


@dataclass(frozen=True, eq=False)
class NumericBinning:
    """Bins of numbers, given by their edges."""

    edges: NDArray[np.float64]
    """Ascending, finite, shape (bins - 1,)."""

    @classmethod
    def of(cls, values: NDArray[np.float64], mass: NDArray[np.float64], *, bins: int) -> Self:
        """Bins of about equal reference mass; every value heavier than 1/`bins` is an atom.

        Args:
            values: Distinct, ascending, finite.
            mass: Of each value, positive.
            bins: How many, not counting atoms; at least two. With no more distinct values than that, all are atoms.
        """
        if values.size <= bins:
            heavy = np.ones(values.size, np.bool_)
            ends = heavy
        else:
            heavy = mass * bins > mass.sum()
            # Rounded, the last one may come out a little above the number of bins, and would make one more.
            quantile = np.minimum(np.ceil(np.cumsum(mass) * (bins / mass.sum())), bins)
            # The last bin has no upper end, and one that ends at an atom reaches right up to it.
            ends = (np.diff(quantile, append=quantile[-1]) > 0) & ~np.append(heavy[1:], False)
        atoms = values[heavy]
        with np.errstate(over="ignore"):
            just_below = np.nextafter(atoms, -np.inf)
        return cls(np.unique(np.concatenate([values[ends], atoms, just_below[np.isfinite(just_below)]])))

    @property
    def bins(self) -> int:
        """How many there are."""
        return self.edges.size + 1

    @cached_property
    def is_single(self) -> NDArray[np.bool_]:
        """Which bins hold only one number, shape (bins,)."""
        below = np.append(-np.inf, self.edges)
        up_to = np.append(self.edges, np.finfo(np.float64).max)
        with np.errstate(over="ignore"):
            single: NDArray[np.bool_] = np.nextafter(below, np.inf) == up_to
        return single

    def index(self, values: ArrayLike) -> Bins:
        """The bin of each value, shape (n,); `bins` for what cannot be compared."""
        values = _numbers(values)
        index = np.empty(values.size, np.uint32)
        kernels = kernels_for(values.size)
        for start, chunk in _chunks(values):
            into = index[start : start + chunk.size]
            if kernels:
                kernels.index(chunk, *self._table.arguments, into, np.zeros(3, np.int64))
            else:
                into[:] = np.searchsorted(self.edges, chunk)
                into[~np.isfinite(chunk)] = self.bins
        return index

    def count(self, values: ArrayLike) -> tuple[NDArray[np.int64], Missing]:
        """How many values each bin gets, shape (bins,), and what could not be compared."""
        values = _numbers(values)
        counts = np.zeros((4, self.bins + 1), np.int64)
        missing = np.zeros(3, np.int64)
        kernels = kernels_for(values.size)
        for _, chunk in _chunks(values):
            if kernels:
                kernels.count(chunk, *self._table.arguments, counts, missing)
            else:
                finite = np.isfinite(chunk)
                missing += np.isnan(chunk).sum(), (chunk == np.inf).sum(), (chunk == -np.inf).sum()
                counts[0] += np.bincount(np.searchsorted(self.edges, chunk[finite]), minlength=self.bins + 1)
        return counts.sum(axis=0)[:-1], Missing(*missing.tolist())

    @cached_property
    def _table(self) -> KeyTable:
        return KeyTable.of(self.edges)


@dataclass(frozen=True, eq=False)
class CategoryBinning:
    """Bins of categories: each of the named ones is an atom, and the last bin is for all others."""

    names: tuple[str, ...]

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.names) + 1

    @cached_property
    def is_single(self) -> NDArray[np.bool_]:
        """Which bins hold only one category, shape (bins,)."""
        return np.arange(self.bins) < len(self.names)

    def index(self, values: ArrayLike) -> Bins:
        """The bin of each value, shape (n,); `bins` for null."""
        listed = as_column(values).tolist()
        return np.fromiter(map(self._bin_of.__getitem__, listed), np.uint32, len(listed))

    def count(self, values: ArrayLike) -> tuple[NDArray[np.int64], Missing]:
        """How many values each bin gets, shape (bins,), and what could not be compared."""
        counts = np.bincount(self.index(values), minlength=self.bins + 1)
        return counts[:-1], Missing(nan=int(counts[-1]))

    @cached_property
    def _bin_of(self) -> "_BinOfName":
        return _BinOfName((name, position) for position, name in enumerate(self.names))


class _BinOfName(dict[Any, int]):
    def __missing__(self, name: object) -> int:
        # Only NaN differs from itself.
        return len(self) + 1 if name is None or name != name else len(self)  # noqa: PLR0124


Binning = NumericBinning | CategoryBinning


def as_column(values: ArrayLike) -> NDArray[Any]:
    """The values as one array, texts as they are: numpy would pad each to the longest, and cut its last NULs."""
    if isinstance(values, list | tuple) and any(isinstance(value, str) for value in values):
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    return np.asarray(values)


def holds_categories(values: NDArray[Any]) -> bool:
    """Whether these are texts rather than numbers.

    Raises:
        SketchError: They are neither.
    """
    if values.dtype.kind == "O":
        known = next((value for value in values if value is not None and value == value), 0.0)  # noqa: PLR0124
        return isinstance(known, str)
    if values.dtype.kind not in "biufUT":
        raise SketchError(f"values of type {values.dtype} cannot be compared: give numbers or texts")
    return values.dtype.kind in "UT"


def _numbers(values: ArrayLike) -> NDArray[Any]:
    numbers = as_column(values)
    if numbers.ndim != 1:
        raise SketchError(f"a column has one dimension, not the shape {numbers.shape}")
    if numbers.dtype.kind in "biuf":
        return numbers
    try:
        return numbers.astype(np.float64)
    except (TypeError, ValueError):
        raise SketchError("a column of numbers holds something else") from None


def _chunks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
    """Pieces of a column as contiguous floats: what is float32 or float64 already is not copied."""
    dtype = np.float32 if values.dtype == np.float32 else np.float64
    for start in range(0, values.size, _CHUNK_ROWS):
        chunk = values[start : start + _CHUNK_ROWS]
        yield start, np.ascontiguousarray(_never_down(chunk), dtype=dtype)


def _never_down(numbers: NDArray[Any]) -> NDArray[Any]:
    """Integers as floats, so that none beyond 2^53 is rounded to it: a reference holds none beyond."""
    if numbers.dtype.kind not in "iu" or numbers.dtype.itemsize < _WIDE_BYTES or not numbers.size:
        return numbers
    if numbers.max() <= EXACT_INTEGERS and numbers.min() >= -EXACT_INTEGERS:
        return numbers
    floats = numbers.astype(np.float64)
    next_up = np.nextafter(float(EXACT_INTEGERS), np.inf)
    floats[numbers > EXACT_INTEGERS] = np.maximum(floats[numbers > EXACT_INTEGERS], next_up)
    if numbers.dtype.kind == "i":
        floats[numbers < -EXACT_INTEGERS] = np.minimum(floats[numbers < -EXACT_INTEGERS], -next_up)
    return floats


def loaded_kernels() -> Any:
    """The compiled loops, if this process has them already; else None."""
    return sys.modules.get("platform_assets.sketch.kernels")


def kernels_for(values: int) -> Any:
    """The compiled loops, if they are loaded or so many values make that worth it; else None."""
    if values >= _KERNEL_VALUES:
        from platform_assets.sketch import kernels

        return kernels
    return loaded_kernels()

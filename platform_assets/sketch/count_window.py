"""The distance of the newest values from a reference, known after every single one."""

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from platform_assets.sketch.binning import Missing, NumericBinning
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.sketch import DEFAULT_BINS, ColumnProfile

_LARGEST_SIMULATED: Final = 1000
_MOST_ROWS: Final = 1000
"""Reference rows for each value in the window from which on the reference is as good as known."""
_STREAM_WINDOWS: Final = 80
_SIMULATED_VALUES: Final = 8_000_000
_HEIGHTS: Final = np.linspace(1.0, 8.0, 1401)
"""Distances in units of their standard error, sqrt(1 / window + 1 / reference rows)."""
_FEWEST_ALARMS: Final = 20
_HIGHEST_RATE: Final = 0.25
"""Per window: above it, the dead time after an alarm hides others."""


class CountWindow:
    """The newest `size` values that can be compared: their bins in a ring, and a tree over the bins.

    The tree holds for each node the sum of the differences of shares below it, and the highest and lowest sum of
    its first so many; the root's are the distance at the bins' edges (`ks_lower` of the sketch). A value changes two
    leaves, and so 2 log2(bins) nodes, whatever the size of the window.

    Args:
        profile: The reference.
        size: Values in the window.
    """

    def __init__(self, profile: ColumnProfile, size: int) -> None:
        if size < 1:
            raise SketchError(f"a window of {size} values: at least one is needed")
        self.profile = profile
        self.size = size
        self.ks = math.nan
        """Distance of the newest `size` values; NaN until there are so many."""
        self._ring = np.zeros(size, np.uint32)
        self._counts = np.zeros(profile.bins, np.int64)
        self._tree = np.zeros((2 << (profile.bins - 1).bit_length(), 3))
        self._state = np.zeros(2, np.int64)

    @property
    def full(self) -> bool:
        """Whether there have been `size` values."""
        return bool(self._state[0] == self.size)

    def push(self, values: ArrayLike) -> NDArray[np.float64]:
        """The distance after each of the values, shape (n,); NaN until the window is full."""
        return self.push_index(self.profile.index(values))

    def push_index(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """As `push`, of values whose bins are known. One that cannot be compared changes nothing."""
        from platform_assets.sketch import kernels

        if not index.size:
            return np.empty(0)
        distances: NDArray[np.float64] = kernels.slide(
            np.ascontiguousarray(index, np.uint32),
            self.profile.mass,
            self.profile.total,
            self._ring,
            self._counts,
            self._tree,
            self._state,
        )
        self.ks = float(distances[-1])
        return distances


def threshold(
    *, window: int, reference_rows: int, expected_run_length: int, bins: int = DEFAULT_BINS, seed: int = 0
) -> float:
    """The distance that a `CountWindow` exceeds once in `expected_run_length` values while nothing drifts.

    An alarm counts once: after it, a window of values is passed over. By Monte Carlo, with a fresh reference for each
    stream: so the error of the reference itself is part of what is calibrated, and the rate holds on average over
    references. It holds for every distribution, as those with ties alarm less. At least four windows lie between
    false alarms, whatever is asked for.

    Args:
        window: Size of the `CountWindow`.
        reference_rows: Rows of the reference, effective ones if it is weighted.
        expected_run_length: Values between two false alarms.
        bins: Of the reference profile.
        seed: Of the random numbers.
    """
    # Rates per window hardly depend on its size: what a larger one has seen, a smaller one shows by its scale.
    simulated = min(window, _LARGEST_SIMULATED)
    rows = _rounded_down(math.ceil(min(reference_rows / window, _MOST_ROWS) * simulated))
    log_rate = _null_rates(window=simulated, rows=rows, bins=_rounded_down(bins), seed=seed)
    target = math.log(min(window / expected_run_length, 0.25))
    height = float(_HEIGHTS[np.argmax(log_rate <= target)])
    return min(
        1.0, height * math.sqrt((simulated + rows) / (simulated * rows)) * math.sqrt(simulated / window)
    )


@lru_cache(maxsize=64)
def _null_rates(*, window: int, rows: int, bins: int, seed: int) -> NDArray[np.float64]:
    """Logarithm of the false alarms per window at each of `_HEIGHTS`."""
    from platform_assets.sketch import kernels

    random = np.random.default_rng(seed)
    measured = _HEIGHTS[:401:10]
    alarms = np.zeros(measured.size, np.int64)
    length = _STREAM_WINDOWS * window
    streams = math.ceil(_SIMULATED_VALUES / length)
    for _ in range(streams):
        edges, mass = _uniform_reference(random, rows=rows, bins=bins)
        index = np.empty(length, np.uint32)
        kernels.index_uniform(random.random(length), edges, index)
        profile = ColumnProfile(NumericBinning(edges), mass, rows, float(rows), Missing(), 0.0)
        distances = CountWindow(profile, window).push_index(index)
        kernels.count_alarms(distances, measured * math.sqrt(1 / window + 1 / rows), window, alarms)
    # High levels h are exceeded at a rate of the form A h^k exp(-2 h^2), the tail of the Kolmogorov distribution times
    # a power. A and k are fitted where there are alarms enough, which smooths there and leads on to where there are none.
    rate = alarms / (streams * _STREAM_WINDOWS)
    fitted = (alarms >= _FEWEST_ALARMS) & (rate <= _HIGHEST_RATE)
    heights, weight = measured[fitted], np.sqrt(alarms[fitted])
    terms = np.column_stack([np.ones_like(heights), np.log(heights)])
    (constant, power), *_ = np.linalg.lstsq(
        terms * weight[:, None], (np.log(rate[fitted]) + 2 * heights**2) * weight, rcond=None
    )
    log_rate: NDArray[np.float64] = constant + power * np.log(_HEIGHTS) - 2 * _HEIGHTS**2
    return log_rate


def _uniform_reference(
    random: np.random.Generator, *, rows: int, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges and masses of the profile of `rows` uniform random numbers, without drawing and sorting them all."""
    bins = min(rows, bins)
    ranks = np.ceil(np.arange(bins + 1) * (rows / bins))
    spacings = random.gamma(np.append(np.diff(ranks), 1.0))
    values = np.cumsum(spacings)[:-1] / spacings.sum()
    if rows > bins:
        return values[:-1], np.diff(ranks)
    # Every row is an atom.
    edges = np.unique(np.concatenate([values, np.nextafter(values, 0.0)]))
    return edges, np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1).astype(np.float64)


def _rounded_down(number: int) -> int:
    """`number` in four leading bits, so that few simulations serve many; fewer rows make a threshold safer."""
    dropped = max(0, number.bit_length() - 4)
    return number >> dropped << dropped

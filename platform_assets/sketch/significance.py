"""How likely a distance is while nothing drifts, for one column and for many."""

import math
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)

EXACT_ROWS: Final = 100
"""Up to so many rows on both sides the p-value is exact; beyond, it is the limit distribution's, 0.03 off at most."""
_SERIES_MEET_AT: Final = 1.18
_TERMS: Final = range(1, 5)


def p_value(ks: float, reference_rows: float, rows: int) -> float:
    """Chance of a distance of at least `ks` between two samples of one distribution, two-sided.

    With ties or bins it is an upper bound of that chance.

    Args:
        ks: Distance, 0 … 1.
        reference_rows: Size of the one sample; with weights its effective size, which need not be whole.
        rows: Size of the other.
    """
    if max(reference_rows, rows) <= EXACT_ROWS and float(reference_rows).is_integer():
        return _exact(round(ks * reference_rows * rows), int(reference_rows), rows)
    # Stephens (1970): the limit distribution, corrected for finite samples.
    root = math.sqrt(reference_rows * rows / (reference_rows + rows))
    return _kolmogorov((root + 0.12 + 0.11 / root) * ks)


def _kolmogorov(x: float) -> float:
    """Chance that the Kolmogorov distribution exceeds x: two series, each where it converges at once."""
    if x <= 0:
        return 1.0
    if x < _SERIES_MEET_AT:
        factor = math.exp(-((math.pi / x) ** 2) / 8)
        below = math.sqrt(2 * math.pi) / x * math.fsum(factor ** ((2 * k - 1) ** 2) for k in _TERMS)
        return 1.0 - below
    factor = math.exp(-2 * x * x)
    return 2 * math.fsum((-1) ** (k - 1) * factor ** (k * k) for k in _TERMS)


@lru_cache(maxsize=4096)
def _exact(statistic: int, m: int, n: int) -> float:
    """Share of the lattice paths from (0, 0) to (m, n) that meet a point (i, j) with |i n - j m| >= `statistic`.

    A path is an order of the pooled values, and all are equally likely. Paths are followed a diagonal
    i + j = k at a time, and leave the count where they first meet such a point.
    """
    if statistic <= 0:
        return 1.0
    i = np.arange(m + 1)
    inside = np.zeros(m + 1)
    inside[0] = 1.0
    met = 0.0
    for k in range(m + n):
        j = k - i
        left = m + n - k
        stay = inside * np.clip(n - j, 0, None) / left
        stay[1:] += inside[:-1] * (m - i[:-1]) / left
        out = np.abs(i * n - (j + 1) * m) >= statistic
        met += stay[out].sum()
        stay[out] = 0.0
        inside = stay
    return min(1.0, met)


def holm(p_values: Mapping[K, float], false_alarm_rate: float) -> frozenset[K]:
    """Which of several nulls to reject, so that the chance of a single false rejection stays below the rate.

    Holm (1979): never rejects less than Bonferroni's correction, under the same assumptions (none).
    """
    rejected: list[K] = []
    for name in sorted(p_values, key=lambda name: p_values[name]):
        if p_values[name] > false_alarm_rate / (len(p_values) - len(rejected)):
            break
        rejected.append(name)
    return frozenset(rejected)

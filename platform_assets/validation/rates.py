"""Rates, such as of rows that are found, and how far so many rows tell them.

A rate of x among n rows is known as far as Jeffreys' posterior says, Beta(x + ½, n − x + ½), whose quantiles cover
about as often as they claim even where x is 0 or n (Brown, Cai & DasGupta 2001). Where rows depend on each other, as
those of one patient do, it is known as if of fewer rows: both counts are divided by its design effect, the variance that
whole clusters show by that of as many independent rows (Rao & Scott 1992, Biometrics 48:577), and never multiplied.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.scorecard import Interval

_QUANTILES: Final = (0.025, 0.975)
_FEWEST_CLUSTERS: Final = 2


def rate(hits: NDArray[np.bool_], clusters: Clusters | None = None) -> Interval | None:
    """The share of hits with its 95 % interval, which holds the share itself; None of no rows.

    Args:
        hits: Shape (n,).
        clusters: Which rows depend on each other; none do if None.
    """
    from scipy.stats import beta

    n, x = hits.size, int(np.count_nonzero(hits))
    if not n:
        return None
    effect = 1.0
    if clusters is not None:
        codes = np.unique(clusters.codes, return_inverse=True)[1]
        effect = design_effect(np.bincount(codes, hits).astype(np.int64), np.bincount(codes))
    low, high = beta.ppf(_QUANTILES, x / effect + 0.5, (n - x) / effect + 0.5)
    value = x / n
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def design_effect(hits: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
    """Of a rate, by its hits and rows in each cluster; at least 1. Of a rate of 0 or 1, each cluster counts as one row."""
    held, among = int(np.count_nonzero(rows)), int(rows.sum())
    if held < _FEWEST_CLUSTERS:
        # As good as one row.
        return float(max(among, 1))
    share = float(hits.sum()) / among
    if share in (0, 1):
        return among / held
    between = held / (held - 1) * float(((hits - share * rows) ** 2).sum()) / among**2
    return max(1.0, float(between / (share * (1 - share) / among)))

"""The population stability index between a reference and a window of a stream, over the bins of a profile.

    PSI = Σ (p_g - q_g) ln(p_g / q_g)

over at most ten groups g of the profile's bins: of numbers, neighbours that hold about a tenth of the reference each; of
categories, the nine most frequent and the others. Half a row is added to each group on both sides, so that an empty one
leaves the index finite.

Of two samples of one distribution PSI / (1 / n + 1 / m) is about χ² of G - 1 degrees of freedom (Yurdakul & Naranjo 2020): in
a window of 50 events chance alone takes it beyond 0.25. So it comes with what chance seldom exceeds.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.sketch.binning import CategoryBinning
from platform_assets.sketch.sketch import ColumnProfile

GROUPS: Final = 10
MODERATE: Final = 0.1
MAJOR: Final = 0.25
Band = Literal["stable", "moderate", "major"]
_CHANCE: Final = 0.95


class Stability:
    """Measures windows against one reference.

    Args:
        profile: The reference.
    """

    def __init__(self, profile: ColumnProfile) -> None:
        self._group_of = _groups(profile)
        self._groups = int(self._group_of.max()) + 1
        rows = self._counted(profile.mass) * (profile.effective_rows / profile.total)
        self._reference_rows = profile.effective_rows
        self._reference = _shares(rows)

    def psi(self, counts: NDArray[np.int64]) -> float:
        """The index of a window with so many events in each bin of the profile, shape (bins,); NaN of an empty one."""
        if not counts.any():
            return float("nan")
        shares = _shares(self._counted(counts))
        return float(((shares - self._reference) * np.log(shares / self._reference)).sum())

    def by_chance(self, events: int) -> float:
        """What the index of so many events exceeds in one of twenty windows while nothing drifts."""
        from scipy.special import chdtri

        if self._groups == 1 or not events:
            return 0.0
        quantile = float(chdtri(self._groups - 1, 1 - _CHANCE))
        return quantile * (1 / self._reference_rows + 1 / events)

    def _counted(self, by_bin: "NDArray[np.int64] | NDArray[np.float64]") -> NDArray[np.float64]:
        weights = by_bin.astype(np.float64)
        return np.bincount(self._group_of, weights=weights, minlength=self._groups).astype(np.float64)


def band(psi: float) -> Band:
    """The usual reading: below 0.1 stable, from 0.25 on major, in between moderate."""
    return "stable" if psi < MODERATE else "moderate" if psi < MAJOR else "major"


def _groups(profile: ColumnProfile) -> NDArray[np.intp]:
    """The group of each bin, from 0 without a gap, shape (bins,)."""
    if isinstance(profile.binning, CategoryBinning):
        places = np.argsort(np.argsort(-profile.mass, kind="stable"), kind="stable")
        found = np.minimum(places, GROUPS - 1)
    else:
        # By the middle of a bin's mass: a bin of one frequent value is nowhere cut.
        middle = profile.cumulative[:-1] + profile.mass / 2
        found = np.minimum(middle / profile.total * GROUPS, GROUPS - 1).astype(np.intp)
    groups: NDArray[np.intp] = np.unique(found, return_inverse=True)[1]
    return groups


def _shares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    smoothed = rows + 0.5
    shares: NDArray[np.float64] = smoothed / smoothed.sum()
    return shares

"""Whether a model treats groups of people alike, as far as so many rows can tell.

max − min over groups is no measure of unfairness: it is never below 0, and it grows with noise and with the number of
groups. With no effect at all and a smallest group of 100 rows, the mean equalized-odds difference is 0.1. So every
figure here stands with an interval, and a gate decides on the end of it that speaks for the model: it fails only what
chance does not explain.

A rate of x among n rows is known as far as Jeffreys' posterior says, Beta(x + ½, n − x + ½), whose quantiles cover
about as often as they claim even where x is 0 or n (Brown, Cai & DasGupta 2001): a resample of rows would never vary there,
and claim that a group of which nobody was chosen never has anybody chosen. Draws of all rates give draws of all
differences. The intervals of the differences are simultaneous: all are cut at the same rank from either end, the one that
holds 95 % of the draws in all intervals at once (Besag et al. 1995), which bounds the largest of them too.

Counted over 1,000 draws each without any effect, for two groups of 50, two of 100, 50 beside 2,000, 100 beside 2,000,
and 100, 300 and 1,000 rows; in a hundred draws, from the best of these to the worst:

| rate of selection | parity ratio fails `>= 0.8` | its interval leaves out 1 |
|---|---|---|
| 1 % | 0.1 to 2.0 | 0.1 to 4.7 |
| 2 % | 0.8 to 2.0 | 0.9 to 4.3 |
| 5 % | 1.0 to 3.8 | 4.5 to 6.9 |
| 28 % | 0.0 to 0.9 | 4.3 to 5.7 |

An equalized-odds difference of such groups, or of three or five of 100, failed `<= 0.1` in 0.0 to 1.0 at 28 %, and its
interval left 0 out in 3.1 to 5.8.

Where rows depend on each other, as those of one patient do, a rate is known as if of fewer rows: both counts are divided
by its design effect, the variance that whole clusters show by that of as many independent rows (Rao & Scott 1992,
Biometrics 48:577), and never multiplied. Of a rate of 0 or 1, which shows none, each cluster counts as one row.

Symbols: G groups, B draws, P pairs of groups.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.metrics import Labels, Scores, binary_metrics
from platform_assets.validation.rates import design_effect
from platform_assets.validation.scorecard import Interval

MISSING: Final = "missing"
"""The group of rows that have no value."""
_DRAWS: Final = 4000
_CONFIDENCE: Final = 0.95
_SEED: Final = 20_261
_QUANTILES: Final = (0.025, 0.975)
_NORMAL_95: Final = 1.959963984540054
_FEWEST_GROUPS: Final = 2
FEWEST_SHOWN: Final = 10
"""Rates of fewer rows would tell of single people, and nothing about a group."""
# Places of the confusion counts: true positive, false negative, false positive, true negative.
_ALL: Final = [0, 1, 2, 3]
_POSITIVE: Final = [0, 1]
_NEGATIVE: Final = [2, 3]
_PREDICTED: Final = [0, 2]
_SELECTED: Final = {1: [0, 2], 0: [1, 3]}
"""Predicted to have the favourable label, which is 1 or 0."""


class GroupFairness(BaseModel):
    """How one group fares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grouping: str
    name: str
    n: int
    compared: bool
    """Whether it has rows enough to enter the differences."""
    selection_rate: Interval | None
    """None, as everything below, of fewer than `FEWEST_SHOWN` rows. Share of rows that are predicted to have the favourable label."""
    tpr: Interval | None
    """Share of rows of label 1 that are predicted to be; None where there is no such row."""
    fpr: Interval | None
    """Share of rows of label 0 that are predicted to be of label 1."""
    auc: Interval | None
    """None where all rows have one label."""
    calibration_gap: Interval | None
    """Share of label 1 minus mean score: above 0 where the scores say too little. The interval is a normal one."""


class GroupingFairness(BaseModel):
    """The worst difference between any two groups of one grouping that are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    compared: int
    """How many groups."""
    smallest: int
    """Rows of the smallest group that is compared; 0 where none is."""
    parity_difference: Interval | None = None
    """Highest minus lowest selection rate; its value is biased upwards, its interval is not."""
    parity_ratio: Interval | None = None
    """Lowest divided by highest selection rate; 0.8 is the four-fifths rule."""
    equalized_odds_difference: Interval | None = None
    """The larger of the widest gaps of true and of false positive rates."""
    not_compared_because: str | None = None


class Fairness(BaseModel):
    """Everything that was compared between groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    favourable: int
    threshold: float
    min_rows: int
    groupings: tuple[GroupingFairness, ...]
    groups: tuple[GroupFairness, ...]
    """Of all groupings, in their order."""


class _Cells(NamedTuple):
    """Rows of a group by label and prediction."""

    confusion: NDArray[np.int64]
    """By cluster, shape (clusters, 4); one cluster where rows depend on no other."""
    clustered: bool


class _Rate(NamedTuple):
    """A rate of one group: how many among how many rows, and draws of what it may be, shape (B,)."""

    hits: int
    rows: int
    effect: float
    """Of the design: rows that tell as much as one that depends on no other."""
    drawn: NDArray[np.float64]

    @classmethod
    def of(cls, cells: _Cells, counted: list[int], among: list[int], rng: np.random.Generator) -> Self:
        """The share of what is counted among rows, both as places of the confusion counts."""
        of_cluster = cells.confusion[:, sorted(set(counted) & set(among))].sum(axis=1)
        rows_of_cluster = cells.confusion[:, among].sum(axis=1)
        hits, rows = int(of_cluster.sum()), int(rows_of_cluster.sum())
        effect = design_effect(of_cluster, rows_of_cluster) if cells.clustered else 1.0
        drawn = rng.beta(hits / effect + 0.5, (rows - hits) / effect + 0.5, size=_DRAWS)
        return cls(hits, rows, effect, drawn)

    @property
    def expected(self) -> float:
        """The mean of what it may be: never 0 or 1, so it has a logarithm."""
        return (self.hits / self.effect + 0.5) / (self.rows / self.effect + 1)

    @property
    def interval(self) -> Interval | None:
        """The rate as it is, and between what it may be; None where there are no rows."""
        if not self.rows:
            return None
        value = self.hits / self.rows
        low, high = np.quantile(self.drawn, _QUANTILES)
        return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


class _Rates(NamedTuple):
    """The rates of one group."""

    selection: _Rate
    tpr: _Rate
    fpr: _Rate


def fairness(
    labels: Labels,
    scores: Scores,
    groupings: Mapping[str, "NDArray[np.object_]"],
    *,
    threshold: float,
    favourable: int,
    min_rows: int,
    clusters: Clusters | None = None,
) -> Fairness:
    """How the groups of each grouping fare.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        groupings: Name of each row's group, shape (n,), by grouping.
        threshold: A score of at least this predicts label 1.
        favourable: The predicted label that people wish for.
        min_rows: Rows that a group needs to be compared.
        clusters: Which rows depend on each other; none do if None.
    """
    found = [
        _grouping(name, groups, labels, scores, threshold, favourable, min_rows, clusters)
        for name, groups in groupings.items()
    ]
    return Fairness(
        favourable=favourable,
        threshold=threshold,
        min_rows=min_rows,
        groupings=tuple(grouping for grouping, _ in found),
        groups=tuple(group for _, groups in found for group in groups),
    )


def banded(values: NDArray[np.float64], bands: Sequence[float]) -> "NDArray[np.object_]":
    """Name of the band of each value, shape (n,): `under 30`, `30 to under 45`, `45 and over`; `missing` for NaN."""
    edges = [f"{edge:g}" for edge in bands]
    between = [f"{low} to under {high}" for low, high in pairwise(edges)]
    names = np.array([f"under {edges[0]}", *between, f"{edges[-1]} and over"], dtype=object)
    found: NDArray[np.object_] = names[
        np.searchsorted(np.array(bands), values, side="right").clip(max=len(bands))
    ]
    found[np.isnan(values)] = MISSING
    return found


def _grouping(
    name: str,
    groups: "NDArray[np.object_]",
    labels: Labels,
    scores: Scores,
    threshold: float,
    favourable: int,
    min_rows: int,
    clusters: Clusters | None,
) -> tuple[GroupingFairness, list[GroupFairness]]:
    rng = np.random.default_rng(_SEED)
    found: list[GroupFairness] = []
    rates: list[_Rates] = []
    for group in sorted(set(groups.tolist())):
        rows = groups == group
        of_rows = clusters.of(rows) if clusters else None
        cells = _cells(labels[rows], scores[rows] >= threshold, of_rows)
        of_group = _Rates(
            selection=_Rate.of(cells, _SELECTED[favourable], _ALL, rng),
            tpr=_Rate.of(cells, _PREDICTED, _POSITIVE, rng),
            fpr=_Rate.of(cells, _PREDICTED, _NEGATIVE, rng),
        )
        compared = int(rows.sum()) >= min_rows
        found.append(_group(name, group, labels[rows], scores[rows], of_group, of_rows, compared=compared))
        if compared:
            rates.append(of_group)
    smallest = min((group.n for group in found if group.compared), default=0)
    if len(rates) < _FEWEST_GROUPS:
        because = f"{len(rates)} of {len(found)} groups have {min_rows} rows, and two are needed"
        none = GroupingFairness(
            name=name, compared=len(rates), smallest=smallest, not_compared_because=because
        )
        return none, found
    selection = [each.selection for each in rates]
    odds = [
        known
        for of_label in ([each.tpr for each in rates], [each.fpr for each in rates])
        if len(known := [rate for rate in of_label if rate.rows]) >= _FEWEST_GROUPS
    ]
    ratio = _worst([selection], scale=np.log)
    worst = GroupingFairness(
        name=name,
        compared=len(rates),
        smallest=smallest,
        parity_difference=_worst([selection]),
        parity_ratio=Interval(
            value=float(np.exp(-ratio.value)), low=float(np.exp(-ratio.high)), high=float(np.exp(-ratio.low))
        ),
        equalized_odds_difference=_worst(odds) if len(odds) == len((_POSITIVE, _NEGATIVE)) else None,
    )
    return worst, found


def _cells(labels: Labels, predicted: "NDArray[np.bool_]", clusters: Clusters | None) -> _Cells:
    places = 2 * (labels == 0) + ~predicted
    if clusters is None:
        return _Cells(np.bincount(places, minlength=4)[None, :], clustered=False)
    codes = np.unique(clusters.codes, return_inverse=True)[1]
    counts = np.bincount(4 * codes + places, minlength=4 * (codes.max() + 1)).reshape(-1, 4)
    return _Cells(counts, clustered=True)


def _mean_error(values: NDArray[np.float64], clusters: Clusters | None) -> float:
    """Standard error of a mean: of whole clusters where rows depend on each other (Liang & Zeger 1986), else of rows."""
    if clusters is None:
        return float(values.std() / np.sqrt(values.size))
    codes = np.unique(clusters.codes, return_inverse=True)[1]
    sums = np.bincount(codes, values - values.mean())
    if sums.size < _FEWEST_GROUPS:
        return float("inf")
    return float(np.sqrt(sums.size / (sums.size - 1) * (sums**2).sum()) / values.size)


def _group(
    grouping: str,
    name: str,
    labels: Labels,
    scores: Scores,
    rates: _Rates,
    clusters: Clusters | None,
    *,
    compared: bool,
) -> GroupFairness:
    if labels.size < FEWEST_SHOWN:
        nothing = dict.fromkeys(("selection_rate", "tpr", "fpr", "auc", "calibration_gap"))
        return GroupFairness(grouping=grouping, name=name, n=labels.size, compared=compared, **nothing)
    gap = labels - scores
    mean, off = float(gap.mean()), _NORMAL_95 * _mean_error(gap, clusters)
    auc = None
    if 0 < int(labels.sum()) < labels.size:
        metrics = binary_metrics(labels, scores, clusters=clusters, seed=_SEED)
        auc = Interval(value=metrics.auc, low=metrics.auc_low, high=metrics.auc_high)
    return GroupFairness(
        grouping=grouping,
        name=name,
        n=labels.size,
        compared=compared,
        selection_rate=rates.selection.interval,
        tpr=rates.tpr.interval,
        fpr=rates.fpr.interval,
        auc=auc,
        # Of one cluster nothing is known, but that both are shares.
        calibration_gap=Interval(value=mean, low=max(-1.0, mean - off), high=min(1.0, mean + off)),
    )


def _worst(
    kinds: Sequence[Sequence[_Rate]],
    *,
    scale: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.asarray,
) -> Interval:
    """The largest difference between any two groups in any kind of rate, with its simultaneous interval.

    Args:
        kinds: Rates by group, for each kind.
        scale: What is compared of a rate: the rate itself, or its logarithm.
    """
    expected = np.concatenate([_differences(scale(np.array([rate.expected for rate in of]))) for of in kinds])
    drawn = np.concatenate(
        [_differences(scale(np.stack([rate.drawn for rate in of], axis=-1))) for of in kinds], axis=-1
    )
    order = np.argsort(drawn, axis=0)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(drawn))[:, None], axis=0)
    # How near to either end a draw is in the pair where it is nearest.
    from_an_end = np.minimum(rank, len(drawn) - 1 - rank).min(axis=1)
    cut = int(np.quantile(from_an_end, 1 - _CONFIDENCE, method="lower"))
    low, high = (np.take_along_axis(drawn, order[[at]], axis=0)[0] for at in (cut, len(drawn) - 1 - cut))
    # A pair stands for its reverse too, so the largest difference is never below 0, and its interval neither.
    return Interval(
        value=float(np.abs(expected).max()),
        low=max(0.0, float(low.max()), float(-high.min())),
        high=max(float(high.max()), float(-low.min())),
    )


def _differences(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of all pairs along the last axis: (…, G) gives (…, P) with P = G(G − 1)/2."""
    first, second = np.triu_indices(rates.shape[-1], 1)
    return rates[..., first] - rates[..., second]

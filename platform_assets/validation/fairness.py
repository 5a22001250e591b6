"""Whether a model treats groups of people alike, as far as so many rows can tell.

max − min over groups is no measure of unfairness: it is never below 0, and it grows with noise and with the number of
groups. With no effect at all and a smallest group of 100 rows, the mean equalized-odds difference is 0.1. So every
figure here stands with an interval, and a gate decides on the end of it that speaks for the model: it fails only what
chance does not explain.

Intervals of rates are bootstrap percentiles: a resample of a group's rows is a multinomial draw of its four confusion
counts, so thousands cost milliseconds. Intervals of the worst difference between any two groups are simultaneous: the
largest studentised error over all pairs and rates (bootstrap-t, Efron & Tibshirani 1993, chapter 12; of maxima, Romano &
Wolf 2005) bounds all differences at once, with a chance of 95 %, hence also the largest of them. Rates carry half a row
more of either outcome, (x + ½) / (n + 1), as by Jeffreys' prior, so that none is 0 or 1 for certain.

Counted over 200 draws without any effect, with two to five groups, the smallest of 100 rows of which 28 have label 1: the
interval left 0 out in 3 to 9 of a hundred, and in none or one of 200 did an equalized-odds difference fail `<= 0.1`; a
parity ratio never failed `>= 0.8`.

Symbols: G groups, B resamples, R rates that are compared, n_g rows of group g.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from platform_assets.validation.metrics import Labels, Scores, binary_metrics
from platform_assets.validation.scorecard import Interval

MISSING: Final = "missing"
"""The group of rows that have no value."""
_SAMPLES: Final = 2000
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


class _Rates(NamedTuple):
    """Smoothed rates of the compared groups, and variances: of the rows, shape (G,), and of resamples, (B, G)."""

    observed: NDArray[np.float64]
    resampled: NDArray[np.float64]
    variance: NDArray[np.float64]
    resampled_variance: NDArray[np.float64]

    def on_log_scale(self) -> "_Rates":
        """Logarithms of the rates, whose variance is that of a rate divided by its square."""
        return _Rates(
            np.log(self.observed),
            np.log(self.resampled),
            self.variance / self.observed**2,
            self.resampled_variance / self.resampled**2,
        )


def fairness(
    labels: Labels,
    scores: Scores,
    groupings: Mapping[str, "NDArray[np.object_]"],
    *,
    threshold: float,
    favourable: int,
    min_rows: int,
) -> Fairness:
    """How the groups of each grouping fare.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        groupings: Name of each row's group, shape (n,), by grouping.
        threshold: A score of at least this predicts label 1.
        favourable: The predicted label that people wish for.
        min_rows: Rows that a group needs to be compared.
    """
    found = [
        _grouping(name, groups, labels, scores, threshold, favourable, min_rows)
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
) -> tuple[GroupingFairness, list[GroupFairness]]:
    rng = np.random.default_rng(_SEED)
    found, counts, draws = [], [], []
    for group in sorted(set(groups.tolist())):
        rows = groups == group
        confusion = _confusion(labels[rows], scores[rows] >= threshold)
        drawn = rng.multinomial(int(rows.sum()), confusion / confusion.sum(), size=_SAMPLES)
        compared = int(rows.sum()) >= min_rows
        found.append(
            _group(name, group, labels[rows], scores[rows], confusion, drawn, favourable, compared=compared)
        )
        if compared:
            counts.append(confusion)
            draws.append(drawn)
    if len(counts) < _FEWEST_GROUPS:
        because = f"{len(counts)} of {len(found)} groups have {min_rows} rows, and two are needed"
        smallest = min((group.n for group in found if group.compared), default=0)
        none = GroupingFairness(
            name=name, compared=len(counts), smallest=smallest, not_compared_because=because
        )
        return none, found
    observed, resampled = np.stack(counts), np.stack(draws, axis=1)
    selection = _rates(observed, resampled, _SELECTED[favourable], _ALL)
    odds = [
        _rates(observed[chosen], resampled[:, chosen], _PREDICTED, outcome)
        for outcome in (_POSITIVE, _NEGATIVE)
        if (chosen := observed[:, outcome].sum(axis=1) > 0).sum() >= _FEWEST_GROUPS
    ]
    ratio = _worst([selection.on_log_scale()])
    worst = GroupingFairness(
        name=name,
        compared=len(counts),
        smallest=min(group.n for group in found if group.compared),
        parity_difference=_worst([selection]),
        parity_ratio=Interval(
            value=float(np.exp(-ratio.value)), low=float(np.exp(-ratio.high)), high=float(np.exp(-ratio.low))
        ),
        equalized_odds_difference=_worst(odds) if len(odds) == len((_POSITIVE, _NEGATIVE)) else None,
    )
    return worst, found


def _confusion(labels: Labels, predicted: "NDArray[np.bool_]") -> NDArray[np.int64]:
    """Rows by label and prediction, shape (4,)."""
    return np.bincount(2 * (labels == 0) + ~predicted, minlength=4)


def _group(
    grouping: str,
    name: str,
    labels: Labels,
    scores: Scores,
    confusion: NDArray[np.int64],
    drawn: NDArray[np.int64],
    favourable: int,
    *,
    compared: bool,
) -> GroupFairness:
    if labels.size < FEWEST_SHOWN:
        nothing = dict.fromkeys(("selection_rate", "tpr", "fpr", "auc", "calibration_gap"))
        return GroupFairness(grouping=grouping, name=name, n=labels.size, compared=compared, **nothing)
    gap = labels - scores
    error = float(gap.std() / np.sqrt(gap.size))
    mean = float(gap.mean())
    auc = None
    if 0 < int(labels.sum()) < labels.size:
        metrics = binary_metrics(labels, scores, seed=_SEED)
        auc = Interval(value=metrics.auc, low=metrics.auc_low, high=metrics.auc_high)
    return GroupFairness(
        grouping=grouping,
        name=name,
        n=labels.size,
        compared=compared,
        selection_rate=_rate(confusion, drawn, _SELECTED[favourable], _ALL),
        tpr=_rate(confusion, drawn, _PREDICTED, _POSITIVE) if confusion[_POSITIVE].any() else None,
        fpr=_rate(confusion, drawn, _PREDICTED, _NEGATIVE) if confusion[_NEGATIVE].any() else None,
        auc=auc,
        calibration_gap=Interval(value=mean, low=mean - _NORMAL_95 * error, high=mean + _NORMAL_95 * error),
    )


def _rate(
    confusion: NDArray[np.int64], drawn: NDArray[np.int64], counted: list[int], among: list[int]
) -> Interval:
    """A rate as it is, with percentiles of its smoothed resamples."""
    part = sorted(set(counted) & set(among))
    low, high = np.quantile(_smoothed(drawn, part, among), _QUANTILES)
    value = float(confusion[part].sum() / confusion[among].sum())
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def _rates(
    observed: NDArray[np.int64], resampled: NDArray[np.int64], counted: list[int], among: list[int]
) -> _Rates:
    part = sorted(set(counted) & set(among))
    rates = [_smoothed(counts, part, among) for counts in (observed, resampled)]
    variances = [
        rate * (1 - rate) / (counts[..., among].sum(axis=-1) + 1)
        for rate, counts in zip(rates, (observed, resampled), strict=True)
    ]
    return _Rates(*rates, *variances)


def _smoothed(counts: NDArray[Any], part: list[int], among: list[int]) -> NDArray[np.float64]:
    """(x + ½) / (n + 1) of the last axis of confusion counts."""
    rate: NDArray[np.float64] = (counts[..., part].sum(axis=-1) + 0.5) / (counts[..., among].sum(axis=-1) + 1)
    return rate


def _worst(rates: Sequence[_Rates]) -> Interval:
    """The largest difference between any two groups in any of the rates, with its simultaneous interval.

    For each ordered pair, the resampled difference lies off the observed one by so many of its own standard errors;
    the 95 % quantile of the most of them, over all pairs and rates, is how many any difference may be off.
    """
    observed = np.concatenate([_differences(each.observed) for each in rates], axis=-1)
    resampled = np.concatenate([_differences(each.resampled) for each in rates], axis=-1)
    error, resampled_error = (
        np.sqrt(np.concatenate([_sums(getattr(each, name)) for each in rates], axis=-1))
        for name in ("variance", "resampled_variance")
    )
    off = (np.abs(resampled - observed) / resampled_error).max(axis=1)
    reach = float(np.quantile(off, _CONFIDENCE)) * error
    # All ordered pairs are there, so the largest difference is never below 0, and its interval neither.
    return Interval(
        value=float(observed.max()),
        low=max(0.0, float((observed - reach).max())),
        high=float((observed + reach).max()),
    )


def _sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `_differences`, of sums."""
    first, second = np.nonzero(~np.eye(values.shape[-1], dtype=bool))
    return values[..., first] + values[..., second]


def _differences(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of all ordered pairs along the last axis: (…, G) gives (…, G(G − 1))."""
    first, second = np.nonzero(~np.eye(rates.shape[-1], dtype=bool))
    return rates[..., first] - rates[..., second]

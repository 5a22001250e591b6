"""Where on its ROC curve a model could be used, and what it is worth there.

Symbols used below:

    P, N  rows of label 1, of label 0        K  distinct scores, ascending
    s     the share that is kept, such as a specificity of 0.9

A threshold that keeps a specificity on some rows keeps another on others. So the points that are chosen on the test rows
themselves stand beside those whose thresholds were fixed before: the model's own, and the one that keeps the specificity on
the validation rows.
"""

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.metrics import Counts, Labels, Scores, counts_by_score, resampled
from platform_assets.validation.rates import rate

KEPT: Final = 0.9
"""The specificity, and the sensitivity, that are kept."""
_QUANTILES: Final = (0.025, 0.975)
_ROUNDING: Final = 1e-9
"""A tenth of ten rows is one row, whatever floats make of it."""


class OperatingPoint(BaseModel):
    """One threshold. A share that is kept has no interval: it is what was asked for, or the nearest above it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: str
    threshold: float | None
    """A score of at least this predicts label 1; None where no score does, as all keep too little."""
    sensitivity: float
    sensitivity_low: float | None = None
    sensitivity_high: float | None = None
    specificity: float
    specificity_low: float | None = None
    specificity_high: float | None = None


def operating_points(
    labels: Labels,
    scores: Scores,
    *,
    threshold: float,
    fixed: float | None,
    clusters: Clusters | None = None,
    seed: int,
) -> dict[str, JsonValue]:
    """`sensitivity_at_90_specificity`, `specificity_at_90_sensitivity`, and the table `operating_points`.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        threshold: The model's own.
        fixed: The one that keeps the specificity on other rows; None where there are none.
        clusters: Which rows depend on each other; none do if None.
        seed: Of the resampling.

    Raises:
        ValidationError: As `roc_auc`.
    """
    at_specificity = _kept("specificity", labels, scores, clusters, seed)
    at_sensitivity = _kept("sensitivity", labels, scores, clusters, seed)
    points = [
        at_specificity,
        at_sensitivity,
        _given("the model's threshold", labels, scores, threshold, clusters),
    ]
    if fixed is not None:
        name = f"{KEPT:.0%} specificity on validation rows"
        points.append(_given(name, labels, scores, fixed, clusters))
    return {
        "sensitivity_at_90_specificity": at_specificity.sensitivity,
        "specificity_at_90_sensitivity": at_sensitivity.specificity,
        "operating_points": [each.model_dump(mode="json") for each in points],
    }


def threshold_at_specificity(labels: Labels, scores: Scores, kept: float = KEPT) -> float | None:
    """The lowest score that, taken as threshold, keeps this specificity; None where none does.

    Raises:
        ValidationError: As `roc_auc`.
    """
    distinct, _, negatives = counts_by_score(labels, scores)
    keeps = _from(negatives) <= (1 - kept) * negatives.sum() + _ROUNDING
    return float(distinct[np.argmax(keeps)]) if keeps.any() else None


def threshold_at_sensitivity(labels: Labels, scores: Scores, kept: float = KEPT) -> float:
    """The highest score that, taken as threshold, keeps this sensitivity; the lowest one always does.

    Raises:
        ValidationError: As `roc_auc`.
    """
    distinct, positives, _ = counts_by_score(labels, scores)
    keeps = _from(positives) >= kept * positives.sum() - _ROUNDING
    return float(distinct[np.flatnonzero(keeps)[-1]])


def sensitivity_at(positives: Counts, negatives: Counts, *, specificity: float) -> NDArray[np.float64]:
    """The largest sensitivity of all thresholds that keep this specificity; (…, K) gives (…).

    Args:
        positives: Rows of label 1 at each distinct score, ascending.
        negatives: Rows of label 0 there.
        specificity: 0 … 1.
    """
    keeps = _from(negatives) <= (1 - specificity) * negatives.sum(axis=-1, keepdims=True) + _ROUNDING
    found: NDArray[np.float64] = np.where(keeps, _from(positives), 0).max(axis=-1) / positives.sum(axis=-1)
    return found


def specificity_at(positives: Counts, negatives: Counts, *, sensitivity: float) -> NDArray[np.float64]:
    """The largest specificity of all thresholds that keep this sensitivity; (…, K) gives (…).

    Args:
        positives: Rows of label 1 at each distinct score, ascending.
        negatives: Rows of label 0 there.
        sensitivity: 0 … 1.
    """
    keeps = _from(positives) >= sensitivity * positives.sum(axis=-1, keepdims=True) - _ROUNDING
    total = negatives.sum(axis=-1)
    found: NDArray[np.float64] = (
        total - np.where(keeps, _from(negatives), total[..., None]).min(axis=-1)
    ) / total
    return found


def _from(counts: Counts) -> Counts:
    """Rows at each score or above it; (…, K)."""
    above: Counts = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    return above


def _kept(what: str, labels: Labels, scores: Scores, clusters: Clusters | None, seed: int) -> OperatingPoint:
    """The point that keeps a specificity, or a sensitivity, of `KEPT` on these rows."""
    is_specificity = what == "specificity"
    statistic = (
        partial(sensitivity_at, specificity=KEPT)
        if is_specificity
        else partial(specificity_at, sensitivity=KEPT)
    )
    threshold = (
        threshold_at_specificity(labels, scores)
        if is_specificity
        else threshold_at_sensitivity(labels, scores)
    )
    drawn, _ = resampled(labels, scores, statistic, clusters=clusters, seed=seed)
    low, high = (float(end) for end in np.quantile(drawn, _QUANTILES))
    predicted = np.zeros(labels.size, bool) if threshold is None else scores >= threshold
    sensitivity = float(predicted[labels == 1].mean())
    specificity = float((~predicted[labels == 0]).mean())
    ends = (
        {"sensitivity_low": min(low, sensitivity), "sensitivity_high": max(high, sensitivity)}
        if is_specificity
        else {"specificity_low": min(low, specificity), "specificity_high": max(high, specificity)}
    )
    return OperatingPoint(
        point=f"{KEPT:.0%} {what}",
        threshold=threshold,
        sensitivity=sensitivity,
        specificity=specificity,
        **ends,
    )


def _given(
    name: str, labels: Labels, scores: Scores, threshold: float, clusters: Clusters | None
) -> OperatingPoint:
    """What a threshold that was fixed before is worth on these rows."""
    positive = labels == 1
    found = rate(scores[positive] >= threshold, clusters.of(positive) if clusters else None)
    left = rate(scores[~positive] < threshold, clusters.of(~positive) if clusters else None)
    assert found is not None
    assert left is not None
    return OperatingPoint(
        point=name,
        threshold=threshold,
        sensitivity=found.value,
        sensitivity_low=found.low,
        sensitivity_high=found.high,
        specificity=left.value,
        specificity_low=left.low,
        specificity_high=left.high,
    )

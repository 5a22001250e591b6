"""Measures that a score is judged by where it decides about people: separation, stability, calibration, lift.

Symbols used below:

    n     rows                        s     scores: probabilities of label 1
    P, N  positive, negative rows     q_i, p_i  share of reference and of current rows in bin i of B
"""

from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import FEWEST_CLUSTERS, Labels, Scores, roc_auc, roc_curve

PSI_BINS: Final = 10
LIFT_SHARE: Final = 0.1
_NORMAL_95: Final = 1.959963984540054
_LEAST_PROBABILITY: Final = 1e-6
"""A score of exactly 0 or 1 has no log-odds."""
_MOST_STEPS: Final = 50
_SETTLED: Final = 1e-10


class Interval(BaseModel):
    """An estimate with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


class Stability(BaseModel):
    """How far the distribution of current values has moved from the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    psi: float
    by_chance: float
    """What the index exceeds in one of twenty samples of these sizes from one distribution."""
    bins: int
    n_reference: int
    n_current: int


class Calibration(BaseModel):
    """Whether scores are probabilities: slope 1 and intercept 0 where they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: Interval
    """Below 1 where scores are too extreme, as of a model that has learnt its training rows by heart."""
    intercept: Interval
    """Above 0 where label 1 is more frequent than the scores say, on the scale of log-odds."""


def scorecard(
    labels: Labels, scores: Scores, reference: Scores, clusters: Clusters | None = None
) -> dict[str, JsonValue]:
    """How a score separates, how stable and how honest it is: figures, and the sections `stability` and `calibration`.

    A section is None, and `psi` is not there, where it cannot be measured.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        reference: Scores of the rows that these are compared with, shape (m,).
        clusters: Which rows depend on each other; none do if None.

    Raises:
        ValidationError: as `roc_auc`.
    """
    figures: dict[str, JsonValue] = {
        "ks": ks_separation(labels, scores),
        "gini": gini(labels, scores),
        "lift": lift(labels, scores),
    }
    stability, calibrated = None, None
    with suppress(ValidationError):
        stability = population_stability(reference, scores)
        figures["psi"] = stability.psi
    with suppress(ValidationError):
        calibrated = calibration(labels, scores, clusters)
    return {
        **figures,
        "stability": stability.model_dump(mode="json") if stability else None,
        "calibration": calibrated.model_dump(mode="json") if calibrated else None,
    }


def ks_separation(labels: Labels, scores: Scores) -> float:
    """The largest gap between the distributions of the scores of both labels (0 … 1); where a cut tells most apart.

    Raises:
        ValidationError: as `roc_auc`.
    """
    false, true = roc_curve(labels, scores)
    return float(np.abs(true - false).max())


def gini(labels: Labels, scores: Scores) -> float:
    """2 AUC − 1: 0 is chance, 1 is perfect (Somers' D of scores and labels).

    Raises:
        ValidationError: as `roc_auc`.
    """
    return 2 * roc_auc(labels, scores) - 1


def population_stability(reference: Scores, current: Scores, *, bins: int = PSI_BINS) -> Stability:
    """PSI = Σ (p_i − q_i) ln(p_i / q_i) over quantile bins of the reference.

    Half a row is added to each bin, so that an empty one leaves the index finite. Of two samples from one distribution
    PSI / (1/n + 1/m) is about χ² of B − 1 degrees of freedom (Yurdakul & Naranjo 2020): the usual bounds of 0.1 and
    0.25 mean little below some hundred rows, and `by_chance` says so.

    Args:
        reference: Finite values, shape (n,).
        current: Finite values, shape (m,).
        bins: As many, or fewer where values repeat.

    Raises:
        ValidationError: a side is empty or has values that are not finite, or the reference has one value only.
    """
    from scipy.stats import chi2

    for name, values in (("the reference", reference), ("the current rows", current)):
        if not values.size or not np.isfinite(values).all():
            raise ValidationError(f"PSI: {name} must hold values, all of them finite ({values.size} rows)")
    edges = np.unique(np.quantile(reference, np.arange(1, bins) / bins, method="inverted_cdf"))
    edges = edges[edges < reference.max()]
    if not edges.size:
        raise ValidationError(f"PSI: all {reference.size} reference rows have one value, which makes one bin")
    q, p = (_shares(values, edges) for values in (reference, current))
    return Stability(
        psi=float(((p - q) * np.log(p / q)).sum()),
        by_chance=float(chi2.ppf(0.95, edges.size) * (1 / reference.size + 1 / current.size)),
        bins=edges.size + 1,
        n_reference=reference.size,
        n_current=current.size,
    )


def _shares(values: Scores, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each bin, smoothed; a bin holds its upper edge."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=edges.size + 1) + 0.5
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def calibration(labels: Labels, scores: Scores, clusters: Clusters | None = None) -> Calibration:
    """Cox's recalibration: logit P(label 1) = intercept + slope · logit s, fitted to these rows.

    The slope is fitted with an intercept of its own; the intercept with a slope of 1, so that it tells of the mean alone
    (Van Calster et al. 2016). Intervals are Wald's; where rows depend on each other, of the variance of whole clusters (Liang &
    Zeger 1986), as long as there are `FEWEST_CLUSTERS` of them.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        clusters: Which rows depend on each other; none do if None.

    Raises:
        ValidationError: as `roc_auc`; or the scores tell the labels apart perfectly, or are all equal, so that no slope
            fits best.
    """
    roc_auc(labels, scores)
    clipped = np.clip(scores, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    log_odds = np.log(clipped / (1 - clipped))
    if np.ptp(log_odds) == 0:
        raise ValidationError(f"calibration: all {scores.size} scores are equal, so no slope fits best")
    ones = np.ones_like(log_odds)
    (_, slope), (_, slope_error) = _fitted(
        np.stack([ones, log_odds], axis=1), np.zeros_like(log_odds), labels, clusters
    )
    (intercept,), (intercept_error,) = _fitted(ones[:, None], log_odds, labels, clusters)
    return Calibration(slope=_wald(slope, slope_error), intercept=_wald(intercept, intercept_error))


def _fitted(
    design: NDArray[np.float64], offset: NDArray[np.float64], labels: Labels, clusters: Clusters | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients of a logistic regression, and their standard errors, by Newton's method."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(_MOST_STEPS):
        p = 1 / (1 + np.exp(-np.clip(offset + design @ coefficients, -40, 40)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (labels - p))
        except np.linalg.LinAlgError:
            break
        coefficients = coefficients + step
        if np.abs(step).max() < _SETTLED:
            covariance = np.asarray(np.linalg.inv(information), np.float64)
            if clusters is not None:
                covariance = _of_clusters(covariance, design * (labels - p)[:, None], clusters)
            return coefficients, np.sqrt(np.diag(covariance))
    raise ValidationError(
        f"calibration: no slope fits best, for the scores of {labels.size} rows separate their labels perfectly"
    )


def _of_clusters(
    covariance: NDArray[np.float64], pulls: NDArray[np.float64], clusters: Clusters
) -> NDArray[np.float64]:
    """The covariance of coefficients as whole clusters show it; that of rows where each is by itself, or clusters are few.

    Args:
        covariance: Of coefficients, if rows did not depend on each other.
        pulls: Of each row on each coefficient, shape (n, coefficients).
        clusters: Which rows depend on each other.
    """
    distinct, codes = np.unique(clusters.codes, return_inverse=True)
    if distinct.size == codes.size or distinct.size < FEWEST_CLUSTERS:
        return covariance
    sums = np.stack([np.bincount(codes, each) for each in pulls.T], axis=1)
    found: NDArray[np.float64] = (
        distinct.size / (distinct.size - 1) * (covariance @ (sums.T @ sums) @ covariance)
    )
    return found


def _wald(value: float, error: float) -> Interval:
    return Interval(
        value=float(value), low=float(value - _NORMAL_95 * error), high=float(value + _NORMAL_95 * error)
    )


def lift(labels: Labels, scores: Scores, *, share: float = LIFT_SHARE) -> float:
    """How many times the average share of label 1 stands among the highest-scored rows.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Shape (n,). Of rows with equal scores at the cut, each counts by the same fraction.
        share: Of rows that are highest, between 0 and 1.

    Raises:
        ValidationError: as `roc_auc`.
    """
    rows, caught = gains_curve(labels, scores)
    return float(np.interp(share, rows, caught)) / share


def gains_curve(labels: Labels, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of rows, the highest-scored first, and share of label 1 among them, from (0, 0) to (1, 1).

    Raises:
        ValidationError: as `roc_auc`.
    """
    false, true = roc_curve(labels, scores)
    positive = float(np.mean(labels))
    return false * (1 - positive) + true * positive, true

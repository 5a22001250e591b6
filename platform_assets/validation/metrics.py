"""Metrics of a binary classifier, each with the number of rows that it stands on.

Symbols used below:

    n     rows                        K  distinct scores, ascending
    P, N  positive, negative rows     B  bootstrap resamples
    G     clusters of rows that depend on each other

An interval tells how far a figure would stray in other samples of this size. Rows of one patient, or of one block of
neighbours, stray together; drawn one by one they would pretend to be as many independent ones, and the interval would be
too narrow. So they are drawn together (the cluster bootstrap of Rutter 2000, Academic Radiology 7:413), as long as there
are `FEWEST_CLUSTERS` of each class to draw from; with fewer its spread is itself a matter of chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.errors import ValidationError

Labels: TypeAlias = NDArray[np.integer[Any]]
Scores: TypeAlias = NDArray[np.float64]

Counts: TypeAlias = NDArray[np.int64]
"""Rows at each distinct score, ascending; shape (…, K)."""

ROWS: Final = "rows"
"""What an interval is made of where no rows are known to depend on each other."""
FEWEST_CLUSTERS: Final = 5
"""Of either class, so that clusters can be drawn instead of rows: with so few, 90 % intervals still cover 82 % (ADR 0062)."""
MIN_SLICE_ROWS: Final = 50
"""Below this an AUC's interval is so wide that the number misleads more than it tells."""

_RESAMPLED_CELLS: Final = 1 << 20
"""Rows drawn at a time: bounds the bootstrap's memory at some tens of MB, whatever n and B are."""


class BinaryMetrics(BaseModel):
    """How well scores separate and predict the labels of one set of rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    positives: int
    auc: float
    auc_low: float
    auc_high: float
    confidence: float
    """Coverage of `auc_low` to `auc_high`, such as 0.95."""
    resampled: str = ROWS
    """What the interval was made of, for people: `26 blocks of neighbours` that were drawn whole, or rows, each by itself."""
    pr_auc: float
    """Average precision: the step-wise area, without interpolation."""
    accuracy: float
    f1: float
    ece: float
    """Expected calibration error over 15 bins of equal width (0 … 1)."""
    brier: float
    threshold: float
    """A score of at least this predicts label 1, for `accuracy` and `f1`."""


class Slice(BaseModel):
    """The metrics of one part of the rows, or the reason why there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    n: int
    metrics: BinaryMetrics | None
    not_measured_because: str | None


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Predicted against observed share of positives, for the bins that hold rows; each array (bins,)."""

    mean_score: Scores
    positive_share: NDArray[np.float64]
    n: NDArray[np.int64]

    @property
    def expected_calibration_error(self) -> float:
        """ECE after Naeini et al. 2015: the gap between score and share, weighted by rows."""
        return float(np.average(np.abs(self.positive_share - self.mean_score), weights=self.n))


def binary_metrics(
    labels: Labels,
    scores: Scores,
    *,
    threshold: float = 0.5,
    clusters: Clusters | None = None,
    bootstrap_samples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> BinaryMetrics:
    """The metrics of probabilities against labels, with a bootstrap interval for the AUC.

    The interval is the percentile interval over stratified resamples. Where the scores separate the
    classes perfectly no resample can do worse, so it shrinks to the single point 1.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, 0 … 1, shape (n,).
        threshold: A score of at least this predicts label 1.
        clusters: Which rows depend on each other; none do if None.
        bootstrap_samples: Number of resamples B.
        confidence: Coverage of the interval, between 0 and 1.
        seed: Of the resampling.

    Raises:
        ValidationError: The rows cannot be measured: lengths differ, none, scores that are not
            probabilities, labels other than 0 and 1, or one class only.
    """
    _check(labels, scores)
    if outside := np.count_nonzero((scores < 0) | (scores > 1)):
        raise ValidationError(
            f"{outside} of {scores.size} scores lie outside 0 … 1: hand in probabilities, not logits"
        )
    codes, resampled = _drawn_by(labels, clusters)
    aucs = _resampled_aucs(labels, [scores], codes, samples=bootstrap_samples, seed=seed)
    auc_low, auc_high = np.quantile(aucs[0], [(1 - confidence) / 2, (1 + confidence) / 2])
    predicted, actual = scores >= threshold, labels == 1
    true_positives = np.count_nonzero(predicted & actual)
    return BinaryMetrics(
        n=labels.size,
        positives=np.count_nonzero(actual),
        auc=roc_auc(labels, scores),
        auc_low=float(auc_low),
        auc_high=float(auc_high),
        confidence=confidence,
        resampled=resampled,
        pr_auc=_average_precision(labels, scores),
        accuracy=float(np.mean(predicted == actual)),
        f1=2 * true_positives / (np.count_nonzero(predicted) + np.count_nonzero(actual)),
        ece=reliability_curve(labels, scores).expected_calibration_error,
        brier=float(np.mean((scores - labels) ** 2)),
        threshold=threshold,
    )


def measure_slice(
    name: str,
    labels: Labels,
    scores: Scores,
    *,
    threshold: float = 0.5,
    clusters: Clusters | None = None,
    bootstrap_samples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> Slice:
    """The metrics of a slice; for one that is too small or has one class only, the reason instead.

    Raises:
        ValidationError: As `binary_metrics`, for a slice that is large enough and has two labels.
    """
    n, positives = labels.size, np.count_nonzero(labels)
    because = None
    if n < MIN_SLICE_ROWS:
        because = f"{n} rows, at least {MIN_SLICE_ROWS} are needed"
    elif positives in (0, n):
        because = f"all {n} rows have the label {labels[0]}, AUC needs both"
    if because is not None:
        return Slice(name=name, n=n, metrics=None, not_measured_because=because)
    metrics = binary_metrics(
        labels,
        scores,
        threshold=threshold,
        clusters=clusters,
        bootstrap_samples=bootstrap_samples,
        confidence=confidence,
        seed=seed,
    )
    return Slice(name=name, n=n, metrics=metrics, not_measured_because=None)


def roc_auc(labels: Labels, scores: Scores) -> float:
    """The chance that a random positive row scores above a random negative one, ties counting half.

    This is the Mann-Whitney statistic over P·N pairs (Hanley & McNeil 1982) and equals the area under
    `roc_curve` (Fawcett 2006). It is counted in integers, so no order of rows can change it.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Any finite numbers, higher meaning label 1, shape (n,).

    Raises:
        ValidationError: Lengths differ, no rows, non-finite scores, odd labels, or one class only.
    """
    _check(labels, scores)
    return float(_auc_of_counts(*_counts_by_score(labels, scores)))


def paired_auc_difference(
    labels: Labels,
    scores_a: Scores,
    scores_b: Scores,
    *,
    clusters: Clusters | None = None,
    bootstrap_samples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> tuple[float, float, float]:
    """AUC of `scores_a` minus AUC of `scores_b`, with the low and high end of its bootstrap interval.

    Each resample draws the same rows for both, so what makes a row hard for both cancels: the interval
    is narrower than two separate ones suggest.

    Raises:
        ValidationError: As `roc_auc`, for either score.
    """
    difference = roc_auc(labels, scores_a) - roc_auc(labels, scores_b)
    codes, _ = _drawn_by(labels, clusters)
    a, b = _resampled_aucs(labels, [scores_a, scores_b], codes, samples=bootstrap_samples, seed=seed)
    low, high = np.quantile(a - b, [(1 - confidence) / 2, (1 + confidence) / 2])
    return difference, float(low), float(high)


def resampled(
    labels: Labels,
    scores: Scores,
    statistic: Callable[[Counts, Counts], NDArray[np.float64]],
    *,
    clusters: Clusters | None = None,
    bootstrap_samples: int = 1000,
    seed: int,
) -> tuple[NDArray[np.float64], str]:
    """A statistic of the ROC curve on stratified resamples, shape (B,), and what these were made of, for people.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Any finite numbers, higher meaning label 1, shape (n,).
        statistic: Of the rows of label 1 and of label 0 at each distinct score; (…, K) gives (…).
        clusters: Which rows depend on each other; none do if None.
        bootstrap_samples: Number of resamples B.
        seed: Of the resampling.

    Raises:
        ValidationError: As `roc_auc`.
    """
    _check(labels, scores)
    codes, made_of = _drawn_by(labels, clusters)
    (found,) = _resampled(labels, [scores], codes, statistic, samples=bootstrap_samples, seed=seed)
    return found, made_of


def counts_by_score(labels: Labels, scores: Scores) -> tuple[Scores, Counts, Counts]:
    """The distinct scores, ascending, and the rows of label 1 and of label 0 at each of them; each (K,).

    Raises:
        ValidationError: As `roc_auc`.
    """
    _check(labels, scores)
    return np.unique(scores), *_counts_by_score(labels, scores)


def roc_curve(labels: Labels, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at each distinct threshold, from (0, 0) to (1, 1); each (K + 1,).

    Raises:
        ValidationError: As `roc_auc`.
    """
    _check(labels, scores)
    positives, negatives = _counts_by_score(labels, scores)
    true, false = (np.concatenate([[0], np.cumsum(counts[::-1])]) for counts in (positives, negatives))
    return false / false[-1], true / true[-1]


def reliability_curve(labels: Labels, scores: Scores, *, bins: int = 15) -> ReliabilityCurve:
    """Mean score, share of positives and rows of each of `bins` equal-width bins that holds rows.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, 0 … 1, shape (n,).
        bins: Number of bins over 0 … 1; the upper edge 1 belongs to the last one.
    """
    bin_of_row = np.minimum((scores * bins).astype(np.int64), bins - 1)
    n = np.bincount(bin_of_row, minlength=bins)
    held = n > 0
    n = n[held]
    return ReliabilityCurve(
        mean_score=np.bincount(bin_of_row, weights=scores, minlength=bins)[held] / n,
        positive_share=np.bincount(bin_of_row, weights=labels, minlength=bins)[held] / n,
        n=n,
    )


def _check(labels: Labels, scores: Scores) -> None:
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValidationError(
            f"labels {labels.shape} and scores {scores.shape} must be one-dimensional and of one length"
        )
    if not labels.size:
        raise ValidationError("there are no rows to measure")
    if not_finite := np.count_nonzero(~np.isfinite(scores)):
        raise ValidationError(f"{not_finite} of {scores.size} scores are NaN or infinite")
    if odd := np.count_nonzero((labels != 0) & (labels != 1)):
        raise ValidationError(f"{odd} of {labels.size} labels are neither 0 nor 1")
    positives = np.count_nonzero(labels)
    if positives in (0, labels.size):
        raise ValidationError(
            f"AUC needs both classes: {positives} positive and {labels.size - positives} negative rows"
        )


def _counts_by_score(labels: Labels, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positive and negative rows at each distinct score, ascending; each (K,)."""
    distinct, ranks = np.unique(scores, return_inverse=True)
    positives = np.bincount(ranks[labels == 1], minlength=distinct.size)
    return positives, np.bincount(ranks, minlength=distinct.size) - positives


def _auc_of_counts(positives: NDArray[np.int64], negatives: NDArray[np.int64]) -> NDArray[np.float64]:
    """AUC from rows by class at each distinct score; (…, K) gives (…)."""
    # Doubled, because a tie is half a win: this way all sums stay integers.
    doubled_wins = positives * (2 * np.cumsum(negatives, axis=-1) - negatives)
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    auc: NDArray[np.float64] = doubled_wins.sum(axis=-1) / (2 * pairs)
    return auc


def _average_precision(labels: Labels, scores: Scores) -> float:
    """Precision at each threshold, weighted by the recall that the threshold adds."""
    positives, negatives = (counts[::-1] for counts in _counts_by_score(labels, scores))
    precision = np.cumsum(positives) / np.cumsum(positives + negatives)
    return float(np.average(precision, weights=positives))


def _drawn_by(labels: Labels, clusters: Clusters | None) -> tuple[NDArray[np.int64] | None, str]:
    """Number of each row's cluster, 0 … G − 1, shape (n,), and what that is for people; None where rows are drawn."""
    if clusters is None:
        return None, ROWS
    if clusters.codes.shape != labels.shape:
        raise ValidationError(f"{labels.size} rows have the clusters of {clusters.codes.size}")
    distinct, codes = np.unique(clusters.codes, return_inverse=True)
    if distinct.size == labels.size:
        return None, ROWS
    fewest = min(np.unique(codes[labels == label]).size for label in (0, 1))
    if fewest < FEWEST_CLUSTERS:
        return None, f"{ROWS}, as {fewest} {clusters.unit} of one label are too few to be drawn"
    return codes, f"{distinct.size} {clusters.unit}"


def _resampled_aucs(
    labels: Labels,
    scores: Sequence[Scores],
    clusters: NDArray[np.int64] | None,
    *,
    samples: int,
    seed: int,
) -> NDArray[np.float64]:
    """AUC of each of the `scores` on the same stratified resamples; (len(scores), B)."""
    return _resampled(labels, scores, clusters, _auc_of_counts, samples=samples, seed=seed)


def _resampled(
    labels: Labels,
    scores: Sequence[Scores],
    clusters: NDArray[np.int64] | None,
    statistic: Callable[[Counts, Counts], NDArray[np.float64]],
    *,
    samples: int,
    seed: int,
) -> NDArray[np.float64]:
    """A statistic of each of the `scores` on the same stratified resamples; (len(scores), B).

    Scores are ranked once. A resample only changes how many rows of each class stand at each rank,
    and the statistic follows from those counts without sorting again.
    """
    rng = np.random.default_rng(seed)
    classes = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    ranked = [np.unique(one, return_inverse=True) for one in scores]
    found = np.empty((len(scores), samples))
    chunk = max(1, _RESAMPLED_CELLS // labels.size)
    if clusters is not None:
        held = np.stack([np.bincount(clusters, labels == label) > 0 for label in (1, 0)])
        strata = _strata(held)
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        if clusters is None:
            drawn = [rows[rng.integers(rows.size, size=(size, rows.size))] for rows in classes]
            counted = [
                [_counts_by_row(ranks[rows], distinct.size) for rows in drawn] for distinct, ranks in ranked
            ]
        else:
            times = _times_drawn(rng, held, strata, size)
            counted = [
                [
                    _counts_by_row(np.tile(ranks[rows], (size, 1)), distinct.size, times[:, clusters[rows]])
                    for rows in classes
                ]
                for distinct, ranks in ranked
            ]
        for one, (positives, negatives) in enumerate(counted):
            found[one, start : start + size] = statistic(positives, negatives)
    return found


def _strata(held: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Clusters that are drawn apart: those of label 1 alone, of label 0 alone, and of both.

    Fewer than `FEWEST_CLUSTERS` of a kind would hardly vary, and one not at all, were it half of all rows. They are drawn
    together with those of both, and few of both with those of one.

    Args:
        held: Whether each cluster has rows of label 1, and of label 0; shape (2, G).
    """
    joined, apart = held.all(axis=0), []
    for kind in held & ~joined:
        if 0 < np.count_nonzero(kind) < FEWEST_CLUSTERS:
            joined = joined | kind
        else:
            apart.append(kind)
    if 0 < np.count_nonzero(joined) < FEWEST_CLUSTERS:
        joined = joined | apart.pop()
    return [np.flatnonzero(kind) for kind in (*apart, joined) if kind.any()]


def _times_drawn(
    rng: np.random.Generator, held: NDArray[np.bool_], strata: Sequence[NDArray[np.int64]], size: int
) -> NDArray[np.int64]:
    """How often each cluster is drawn in each of `size` resamples, from each stratum as many as it has; (size, G)."""
    times = np.zeros((size, held.shape[1]), np.int64)
    for each in strata:
        times[:, each] = _counts_by_row(rng.integers(each.size, size=(size, each.size)), each.size)
    for of_class in held:
        # One in a million: it has no AUC, and those that were measured stand in for it.
        times[~(times[:, of_class] > 0).any(axis=1)] = 1
    return times


def _counts_by_row(
    ranks: NDArray[np.int64], distinct: int, times: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """How often each rank occurs in each row, each of its places counting so many `times`: (C, m) gives (C, K)."""
    offsets = distinct * np.arange(len(ranks))[:, None]
    weights = None if times is None else times.ravel()
    counts = np.bincount((ranks + offsets).ravel(), weights, minlength=distinct * len(ranks))
    return counts.reshape(len(ranks), distinct).astype(np.int64, copy=False)

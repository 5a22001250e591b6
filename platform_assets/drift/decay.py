"""Concept drift: how fast a model loses what it could once tell, from labels that came later.

Symbols used below:

    t_i    day of the i-th measured day, counted from the first     A_i    its AUC
    m, n   positive, negative rows of a day                         k      measured days
    V10    how often a positive row scores above a random negative one; its variance over rows is S10
    V01    the same of a negative row below a random positive one; S01
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.compaction import of_day
from platform_assets.drift.segments import segment_keys
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import Labels, Scores, roc_auc
from resources.object_store import ObjectStore

if TYPE_CHECKING:
    import pyarrow as pa

MIN_CLASS_ROWS: Final = 10
"""A day with fewer labelled rows of either class is left out: its AUC says next to nothing."""
MIN_DAYS: Final = 3
"""Two points always lie on a line."""


@dataclass(frozen=True, slots=True)
class LabelledDay:
    """The answers of one model version on one UTC day whose labels are known."""

    day: date
    labels: Labels
    """0 or 1, shape (rows,)."""
    scores: Scores
    """Shape (rows,)."""


@dataclass(frozen=True, slots=True)
class DayAuc:
    """The AUC of one day, and the variance that its rows give it."""

    day: date
    auc: float
    variance: float
    positives: int
    negatives: int


@dataclass(frozen=True, slots=True)
class Slope:
    """Change of the AUC a day, with its interval; negative where the model decays."""

    per_day: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DecayRate:
    """The slope of the AUC, or the reason why there is none."""

    slope: Slope | None
    confidence: float
    """Coverage of the intervals, such as 0.95."""
    days: tuple[DayAuc, ...]
    left_out: dict[date, str]
    """Days that were not measured, and why."""
    not_measured_because: str | None

    @property
    def decays(self) -> bool:
        """Whether the whole interval lies below 0; not so where nothing could be measured."""
        return self.slope is not None and self.slope.high < 0


def model_decay_rate(days: Sequence[LabelledDay], *, confidence: float = 0.95) -> DecayRate:
    """The slope of the AUC over days, by weighted least squares, with its confidence interval.

    A day weighs 1 / variance of its AUC. That variance is DeLong's, S10/m + S01/n (DeLong, DeLong &
    Clarke-Pearson 1988, equation 4 for one curve), with S10 and S01 pooled over the days: a day's own ones
    would give a lucky day more weight, and one that happens to separate perfectly all of it. The slope has
    the variance 1 / Σ w (t − t̄)² (Aitken 1935). Where days scatter more than their rows explain, it is
    multiplied by χ² / (k − 2) (Birge 1932), and the interval is Student's with k − 2 degrees of freedom, as that
    factor is estimated from few days: so a bad week is not taken for a trend.

    Args:
        days: Each with its labels and scores; a day that cannot be measured is left out, with the reason.
        confidence: Coverage of the interval, between 0 and 1.
    """
    left_out: dict[date, str] = {}
    measured: list[tuple[date, float]] = []
    v10: list[NDArray[np.float64]] = []
    v01: list[NDArray[np.float64]] = []
    for day in sorted(days, key=lambda each: each.day):
        try:
            auc = roc_auc(day.labels, day.scores)
        except ValidationError as problem:
            left_out[day.day] = str(problem)
            continue
        positives = int(np.count_nonzero(day.labels))
        if min(positives, day.labels.size - positives) < MIN_CLASS_ROWS:
            left_out[day.day] = (
                f"{positives} positive and {day.labels.size - positives} negative rows are labelled, "
                f"at least {MIN_CLASS_ROWS} of each are needed"
            )
            continue
        measured.append((day.day, auc))
        of_positives, of_negatives = _placements(day.labels, day.scores)
        v10.append(of_positives)
        v01.append(of_negatives)
    s10, s01 = _pooled_variance(v10), _pooled_variance(v01)
    aucs = tuple(
        DayAuc(day, auc, s10 / above.size + s01 / below.size, above.size, below.size)
        for (day, auc), above, below in zip(measured, v10, v01, strict=True)
    )
    because = None
    if len(aucs) < MIN_DAYS:
        because = f"{len(aucs)} days could be measured, at least {MIN_DAYS} are needed"
    elif aucs[0].variance == 0:
        because = (
            "on every day the scores separate the labels perfectly, so nothing is known about their error"
        )
    if because is not None:
        return DecayRate(None, confidence, aucs, left_out, because)
    return DecayRate(_slope(aucs, confidence), confidence, aucs, left_out, None)


def labelled_days(
    store: ObjectStore, *, env: str, line: str, newest_days: int = 30
) -> dict[int, list[LabelledDay]]:
    """The labelled events of the newest days that have any, by model version.

    An event whose label was told more than once counts once, with the last label.
    """
    found: dict[int, list[LabelledDay]] = {}
    segments = segment_keys(store, "labels", env=env, line=line)
    for day in sorted(segments)[-newest_days:]:
        parts = of_day(store, "labels", env=env, line=line, day=day, made=list)
        for version, labels, scores in _of_versions(parts):
            found.setdefault(version, []).append(LabelledDay(day, labels, scores))
    return found


def _of_versions(parts: "list[pa.Table]") -> Iterator[tuple[int, Labels, Scores]]:
    import pyarrow as pa

    if not parts:
        return
    rows = pa.concat_tables(parts)
    version, event_id, label, score = (
        rows[name].to_numpy() for name in ("model_version", "event_id", "label", "score")
    )
    for each in np.unique(version):
        chosen = np.flatnonzero(version == each)
        # Turned round, the first occurrence that `unique` finds is the last one told.
        _, last = np.unique(event_id[chosen][::-1], return_index=True)
        chosen = chosen[::-1][last]
        yield int(each), label[chosen].astype(np.int64), score[chosen]


def _placements(labels: Labels, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """V10 of each positive row, (m,), and V01 of each negative row, (n,); ties count half."""
    positives, negatives = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    v10 = (np.searchsorted(negatives, positives) + np.searchsorted(negatives, positives, "right")) / 2
    v01 = (np.searchsorted(positives, negatives) + np.searchsorted(positives, negatives, "right")) / 2
    return v10 / negatives.size, 1 - v01 / positives.size


def _pooled_variance(samples: Sequence[NDArray[np.float64]]) -> float:
    """Variance within the samples, each about its own mean."""
    freedom = sum(each.size - 1 for each in samples)
    squares = math.fsum(float(((each - each.mean()) ** 2).sum()) for each in samples)
    return squares / freedom if freedom else 0.0


def _slope(aucs: Sequence[DayAuc], confidence: float) -> Slope:
    from scipy.special import stdtrit

    days = np.array([(each.day - aucs[0].day).days for each in aucs], np.float64)
    auc = np.array([each.auc for each in aucs])
    weight = 1 / np.array([each.variance for each in aucs])
    centred = days - np.average(days, weights=weight)
    spread = float((weight * centred**2).sum())
    slope = float((weight * centred * auc).sum()) / spread
    residuals = auc - np.average(auc, weights=weight) - slope * centred
    birge = float((weight * residuals**2).sum()) / (len(aucs) - 2)
    quantile = (1 + confidence) / 2
    if birge > 1:
        half = float(stdtrit(len(aucs) - 2, quantile)) * math.sqrt(birge / spread)
    else:
        half = NormalDist().inv_cdf(quantile) / math.sqrt(spread)
    return Slope(slope, slope - half, slope + half)

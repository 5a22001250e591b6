"""How a model does on parts of the rows, such as the images of one view, as far as so many rows can tell.

A part of few rows, or of few patients, is shown and not judged: an interval that is made of few clusters is too narrow
(`metrics`). A rule decides on the end of an interval that speaks for the model, so it fails
what chance does not explain: a part that stands exactly at the bound fails in one of forty.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.fairness import FEWEST_SHOWN
from platform_assets.validation.metrics import ROWS, Labels, Scores, binary_metrics
from platform_assets.validation.rates import rate
from platform_assets.validation.scorecard import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN: Final = "unknown"
"""The part of rows that do not say."""


class Part(BaseModel):
    """One part of the rows. Figures are None of fewer than `FEWEST_SHOWN` people, as they would tell of single ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slice: str
    """`view_position: PA`."""
    n: int
    positives: int | None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    sensitivity: float | None = None
    sensitivity_low: float | None = None
    sensitivity_high: float | None = None
    specificity: float | None = None
    specificity_low: float | None = None
    specificity_high: float | None = None
    not_judged_because: str | None = None
    """None where a rule decides on it."""


def parts(
    labels: Labels,
    scores: Scores,
    groupings: "Mapping[str, NDArray[np.object_]]",
    *,
    threshold: float,
    min_rows: int,
    min_of_label: int,
    clusters: Clusters | None = None,
    seed: int,
) -> tuple[Part, ...]:
    """Each part of each grouping, in order of name.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        groupings: Name of each row's part, shape (n,), by grouping.
        threshold: A score of at least this predicts label 1.
        min_rows: Rows that a part needs to be judged.
        min_of_label: Clusters that have rows of either label that it needs, such as patients; rows where none depend on another.
        clusters: Which rows depend on each other; none do if None.
        seed: Of the resampling.
    """
    return tuple(
        _part(
            f"{grouping}: {name}",
            labels[chosen],
            scores[chosen],
            threshold,
            (min_rows, min_of_label),
            clusters.of(chosen) if clusters else None,
            seed,
        )
        for grouping, names in groupings.items()
        for name in sorted(set(names.tolist()))
        for chosen in [names == name]
    )


def named(values: Iterable[object]) -> "NDArray[np.object_]":
    """Name of each value's part, shape (n,)."""
    return np.array([UNKNOWN if value is None else str(value) for value in values], dtype=object)


def independent(rows: "NDArray[np.bool_]", clusters: Clusters | None) -> int:
    """How many clusters have any of these rows; how many rows there are, where each is by itself."""
    return int(np.unique(clusters.codes[rows]).size if clusters else np.count_nonzero(rows))


def _part(
    name: str,
    labels: Labels,
    scores: Scores,
    threshold: float,
    needed: tuple[int, int],
    clusters: Clusters | None,
    seed: int,
) -> Part:
    n, positives = labels.size, int(np.count_nonzero(labels))
    rows, of_label = needed
    unit = clusters.unit if clusters else ROWS
    people = independent(np.ones(n, dtype=bool), clusters)
    because = None
    if n < rows:
        because = f"{n} rows, {rows} are needed"
    elif people < FEWEST_SHOWN:
        because = f"{people} {unit}, {FEWEST_SHOWN} are needed"
    elif (fewest := min(independent(labels == label, clusters) for label in (0, 1))) < of_label:
        because = f"{fewest} {unit} of one label, {of_label} of either are needed"
    figures: dict[str, Interval | None] = {"auc": None}
    if people >= FEWEST_SHOWN and 0 < positives < n:
        metrics = binary_metrics(labels, scores, clusters=clusters, seed=seed)
        figures["auc"] = Interval(value=metrics.auc, low=metrics.auc_low, high=metrics.auc_high)
    for measure, of, predicted in (
        ("sensitivity", labels == 1, scores >= threshold),
        ("specificity", labels == 0, scores < threshold),
    ):
        enough = independent(of, clusters) >= FEWEST_SHOWN
        figures[measure] = rate(predicted[of], clusters.of(of) if clusters else None) if enough else None
    flat = {
        f"{measure}{end}": value
        for measure, found in figures.items()
        if found is not None
        for end, value in (("", found.value), ("_low", found.low), ("_high", found.high))
    }
    told = positives if people >= FEWEST_SHOWN else None
    return Part(slice=name, n=n, positives=told, not_judged_because=because, **flat)

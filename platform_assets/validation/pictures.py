"""Pictures of a validation report as PNG bytes."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

import numpy as np

from platform_assets.pictures import COLOURS, GREY, as_png, new_figure, tidy
from platform_assets.validation.drift import ks_drift
from platform_assets.validation.metrics import Labels, Scores, reliability_curve, roc_auc, roc_curve

# Styles that stay apart in grey.
_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def roc_picture(labels_by_name: Mapping[str, Labels], scores_by_name: Mapping[str, Scores]) -> bytes:
    """ROC curves, such as of the model, the baseline and the version in production.

    Args:
        labels_by_name: 0 or 1, shape (n,), by the name of the curve; the same names as the scores.
        scores_by_name: Finite scores, shape (n,), by the name of the curve.

    Returns:
        A PNG of 640 × 420 pixels.

    Raises:
        ValidationError: A curve's rows cannot be measured.
    """
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="False positive rate (share of negative rows)",
        ylabel="True positive rate (share of positive rows)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    tidy(axes)
    for style, (name, scores) in zip(_styles(), scores_by_name.items(), strict=False):
        labels = labels_by_name[name]
        auc = roc_auc(labels, scores)
        axes.plot(*roc_curve(labels, scores), **style, label=f"{name}: AUC {auc:.3f}, n = {labels.size:,}")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="chance: AUC 0.500")
    axes.legend(loc="lower right")
    return as_png(figure)


def calibration_picture(labels_by_name: Mapping[str, Labels], scores_by_name: Mapping[str, Scores]) -> bytes:
    """Reliability diagram over the 15 bins of the ECE, above the number of rows in each bin.

    Args:
        labels_by_name: 0 or 1, shape (n,), by the name of the curve; the same names as the scores.
        scores_by_name: Probabilities of label 1, shape (n,), by the name of the curve.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    figure = new_figure()
    axes, counts = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    axes.set(ylabel="Positive rows (share of bin)", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    counts.set(xlabel="Predicted probability of label 1", ylabel="Rows in bin")
    tidy(axes)
    tidy(counts)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="perfectly calibrated")
    for style, (name, scores) in zip(_styles(), scores_by_name.items(), strict=False):
        curve = reliability_curve(labels_by_name[name], scores)
        label = f"{name}: ECE {curve.expected_calibration_error:.3f}, n = {scores.size:,}"
        axes.plot(curve.mean_score, curve.positive_share, marker="o", markersize=4, **style, label=label)
        counts.hist(scores, bins=15, range=(0, 1), histtype="step", **style)
    # Logarithmic: a good model piles rows up at both ends, and the thin bins between are the doubtful ones.
    counts.set(yscale="log", ylim=(0.9, None))
    counts.yaxis.set_major_formatter("{x:,.0f}")
    counts.minorticks_off()
    axes.legend(loc="upper left")
    return as_png(figure)


def score_distribution_picture(scores_by_split: Mapping[str, Scores]) -> bytes:
    """How the scores of each split are distributed, and their KS distance from the first split.

    Args:
        scores_by_split: Probabilities of label 1, shape (n,), by split; the first is the reference.

    Returns:
        A PNG of 640 × 420 pixels.

    Raises:
        ValidationError: A split is empty or holds scores that are not finite.
    """
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="Predicted probability of label 1",
        ylabel="Rows (% of split, per bin of 0.05)",
        xlim=(-0.01, 1.01),
    )
    tidy(axes)
    reference_name, reference = next(iter(scores_by_split.items()))
    for style, (name, scores) in zip(_styles(), scores_by_split.items(), strict=False):
        label = f"{name}: n = {scores.size:,}"
        if name != reference_name:
            drift = ks_drift(
                reference, scores, column="score", reference_name=reference_name, current_name=name
            )
            label += f", KS {drift.ks:.3f} from {reference_name}"
        share = np.full(scores.size, 100 / scores.size)
        axes.hist(scores, bins=20, range=(0, 1), weights=share, histtype="step", **style, label=label)
    figure.legend(loc="outside upper center")
    return as_png(figure)


def _styles() -> Iterator[dict[str, Any]]:
    """Endless: every round through the colours gives them other lines."""
    for at in count():
        line = _LINES[(at + at // len(COLOURS)) % len(_LINES)]
        yield {"color": COLOURS[at % len(COLOURS)], "linestyle": line, "linewidth": 1.8}

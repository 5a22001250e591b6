"""Pictures of where a model could be used, and of how it does on parts of the rows, as PNG bytes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from platform_assets.pictures import COLOURS, GREY, as_png, new_figure, tidy
from platform_assets.validation.metrics import Labels, Scores, roc_auc, roc_curve

_MARKS: Final = ("o", "s", "D", "^", "v")
_MOST_SLICES: Final = 22
"""More have no room; the report has them all."""


def operating_points_picture(labels: Labels, scores: Scores, points: Sequence[Mapping[str, Any]]) -> bytes:
    """The ROC curve with the points at which the model could be used, and the intervals of what is measured there.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Finite scores, shape (n,).
        points: Rows with `point`, `sensitivity`, `specificity`, and their `_low` and `_high`, which may be None.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="1 − specificity (share of negative rows)",
        ylabel="Sensitivity (share of positive rows)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    tidy(axes)
    axes.plot(
        *roc_curve(labels, scores),
        color=GREY,
        linewidth=1.4,
        label=f"AUC {roc_auc(labels, scores):.3f}, n = {labels.size:,}",
    )
    for mark, colour, point in zip(_MARKS, COLOURS, points, strict=False):
        x, y = 1 - point["specificity"], point["sensitivity"]
        # Of 1 − x, low and high change places.
        across = _off(point, "specificity")
        axes.errorbar(
            x,
            y,
            xerr=across[::-1] if across is not None else None,
            yerr=_off(point, "sensitivity"),
            fmt=mark,
            markersize=5,
            capsize=3,
            color=colour,
            label=f"{point['point']}: sens. {y:.3f}, spec. {1 - x:.3f}",
        )
    axes.legend(loc="lower right", fontsize="small")
    return as_png(figure)


def slices_picture(slices: Sequence[Mapping[str, Any]]) -> bytes:
    """AUC, sensitivity and specificity of each part of the rows with their intervals; those not judged are grey.

    Args:
        slices: Rows as `slices.Part` has them.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    figure = new_figure()
    shown = slices[:_MOST_SLICES]
    names = [f"{each['slice']} (n = {each['n']:,})" for each in shown]
    lowest = min(
        (
            each[f"{measure}_low"]
            for each in shown
            for measure in ("auc", "sensitivity", "specificity")
            if each[measure] is not None
        ),
        default=0.0,
    )
    for axes, measure in zip(
        figure.subplots(1, 3, sharey=True), ("auc", "sensitivity", "specificity"), strict=True
    ):
        tidy(axes)
        for at, each in enumerate(shown):
            if each[measure] is None:
                continue
            colour = GREY if each["not_judged_because"] else COLOURS[0]
            off = _off(each, measure)
            axes.errorbar(each[measure], at, xerr=off, fmt="o", markersize=4, capsize=3, color=colour)
        axes.set_xlabel("AUC" if measure == "auc" else measure.capitalize())
        axes.set_yticks(range(len(names)), names, fontsize="small")
        axes.set_xlim(lowest - 0.03, 1.03)
    axes.invert_yaxis()
    return as_png(figure)


def _off(row: Mapping[str, Any], measure: str) -> Any:
    """How far the interval reaches to either side, shape (2, 1); None where there is none."""
    low, high = row.get(f"{measure}_low"), row.get(f"{measure}_high")
    if low is None or high is None:
        return None
    # The ends of a bootstrap's interval are quantiles, and need not lie on either side of the figure.
    return np.array([[max(0.0, row[measure] - low)], [max(0.0, high - row[measure])]])

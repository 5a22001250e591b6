"""Pictures of a score, of its points and of fairness, as PNG bytes in the style of `pictures`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from platform_assets.pictures import COLOURS, GREY, as_png, new_figure, tidy
from platform_assets.validation.metrics import Labels, Scores
from platform_assets.validation.scorecard import LIFT_SHARE, gains_curve, lift

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from platform_assets.validation.fairness import Fairness, GroupFairness

_MOST_GROUPS = 18
"""More have no room; the report has them all."""
_MOST_CHARACTERISTICS = 20


def gains_picture(labels: Labels, scores_by_name: Mapping[str, Scores]) -> bytes:
    """How many of the rows of label 1 are found among the highest-scored rows.

    Args:
        labels: 0 or 1, shape (n,).
        scores_by_name: Scores, shape (n,), by the name of the curve.

    Returns:
        A PNG of 640 × 420 pixels.

    Raises:
        ValidationError: the rows cannot be measured.
    """
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="Rows, the highest-scored first (share of all)",
        ylabel="Rows of label 1 among them (share)",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    tidy(axes)
    for colour, line, (name, scores) in zip(
        COLOURS, ("-", "--", "-.", ":", "-"), scores_by_name.items(), strict=False
    ):
        label = f"{name}: lift {lift(labels, scores):.2f} at {LIFT_SHARE:.0%}, n = {labels.size:,}"
        axes.plot(*gains_curve(labels, scores), color=colour, linestyle=line, linewidth=1.8, label=label)
    positive = float(np.mean(labels))
    axes.plot([0, positive, 1], [0, 1, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="chance: lift 1.00")
    axes.axvline(LIFT_SHARE, color=GREY, linewidth=0.8, linestyle="--")
    axes.legend(loc="lower right")
    return as_png(figure)


def points_picture(points: Sequence[Mapping[str, Any]]) -> bytes:
    """The points of each bin of each characteristic, those that decide most at the top; a larger mark has more rows.

    Args:
        points: Rows with `characteristic`, `points` and `share`. A bin without rows is not drawn.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for each in (each for each in points if each["share"]):
        by_name.setdefault(each["characteristic"], []).append(each)
    spans = {name: _span([each["points"] for each in bins]) for name, bins in by_name.items()}
    names = sorted(by_name, key=lambda name: (spans[name][0] - spans[name][1], name))[:_MOST_CHARACTERISTICS]
    figure = new_figure()
    axes = figure.add_subplot(xlabel="Points of a bin; a mark's area is its share of the rows")
    tidy(axes)
    for at, name in enumerate(names):
        axes.plot(spans[name], [at, at], color=GREY, linewidth=1)
        axes.scatter(
            [each["points"] for each in by_name[name]],
            [at] * len(by_name[name]),
            s=[12 + 240 * each["share"] for each in by_name[name]],
            color=COLOURS[0],
            alpha=0.7,
            linewidths=0,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    return as_png(figure)


def _span(points: Sequence[int]) -> tuple[int, int]:
    return min(points), max(points)


def fairness_picture(found: "Fairness") -> bytes:
    """Selection, true and false positive rate of each group with their intervals; groups that are too small are grey.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    figure = new_figure()
    groups = found.groups[:_MOST_GROUPS]
    names = [f"{group.grouping}: {group.name} (n = {group.n:,})" for group in groups]
    for axes, title, rate in zip(
        figure.subplots(1, 3, sharey=True),
        (f"Predicted label {found.favourable}\n(share)", "True positive\nrate", "False positive\nrate"),
        ("selection_rate", "tpr", "fpr"),
        strict=True,
    ):
        _draw(axes, groups, rate)
        axes.set_xlabel(title)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(-0.03, 1.03)
    axes.invert_yaxis()
    return as_png(figure)


def _draw(axes: "Axes", groups: "Sequence[GroupFairness]", rate: str) -> None:
    tidy(axes)
    for at, group in enumerate(groups):
        interval = getattr(group, rate)
        if interval is None:
            continue
        off = [[interval.value - interval.low], [interval.high - interval.value]]
        colour = COLOURS[0] if group.compared else GREY
        axes.errorbar(interval.value, at, xerr=off, fmt="o", markersize=4, capsize=3, color=colour)

"""Weights of evidence as a picture: what each bin of a column tells."""

from typing import TYPE_CHECKING, Final

from platform_assets.pictures import COLOURS, as_png, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from platform_assets.features.woe import Woe
    from platform_assets.features.woe_table import WoeColumn

_MOST_COLUMNS: Final = 6
_ACROSS: Final = 3
_LONGEST_LABEL: Final = 14


def woe_picture(fitted: "Woe") -> bytes:
    """The weight of each bin, for the six columns that tell most.

    Returns:
        A PNG of 640 × 420 pixels. Above zero events are rarer than on the whole, below zero more frequent.
    """
    shown = sorted(fitted.columns, key=lambda column: -column.iv)[:_MOST_COLUMNS]
    figure = new_figure()
    down = -(-len(shown) // _ACROSS)
    panels = figure.subplots(down, min(_ACROSS, len(shown)), squeeze=False).ravel()
    for panel, column in zip(panels, shown, strict=False):
        _draw(panel, column)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    figure.supylabel("Weight of evidence", fontsize=9)
    if len(shown) < len(fitted.columns):
        figure.suptitle(f"{len(shown)} of {len(fitted.columns)} columns", fontsize=9)
    return as_png(figure)


def _draw(axes: "Axes", column: "WoeColumn") -> None:
    bins = [each for each in column.bins if each.rows]
    tidy(axes)
    axes.set_title(f"{column.name}: IV {column.iv:.3f}", fontsize=9)
    weights = [each.woe for each in bins]
    colours = [COLOURS[0] if weight >= 0 else COLOURS[1] for weight in weights]
    axes.bar(range(len(bins)), weights, color=colours)
    axes.axhline(0, color="black", linewidth=0.8)
    labels = [
        each.label if len(each.label) <= _LONGEST_LABEL else each.label[: _LONGEST_LABEL - 1] + "…"
        for each in bins
    ]
    axes.set_xticks(range(len(bins)), labels, rotation=60, ha="right", fontsize=6)
    axes.tick_params(axis="y", labelsize=7)

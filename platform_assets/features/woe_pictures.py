"""Pictures of weights of evidence, as PNG bytes."""

import math
from typing import TYPE_CHECKING, Final

from platform_assets.features.woe_table import WoeBin, WoeColumn
from platform_assets.pictures import COLOURS, GREY, as_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from platform_assets.features.woe import Woe

_ABOVE, _BELOW = COLOURS[:2]
_FAINT: Final = "#E5E5E5"
_COLUMNS_ACROSS: Final = 3
_INCHES: Final = (4.2, 2.9)
"""Of one column's picture."""
_DPI: Final = 100
_MOST_COLUMNS: Final = 30
_MOST_BINS: Final = 16
_LONGEST_LABEL: Final = 20
_LONGEST_NAME: Final = 34


def woe_picture(woe: "Woe") -> bytes:
    """The weights of each column: a bar a bin, and behind it, faint, the share of rows that the bin has.

    Columns stand by falling information value, at most 30 of them; of more, the last place says how many are left
    out. Bins without rows have no bar. Of more than 16 bins those of most rows are drawn.

    Returns:
        A PNG; three columns across, one or two where there are no more, 420 × 290 pixels each.
    """
    # The object interface, not pyplot: no global state, no display, nothing to close.
    from matplotlib.figure import Figure

    columns = sorted(woe.columns, key=lambda column: -column.iv)[:_MOST_COLUMNS]
    left_out = len(woe.columns) - len(columns)
    places = len(columns) + bool(left_out)
    across = min(_COLUMNS_ACROSS, places)
    down = math.ceil(places / across)
    figure = Figure(
        figsize=(_INCHES[0] * across, _INCHES[1] * down), dpi=_DPI, layout="constrained", facecolor="white"
    )
    every = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for axes, column in zip(every, columns, strict=False):
        _draw(axes, column, woe.rows)
    for axes in every[len(columns) :]:
        axes.set_axis_off()
    if left_out:
        every[len(columns)].text(0.5, 0.5, f"and {left_out} more", ha="center", va="center", color=GREY)
    return as_png(figure)


def _draw(axes: "Axes", column: WoeColumn, rows: int) -> None:
    bins = [found for found in column.bins if found.rows]
    if len(bins) > _MOST_BINS:
        most = sorted(bins, key=lambda found: -found.rows)[:_MOST_BINS]
        bins = [found for found in bins if found in most]
    at = range(len(bins))
    shares = axes.twinx()
    shares.bar(at, [found.rows / rows for found in bins], width=0.9, color=_FAINT)
    shares.set_ylim(0, 1)
    shares.set_ylabel("share of rows", color=GREY, fontsize=7)
    shares.tick_params(axis="y", labelsize=7, colors=GREY)
    # The bars of the weights stand before those of the shares.
    axes.set_zorder(shares.get_zorder() + 1)
    axes.patch.set_visible(False)
    colours = [_ABOVE if found.woe >= 0 else _BELOW for found in bins]
    axes.bar(at, [found.woe for found in bins], width=0.5, color=colours)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylabel("weight of evidence", fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xticks(at, [_label(found) for found in bins], rotation=35, ha="right", fontsize=7)
    # Names come from data: a dollar sign in one would begin a formula.
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    axes.set_title(f"{_short(column.name, _LONGEST_NAME)}   IV {column.iv:.3f}", fontsize=9, parse_math=False)
    for each in (axes, shares):
        each.spines["top"].set_visible(False)


def _label(found: WoeBin) -> str:
    return _short(found.label, _LONGEST_LABEL)


def _short(text: str, longest: int) -> str:
    told = " ".join(text.split())
    return told if len(told) <= longest else f"{told[: longest - 1]}…"

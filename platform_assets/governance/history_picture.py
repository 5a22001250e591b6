"""The picture of a line's history: a lane for each stage, a bar for each stay, a colour for each version."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from platform_assets.governance.history import Stay
from platform_assets.governance.release import Stage
from platform_assets.pictures import COLOURS, as_png, new_figure, tidy

_MOST_STAYS: Final = 40
_LANES: Final[tuple[Stage, ...]] = ("staging", "production")
_HEIGHT_INCHES: Final = 2.4
_BAR: Final = 0.62
_LABELLED_SHARE: Final = 0.035
"""Of the whole time: in a shorter stay there is no room for its version."""
_SHORTEST: Final = timedelta(minutes=1)


def history_picture(stays: Sequence[Stay], now: datetime) -> bytes:
    """A Gantt chart of the newest 40 stays.

    Args:
        stays: At least one, by the time at which they began.
        now: Where those end that have not ended.

    Returns:
        A PNG, 640 × 240 pixels.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    shown = stays[-_MOST_STAYS:]
    numbers = sorted({each.number for each in shown})
    begin = min(each.since for each in shown)
    end = max(now, begin + _SHORTEST)
    figure = new_figure()
    figure.set_figheight(_HEIGHT_INCHES)
    axes = figure.subplots()
    for each in shown:
        lane, until = _LANES.index(each.stage), each.until or end
        # By its place among the versions that are shown: neighbours differ.
        colour = COLOURS[numbers.index(each.number) % len(COLOURS)]
        left, width = date2num(each.since), (until - each.since) / timedelta(days=1)
        axes.barh(lane, width, left=left, height=_BAR, color=colour, edgecolor="white", linewidth=0.8)
        if (until - each.since) / (end - begin) >= _LABELLED_SHARE:
            axes.text(
                left + width / 2, lane, f"v{each.number}", ha="center", va="center", color="white", fontsize=9
            )
    axes.set_yticks(range(len(_LANES)), _LANES)
    axes.set_ylim(-0.6, len(_LANES) - 0.4)
    margin = (end - begin) / 50
    axes.set_xlim(date2num(begin - margin), date2num(end + margin))
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    left_out = len(stays) - len(shown)
    axes.set_xlabel("Time (UTC)" + (f"; {left_out} earlier stays left out" * (left_out > 0)))
    tidy(axes)
    axes.grid(visible=False, axis="y")
    return as_png(figure)

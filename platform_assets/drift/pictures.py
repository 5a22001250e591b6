"""Pictures of the drift table and of decay, as PNG bytes."""

from datetime import date
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.decay import DecayRate
from platform_assets.drift.monitor import MISSING
from platform_assets.pictures import COLOURS, GREY, as_png, new_figure, tidy
from platform_assets.sketch.stability import MAJOR, MODERATE

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes

_LINE, _ALARM = COLOURS[0], COLOURS[1]
_ALARMED_WINDOW: Final = "count"
"""The window that raises alarms."""
_SCORE: Final = "score"
_PANEL_INCHES: Final = 2.1
_MINUTE: Final = np.timedelta64(1, "m")
_DAY: Final = np.timedelta64(1, "D")


def drift_picture(rows: "pa.Table", day: date) -> bytes:
    """A day of the drift table: each minute's worst distance with its interval, a panel a column; below, the score's PSI.

    Args:
        rows: The rows of that day. Of their windows the one that raises alarms is shown, or else the first;
            of their model versions, in each minute, the newest.
        day: UTC.

    Returns:
        A PNG, 640 pixels wide.
    """
    return _worst_picture(rows, _MINUTE, f"Time on {day} (UTC); of each minute the worst verdict", "%H:%M")


def days_picture(rows: "pa.Table") -> bytes:
    """As `drift_picture`, of many days: each day's worst distance.

    Args:
        rows: A row a day, as `table.by_day` makes them.

    Returns:
        A PNG, 640 pixels wide.
    """
    return _worst_picture(rows, _DAY, "Day (UTC); of each day the worst verdict", "%m-%d")


def _worst_picture(rows: "pa.Table", step: np.timedelta64, shown: str, dates: str) -> bytes:
    """A panel a column of rows that are a step apart.

    Args:
        rows: As of `drift_picture`.
        step: Between two rows without a gap.
        shown: What the x axis is of.
        dates: How it writes times.
    """
    frame = rows.to_pandas().sort_values(["minute", "model_version"])
    frame["minute"] = frame["minute"].dt.tz_localize(None)
    windows = sorted(frame["window"].unique(), key=lambda window: (window != _ALARMED_WINDOW, window))
    frame = frame[frame["window"] == windows[0]].drop_duplicates(["minute", "column"], keep="last")
    columns = sorted(frame["column"].unique())
    of_score = frame[(frame["column"] == _SCORE) & frame["psi"].notna()]
    figure = new_figure()
    number = len(columns) + (not of_score.empty)
    figure.set_figheight(max(2, number) * _PANEL_INCHES)
    panels = figure.subplots(number, sharex=True, squeeze=False)[:, 0]
    if not of_score.empty:
        _stability_panel(panels[-1], {name: of_score[name].to_numpy() for name in of_score}, step)
    for axes, column in zip(panels, columns, strict=False):
        cells = frame[frame["column"] == column]
        _distance_panel(axes, {name: cells[name].to_numpy() for name in cells}, step)
        what = "Share difference" if column.endswith(MISSING) else "KS distance"
        axes.set(ylabel=f"{what} of {column}", ylim=(-0.02, 1.02))
    panels[-1].set(
        xlabel=f"{shown} of window {windows[0]}",
        xlim=(frame["minute"].min() - step, frame["minute"].max() + 2 * step),
    )
    _tell_times(panels[-1], dates)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
    return as_png(figure)


def decay_picture(decay: DecayRate) -> bytes:
    """The AUC of each measured day with its interval, and the line through them.

    Returns:
        A PNG of 640 × 420 pixels.
    """
    figure = new_figure()
    axes = figure.add_subplot(xlabel="Day (UTC)", ylabel="AUC of the day's labelled events")
    tidy(axes)
    days = np.array([each.day for each in decay.days], "datetime64[D]")
    auc = np.array([each.auc for each in decay.days])
    error = np.sqrt([each.variance for each in decay.days])
    interval = f"{decay.confidence:.0%} interval"
    half = NormalDist().inv_cdf((1 + decay.confidence) / 2) * error
    axes.errorbar(
        days, auc, half, fmt="o", color=_LINE, markersize=4, capsize=2, label=f"AUC with {interval}"
    )
    if decay.slope is not None:
        since = (days - days[0]).astype(np.float64)
        mean_auc, mean_day = (np.average(each, weights=error**-2) for each in (auc, since))
        label = f"{decay.slope.per_day:+.4f} a day ({decay.slope.low:+.4f} to {decay.slope.high:+.4f})"
        axes.plot(
            days,
            mean_auc + decay.slope.per_day * (since - mean_day),
            color=_ALARM,
            linestyle="--",
            label=label,
        )
    figure.autofmt_xdate(rotation=30)
    figure.legend(loc="outside upper center", ncols=2)
    return as_png(figure)


def _distance_panel(axes: "Axes", cells: dict[str, NDArray[Any]], step: np.timedelta64) -> None:
    tidy(axes)
    minutes, versions = cells["minute"].astype("datetime64[s]"), cells["model_version"]
    # A minute or day without verdicts is a gap, and no line goes across it.
    gaps = np.flatnonzero(np.diff(minutes) > step) + 1
    at = np.insert(minutes, gaps, np.datetime64("NaT"))
    ks, low, high, threshold = (
        np.insert(cells[name].astype(np.float64), gaps, np.nan)
        for name in ("ks", "ks_lower", "ks_upper", "threshold")
    )
    axes.fill_between(at, low, high, color=_LINE, alpha=0.3, linewidth=0, label="certified interval")
    axes.plot(at, ks, color=_LINE, linewidth=1.4, marker=".", markersize=3, label="KS distance")
    axes.plot(at, threshold, color=GREY, linestyle="--", linewidth=1.2, label="threshold")
    for count, (start, end) in enumerate(_stretches(minutes[cells["in_alarm"].astype(bool)], step)):
        axes.axvspan(start, end, color=_ALARM, alpha=0.2, linewidth=0, label=None if count else "not clear")
    for minute, (before, after) in zip(minutes[1:], pairwise(versions), strict=True):
        if before != after:
            axes.axvline(minute, color=GREY, linewidth=1)
            axes.annotate(f" version {after}", (minute, 0.98), va="top", color=GREY)


def _stability_panel(axes: "Axes", cells: dict[str, NDArray[Any]], step: np.timedelta64) -> None:
    tidy(axes)
    minutes = cells["minute"].astype("datetime64[s]")
    gaps = np.flatnonzero(np.diff(minutes) > step) + 1
    at = np.insert(minutes, gaps, np.datetime64("NaT"))
    psi, chance = (
        np.insert(cells[name].astype(np.float64), gaps, np.nan) for name in ("psi", "psi_by_chance")
    )
    axes.plot(at, psi, color=_LINE, linewidth=1.4, marker=".", markersize=3)
    axes.plot(at, chance, color=GREY, linestyle=":", linewidth=1.2, label="chance seldom exceeds")
    for bound, name in ((MODERATE, "moderate"), (MAJOR, "major")):
        axes.axhline(bound, color=GREY, linewidth=0.8, linestyle="--")
        axes.annotate(f" {name}", (1, bound), xycoords=("axes fraction", "data"), va="center", color=GREY)
    top = max(1.5 * MAJOR, 1.1 * float(np.nanmax(psi)))
    axes.set(ylabel=f"PSI of {_SCORE}", ylim=(-0.02 * top, top))


def _stretches(minutes: NDArray[np.datetime64], step: np.timedelta64) -> list[tuple[Any, Any]]:
    """From when until when there was no step missing."""
    if not minutes.size:
        return []
    runs = np.split(minutes, np.flatnonzero(np.diff(minutes) > step) + 1)
    return [(run[0], run[-1] + step) for run in runs]


def _tell_times(axes: "Axes", written: str) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axes.xaxis.set_major_locator(AutoDateLocator())
    axes.xaxis.set_major_formatter(DateFormatter(written))

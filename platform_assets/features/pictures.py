"""Pictures of features that look at history."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from platform_assets.pictures import COLOURS, as_png, new_figure, tidy

if TYPE_CHECKING:
    import pyarrow as pa

_BINS: Final = 60
_MOST_SHOWN: Final = len(COLOURS)
_SHOWN_SHARE: Final = (0.5, 99.5)
"""Percentiles between which values are shown: a single far one would leave nothing to see of the others."""
_MICROSECONDS: Final = np.dtype("datetime64[us]")


def history_picture(rows: "pa.Table", outputs: Sequence[str], time_column: str) -> bytes:
    """How features are distributed, above the share of them that is missing by month.

    Args:
        rows: The features, and when each row was.
        outputs: Names of the features; the first five are shown.
        time_column: A column of times.

    Returns:
        A PNG of 640 × 420 pixels.

    Raises:
        FeatureError: the times cannot be read.
    """
    from platform_assets.features.window_columns import known_times

    figure = new_figure()
    values, missing = figure.subplots(2, height_ratios=(3, 2))
    values.set(xlabel="Feature", ylabel="Rows (% of those with a value)")
    missing.set(xlabel="Month", ylabel="Missing (%)", ylim=(-2, 102))
    tidy(values)
    tidy(missing)
    months = (
        known_times(rows, time_column)
        .to_numpy(zero_copy_only=False)
        .astype(_MICROSECONDS)
        .astype("datetime64[M]")
    )
    known_months, at = np.unique(months, return_inverse=True)
    totals = np.maximum(np.bincount(at, minlength=known_months.size), 1)
    for name, colour in zip(outputs[:_MOST_SHOWN], COLOURS, strict=False):
        numbers = rows[name].to_numpy().astype(np.float64)
        absent = np.isnan(numbers)
        there = numbers[~absent]
        if there.size:
            span = tuple(np.percentile(there, _SHOWN_SHARE))
            weights = np.full(there.size, 100 / there.size)
            values.hist(
                there, bins=_BINS, range=span, weights=weights, histtype="step", color=colour, label=name
            )
        share = 100 * np.bincount(at, weights=absent, minlength=known_months.size) / totals
        missing.plot(known_months.astype(_MICROSECONDS), share, color=colour, marker="o", markersize=3)
    if len(outputs) > _MOST_SHOWN:
        values.set_title(f"{_MOST_SHOWN} of {len(outputs)} features")
    figure.legend(loc="outside upper center")
    return as_png(figure)

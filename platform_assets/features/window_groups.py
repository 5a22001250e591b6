"""Rows brought together by entity, each entity's in the order of their times."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.window_columns import WindowRows

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """Rows entity by entity, each in the order of its times."""

    rows: WindowRows
    order: Integers | None
    """Which row stands where; None where they came like this. Shape (rows,)."""
    bounds: Integers
    """Entity k has the places from `bounds[k]` to `bounds[k + 1]`."""
    times: Integers
    """Place by place, as `WindowRows` has them."""
    available: Integers

    def column(self, which: int) -> Floats:
        """The values of one of the spec's columns, place by place."""
        values = self.rows.values[which]
        return values if self.order is None else values[self.order]

    def row(self, place: int) -> int:
        """Which row stands at a place."""
        return place if self.order is None else int(self.order[place])

    def as_they_came(self, answers: Floats) -> Floats:
        """What was computed place by place, row by row."""
        if self.order is None:
            return answers
        placed = np.empty_like(answers)
        placed[self.order] = answers
        return placed


def group(rows: WindowRows, *, sort: bool) -> GroupedRows:
    """These rows by entity, entities as they first appear.

    Args:
        rows: In any order.
        sort: Whether an entity's rows are sorted by their times, those of one instant as they came; else they stay
            in the order that they came in.
    """
    from platform_assets.features import window_kernels as kernels

    codes, count = rows.codes, rows.codes_count
    order = None
    if count is not None and not kernels.ascends(codes):
        order = kernels.grouped(codes, count)
        codes = codes[order]
    bounds = kernels.bounds_of(codes)
    times = rows.times if order is None else rows.times[order]
    if sort and kernels.first_fall(times, bounds) >= 0:
        order = np.arange(len(times)) if order is None else order
        kernels.order_by_time(times, bounds, order)
        times = rows.times[order]
    available = rows.available if order is None or not rows.available.size else rows.available[order]
    return GroupedRows(rows, order, bounds, times, available)

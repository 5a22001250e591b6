"""Which feature row each label row knows: the newest of its entity that was available before.

Label rows lie in memory, sorted by entity and time; feature rows come past in any order, and none is kept. A feature row
is offered to the first label row that may know it, and stays there if it is newer than the one before; in the end each
label row knows the newest of those that were offered to it and to the rows of its entity in front of it.

Of two feature rows the newer is the one of the later event time; of equal ones, the one that became available last; of
these, the later in input order.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.join_entities import Entities

if TYPE_CHECKING:
    from platform_assets.features.join_inputs import KeyRows

LABEL_BYTES: Final = 160
"""That a label row takes, at most, while features are looked up for it: hash table, orders, and what is newest."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Label rows by what was known."""

    found: int = 0
    no_row: int = 0
    """The entity has no feature row at all."""
    not_yet: int = 0
    """It has, and none was available before."""
    too_old: int = 0
    """The newest that was is older than it may be."""

    def __add__(self, other: "Outcomes") -> "Outcomes":
        return Outcomes(
            self.found + other.found,
            self.no_row + other.no_row,
            self.not_yet + other.not_yet,
            self.too_old + other.too_old,
        )


class SortedLabels:
    """Label rows by entity and time."""

    def __init__(self, keys: "KeyRows", *, include_current: bool) -> None:
        """Sort them.

        Args:
            keys: Of the label rows, in any order.
            include_current: Whether they know what became available at their own time.
        """
        from platform_assets.features import window_kernels

        self.entities = Entities(keys.entity)
        codes, count = self.entities.codes, self.entities.count
        self.order: NDArray[np.int64] = window_kernels.grouped(codes, count)
        """Positions of the rows as they came."""
        self.bounds: NDArray[np.int64] = np.append(0, np.cumsum(np.bincount(codes, minlength=count)))
        """Where those of each entity begin."""
        window_kernels.order_by_time(keys.times[self.order], self.bounds, self.order)
        self.times = keys.times[self.order]
        """Ascending for each entity."""
        self.include_current = include_current


class NewestKnown:
    """The newest row of one table of features for each label row."""

    def __init__(self, labels: SortedLabels) -> None:
        """Begin without feature rows."""
        rows = labels.times.size
        self._labels = labels
        self._newest = (np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.full(rows, -1, np.int64))
        self._has_rows = np.zeros(labels.entities.count, np.uint8)
        self._seen = 0

    def offer(self, keys: "KeyRows") -> None:
        """Take the next feature rows into account."""
        from platform_assets.features import join_kernels

        labels = self._labels
        join_kernels.offer(
            labels.entities.find(keys.entity),
            keys.times,
            keys.available,
            self._seen,
            int(labels.include_current),
            labels.bounds,
            labels.times,
            *self._newest,
            self._has_rows,
        )
        self._seen += keys.times.size

    def answers(self, max_age_us: int | None) -> tuple[NDArray[np.int64], Outcomes]:
        """The number of each label row's feature row, -1 where it knows none, as the labels came; and why.

        Args:
            max_age_us: Most microseconds from the feature row's time to the label's.
        """
        from platform_assets.features import join_kernels

        labels = self._labels
        found, outcomes = np.empty(labels.times.size, np.int64), np.zeros(4, np.int64)
        join_kernels.answer(
            labels.bounds,
            labels.times,
            labels.order,
            -1 if max_age_us is None else max_age_us,
            *self._newest,
            self._has_rows,
            found,
            outcomes,
        )
        return found, Outcomes(*(int(count) for count in outcomes))

"""Bins of a column that keep the most information: fine ones by quantiles, merged by dynamic programming.

Glossary (p prebins in their order, k bins at most):

    counts   (p, 2)            rows that are non-events and events
    gain     (p + 1, p + 1)    [i, j]: information value of one bin made of prebins i to j - 1; -inf where it may not be
    rate     (p + 1, p + 1)    [i, j]: share of events among its rows
    rising   (k, p + 1, p + 1) [m, i, j]: the most that m + 1 bins over prebins 0 to j - 1 can have, of which the last
                               one is i to j - 1 and no rate is below the one before
    falling  likewise, of bins whose rates rise up to one of them, and then never do again
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Direction = Literal["up", "down", "peak", "none"]

PREBINS: Final = 64
"""Of a column; twice as many as bins are wanted, where that is more."""
EQUAL: Final = 1e-12
"""Sums of the same numbers in another order differ by less: information values as near as that are one."""


@dataclass(frozen=True, slots=True)
class Odds:
    """All rows that weights are fitted to, and what each bin is given on top of its own."""

    non_events: int
    events: int
    smoothing: float
    """Rows at the average odds."""

    @property
    def rows(self) -> int:
        """Both together."""
        return self.non_events + self.events

    def weight(self, non_events: int, events: int) -> float:
        """Weight of evidence of a bin (Siddiqi 2006, Credit Risk Scorecards, chapter 6).

        ln((n0 + s N0 / N) / N0) - ln((n1 + s N1 / N) / N1): positive where events are rarer than on the whole, 0 of
        an empty bin.

        Raises:
            ValueError: the bin lacks events or non-events, and nothing is added to it.
        """
        if not non_events + events:
            return 0.0
        shares = [
            (rows + self.smoothing * total / self.rows) / total
            for rows, total in ((non_events, self.non_events), (events, self.events))
        ]
        if not all(shares):
            raise ValueError("a bin has rows of one class only")
        # Adding 0 makes 0 of -0, which JSON does not tell apart.
        return math.log(shares[0]) - math.log(shares[1]) + 0.0

    def value(self, non_events: int, events: int, weight: float) -> float:
        """What a bin adds to the information value: (n0 / N0 - n1 / N1) times its weight."""
        return (non_events / self.non_events - events / self.events) * weight + 0.0

    def gains(self, counts: Counts) -> Floats:
        """`gain` without its bans, shape (p + 1, p + 1)."""
        below = np.zeros((len(counts) + 1, 2))
        np.cumsum(counts, axis=0, out=below[1:])
        inside = below[None, :, :] - below[:, None, :]
        totals = np.array([self.non_events, self.events])
        shares = (inside + self.smoothing * totals / self.rows) / totals
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.log(shares[..., 0]) - np.log(shares[..., 1])
            values: Floats = (inside[..., 0] / totals[0] - inside[..., 1] / totals[1]) * weights
        return np.where(np.isfinite(values), values, -np.inf)


@dataclass(frozen=True, slots=True)
class Merged:
    """Prebins put together."""

    ends: tuple[int, ...]
    """Where each bin ends: it holds the prebins from the end before up to this one. The last is p."""
    value: float
    """Information value of these bins."""
    direction: Direction


def quantile_edges(values: Floats, prebins: int) -> Floats:
    """Edges between prebins of about equally many values; one with more than its part has a prebin of its own.

    An edge lies midway between neighbours, so that it is nobody's value; of integers, midway between two integers.

    Args:
        values: Finite, in any order.
        prebins: How many. No more distinct values than that have one each.

    Returns:
        Ascending, shape (about prebins - 1,).
    """
    values = np.sort(values)
    if not values.size:
        return np.empty(0)
    first = np.append(True, values[1:] != values[:-1])
    if np.count_nonzero(first) <= prebins:
        cuts = np.flatnonzero(first)[1:]
    else:
        at_rank = values[np.arange(1, prebins) * values.size // prebins - 1]
        begin, end = np.searchsorted(values, at_rank), np.searchsorted(values, at_rank, side="right")
        heavy = (end - begin) * prebins >= values.size
        cuts = np.unique(np.concatenate([end, begin[heavy]]))
        cuts = cuts[(cuts > 0) & (cuts < values.size)]
    below, above = values[cuts - 1], values[cuts]
    middle = below / 2 + above / 2
    if (np.floor(values) == values).all():
        halves = np.floor(middle) + 0.5
        middle = np.where(halves < above, halves, middle)
    # Of two floats with none between them, the lower one ends its bin.
    edges: Floats = np.where((below <= middle) & (middle < above), middle, below) + 0.0  # no -0
    return edges


def merge(
    counts: Counts,
    odds: Odds,
    *,
    max_bins: int,
    min_rows: int,
    monotonic: Literal["auto", "up", "down", "peak", "none"],
) -> Merged:
    """The bins of neighbouring prebins with the highest information value; of equal ones the fewest.

    Args:
        counts: Non-events and events, shape (p, 2); each prebin has rows.
        odds: Of all rows.
        max_bins: How many at most.
        min_rows: How many each has at least. Where all rows are fewer, they are one bin.
        monotonic: How the share of events goes along the bins, equal shares being allowed; `auto` takes the better of
            `up` and `down`, of equal ones `up`. A peak may be at either end.
    """
    if monotonic != "auto":
        return _merged(counts, odds, max_bins, min_rows, monotonic)
    up, down = (_merged(counts, odds, max_bins, min_rows, direction) for direction in ("up", "down"))
    return down if down.value > up.value + EQUAL else up


def _merged(counts: Counts, odds: Odds, max_bins: int, min_rows: int, direction: Direction) -> Merged:
    prebins = len(counts)
    rows = np.append(0, counts.sum(axis=1).cumsum())
    events = np.append(0, counts[:, 1].cumsum())
    inside = rows[None, :] - rows[:, None]
    allowed = (inside > 0) & (inside >= min_rows)
    gain = np.where(allowed, odds.gains(counts), -np.inf)
    most = min(max_bins, prebins, int(rows[-1]) // max(min_rows, 1))
    if not most or np.isneginf(gain[0]).all():
        return Merged((prebins,), float(odds.gains(counts)[0, -1]), direction)
    if direction == "none":
        found = _free(gain, most)
    else:
        with np.errstate(invalid="ignore"):
            rate = np.where(allowed, (events[None, :] - events[:, None]) / inside, np.nan)
        found = _shaped(gain, -rate if direction == "down" else rate, most, peak=direction == "peak")
    ends, value = found
    return Merged(ends, value, direction) if ends else Merged((prebins,), value, direction)


def _fewest(best: Floats) -> int:
    """Position of the highest; the first of those that are equal."""
    return int(np.flatnonzero(best >= best.max() - EQUAL)[0])


def _free(gain: Floats, most: int) -> tuple[tuple[int, ...], float]:
    best = [gain[0]]
    begins = [np.zeros(len(gain), np.int64)]
    for _ in range(1, most):
        options = best[-1][:, None] + gain
        begins.append(options.argmax(axis=0))
        best.append(options.max(axis=0))
    bins = _fewest(np.array([of_all[-1] for of_all in best]))
    value = float(best[bins][-1])
    ends = [len(gain) - 1]
    for used in range(bins, 0, -1):
        ends.append(int(begins[used][ends[-1]]))
    return tuple(reversed(ends)), value


def _shaped(gain: Floats, rate: Floats, most: int, *, peak: bool) -> tuple[tuple[int, ...], float]:
    size = len(gain)
    rising = np.full((most, size, size), -np.inf)
    rising[0, 0] = gain[0]
    falling = np.full_like(rising, -np.inf) if peak else None
    for begin in range(1, size - 1):
        before, after = rate[:begin, begin], rate[begin, begin + 1 :]
        rising[1:, begin, begin + 1 :] = gain[begin, begin + 1 :] + _best_up_to(
            rising[:-1, :begin, begin], before, after
        )
        if falling is not None:
            either = np.maximum(rising[:-1, :begin, begin], falling[:-1, :begin, begin])
            falling[1:, begin, begin + 1 :] = gain[begin, begin + 1 :] + _best_up_to(either, -before, -after)
    last = rising[:, :, -1] if falling is None else np.maximum(rising[:, :, -1], falling[:, :, -1])
    bins = _fewest(last.max(axis=1))
    value = float(last[bins].max())
    return _traced(rising, falling, rate, bins), value


def _best_up_to(values: Floats, before: Floats, after: Floats) -> Floats:
    """For each of `after` the highest of the values whose `before` is not above it, shape (k, after)."""
    order = np.argsort(before, kind="stable")
    running = np.full((len(values), len(before) + 1), -np.inf)
    np.maximum.accumulate(values[:, order], axis=1, out=running[:, 1:])
    # What may be no bin has the rate NaN, which sorts last, and the value -inf.
    return running[:, np.searchsorted(before[order], after, side="right")]


def _traced(rising: Floats, falling: Floats | None, rate: Floats, bins: int) -> tuple[int, ...]:
    """Ends of the best bins."""
    end = rising.shape[-1] - 1
    ends = [end]
    risen, fallen = rising[bins, :, end], None if falling is None else falling[bins, :, end]
    for used in range(bins - 1, -1, -1):
        best = risen if fallen is None else np.maximum(risen, fallen)
        begin = int(best.argmax())
        falls = fallen is not None and fallen[begin] > risen[begin]
        fits = rate[:begin, begin] >= rate[begin, end] if falls else rate[:begin, begin] <= rate[begin, end]
        end = begin
        ends.append(end)
        risen = np.where(fits, rising[used, :end, end], -np.inf)
        # Only what falls has others before it that may have fallen.
        fallen = np.where(fits, falling[used, :end, end], -np.inf) if falls and falling is not None else None
    return tuple(reversed(ends))

"""Windows over event time: two levels, L1 and L2, over one ring of slots.

    slot      half-open span of `slot_ms` of event time, numbered from the epoch
    end       first slot that is not complete yet: the watermark, rounded down to a slot
    L1, L2    the slots [end - l1_slots, end) and [end - l2_slots, end)
    horizon   the oldest slot of L2; what is older comes too late

A slot holds counts per bin, so a window is a sum of rows and an event costs one increment, however late.
The watermark is a claim about event time: events up to it have been seen, but for late ones. Nothing here
knows what the bins mean, and nothing reads a clock.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BEFORE_ALL_TIME: Final = -(2**62)


class Watermark:
    """How far event time has come, over all sources.

    It is the newest event time of the slowest live source, and never goes back. A source is live until it
    has been silent for `idle_ms`. None holds the others back by more than `most_behind_ms`; while nobody
    is live, everything seen is complete.
    """

    def __init__(self, *, slot_ms: int, idle_ms: int, most_behind_ms: int) -> None:
        self._slot_ms, self._idle_ms, self._most_behind_ms = slot_ms, idle_ms, most_behind_ms
        self._newest: dict[str, int] = {}
        self._heard_at: dict[str, int] = {}
        self._newest_of_all = _BEFORE_ALL_TIME
        self._time_ms = _BEFORE_ALL_TIME

    def advance(self, event_time_ms: NDArray[np.int64], source: str, *, now_ms: int) -> NDArray[np.int64]:
        """`end` after each of these events of one source, as if they had come one by one; it never falls."""
        self._forget_idle(now_ms)
        others = [newest for name, newest in self._newest.items() if name != source]
        newest = np.maximum.accumulate(event_time_ms)
        np.maximum(newest, self._newest.get(source, _BEFORE_ALL_TIME), out=newest)
        slowest = np.minimum(newest, min(others)) if others else newest
        fastest = np.maximum(newest, self._newest_of_all)
        time_ms = np.maximum(np.maximum(slowest, fastest - self._most_behind_ms), self._time_ms)
        self._newest[source], self._heard_at[source] = int(newest[-1]), now_ms
        self._newest_of_all, self._time_ms = int(fastest[-1]), int(time_ms[-1])
        ends: NDArray[np.int64] = time_ms // self._slot_ms
        return ends

    def at(self, now_ms: int) -> int:
        """`end` at a time of the clock: silence moves it too."""
        self._forget_idle(now_ms)
        if self._newest:
            reached = min(self._newest.values())
        else:
            reached = (self._newest_of_all // self._slot_ms + 1) * self._slot_ms
        self._time_ms = max(self._time_ms, reached)
        return self._time_ms // self._slot_ms

    def _forget_idle(self, now_ms: int) -> None:
        for source in [name for name, at in self._heard_at.items() if now_ms - at > self._idle_ms]:
            del self._newest[source], self._heard_at[source]


class RecentIds:
    """Ids seen lately, in two generations.

    An id is remembered until `turn` has been called twice, or until `most` other ids have come after it,
    whichever is first; so at most 2 × `most` are held.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: set[int] = set()
        self._old: set[int] = set()

    def unseen(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these ids are new, each counted once; they are remembered."""
        young, old = self._young, self._old
        found = np.empty(len(ids), dtype=np.bool_)
        for at, each in enumerate(ids.tolist()):
            if each in young or each in old:
                found[at] = False
            else:
                found[at] = True
                young.add(each)
                if len(young) >= self._most:
                    self.turn()
                    young, old = self._young, self._old
        return found

    def turn(self) -> None:
        """Forget the older generation."""
        self._young, self._old = set(), self._young


class Window(NamedTuple):
    """What the slots of one window hold."""

    counts: NDArray[np.int64]
    """Per bin, shape (width,)."""
    sample_rate: float
    """Share of the events that was counted; 1.0: all."""
    sampling_bias: float
    """By how much more a distribution function may be off because not all was sampled at one rate."""


def sampling_bias(counted: NDArray[np.float64], population: NDArray[np.float64]) -> tuple[float, float]:
    """Sample rate over several parts, and the bias of taking them together.

    The bias is the total variation between the parts' shares of the counted events and of all events: 0 where
    every part was sampled at one rate.

    Args:
        counted: Events of each part that were counted, shape (parts,).
        population: Events of each part, counted or not, shape (parts,).
    """
    total, everything = float(counted.sum()), float(population.sum())
    if not total:
        return 1.0, 0.0
    return total / everything, 0.5 * float(np.abs(population / everything - counted / total).sum())


class EventWindows:
    """A ring of slots with counts for every column.

    Args:
        slot_ms: Length of a slot.
        l1_slots: Slots in the early window.
        l2_slots: Slots in the late window, and how far behind an event may come.
        widths: Bins of each column.
        most_ids: Ids that are remembered for certain.
    """

    def __init__(
        self, *, slot_ms: int, l1_slots: int, l2_slots: int, widths: Mapping[str, int], most_ids: int
    ) -> None:
        self.slot_ms, self.l1_slots, self.l2_slots = slot_ms, l1_slots, l2_slots
        self.end = _BEFORE_ALL_TIME // slot_ms
        # From the horizon over the open slots of sources that are ahead, and one step of `end` by L1.
        self._rows = 3 * l2_slots + 2
        self._counts = {name: np.zeros((self._rows, width), np.int64) for name, width in widths.items()}
        self._counted = np.zeros(self._rows)
        self._population = np.zeros(self._rows)
        # Events that no verdict has contained yet, by the millisecond of their time.
        self._unreported = np.zeros((self._rows, slot_ms), np.int64)
        self._ids = RecentIds(most_ids)
        self._ids_turned_at = self.end

    def overdue(self, end: int) -> Iterator[int]:
        """Ends of L2 windows to be reported before the watermark moves to `end` and their slots are dropped.

        One by one: the next follows from what has been `reported` in between.
        """
        while (oldest := self._oldest_unreported(before=end - self.l2_slots)) is not None:
            yield oldest + self.l2_slots

    def move(self, end: int) -> None:
        """Drop the slots that lie before the horizon of `end`."""
        if end <= self.end:
            return
        kept_from = end - self.l2_slots
        dropped = np.arange(max(self.end - self.l2_slots, kept_from - self._rows), kept_from) % self._rows
        for counts in self._counts.values():
            counts[dropped] = 0
        for each in (self._counted, self._population, self._unreported):
            each[dropped] = 0
        self.end = end
        # An event has its slot at most L2 ahead of `end` when it comes, and may come again until the slot
        # is L2 behind: so its id is needed for 2 × L2.
        if end - self._ids_turned_at > 2 * self.l2_slots:
            self._ids.turn()
            self._ids_turned_at = end

    def place(
        self, event_ids: NDArray[np.uint64], event_time_ms: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which events came in time, and which of those came for the first time.

        Args:
            event_ids: Shape (n,).
            event_time_ms: Shape (n,).
            ends: `end` as each event found it, shape (n,), from `self.end` to `self.end + l1_slots`.
        """
        timely = event_time_ms // self.slot_ms >= ends - self.l2_slots
        first = timely.copy()
        first[timely] = self._ids.unseen(event_ids[timely])
        return timely, first

    def count(self, event_time_ms: NDArray[np.int64], *, sample_rate: float) -> None:
        """Events that were placed; they stand for 1 / `sample_rate` as many."""
        rows = event_time_ms // self.slot_ms % self._rows
        added = np.bincount(rows, minlength=self._rows)
        self._counted += added
        self._population += added / sample_rate
        _increment(self._unreported, rows, event_time_ms % self.slot_ms)

    def count_bins(self, column: str, event_time_ms: NDArray[np.int64], bins: NDArray[np.integer]) -> None:
        """Values of one column, by their bins; events whose slot has been dropped are left out."""
        counts = self._counts[column]
        slots = event_time_ms // self.slot_ms
        kept = slots >= self.end - self.l2_slots
        _increment(counts, slots[kept] % self._rows, bins[kept])

    def window(self, column: str, *, end: int, slots: int) -> Window:
        """The sum over the slots [end - slots, end)."""
        rows = np.arange(end - slots, end) % self._rows
        counts = self._counts[column][rows].sum(axis=0)
        counted, population = self._counted[rows], self._population[rows]
        return Window(counts, *sampling_bias(counted, population))

    def reported(self, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Times of the events in the L2 window before `end` that no verdict contained yet, and how many each.

        From now on one does.
        """
        slots = np.arange(end - self.l2_slots, end)
        rows = slots % self._rows
        slot, millisecond = np.nonzero(self._unreported[rows])
        counts = self._unreported[rows[slot], millisecond]
        self._unreported[rows] = 0
        return slots[slot] * self.slot_ms + millisecond, counts

    def unreported(self, end: int) -> bool:
        """Whether a slot before `end` holds events that no verdict has contained."""
        return self._oldest_unreported(before=end) is not None

    def _oldest_unreported(self, *, before: int) -> int | None:
        slots = np.arange(self.end - self.l2_slots, min(before, self.end + 2 * self.l2_slots + 2))
        found = np.flatnonzero(self._unreported[slots % self._rows].any(axis=1))
        return int(slots[found[0]]) if len(found) else None


def _increment(table: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.integer]) -> None:
    # Several times as fast over one flat index as over a pair.
    np.add.at(table.reshape(-1), rows * table.shape[1] + columns, 1)

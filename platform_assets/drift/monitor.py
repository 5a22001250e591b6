"""The monitor of one model version: batches of prediction events in, verdicts on their drift out.

    receive → bounded queue → tick: watermark, slots (windows.py) → verdicts for l1 and l2
                                  → count windows (count_window.py) → states (alarms.py), verdicts for count
                                  → how many are missing (shares.py) → likewise

Events may come from many threads; one thread calls `tick`, as often as it wants verdicts (every 20 ms for a
live stream; after every batch for a replay, whose clock is set by hand). All memory is bounded: by the
queue, by two generations of ids, by the ring of slots, and by `window_events` a column.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from threading import Lock
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.alarms import ALARM, CLEAR, State
from platform_assets.drift.column_watch import ColumnWatch, CountVerdict, Measured, PresenceWatch
from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import Column, EventBatch, moment
from platform_assets.drift.latency import LatencyHistogram, RollingLatency
from platform_assets.drift.spec import DriftSpec
from platform_assets.drift.windows import EventWindows, RecentIds, Watermark
from platform_assets.sketch.binning import CategoryBinning
from platform_assets.sketch.sketch import ColumnProfile, ReferenceProfile

LATENCY: Final = "latency"
"""The pseudo-column of the monitor's own state changes."""
ERROR: Final = "error"
"""|label − score|, watched where the profile has it: what drifts there is the concept."""
MISSING: Final = ":missing"
"""Behind a column's name: the pseudo-column of how many of its values are missing or infinite."""
SOURCE: Final = "source"
"""The category column that tells the mix of a window, watched or not."""
WindowName = Literal["l1", "l2", "count"]
"""The early and the late window over event time, and the newest `window_events` events."""
_MOST_IDS: Final = 2**18
_LATENCIES_FOR_P99: Final = 100


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of the events; the other four always add up to `received`."""

    received: int = 0
    """Taken up from the queue, or shed before."""
    absorbed: int = 0
    sampled_out: int = 0
    """Shed, uniformly at random, because events came faster than ticks could take them up."""
    late_beyond_horizon: int = 0
    """Older than the late window when they were received."""
    duplicate: int = 0
    """Came in time, with an id that had been absorbed."""


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """How far one column lies from the reference in one window."""

    line: str
    model_version: int
    column: str
    window: WindowName
    window_start: datetime
    window_end: datetime
    events: int
    ks: float
    """Midpoint of the certified interval from `ks_lower` to `ks_upper`. Of a pseudo-column `…:missing`, the difference of
    the shares of missing values."""
    ks_lower: float
    ks_upper: float
    p_value: float
    sample_rate: float
    threshold: float
    """What `ks_lower` may reach. Only in the window `count` does more than that raise an alarm."""
    state: State
    """Of the column when this was found."""
    psi: float = math.nan
    """Population stability index, in the window `count`; it raises no alarm."""
    psi_by_chance: float = math.nan
    """What it exceeds in one of twenty windows while nothing drifts."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """A column is in another state than before."""

    column: str
    state: State
    verdict: WindowVerdict | None
    """Of the count window at that event; None for `latency`."""
    mix: Mapping[str, float] = field(default_factory=dict)
    """Share of each `source` in that window; empty where events do not tell it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick found."""

    verdicts: list[WindowVerdict]
    changes: list[StateChange]


@dataclass(frozen=True, slots=True)
class _Arrival:
    batch: EventBatch
    source: str
    received_ms: int
    sample_rate: float = 1.0


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Monitor:
    """Watches the answers of one model version.

    What is promised: an event is absorbed when its slot is at most `l2_ms` behind the watermark as it was
    received, in whatever order events come and however they are cut into batches. It is contained in
    an l1 or l2 verdict as soon as its slot is complete. A second event with the same id and time is a
    duplicate, as long as fewer than 262,144 others come in between. An event from the future counts as of
    when it was received: a clock that is wrong cannot move the watermark of the others.

    A label may come in a second event, as `PredictionEvent` describes: that event is counted as duplicate
    or late, as it is, and its label feeds the column `error`, once an id for the newest 262,144 labels.

    Args:
        line: The line.
        model_version: The version whose answers come.
        profile: Its reference profile.
        policy: What is watched, and how closely.
        clock: Milliseconds since the epoch.
        states: The state of each column to begin with, `latency` among them; what is not named is clear.
        most_pending_events: Size of the queue.

    Raises:
        DriftError: the profile has none of the policy's columns, or one that is called as a pseudo-column is.
    """

    def __init__(
        self,
        line: str,
        model_version: int,
        profile: ReferenceProfile,
        policy: DriftSpec,
        *,
        clock: Callable[[], int] = wall_clock_ms,
        states: Mapping[str, State] = MappingProxyType({}),
        most_pending_events: int = 2**17,
    ) -> None:
        watched = dict.fromkeys(name for name in (*policy.columns, ERROR) if name in profile.columns)
        if not watched:
            raise DriftError(
                f"{line} version {model_version}: the reference profile has the columns "
                f"{', '.join(profile.columns)}, and drift.columns names none of them"
            )
        if clash := [name for name in watched if f"{name}{MISSING}" in watched]:
            raise DriftError(
                f"{line} version {model_version}: {clash[0]}{MISSING} is what the missing values of {clash[0]} are told as; "
                "call that column otherwise"
            )
        self.line, self.model_version, self.policy = line, model_version, policy
        self.not_watched = {
            name: profile.left_out.get(name, "the reference profile does not have it")
            for name in policy.columns
            if name not in profile.columns
        }
        """By column that the policy names, why nothing is known of its drift."""
        self._clock = clock
        signals = 2 * len(watched)
        self._columns = {
            name: ColumnWatch(profile.columns[name], policy, signals=signals, state=states.get(name, CLEAR))
            for name in watched
        }
        self._presence = {
            name: PresenceWatch(
                profile.columns[name], policy, signals=signals, state=states.get(f"{name}{MISSING}", CLEAR)
            )
            for name in watched
        }
        self._windows = EventWindows(
            slot_ms=policy.slot_ms,
            l1_slots=policy.l1_ms // policy.slot_ms,
            l2_slots=policy.l2_ms // policy.slot_ms,
            widths={name: column.profile.bins + 1 for name, column in self._columns.items()},
            most_ids=_MOST_IDS,
        )
        self._watermark = Watermark(slot_ms=policy.slot_ms, idle_ms=policy.l1_ms, most_behind_ms=policy.l2_ms)
        self._labelled_ids = RecentIds(_MOST_IDS)
        self._lock = Lock()
        self._pending: list[_Arrival] = []
        self._pending_events = 0
        self._most_pending_events = most_pending_events
        self._sample_rate = 1.0
        self._random = np.random.default_rng(0)
        self._counters = Counters()
        self._rolling_latency = RollingLatency()
        self._latency_state: State = states.get(LATENCY, CLEAR)
        self._periods_met = 0
        self.latency_since_start = LatencyHistogram()
        """From an event's time to the first l1 or l2 verdict that contains it."""

    @property
    def counters(self) -> Counters:
        """What became of the events so far; those that wait for a tick are in `pending_events`."""
        return self._counters

    @property
    def pending_events(self) -> int:
        """Events in the queue."""
        return self._pending_events

    @property
    def sample_rate(self) -> float:
        """Share of the arriving events that is looked at, a power of 1/2."""
        return self._sample_rate

    @property
    def latency(self) -> LatencyHistogram:
        """From an event's time to the first l1 or l2 verdict that contains it, over the last minute."""
        return self._rolling_latency.histogram

    @property
    def states(self) -> dict[str, State]:
        """The state of each column, of its missing values, and of `latency`."""
        return (
            {name: column.state for name, column in self._columns.items()}
            | {f"{name}{MISSING}": presence.state for name, presence in self._presence.items()}
            | {LATENCY: self._latency_state}
        )

    def receive(self, batch: EventBatch, source: str = "") -> None:
        """Queue a batch; the next `tick` takes it up. Its arrays must not change afterwards.

        Where the queue overflows, every event in it is kept with probability 1/2, and so is every later
        one until it drains; what becomes of the certificate is in the verdicts.

        Args:
            batch: Answers of this model version.
            source: Who sends them, in order of time but for stragglers; each source has its own watermark.

        Raises:
            DriftError: a watched column holds texts, and the profile's numbers, or the other way round;
                nothing of the batch is queued.
        """
        if not len(batch):
            return
        for name, column in self._columns.items():
            _values(name, batch, column.profile)
        arrival = _Arrival(batch, source, self._clock())
        with self._lock:
            self._queue([*self._thinned([arrival], self._sample_rate)])
            while self._pending_events > self._most_pending_events:
                self._sample_rate /= 2
                waiting, self._pending, self._pending_events = self._pending, [], 0
                self._queue([*self._thinned(waiting, 0.5)])

    def succeed(self, before: "Monitor") -> None:
        """Take over what waits in the queue of another monitor of the same model version, which ends."""
        waiting = before.drained()
        with self._lock:
            self._queue(waiting)

    def drained(self) -> list["_Arrival"]:
        """What waits in the queue, which is empty now."""
        with self._lock:
            waiting, self._pending, self._pending_events = self._pending, [], 0
        return waiting

    def tick(self) -> Tick:
        """Take up what has been received, and judge every window that has something new in it."""
        found = Tick([], [])
        period_begun = self._rolling_latency.turn(now_ms=self._clock())
        with self._lock:
            if self._pending_events < self._most_pending_events // 4:
                self._sample_rate = min(1.0, 2 * self._sample_rate)
        for (source, sample_rate, _), together in groupby(self.drained(), key=_alike):
            self._take_up([*together], source, sample_rate, found)
        self._move(self._watermark.at(self._clock()), found)
        self._judge(self._windows.end, found)
        for name, watch in self._watches():
            if (verdict := watch.news()) is not None:
                found.verdicts.append(self._count_verdict(name, verdict, watch.state))
        if period_begun:
            found.changes.extend(self._latency_changes())
        return found

    def _queue(self, arrivals: list[_Arrival]) -> None:
        self._pending += arrivals
        self._pending_events += sum(len(each.batch) for each in arrivals)

    def _thinned(self, arrivals: list[_Arrival], rate: float) -> Iterator[_Arrival]:
        for arrival in arrivals:
            if rate == 1.0:
                yield arrival
                continue
            kept = self._random.random(len(arrival.batch)) < rate
            self._count(sampled_out=len(kept) - int(kept.sum()))
            if kept.any():
                yield replace(arrival, batch=arrival.batch[kept], sample_rate=arrival.sample_rate * rate)

    def _count(self, **more: int) -> None:
        total = {name: getattr(self._counters, name) + number for name, number in more.items()}
        self._counters = replace(
            self._counters, received=self._counters.received + sum(more.values()), **total
        )

    def _take_up(self, arrivals: list[_Arrival], source: str, sample_rate: float, found: Tick) -> None:
        batch = EventBatch.joined([each.batch for each in arrivals])
        received_ms = np.repeat(
            [each.received_ms for each in arrivals], [len(each.batch) for each in arrivals]
        )
        times = np.clip(batch.event_time_ms, 0, received_ms)
        ends = self._watermark.advance(times, source, now_ms=arrivals[-1].received_ms)
        start = 0
        while start < len(times):
            # A batch may span any time: it is taken up in steps of L1, so that the windows cover all of it.
            reach = max(self._windows.end + self._windows.l1_slots, int(ends[start]))
            self._move(int(ends[start]), found)
            stop = int(np.searchsorted(ends, reach, side="right"))
            step = slice(start, stop)
            self._absorb(batch[step], times[step], ends[step], sample_rate, found)
            self._move(int(ends[stop - 1]), found)
            if stop < len(times):
                self._judge(self._windows.end, found)
            start = stop

    def _absorb(
        self,
        batch: EventBatch,
        times: NDArray[np.int64],
        ends: NDArray[np.int64],
        sample_rate: float,
        found: Tick,
    ) -> None:
        timely, first = self._windows.place(batch.event_ids, times, ends)
        absorbed = int(first.sum())
        with self._lock:
            self._count(
                absorbed=absorbed,
                late_beyond_horizon=len(batch) - int(timely.sum()),
                duplicate=int(timely.sum()) - absorbed,
            )
        self._windows.count(times[first], sample_rate=sample_rate)
        labelled = ~np.isnan(batch.label)
        labelled[labelled] = self._labelled_ids.unseen(batch.event_ids[labelled])
        sources = batch.columns.get(SOURCE, _nothing(len(batch)))
        for name, column in self._columns.items():
            rows = labelled if name == ERROR else first
            bins = column.profile.index(_values(name, batch, column.profile)[rows])
            self._windows.count_bins(name, times[rows], bins)
            before = column.newest
            changes = column.follow(bins, times[rows], sources[rows], sample_rate=sample_rate)
            self._found(name, changes, found)
            missing = bins == column.profile.bins
            changes = self._presence[name].follow_missing(
                missing, times[rows], sources[rows], sample_rate=sample_rate, before=before
            )
            self._found(f"{name}{MISSING}", changes, found)

    def _found(self, name: str, changes: Iterable[tuple[State, CountVerdict]], found: Tick) -> None:
        for state, verdict in changes:
            found.changes.append(
                StateChange(name, state, self._count_verdict(name, verdict, state), verdict.mix)
            )

    def _watches(self) -> Iterator[tuple[str, ColumnWatch]]:
        yield from self._columns.items()
        for name, presence in self._presence.items():
            yield f"{name}{MISSING}", presence

    def _move(self, end: int, found: Tick) -> None:
        for overdue in self._windows.overdue(end):
            self._judge(overdue, found)
        self._windows.move(end)

    def _judge(self, end: int, found: Tick) -> None:
        """Verdicts for the windows before `end`, if any event is in none yet."""
        if not self._windows.unreported(end):
            return
        slot_ms = self.policy.slot_ms
        windows: tuple[tuple[WindowName, int], ...] = (
            ("l1", self._windows.l1_slots),
            ("l2", self._windows.l2_slots),
        )
        for window, slots in windows:
            for name, column in self._columns.items():
                held = self._windows.window(name, end=end, slots=slots)
                if not held.counts.any():
                    continue
                measured = column.measure(held)
                found.verdicts.append(
                    self._verdict(
                        name, window, (end - slots) * slot_ms, end * slot_ms, measured, column.state
                    )
                )
        times, events = self._windows.reported(end)
        latency_ms = self._clock() - times
        self._rolling_latency.add(latency_ms, events)
        self.latency_since_start.add(latency_ms, events)

    def _count_verdict(self, name: str, verdict: CountVerdict, state: State) -> WindowVerdict:
        return self._verdict(
            name,
            "count",
            verdict.start_ms,
            verdict.end_ms,
            verdict.measured,
            state,
        )

    def _verdict(
        self,
        column: str,
        window: WindowName,
        start_ms: int,
        end_ms: int,
        measured: Measured,
        state: State,
    ) -> WindowVerdict:
        return WindowVerdict(
            line=self.line,
            model_version=self.model_version,
            column=column,
            window=window,
            window_start=moment(start_ms),
            window_end=moment(end_ms),
            events=measured.events,
            ks=measured.ks,
            ks_lower=measured.ks_lower,
            ks_upper=measured.ks_upper,
            p_value=measured.p_value,
            sample_rate=measured.sample_rate,
            threshold=measured.threshold,
            state=state,
            psi=measured.psi,
            psi_by_chance=measured.psi_by_chance,
        )

    def _latency_changes(self) -> list[StateChange]:
        latency = self.latency
        if latency.count < _LATENCIES_FOR_P99:
            return []
        broken = latency.p99_ms > self.policy.deadline_ms
        self._periods_met = 0 if broken else self._periods_met + 1
        # Cleared by as many good periods as an alarm is measured over: a figure at the border changes nothing.
        settled = broken or self._periods_met >= self._rolling_latency.periods
        state: State = ALARM if broken else CLEAR
        if state == self._latency_state or not settled:
            return []
        self._latency_state = state
        return [StateChange(LATENCY, state, None)]


def _alike(arrival: _Arrival) -> tuple[str, float, tuple[str, ...]]:
    """What consecutive batches must share to be taken up as one: many small ones cost little more than one."""
    return arrival.source, arrival.sample_rate, tuple(arrival.batch.columns)


def _values(name: str, batch: EventBatch, profile: ColumnProfile) -> Column:
    """The values of a column, as its profile compares them; what an event lacks is missing.

    Raises:
        DriftError: they are texts, and the profile's are numbers; or the other way round.
    """
    match name:
        case "score":
            values: Column | None = batch.score
        case "error":
            values = np.abs(batch.label - batch.score)
        case _:
            values = batch.columns.get(name)
    categories = isinstance(profile.binning, CategoryBinning)
    if values is None:
        return _nothing(len(batch)) if categories else np.full(len(batch), math.nan)
    if categories != (values.dtype.kind in "OU"):
        raise DriftError(
            f"the column {name} holds {'numbers' if categories else 'texts'}, "
            f"and the reference profile {'texts' if categories else 'numbers'}"
        )
    return values


def _nothing(rows: int) -> NDArray[np.object_]:
    return np.full(rows, None, dtype=object)

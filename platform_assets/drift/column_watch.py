"""One column under watch: its bins, the window of its newest events, its state.

Whether its values are there at all is watched in the same way, as a column of two values (`presence_of`).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.alarms import CLEAR, Alarm, State
from platform_assets.drift.event import Column
from platform_assets.drift.spec import DriftSpec
from platform_assets.drift.windows import Window, sampling_bias
from platform_assets.sketch.binning import Bins, CategoryBinning, Missing
from platform_assets.sketch.count_window import CountWindow, threshold
from platform_assets.sketch.shares import share_bound
from platform_assets.sketch.sketch import ColumnProfile, compare
from platform_assets.sketch.stability import Stability


class Measured(NamedTuple):
    """The distance of one window from the reference."""

    events: int
    ks: float
    ks_lower: float
    ks_upper: float
    p_value: float
    sample_rate: float
    threshold: float
    psi: float = math.nan
    """Population stability index of the newest events; not measured of other windows, which may hold a few."""
    psi_by_chance: float = math.nan
    """What it seldom exceeds while nothing drifts."""


class CountVerdict(NamedTuple):
    """The newest `window_events` events of a column."""

    start_ms: int
    end_ms: int
    """Exclusive."""
    measured: Measured
    mix: Mapping[str, float]
    """Share of each source; empty where events do not tell it."""


_EVENT: Final = np.dtype(
    [("bin", np.uint32), ("event_time_ms", np.int64), ("stands_for", np.float64), ("source", object)]
)
"""One event of a column; it stands for 1 / sample rate as many."""
_MISSING: Final = 1
"""The bin of what is missing, behind that of what is there."""
_ROUNDING: Final = 1e-9
"""Of shares: a distance that is just the bound is none beyond it."""


class ColumnWatch:
    """Follows the values of one column against its reference profile.

    Args:
        profile: The reference.
        policy: How closely it is watched.
        signals: How many such watches share the policy's false alarms.
        state: Where its alarm begins.
    """

    def __init__(self, profile: ColumnProfile, policy: DriftSpec, *, signals: int, state: State) -> None:
        self.profile = profile
        self._size = policy.window_events
        self._tolerance_ks = policy.tolerance_ks
        # Bonferroni: each of the signals may err so much more seldom.
        self._run_length = policy.expected_run_length * signals
        self._alarm = Alarm(
            bound=self._bound(policy),
            clear_fraction=policy.clear_fraction,
            window_events=self._size,
            cool_down_ms=1000 * policy.cool_down_seconds,
            state=state,
        )
        self._window = CountWindow(profile, self._size)
        self._stability = Stability(profile)
        self._psi_by_chance = self._stability.by_chance(self._size)
        self._newest = np.empty(0, _EVENT)
        self._told = True

    def _bound(self, policy: DriftSpec) -> float:
        calibrated = threshold(
            window=self._size,
            reference_rows=math.floor(self.profile.effective_rows),
            expected_run_length=self._run_length,
            bins=self.profile.bins,
        )
        return max(calibrated, policy.tolerance_ks)

    @property
    def newest(self) -> NDArray[np.void]:
        """The newest events that could be compared, at most as many as the window holds; they never change."""
        return self._newest

    @property
    def state(self) -> State:
        """After the newest event."""
        return self._alarm.state

    def follow(
        self,
        bins: Bins,
        event_time_ms: NDArray[np.int64],
        sources: Column,
        *,
        sample_rate: float,
    ) -> Iterator[tuple[State, CountVerdict]]:
        """The changes of state over these events, each with the window at its event.

        What cannot be compared is left out.
        """
        known = bins < self.profile.bins
        new = np.empty(int(known.sum()), _EVENT)
        new["bin"], new["event_time_ms"] = bins[known], event_time_ms[known]
        new["stands_for"], new["source"] = 1 / sample_rate, sources[known]
        if not len(new):
            return
        before = len(self._newest)
        self._newest = np.concatenate([self._newest, new])
        for at, state in self._alarm.follow(self._window.push_index(new["bin"]), new["event_time_ms"]):
            yield state, self._verdict(before + at + 1)
        self._newest = self._newest[-self._size :]
        self._told = False

    def news(self) -> CountVerdict | None:
        """The window after the newest event, once; None before it is full."""
        if self._told or not self._window.full:
            return None
        self._told = True
        return self._verdict(len(self._newest))

    def measure(self, window: Window) -> Measured:
        """The distance of a window over event time."""
        rows = int(window.counts[:-1].sum())
        return self._measured(window, self._critical_ks(rows))

    def _verdict(self, stop: int) -> CountVerdict:
        held = self._newest[max(0, stop - self._size) : stop]
        window = Window(
            np.bincount(held["bin"], minlength=self.profile.bins + 1),
            *sampling_bias(np.ones(len(held)), held["stands_for"]),
        )
        counts = Counter(source for source in held["source"].tolist() if source is not None)
        return CountVerdict(
            start_ms=int(held["event_time_ms"].min()),
            end_ms=int(held["event_time_ms"].max()) + 1,
            measured=self._measured(window, self._alarm.bound)._replace(
                psi=self._stability.psi(window.counts[:-1]), psi_by_chance=self._psi_by_chance
            ),
            mix={str(source): number / counts.total() for source, number in counts.most_common()},
        )

    def _measured(self, window: Window, threshold: float) -> Measured:
        histogram = self.profile.histogram()
        histogram.counts, histogram.missing = window.counts[:-1], Missing(unknown=int(window.counts[-1]))
        result = compare(self.profile, histogram, sample_rate=window.sample_rate)
        lower = max(0.0, result.ks_lower - window.sampling_bias)
        upper = min(1.0, result.ks_upper + window.sampling_bias)
        return Measured(
            events=int(window.counts.sum()),
            ks=(lower + upper) / 2 if result.rows else math.nan,
            ks_lower=lower,
            ks_upper=upper,
            p_value=result.p_value,
            sample_rate=window.sample_rate,
            threshold=threshold,
        )

    def _critical_ks(self, rows: int) -> float:
        """What the distance of a single window exceeds once in `run_length` windows while nothing drifts.

        The first term of the Kolmogorov distribution's tail, solved for the distance.
        """
        if not rows:
            return 1.0
        critical = math.sqrt(
            math.log(2 * self._run_length) / 2 * (1 / rows + 1 / self.profile.effective_rows)
        )
        return min(1.0, max(critical, self._tolerance_ks))


class PresenceWatch(ColumnWatch):
    """Follows what share of a column's values is missing or infinite, against the share of its reference.

    The distance of two columns that hold only `present` and `missing` is that of the shares. What it may reach follows from
    the binomial distribution (`share_bound`), so that a few missing values are seen where there were none.
    """

    def __init__(self, profile: ColumnProfile, policy: DriftSpec, *, signals: int, state: State) -> None:
        super().__init__(presence_of(profile), policy, signals=signals, state=state)
        self._idle = not profile.missing_mass and state == CLEAR

    def follow_missing(
        self,
        missing: NDArray[np.bool_],
        event_time_ms: NDArray[np.int64],
        sources: Column,
        *,
        sample_rate: float,
        before: NDArray[np.void],
    ) -> Iterator[tuple[State, CountVerdict]]:
        """As `follow`, of events of which it is known whether the column's value is missing.

        As long as nothing ever was, nothing can have changed, and the column's own window is all there is to remember.

        Args:
            missing: Shape (n,).
            event_time_ms: Shape (n,).
            sources: Shape (n,).
            sample_rate: Of these events.
            before: `newest` of the column before them.
        """
        if self._idle and not missing.any():
            return
        if self._idle:
            self._idle = False
            self._newest = before.copy()
            self._newest["bin"] = 0
            self._window.push_index(self._newest["bin"])
        yield from self.follow(missing.astype(np.uint32), event_time_ms, sources, sample_rate=sample_rate)

    def news(self) -> CountVerdict | None:
        """As of any column, once anything has been missing: that nothing is, is no news."""
        return None if self._idle else super().news()

    def _bound(self, policy: DriftSpec) -> float:
        rows, missing = self.profile.effective_rows, float(self.profile.mass[_MISSING]) / self.profile.total
        certified = share_bound(
            window=self._size,
            reference_rows=rows,
            reference_missing=missing * rows,
            expected_run_length=self._run_length,
        )
        return max(certified, policy.tolerance_missing) + _ROUNDING


def presence_of(profile: ColumnProfile) -> ColumnProfile:
    """Of a column, how much of its reference is there and how much is missing or infinite."""
    return ColumnProfile(
        binning=CategoryBinning(("present", "missing")),
        mass=np.array([profile.total, profile.missing_mass, 0.0]),
        rows=profile.rows + profile.missing.rows,
        effective_rows=profile.effective_all_rows,
        missing=Missing(),
        missing_mass=0.0,
    )

"""The states of a watched column: clear, alarm, confirmed, with hysteresis and a cool-down."""

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

State = Literal["clear", "alarm", "confirmed"]
CLEAR: Final = "clear"
ALARM: Final = "alarm"
CONFIRMED: Final = "confirmed"


class Alarm:
    """Follows the distance of a sliding window of the newest events from the reference.

        clear → alarm             the distance exceeds `bound`, and no cool-down is running
        alarm → confirmed         it has done so for `window_events` events on end after the onset, so the
                                  window lies wholly after it
        alarm, confirmed → clear  it has been below `clear_fraction × bound` for `window_events` events on end

    Args:
        bound: The distance that is tolerated.
        clear_fraction: Hysteresis.
        window_events: Size of the window.
        cool_down_ms: Event time after `clear` in which no alarm begins.
        state: Where it begins.
    """

    def __init__(
        self,
        *,
        bound: float,
        clear_fraction: float,
        window_events: int,
        cool_down_ms: float,
        state: State = CLEAR,
    ) -> None:
        self.bound = bound
        self.state: State = state
        self._clear_below = clear_fraction * bound
        self._window_events = window_events
        self._cool_down_ms = cool_down_ms
        self._quiet_until_ms = -np.inf
        self._newest_ms = -np.inf
        self._run_above = 0
        self._run_below = 0

    def follow(
        self, distances: NDArray[np.float64], event_time_ms: NDArray[np.int64]
    ) -> Iterator[tuple[int, State]]:
        """The changes of state over these events: the position of the event, and the new state.

        Args:
            distances: After each event; NaN while the window is not full, which ends a run either way.
            event_time_ms: Of each event; the cool-down goes by the newest so far.
        """
        above, below = distances > self.bound, distances < self._clear_below
        time_ms = np.maximum(np.maximum.accumulate(event_time_ms), self._newest_ms)
        at = 0
        while at < len(distances):
            if self.state == CLEAR:
                onset = _first(above[at:] & (time_ms[at:] >= self._quiet_until_ms))
                if onset is None:
                    break
                at += onset
                self._change(ALARM)
            else:
                confirmed, run_above = _run_reaches(self._window_events, above[at:], self._run_above)
                cleared, run_below = _run_reaches(self._window_events, below[at:], self._run_below)
                if self.state == ALARM and confirmed is not None and (cleared is None or confirmed < cleared):
                    at += confirmed
                    self._change(CONFIRMED)
                elif cleared is not None:
                    at += cleared
                    self._change(CLEAR)
                    self._quiet_until_ms = time_ms[at] + self._cool_down_ms
                else:
                    self._run_above, self._run_below = run_above, run_below
                    break
            yield at, self.state
            at += 1
        if len(time_ms):
            self._newest_ms = time_ms[-1]

    def _change(self, state: State) -> None:
        self.state = state
        self._run_above = self._run_below = 0


def _first(flags: NDArray[np.bool_]) -> int | None:
    found = int(flags.argmax()) if len(flags) else 0
    return found if len(flags) and flags[found] else None


def _run_reaches(length: int, flags: NDArray[np.bool_], carried: int) -> tuple[int | None, int]:
    """Where a run of true flags first has this length, and how long the last run is; `carried` came before."""
    position = np.arange(len(flags))
    last_false = np.maximum.accumulate(np.where(flags, -1 - carried, position))
    run = position - last_false
    return _first(run >= length), int(run[-1])

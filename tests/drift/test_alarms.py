"""States of a column: clear, alarm, confirmed, with hysteresis and cool-down."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.drift.alarms import Alarm

WINDOW = 4


def make_alarm(**changes):
    """An alarm at 0.5 that clears below 0.4."""
    return Alarm(
        **{"bound": 0.5, "clear_fraction": 0.8, "window_events": WINDOW, "cool_down_ms": 10} | changes
    )


def follow(alarm, distances, *, start_ms=0):
    """Changes of state, an event a millisecond."""
    return list(alarm.follow(np.array(distances), start_ms + np.arange(len(distances))))


def test_alarm_begins_with_the_event_that_exceeds_the_bound():
    """The bound itself is tolerated; NaN is no distance."""
    assert follow(make_alarm(), [np.nan, 0.5, 0.1, 0.51, 0.6]) == [(3, "alarm")]


def test_alarm_is_confirmed_by_a_window_that_lies_after_the_onset():
    """As many events on end as the window holds, not counting the onset."""
    assert follow(make_alarm(), [0.6] * WINDOW) == [(0, "alarm")]
    assert follow(make_alarm(), [0.6] * (WINDOW + 1)) == [(0, "alarm"), (WINDOW, "confirmed")]
    assert follow(make_alarm(), [0.6, 0.6, 0.45, 0.6, 0.6, 0.6, 0.6]) == [(0, "alarm"), (6, "confirmed")]


def test_alarm_clears_only_well_below_the_bound_and_for_a_whole_window():
    """Between clear_fraction × bound and the bound nothing changes; a single event above starts anew."""
    assert follow(make_alarm(), [0.6] + [0.45] * 50) == [(0, "alarm")]
    assert follow(make_alarm(), [0.6, 0.3, 0.3, 0.3, 0.45, 0.3, 0.3, 0.3]) == [(0, "alarm")]
    assert follow(make_alarm(), [0.6, 0.3, 0.3, 0.3, 0.3]) == [(0, "alarm"), (4, "clear")]
    confirmed = make_alarm(state="confirmed")
    assert follow(confirmed, [0.6] * 9 + [0.3] * WINDOW) == [(8 + WINDOW, "clear")]


def test_no_alarm_during_the_cool_down():
    """After `clear`, the first alarm is that of an event as late as the cool-down is long."""
    alarm = make_alarm(state="alarm")
    assert follow(alarm, [0.3] * WINDOW + [0.6] * 20) == [
        (WINDOW - 1, "clear"),
        (WINDOW - 1 + 10, "alarm"),
        (2 * WINDOW - 1 + 10, "confirmed"),
    ]


def test_late_event_does_not_turn_the_cool_down_back():
    """The cool-down goes by the newest event time so far, across batches."""
    alarm = make_alarm(state="alarm")
    follow(alarm, [0.3] * WINDOW)
    assert follow(alarm, [0.3], start_ms=1000) == []
    assert follow(alarm, [0.6], start_ms=5) == [(0, "alarm")]


@given(
    st.lists(st.sampled_from([np.nan, 0.3, 0.45, 0.6]) | st.floats(0, 1), max_size=120),
    st.lists(st.integers(0, 120), max_size=5),
    st.sampled_from(["clear", "alarm", "confirmed"]),
)
def test_changes_do_not_depend_on_the_batches(distances, cuts, state):
    """The same stream gives the same changes, event by event and in batches of any size."""
    whole = follow(make_alarm(state=state), distances)
    bounds = [0, *sorted(min(cut, len(distances)) for cut in cuts), len(distances)]
    in_batches, one_by_one = make_alarm(state=state), make_alarm(state=state)
    assert [
        (start + at, each)
        for start, stop in pairwise(bounds)
        for at, each in follow(in_batches, distances[start:stop], start_ms=start)
    ] == whole
    assert [
        (at, each)
        for at, distance in enumerate(distances)
        for _, each in follow(one_by_one, [distance], start_ms=at)
    ] == whole

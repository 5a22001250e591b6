"""Event-time windows against a list of all events: whatever the order, the batches and the sources."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.drift.windows import EventWindows, RecentIds, Watermark

SLOT_MS, L1, L2 = 20, 3, 8
IDLE_MS, MOST_BEHIND_MS = L1 * SLOT_MS, L2 * SLOT_MS
BINS = 4


def make_watermark():
    """A watermark with the figures above."""
    return Watermark(slot_ms=SLOT_MS, idle_ms=IDLE_MS, most_behind_ms=MOST_BEHIND_MS)


def make_windows():
    """Windows of one column."""
    return EventWindows(slot_ms=SLOT_MS, l1_slots=L1, l2_slots=L2, widths={"score": BINS}, most_ids=1000)


def times(*milliseconds):
    """Event times."""
    return np.array(milliseconds, np.int64)


class BruteWatermark:
    """The rule of the watermark, one event after the other."""

    def __init__(self):
        self.newest, self.heard, self.all, self.time = {}, {}, -(2**62), -(2**62)

    def end(self, time, source, now):
        """`end` after one more event."""
        live = {name for name, at in self.heard.items() if now - at <= IDLE_MS}
        self.newest = {name: self.newest[name] for name in live}
        self.heard = {name: self.heard[name] for name in live} | {source: now}
        self.newest[source] = max(time, self.newest.get(source, time))
        self.all = max(self.all, time)
        self.time = max(self.time, min(self.newest.values()), self.all - MOST_BEHIND_MS)
        return self.time // SLOT_MS


BATCHES = st.lists(
    st.tuples(
        st.lists(st.integers(-300, 60), min_size=1, max_size=6),
        st.sampled_from("abc"),
        st.integers(0, 90),
    ),
    max_size=25,
)


@given(BATCHES)
def test_watermark_is_that_of_events_coming_one_by_one(batches):
    """A batch moves the watermark as its events would alone, for several sources of which any may fall silent."""
    watermark, brute = make_watermark(), BruteWatermark()
    now = 10_000
    for offsets, source, pause in batches:
        now += pause
        event_times = now + np.array(offsets)
        ends = watermark.advance(event_times, source, now_ms=now)
        assert ends.tolist() == [brute.end(time, source, now) for time in event_times.tolist()]


def test_slowest_live_source_holds_the_watermark_back():
    """Two sources: the slower one decides, until it has been silent for a while."""
    watermark = make_watermark()
    watermark.advance(times(1000), "slow", now_ms=1000)
    assert watermark.advance(times(1100), "fast", now_ms=1100).tolist() == [1100 // SLOT_MS]
    watermark.advance(times(1050), "slow", now_ms=1101)
    assert watermark.advance(times(1140), "fast", now_ms=1140).tolist() == [1100 // SLOT_MS]
    assert watermark.at(1101 + IDLE_MS) == 1100 // SLOT_MS
    assert watermark.at(1102 + IDLE_MS) == 1140 // SLOT_MS


def test_source_with_a_slow_clock_holds_nobody_back_by_more_than_the_late_window():
    """A source that lags for ever costs the others the late window, not their verdicts."""
    watermark = make_watermark()
    for now in range(1000, 3000, 10):
        watermark.advance(times(now - 900), "lagging", now_ms=now)
        (end,) = watermark.advance(times(now), "punctual", now_ms=now)
        assert end >= (now - MOST_BEHIND_MS) // SLOT_MS


def test_silence_completes_the_last_slot():
    """When nobody is live any more, everything seen is complete; and the watermark stays there."""
    watermark = make_watermark()
    watermark.advance(times(1000, 1007), "a", now_ms=1010)
    assert watermark.at(1010 + IDLE_MS) == 50
    assert watermark.at(1011 + IDLE_MS) == 51
    assert watermark.at(100_000) == 51


def test_idle_sources_are_forgotten():
    """A sender that changes its name with every batch does not fill the memory."""
    watermark = make_watermark()
    for now in range(0, 100_000, 10):
        watermark.advance(times(now), f"sender {now}", now_ms=now)
    assert len(watermark._newest) == len(watermark._heard_at) <= IDLE_MS // 10 + 1


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 30))
def test_id_is_known_while_fewer_than_most_others_came(ids, most):
    """An id is called unseen only where it is new, or enough others came in between; memory is bounded."""
    recent = RecentIds(most)
    newest = {}
    for at, each in enumerate(ids):
        (unseen,) = recent.unseen(np.array([each], np.uint64))
        if each not in newest:
            assert unseen
        elif len(set(ids[newest[each] + 1 : at])) < most:
            assert not unseen
        if unseen:
            newest[each] = at
        assert len(recent._young) + len(recent._old) <= 2 * most


SCHEDULE = st.lists(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(-250, 0), st.integers(0, 60)), min_size=1, max_size=12
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(SCHEDULE, st.randoms(use_true_random=False))
def test_windows_hold_exactly_the_events_of_their_span(schedule, random):
    """Jitter, late events, repeated ids: each window is the brute-force count, and each event is told once.

    An event of the schedule is (pause before it, its lateness, its id).
    """
    windows, watermark = make_windows(), make_watermark()
    now = 10_000
    absorbed, absorbed_ids, told, time_of_id = [], [], {}, {}

    def report(end):
        for slots in (L1, L2):
            expected = [0] * BINS
            for time, bin_ in absorbed:
                expected[bin_] += end - slots <= time // SLOT_MS < end
            window = windows.window("score", end=end, slots=slots)
            assert window.counts.tolist() == expected
            assert (window.sample_rate, window.sampling_bias) == (1.0, 0.0)
        for time, events in zip(*windows.reported(end), strict=True):
            told[int(time)] = told.get(int(time), 0) + int(events)

    def move(end):
        for overdue in windows.overdue(end):
            assert overdue - L2 >= windows.end - L2
            report(overdue)
        windows.move(end)

    for batch in schedule:
        event_times, ids = [], []
        for pause, lateness, identity in batch:
            now += pause
            # The same id comes with the same time, as a repetition does.
            event_times.append(time_of_id.setdefault(identity, now + lateness))
            ids.append(identity)
        event_times, ids = np.array(event_times), np.array(ids, np.uint64)
        ends = watermark.advance(event_times, "a", now_ms=now)
        at = 0
        while at < len(ids):
            move(int(ends[at]))
            stop = int(np.searchsorted(ends, windows.end + L1, side="right"))
            step = slice(at, stop)
            timely, first = windows.place(ids[step], event_times[step], ends[step])
            assert timely.tolist() == [
                time // SLOT_MS >= end - L2
                for time, end in zip(event_times[step].tolist(), ends[step].tolist(), strict=True)
            ]
            assert not (first & ~timely).any()
            kept = event_times[step][first]
            bins = np.array([random.randrange(BINS) for _ in kept], np.int64)
            windows.count(kept, sample_rate=1.0)
            windows.count_bins("score", kept, bins)
            absorbed += zip(kept.tolist(), bins.tolist(), strict=True)
            absorbed_ids += ids[step][first].tolist()
            assert set(ids[step][timely].tolist()) <= set(absorbed_ids)
            move(int(ends[stop - 1]))
            at = stop
        if random.random() < 0.5:
            report(windows.end)
    now += IDLE_MS + 1
    move(watermark.at(now))
    report(windows.end)
    assert len(absorbed_ids) == len(set(absorbed_ids))
    by_time = {}
    for time, _ in absorbed:
        by_time[time] = by_time.get(time, 0) + 1
    assert told == by_time
    assert not windows.unreported(windows.end)


def test_late_event_lands_in_its_own_slot():
    """L2 still takes what L1 has left behind; a slot older than L2 is refused; both levels share the slots."""
    windows, watermark = make_windows(), make_watermark()
    event_times = times(1000, 1000 - (L2 - 1) * SLOT_MS, 1000 - L2 * SLOT_MS, 1000 - L2 * SLOT_MS - 1)
    ends = watermark.advance(event_times, "a", now_ms=1000)
    windows.move(int(ends[0]))
    timely, first = windows.place(np.arange(4, dtype=np.uint64), event_times, ends)
    assert timely.tolist() == first.tolist() == [True, True, True, False]
    windows.count(event_times[first], sample_rate=1.0)
    windows.count_bins("score", event_times[first], np.array([0, 1, 2]))
    assert windows.window("score", end=windows.end, slots=L1).counts.tolist() == [0, 0, 0, 0]
    assert windows.window("score", end=windows.end, slots=L2).counts.tolist() == [0, 1, 1, 0]
    windows.move(windows.end + 1)
    assert windows.window("score", end=windows.end, slots=L1).counts.tolist() == [1, 0, 0, 0]


def test_gap_of_any_length_leaves_nothing_behind():
    """After a year of silence the slots are empty, and what was not reported was overdue first."""
    windows, watermark = make_windows(), make_watermark()
    ends = watermark.advance(times(1000), "a", now_ms=1000)
    windows.move(int(ends[0]))
    windows.count(times(1000), sample_rate=1.0)
    windows.count_bins("score", times(1000), np.array([0]))
    end = 1000 + 365 * 86_400_000 // SLOT_MS
    overdue = []
    for each in windows.overdue(end):
        overdue.append(each)
        windows.reported(each)
    assert overdue == [1000 // SLOT_MS + L2]
    windows.move(end)
    assert not windows.window("score", end=end, slots=L2).counts.any()


@pytest.mark.parametrize(
    ("rates", "sample_rate", "bias"),
    [((1.0, 1.0), 1.0, 0.0), ((0.5, 0.5), 0.5, 0.0), ((1.0, 0.5), 2 / 3, 1 / 6)],
)
def test_window_tells_how_it_was_sampled(rates, sample_rate, bias):
    """The rate is the counted share; slots that were sampled at different rates are weighed wrongly by the bias."""
    windows, watermark = make_windows(), make_watermark()
    windows.move(int(watermark.advance(times(1040), "a", now_ms=1040)[0]))
    for time, rate in zip((1000, 1020), rates, strict=True):
        windows.count(np.full(6, time), sample_rate=rate)
        windows.count_bins("score", np.full(6, time), np.zeros(6, np.int64))
    window = windows.window("score", end=windows.end, slots=L1)
    assert window.sample_rate == pytest.approx(sample_rate)
    assert window.sampling_bias == pytest.approx(bias)

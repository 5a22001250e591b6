"""The monitor, on a clock that is set by hand: what it counts, what it says and when."""

import math
from datetime import UTC, datetime
from itertools import pairwise
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import EventBatch, milliseconds, moment
from platform_assets.drift.monitor import Counters, Monitor
from platform_assets.drift.spec import DriftSpec
from platform_assets.sketch.sketch import ReferenceProfile
from platform_assets.sketch.stability import Stability

START_MS = milliseconds(datetime(2026, 1, 31, 12, tzinfo=UTC))
WINDOW = 50
REFERENCE = np.random.default_rng(0).normal(size=2000)


class Clock:
    """Stands until it is set."""

    def __init__(self):
        self.now_ms = START_MS

    def __call__(self):
        """Milliseconds since the epoch."""
        return self.now_ms


def make_profile(**columns):
    """A profile of `score`, and of what else is given."""
    return ReferenceProfile.of({"score": REFERENCE, **columns}, bins=64)


def make_monitor(clock, *, profile=None, **changes):
    """A monitor of `score`, quick to alarm, with `changes` to its policy."""
    arguments = {name: changes.pop(name) for name in ("states", "most_pending_events") if name in changes}
    policy = {"window_events": WINDOW, "expected_run_length": 10_000, "cool_down_seconds": 0.0} | changes
    return Monitor("reviews", 3, profile or make_profile(), DriftSpec(**policy), clock=clock, **arguments)


def make_batch(times_ms, scores=None, *, ids=None, labels=None, **columns):
    """A batch of events at times after the start; each event has an id of its own."""
    times_ms = np.asarray(times_ms, np.int64)
    make_batch.ids = getattr(make_batch, "ids", 0) + len(times_ms)
    return EventBatch(
        event_ids=np.arange(make_batch.ids - len(times_ms), make_batch.ids, dtype=np.uint64)
        if ids is None
        else np.asarray(ids, np.uint64),
        event_time_ms=START_MS + times_ms,
        score=np.zeros(len(times_ms)) if scores is None else np.asarray(scores, np.float64),
        label=np.full(len(times_ms), np.nan) if labels is None else np.asarray(labels, np.float64),
        columns=columns,
    )


def feed(monitor, clock, scores, *, every_ms=1, batch=25, **columns):
    """Events one after the other, a tick a batch; the changes of state."""
    changes = []
    first_ms = clock.now_ms - START_MS
    for at in range(0, len(scores), batch):
        rows = slice(at, at + batch)
        times = first_ms + every_ms * np.arange(at, at + len(scores[rows]))
        clock.now_ms = START_MS + int(times[-1])
        monitor.receive(
            make_batch(times, scores[rows], **{name: each[rows] for name, each in columns.items()})
        )
        changes += monitor.tick().changes
    clock.now_ms += every_ms
    return changes


def silence(monitor, clock):
    """The tick after everybody has been silent for a while."""
    clock.now_ms += 1000
    return monitor.tick()


# --- Counting ----------------------------------------------------------------------------------------------


class BruteMonitor:
    """What becomes of each event, by the rules alone, one event after the other."""

    def __init__(self):
        self.newest, self.heard, self.fastest, self.time = {}, {}, -(10**9), -(10**9)
        self.absorbed, self.late, self.duplicate = {}, 0, 0
        self.waiting = []

    def live(self, now):
        """Forget who has been silent."""
        self.heard = {name: at for name, at in self.heard.items() if now - at <= 200}
        self.newest = {name: self.newest[name] for name in self.heard}

    def receive(self, batch, source, now):
        """What one source sends on end is taken up together."""
        rows = zip(batch.event_ids.tolist(), batch.event_time_ms.tolist(), batch.score.tolist(), strict=True)
        told = [(identity, min(time_ms, now), score) for identity, time_ms, score in rows]
        if self.waiting and self.waiting[-1][0] == source:
            told = self.waiting.pop()[1] + told
        self.waiting.append((source, told, now))

    def take(self, source, rows, now):
        """The events one by one."""
        self.live(now)
        self.heard[source] = now
        for identity, time_ms, score in rows:
            self.newest[source] = max(time_ms, self.newest.get(source, time_ms))
            self.fastest = max(self.fastest, time_ms)
            self.time = max(self.time, min(self.newest.values()), self.fastest - 600)
            if time_ms // 20 < self.time // 20 - 30:
                self.late += 1
            elif identity in self.absorbed:
                self.duplicate += 1
            else:
                self.absorbed[identity] = (time_ms, score)

    def tick(self, now):
        """Take up what waits; then silence moves the watermark."""
        for source, rows, received in self.waiting:
            self.take(source, rows, received)
        self.waiting = []
        self.live(now)
        silent = (self.fastest // 20 + 1) * 20
        self.time = max(self.time, min(self.newest.values(), default=silent))

    def scores(self, start, end):
        """Of the events between two times."""
        return [score for time_ms, score in self.absorbed.values() if start <= moment(time_ms) < end]


EVENTS = st.tuples(
    st.integers(0, 40),  # pause before it
    st.sampled_from([0, 0, 0, 1, 30, 300, 599, 600, 601, 650, 2000]) | st.integers(-40, 1500),  # lateness
    st.integers(0, 60),  # id
)
ROUNDS = st.lists(
    st.tuples(st.lists(EVENTS, min_size=1, max_size=15), st.sampled_from("abc"), st.booleans()), max_size=20
)


@settings(max_examples=20, deadline=None)
@given(ROUNDS)
def test_monitor_agrees_with_a_list_of_all_events(rounds):
    """Jitter, late and repeated events of three sources: counters, windows, distances are those of a full list."""
    agree(rounds)


@pytest.mark.long
@settings(max_examples=500, deadline=None)
@given(ROUNDS)
def test_monitor_agrees_with_a_list_of_all_events_500_times(rounds):
    """The same, as often as it takes to meet rare schedules."""
    agree(rounds)


def agree(rounds):
    """Let the monitor and the list follow the same rounds of (events, source, whether a tick follows)."""
    clock, brute = Clock(), BruteMonitor()
    monitor = make_monitor(clock)
    time_of_id, fed, contained = {}, 0, set()

    def tick():
        tick = monitor.tick()
        brute.tick(clock.now_ms)
        counters = monitor.counters
        assert counters == Counters(fed, len(brute.absorbed), 0, brute.late, brute.duplicate)
        newest = {verdict.window: verdict for verdict in tick.verdicts if verdict.window != "count"}
        for verdict in tick.verdicts:
            if verdict.window != "count":
                contained.update(
                    identity
                    for identity, (time_ms, _) in brute.absorbed.items()
                    if verdict.window_start <= moment(time_ms) < verdict.window_end
                )
        for verdict in newest.values():
            scores = brute.scores(verdict.window_start, verdict.window_end)
            assert verdict.window_end <= moment(brute.time)
            if verdict.window_end == moment(brute.time // 20 * 20):
                assert verdict.events == len(scores)
                assert verdict.ks_lower - 1e-12 <= ks_2samp(REFERENCE, scores, method="asymp").statistic
                assert verdict.ks_upper + 1e-12 >= ks_2samp(REFERENCE, scores, method="asymp").statistic

    for events, source, ticks in rounds:
        times, ids = [], []
        for pause, lateness, identity in events:
            clock.now_ms += pause
            times.append(time_of_id.setdefault(identity, clock.now_ms - START_MS - lateness))
            ids.append(identity)
        batch = make_batch(times, np.array(ids) / 20 - 1.5, ids=ids)
        monitor.receive(batch, source)
        brute.receive(batch, source, clock.now_ms)
        fed += len(batch)
        assert monitor.counters.received + monitor.pending_events == fed
        if ticks:
            tick()
    clock.now_ms += 1000
    tick()
    assert contained == set(brute.absorbed)
    assert monitor.latency_since_start.count == len(brute.absorbed)


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(0, 3))
def test_what_is_received_is_counted_whatever_the_order_of_the_calls(sizes, ticks):
    """With a queue that overflows, the four fates still add up to what was received, at any moment."""
    clock = Clock()
    monitor = make_monitor(clock, most_pending_events=300)
    for at, size in enumerate(sizes):
        clock.now_ms += 10
        monitor.receive(make_batch(np.full(size, clock.now_ms - START_MS)))
        if at % 4 < ticks:
            monitor.tick()
        counters = monitor.counters
        assert monitor.pending_events <= 300
        assert counters.received + monitor.pending_events == sum(sizes[: at + 1])
        assert counters.received == (
            counters.absorbed + counters.sampled_out + counters.late_beyond_horizon + counters.duplicate
        )


def test_threads_may_send_while_another_ticks():
    """Four senders and a ticking thread: nothing is lost and nothing counted twice."""
    clock = Clock()
    monitor = make_monitor(clock)

    def send(sender):
        for _ in range(50):
            monitor.receive(batches[sender].pop(), f"sender {sender}")

    batches = [[make_batch(np.zeros(20)) for _ in range(50)] for _ in range(4)]
    senders = [Thread(target=send, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        monitor.tick()
        counters = monitor.counters
        assert counters.received == counters.absorbed + counters.duplicate
    for sender in senders:
        sender.join()
    silence(monitor, clock)
    assert monitor.counters == Counters(received=4000, absorbed=4000)
    assert monitor.latency_since_start.count == 4000


def test_event_from_the_future_counts_as_of_when_it_came():
    """A sender whose clock is a day fast cannot make the events of others late."""
    clock = Clock()
    monitor = make_monitor(clock)
    monitor.receive(make_batch([86_400_000]), "fast")
    monitor.receive(make_batch([0, -500]), "right")
    silence(monitor, clock)
    assert monitor.counters == Counters(received=3, absorbed=3)
    assert monitor.latency_since_start.quantile_ms(1.0) == pytest.approx(1500, rel=0.03)


def test_time_out_of_any_calendar_does_no_harm():
    """The smallest and the largest of 64 bits are times too: the one is late, or first; the other is now."""
    clock = Clock()
    monitor = make_monitor(clock)
    batch = make_batch([0, 0, 0])
    batch.event_time_ms[:] = [np.iinfo(np.int64).min, np.iinfo(np.int64).max, np.iinfo(np.int64).min]
    monitor.receive(batch)
    silence(monitor, clock)
    assert monitor.counters == Counters(received=3, absorbed=2, late_beyond_horizon=1)


# --- Verdicts ----------------------------------------------------------------------------------------------


def test_verdicts_say_what_they_are_about():
    """Line, version, column, both windows over event time, and the count window once it is full."""
    clock = Clock()
    monitor = make_monitor(clock)
    clock.now_ms += 999
    monitor.receive(make_batch(np.arange(1000), np.resize(REFERENCE, 1000)))
    verdicts = silence(monitor, clock).verdicts
    newest = {verdict.window: verdict for verdict in verdicts}
    assert newest.keys() == {"l1", "l2", "count"}
    assert {(each.line, each.model_version, each.column, each.state) for each in verdicts} == {
        ("reviews", 3, "score", "clear")
    }
    assert (newest["l1"].window_start, newest["l1"].window_end) == (
        moment(START_MS + 800),
        moment(START_MS + 1000),
    )
    assert newest["l2"].window_start == moment(START_MS + 400)
    assert [newest[window].events for window in ("l1", "l2", "count")] == [200, 600, WINDOW]
    assert newest["count"].window_start == moment(START_MS + 1000 - WINDOW)
    for each in verdicts:
        assert each.sample_rate == 1.0
        assert each.ks_lower <= each.ks <= each.ks_upper
        assert 0 <= each.p_value <= 1
        assert each.threshold >= monitor.policy.tolerance_ks


def test_the_newest_events_have_a_stability_index():
    """Of the window that counts events, as the sketch has it; of windows of any few events there is none."""
    clock = Clock()
    monitor = make_monitor(clock)
    moved = np.random.default_rng(1).normal(2, size=WINDOW)
    feed(monitor, clock, moved)
    monitor.receive(make_batch([clock.now_ms - START_MS], [0.0]))
    verdicts = monitor.tick().verdicts
    (counted,) = (each for each in verdicts if each.window == "count")
    profile = make_profile().columns["score"]
    held = np.bincount(profile.index([*moved[1:], 0.0]), minlength=profile.bins)
    assert counted.psi == pytest.approx(Stability(profile).psi(held))
    assert counted.psi > counted.psi_by_chance > 0
    assert all(np.isnan(each.psi) for each in verdicts if each.window != "count")


def test_early_windows_leave_no_gap_however_large_the_batch():
    """Ten seconds in one batch: L1 windows follow each other without a hole."""
    clock = Clock()
    monitor = make_monitor(clock)
    clock.now_ms += 10_000
    monitor.receive(make_batch(np.arange(10_000)))
    verdicts = [*monitor.tick().verdicts, *silence(monitor, clock).verdicts]
    early = sorted((each.window_start, each.window_end) for each in verdicts if each.window == "l1")
    assert early[0][0] <= moment(START_MS)
    assert early[-1][1] >= moment(START_MS + 10_000)
    assert all(after[0] <= before[1] for before, after in pairwise(early))


def test_a_tick_without_news_says_nothing():
    """No verdict is repeated: neither while nothing comes nor while the newest slot is still open."""
    clock = Clock()
    monitor = make_monitor(clock)
    assert monitor.tick().verdicts == []
    monitor.receive(make_batch([0]))
    assert monitor.tick().verdicts == []
    assert silence(monitor, clock).verdicts != []
    assert silence(monitor, clock).verdicts == []


def test_late_event_revises_the_late_window():
    """An event that L1 has left behind makes a new verdict of L2, and L1 says what it said."""
    clock = Clock()
    monitor = make_monitor(clock)
    clock.now_ms += 1000
    monitor.receive(make_batch([990, 1000]))
    assert [(each.window, each.events) for each in monitor.tick().verdicts] == [("l1", 1), ("l2", 1)]
    monitor.receive(make_batch([500]))
    assert [(each.window, each.events) for each in monitor.tick().verdicts] == [("l1", 1), ("l2", 2)]


def test_missing_values_are_counted_and_not_compared():
    """NaN scores are events of the window, and leave its distance as it is."""
    clock = Clock()
    monitor = make_monitor(clock)
    monitor.receive(
        make_batch(np.zeros(1000), np.where(np.arange(1000) % 2, np.nan, np.resize(REFERENCE, 1000)))
    )
    verdicts = {each.window: each for each in silence(monitor, clock).verdicts}
    assert verdicts["l2"].events == 1000
    assert verdicts["l2"].ks_upper < 0.1
    assert verdicts["count"].events == WINDOW


def test_columns_that_only_the_profile_or_only_the_policy_has():
    """Watched is what both name, and `error` where the profile has it; with nothing in common, nobody watches."""
    profile = make_profile(error=np.abs(REFERENCE))
    monitor = make_monitor(Clock(), profile=profile, columns=("score", "absent"))
    watched = ("score", "error", "score:missing", "error:missing", "latency")
    assert monitor.states == dict.fromkeys(watched, "clear")
    assert monitor.not_watched == {"absent": "the reference profile does not have it"}
    with pytest.raises(DriftError, match="score"):
        make_monitor(Clock(), columns=("absent",))


def test_texts_where_numbers_are_due_are_refused_whole():
    """A column of another kind than the profile's is named, and nothing of its batch is queued."""
    profile = make_profile(words=np.exp(REFERENCE), source=np.array(["a", "b"] * 1000, object))
    monitor = make_monitor(Clock(), profile=profile, columns=("score", "words", "source"))
    with pytest.raises(DriftError, match="words holds texts"):
        monitor.receive(make_batch([0], words=np.array(["many"], object)))
    with pytest.raises(DriftError, match="source holds numbers"):
        monitor.receive(make_batch([0], source=np.zeros(1)))
    assert monitor.pending_events == monitor.counters.received == 0
    monitor.receive(make_batch([0], words=np.zeros(1), source=np.array(["c"], object)))
    assert monitor.pending_events == 1


# --- States ------------------------------------------------------------------------------------------------


def drifting(random, before, during, after):
    """Scores like the reference, then shifted by two standard deviations, then like the reference again."""
    return np.concatenate(
        [
            random.choice(REFERENCE, before),
            random.choice(REFERENCE, during) + 2,
            random.choice(REFERENCE, after),
        ]
    )


def test_drift_goes_through_its_states():
    """Clear, alarm soon after the onset, confirmed by a window that lies after it, clear when it is over."""
    clock, random = Clock(), np.random.default_rng(1)
    monitor = make_monitor(clock)
    sources = np.array(["imdb"] * 1000 + ["rotten_tomatoes"] * 300 + ["imdb"] * 300, object)
    changes = feed(monitor, clock, drifting(random, 1000, 300, 300), source=sources)
    assert [(change.column, change.state) for change in changes] == [
        ("score", "alarm"),
        ("score", "confirmed"),
        ("score", "clear"),
    ]
    alarm, confirmed, clear = (change.verdict for change in changes)
    assert moment(START_MS + 1000) < alarm.window_end < moment(START_MS + 1000 + WINDOW)
    assert alarm.events == confirmed.events == WINDOW
    assert alarm.ks_lower > alarm.threshold
    assert (alarm.state, confirmed.state, clear.state) == ("alarm", "confirmed", "clear")
    assert confirmed.window_start >= moment(START_MS + 1000)
    assert clear.ks_lower < 0.8 * clear.threshold
    assert changes[1].mix == {"rotten_tomatoes": 1.0}
    assert sum(changes[0].mix.values()) == pytest.approx(1.0)
    assert 0 < changes[0].mix["rotten_tomatoes"] < 1
    assert monitor.states["score"] == "clear"


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 700))
def test_changes_do_not_depend_on_the_batches(batch):
    """The same events make the same changes, with the same evidence, in batches of any size."""
    scores = drifting(np.random.default_rng(2), 300, 200, 200)
    scores[450:480] = math.nan
    in_batches, expected = [], []
    for found, size in ((in_batches, batch), (expected, 25)):
        clock = Clock()
        # Of one batch, the changes of one column come before those of the next.
        changes = feed(make_monitor(clock), clock, scores, batch=size)
        found.extend(sorted(changes, key=lambda each: each.column))
    assert in_batches == expected
    assert {change.column for change in expected} == {"score", "score:missing"}


def test_state_is_taken_up_after_a_restart():
    """A monitor that begins in `confirmed` says nothing while drift goes on, and is the one to clear it."""
    clock, random = Clock(), np.random.default_rng(3)
    monitor = make_monitor(clock, states={"score": "confirmed"})
    assert feed(monitor, clock, drifting(random, 0, 200, 0)) == []
    assert [change.state for change in feed(monitor, clock, drifting(random, 0, 0, 200))] == ["clear"]


def test_what_events_do_not_tell_is_not_in_the_mix():
    """Without a column `source` the mix is empty."""
    clock = Clock()
    changes = feed(make_monitor(clock), clock, np.full(200, 5.0))
    assert [change.mix for change in changes] == [{}, {}]


def with_missing(count, share, *, seed=0, value=math.nan):
    """Scores like the reference, of which about this share is missing."""
    random = np.random.default_rng(seed)
    return np.where(random.random(count) < share, value, random.choice(REFERENCE, count))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_go_missing_are_drift(value):
    """Of a column that always had them: alarm, confirmed, and clear when they are back; the others' distance stays."""
    clock = Clock()
    scores = [with_missing(500, 0.0), with_missing(300, 0.3, value=value), with_missing(300, 0.0)]
    changes = feed(make_monitor(clock), clock, np.concatenate(scores))
    assert [(change.column, change.state) for change in changes] == [
        ("score:missing", "alarm"),
        ("score:missing", "confirmed"),
        ("score:missing", "clear"),
    ]
    alarm = changes[0].verdict
    assert (alarm.column, alarm.window, alarm.events) == ("score:missing", "count", WINDOW)
    assert alarm.threshold < alarm.ks_lower == alarm.ks_upper < 0.3


def test_a_share_that_is_that_of_the_reference_is_none():
    """Missing values that always were there are no drift, and that they are no longer is one."""
    clock = Clock()
    reference = np.where(np.arange(4000) % 2, math.nan, np.resize(REFERENCE, 4000))
    monitor = make_monitor(clock, profile=ReferenceProfile.of({"score": reference}, bins=64))
    assert feed(monitor, clock, with_missing(1000, 0.5)) == []
    assert [change.column for change in feed(monitor, clock, with_missing(60, 0.0))] == ["score:missing"]


def test_a_column_that_no_event_has_is_missing():
    """Whoever sends the events has left it out: nothing can be compared, and that is told."""
    clock = Clock()
    monitor = make_monitor(clock, profile=make_profile(words=np.exp(REFERENCE)), columns=("score", "words"))
    changes = feed(monitor, clock, with_missing(2 * WINDOW, 0.0))
    assert [(change.column, change.state) for change in changes] == [
        ("words:missing", "alarm"),
        ("words:missing", "confirmed"),
    ]
    assert changes[0].verdict.ks == 1.0


def test_a_tolerated_share_of_missing_values_is_no_alarm():
    """However significant it is."""
    clock = Clock()
    assert feed(make_monitor(clock, tolerance_missing=0.9), clock, with_missing(500, 0.5)) == []


def test_that_nothing_is_missing_is_no_news():
    """A column of which nothing ever was missing has no verdict on that."""
    clock = Clock()
    monitor = make_monitor(clock)
    told = set()
    for missing in (0.0, 0.5, 0.0):
        monitor.receive(make_batch(np.zeros(WINDOW), with_missing(WINDOW, missing)))
        told |= {
            (each.column, missing) for each in silence(monitor, clock).verdicts if each.window == "count"
        }
    assert told == {("score", 0.0), ("score", 0.5), ("score:missing", 0.5), ("score:missing", 0.0)}


def test_a_column_that_is_called_as_a_pseudo_column_is_refused():
    """Two columns would share one state."""
    profile = make_profile(**{"score:missing": REFERENCE})
    with pytest.raises(DriftError, match="call that column otherwise"):
        make_monitor(Clock(), profile=profile, columns=("score", "score:missing"))


def test_tolerated_distance_is_no_alarm():
    """With a tolerance above the distance, nothing is raised however significant it is."""
    clock = Clock()
    monitor = make_monitor(clock, tolerance_ks=0.99)
    assert feed(monitor, clock, np.random.default_rng(4).choice(REFERENCE, 500) + 1) == []


def test_false_alarms_are_shared_among_the_columns():
    """Each of more columns has a higher bound."""
    names = [f"column{number}" for number in range(9)]
    many = make_monitor(
        Clock(), profile=make_profile(**dict.fromkeys(names, REFERENCE)), columns=("score", *names)
    )
    one = make_monitor(Clock())
    assert many._columns["score"]._alarm.bound > one._columns["score"]._alarm.bound


# --- Labels ------------------------------------------------------------------------------------------------


def make_labelled_monitor(clock):
    """A monitor whose model is off by 0 to 0.2, so that |label − score| is watched."""
    profile = ReferenceProfile.of(
        {"score": np.linspace(0, 1, 2000), "error": np.random.default_rng(5).uniform(0, 0.2, 2000)}, bins=64
    )
    return make_monitor(clock, profile=profile)


def test_concept_drift_is_seen_in_labels_that_come_late():
    """Events of an hour ago come again with their label: late as events, and yet their error raises the alarm."""
    clock = Clock()
    monitor = make_labelled_monitor(clock)
    random = np.random.default_rng(6)
    ids, scores = np.arange(10**6, 10**6 + 400), random.uniform(0, 1, 400)
    clock.now_ms += 400
    monitor.receive(make_batch(np.arange(400), scores, ids=ids))
    assert [change.column for change in monitor.tick().changes if change.column == "error"] == []
    clock.now_ms += 3_600_000
    monitor.receive(make_batch([3_600_000], [0.5]))
    wrong = (scores < 0.5).astype(float)
    monitor.receive(make_batch(np.arange(400), scores, ids=ids, labels=wrong))
    changes = monitor.tick().changes
    assert ("error", "alarm") in [(change.column, change.state) for change in changes]
    assert monitor.counters == Counters(received=801, absorbed=401, late_beyond_horizon=400)


def test_label_counts_once():
    """A label that comes with its event, after it, or twice, is one error."""
    clock = Clock()
    monitor = make_labelled_monitor(clock)
    monitor.receive(make_batch([0, 1, 2], [0.1, 0.2, 0.3], ids=[7, 8, 9], labels=[0, np.nan, np.nan]))
    monitor.receive(make_batch([0, 1, 1], [0.1, 0.2, 0.2], ids=[7, 8, 8], labels=[0, 0, 0]))
    verdicts = silence(monitor, clock).verdicts
    assert {(each.column, each.events) for each in verdicts if each.window == "l2"} == {
        ("score", 3),
        ("error", 2),
    }
    assert monitor.counters == Counters(received=6, absorbed=3, duplicate=3)


# --- Deadline and overload ---------------------------------------------------------------------------------


def test_latency_is_measured_to_the_first_verdict():
    """From an event's own time, its lateness included, to the tick that tells its slot."""
    clock = Clock()
    monitor = make_monitor(clock)
    clock.now_ms += 500
    monitor.receive(make_batch([100, 500]))
    clock.now_ms += 50
    monitor.tick()
    assert monitor.latency_since_start.count == 1
    assert monitor.latency.p50_ms == pytest.approx(450, rel=0.03)
    clock.now_ms += 300
    monitor.tick()
    assert monitor.latency_since_start.count == 2
    assert monitor.latency_since_start.quantile_ms(0.5) == pytest.approx(350, rel=0.03)


def test_broken_deadline_is_told_and_so_is_its_end():
    """P99 over the last minute above deadline_ms is an alarm of `latency`; it clears after a minute without."""
    clock = Clock()
    monitor = make_monitor(clock)
    states = []

    def stream(seconds, delay_ms):
        for _ in range(seconds):
            clock.now_ms += 1000
            now = clock.now_ms - START_MS
            monitor.receive(make_batch(now - delay_ms - np.arange(100)))
            states.extend(each.state for each in monitor.tick().changes if each.column == "latency")

    stream(30, 0)
    assert states == []
    stream(30, 2000)
    assert states == ["alarm"]
    assert monitor.states["latency"] == "alarm"
    stream(110, 0)
    assert states == ["alarm"]
    stream(20, 0)
    assert states == ["alarm", "clear"]


def test_a_latency_at_the_border_is_no_flood_of_changes():
    """Every few seconds P99 is above the deadline and below it again: that is one alarm."""
    clock = Clock()
    monitor = make_monitor(clock)
    changes = []
    for second in range(300):
        clock.now_ms += 1000
        delay_ms = 2000 if second % 80 >= 70 else 0
        monitor.receive(make_batch(clock.now_ms - START_MS - delay_ms - np.arange(100)))
        changes += [each.state for each in monitor.tick().changes if each.column == "latency"]
    assert changes == ["alarm"]


def test_a_successor_takes_over_the_queue():
    """What one monitor received and has not looked at yet, the next one absorbs."""
    clock = Clock()
    before, after = make_monitor(clock), make_monitor(clock)
    before.receive(make_batch([0, 10, 20]))
    after.succeed(before)
    assert (before.pending_events, after.pending_events) == (0, 3)
    after.tick()
    assert after.counters == Counters(received=3, absorbed=3)


def test_overload_is_shed_by_sampling_and_told():
    """A full queue halves the rate: verdicts carry it, their certificate is wider, and it recovers by itself."""
    clock = Clock()
    monitor = make_monitor(clock, most_pending_events=1000)
    scores = np.resize(REFERENCE, 3500)
    for part in np.split(scores, 7):
        monitor.receive(make_batch(np.zeros(500), part))
    assert monitor.sample_rate < 1
    verdict = next(each for each in silence(monitor, clock).verdicts if each.window == "l2")
    counters = monitor.counters
    assert counters.received == 3500 == counters.absorbed + counters.sampled_out
    assert 0 < counters.absorbed <= 1000
    assert verdict.sample_rate in (0.25, 0.125)
    assert verdict.events == counters.absorbed
    exact = ks_2samp(REFERENCE, scores).statistic
    assert verdict.ks_lower <= exact <= verdict.ks_upper
    assert verdict.ks_upper - verdict.ks_lower > 0.05
    for _ in range(3):
        monitor.tick()
    assert monitor.sample_rate == 1.0
    clock.now_ms += 10_000
    monitor.receive(make_batch(np.full(100, clock.now_ms - START_MS)))
    assert {each.sample_rate for each in silence(monitor, clock).verdicts if each.window == "l2"} == {1.0}


def test_sampling_is_uniform():
    """What came first has no better chance to be kept than what came last."""
    clock = Clock()
    monitor = make_monitor(clock, most_pending_events=2000)
    for part in range(16):
        monitor.receive(make_batch(np.zeros(1000), np.full(1000, float(part))))
    kept = np.concatenate([each.batch.score for each in monitor._pending])
    counts = np.bincount(kept.astype(int), minlength=16)
    assert len(kept) + monitor.counters.sampled_out == 16_000
    assert abs(counts[:8].sum() - counts[8:].sum()) < 5 * np.sqrt(len(kept))

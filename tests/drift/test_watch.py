"""The watch of a line: states survive restarts and releases, and only what is deployed speaks for the line."""

import json
import math
import time
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event_reading import NoEventError
from platform_assets.drift.profiles import released_profiles
from platform_assets.drift.record import KIND, states
from platform_assets.drift.replay import ManualClock, replay
from platform_assets.drift.segments import read_segments, segment_keys
from platform_assets.drift.source_names import keep_names, named_mix
from platform_assets.drift.watch import RefusedEventError, Watch
from platform_assets.ledger.errors import LedgerError
from platform_assets.sketch.sketch import ReferenceProfile
from platform_assets.validation.source_names import hashed_source
from resources.object_store import LocalObjectStore, ObjectStoreError
from tests.drift.watching import (
    ENV,
    LINE,
    POLICY,
    SALT,
    START_MS,
    WINDOW,
    Stream,
    in_batches,
    make_profile,
    release_version,
)

PROFILE = make_profile()


@pytest.fixture
def store(tmp_path):
    """An empty object store."""
    return LocalObjectStore(tmp_path / "objects")


@pytest.fixture
def clock():
    """A clock that `feed` moves with the events."""
    return ManualClock(START_MS)


@pytest.fixture
def open_watch(ledger, store, clock):
    """A watch of the line; without releases it knows every version's profile."""

    def open_watch(profile_of=lambda line, version: (f"release-{version}", PROFILE), **changes):
        given = {"ledger": ledger, "store": store, "env": ENV, "salt": SALT, "clock": clock} | changes
        return Watch(LINE, POLICY, profile_of=profile_of, **given)

    return open_watch


@pytest.fixture
def feed(clock):
    """Hands events to a watch as time goes by."""

    def feed(watch, events):
        for batch in in_batches(events):
            clock.now_ms = max(clock.now_ms, START_MS, *(int(e.event_time.timestamp() * 1000) for e in batch))
            watch.receive(batch)
            watch.tick()
        watch.keep(everything=True)

    return feed


def recorded(ledger):
    """Column, state and release of every change."""
    return [
        (entry.body["column"], entry.body["state"], entry.body["release_id"])
        for entry in ledger.entries(kind=KIND, subject=LINE)
    ]


def test_drift_is_recorded_from_onset_to_end(open_watch, feed, ledger):
    """A stream that keeps to the reference leaves nothing; one that drifts, alarm, confirmation and end."""
    watch, stream = open_watch(), Stream()
    feed(watch, stream.events(5 * WINDOW))
    assert recorded(ledger) == []
    feed(watch, stream.events(4 * WINDOW, drifted=True))
    feed(watch, stream.events(4 * WINDOW))
    assert recorded(ledger) == [("words", state, "release-1") for state in ("alarm", "confirmed", "clear")]
    assert watch.problems == {}


def test_a_watched_column_that_the_reference_left_out_is_told(open_watch, caplog):
    """With the reason that the profile was stored with; the others are watched."""
    profile = ReferenceProfile({"score": PROFILE.columns["score"]}, {"words": "all of them are missing"})
    watch = open_watch(lambda line, version: ("release-1", profile))
    assert watch.watched(1).monitor.not_watched == {"words": "all of them are missing"}
    assert "version 1: words is not watched: all of them are missing" in caplog.text


def test_names_that_are_held_keep_no_change_back(open_watch, feed, ledger, store):
    """A change of the same day and sources as another, whose names are under legal hold by now."""
    watch, events = open_watch(), Stream().events(4 * WINDOW, drifted=True)
    keep_names(store, {"imdb": 1.0}, events[-1].event_time, env=ENV, line=LINE, salt=SALT)
    (names,) = store.list()
    store.set_legal_hold(names, held=True)
    feed(watch, events)
    assert [state for _, state, _ in recorded(ledger)] == ["alarm", "confirmed"]
    assert watch.problems == {}


def test_a_change_does_not_wait_for_the_names_of_its_sources(open_watch, feed, ledger, store, monkeypatch):
    """While the store takes none it is recorded with hashes and the problem told; they come when the store does."""
    watch, stream = open_watch(), Stream()
    with monkeypatch.context() as patch:
        patch.setattr(store, "put", Mock(side_effect=ObjectStoreError("no room")))
        feed(watch, stream.events(4 * WINDOW, drifted=True))
        changes = [entry.body for entry in ledger.entries(kind=KIND, subject=LINE)]
        assert [change["state"] for change in changes] == ["alarm", "confirmed"]
        assert watch.problems["names"] == "no room"
        (hashed,) = {name for each in changes for name in named_mix(store, each, env=ENV, line=LINE)}
        assert hashed == hashed_source("imdb", SALT)
    watch.keep(everything=True)
    assert {name for each in changes for name in named_mix(store, each, env=ENV, line=LINE)} == {"imdb"}
    assert watch.problems == {}


def test_labels_that_turn_are_drift_of_the_concept(open_watch, feed, ledger):
    """Scores and texts are as ever; what the model is wrong about tells."""
    watch, stream = open_watch(), Stream()
    feed(watch, stream.events(4 * WINDOW, labelled=True))
    assert recorded(ledger) == []
    feed(watch, stream.events(3 * WINDOW, labelled=True, wrong=True))
    assert recorded(ledger) == [("error", state, "release-1") for state in ("alarm", "confirmed")]


def test_a_restart_goes_on_from_the_ledger(open_watch, feed, ledger):
    """The new process does not tell the alarm again, and is able to end it."""
    stream = Stream()
    feed(open_watch(), stream.events(4 * WINDOW, drifted=True))
    before = recorded(ledger)
    again = open_watch()
    feed(again, stream.events(4 * WINDOW, drifted=True))
    assert recorded(ledger) == before
    feed(again, stream.events(4 * WINDOW))
    assert recorded(ledger) == [*before, ("words", "clear", "release-1")]


def test_a_new_release_clears_the_alarm_of_the_old_one(open_watch, feed, ledger, store):
    """It starts in the state that the line is in, and the drifted mix is what its reference holds."""
    first = release_version(ledger, store, 1, PROFILE)
    watch, stream = open_watch(released_profiles(ledger, store)), Stream()
    feed(watch, stream.events(4 * WINDOW, drifted=True))
    assert states(ledger, LINE)["words"] == "confirmed"
    words = np.array([event.columns["words"] for event in Stream(seed=9).events(2000, drifted=True)])
    profile = ReferenceProfile(PROFILE.columns | ReferenceProfile.of({"words": words}, bins=64).columns)
    second = release_version(ledger, store, 2, profile)
    watch.keep(everything=True)
    assert watch.by_version[2].monitor.states["words"] == "confirmed"
    stream.version = 2
    feed(watch, stream.events(4 * WINDOW, drifted=True))
    assert recorded(ledger)[-1] == ("words", "clear", second.release_id)
    assert {release for *_, release in recorded(ledger)[:-1]} == {first.release_id}


def test_only_the_deployed_version_speaks_for_the_line(open_watch, feed, ledger, store):
    """Events of a version that is not active yet are judged, and change nothing in the ledger."""
    release_version(ledger, store, 1, PROFILE)
    watch = open_watch(lambda line, version: (f"release-{version}", PROFILE))
    feed(watch, Stream(version=2).events(4 * WINDOW, drifted=True))
    assert watch.by_version[2].monitor.states["words"] == "confirmed"
    assert recorded(ledger) == []
    release_version(ledger, store, 2, PROFILE)
    watch.keep(everything=True)
    assert watch.by_version[2].monitor.states["words"] == "clear"


def test_the_newest_two_versions_are_watched(open_watch):
    """A third takes the place of the oldest, whose stragglers are refused."""
    watch = open_watch()
    for version in (1, 2, 3):
        watch.receive(Stream(version=version).events(1))
    assert list(watch.by_version) == [2, 3]
    with pytest.raises(RefusedEventError, match=r"version 1 .* newer ones are"):
        watch.receive(Stream(version=1).events(1))
    assert list(watch.by_version) == [2, 3]


def test_a_release_that_comes_amid_the_events_loses_none(open_watch, clock, ledger, store):
    """Neither what waits for a tick, nor what a sender hands over while the monitor is replaced."""
    release_version(ledger, store, 1, PROFILE)
    watch, stream = open_watch(released_profiles(ledger, store)), Stream()
    events = stream.events(20)
    watch.receive(events[:10])
    before = watch.by_version[1]
    release_version(ledger, store, 1, PROFILE, replicas=2)
    watch.keep(everything=True)
    assert watch.by_version[1] is not before
    watch.receive(events[10:])
    clock.now_ms = stream.now_ms
    watch.tick()
    assert (before.monitor.pending_events, watch.by_version[1].monitor.counters.absorbed) == (0, 20)


def test_columns_that_nobody_watches_cost_nothing(open_watch, ledger):
    """A sender cannot fill the memory by a column for each event; one without a value is as good as absent."""
    watch = open_watch()
    events = [
        replace(event, columns=event.columns | {f"column {number}": 1.0, "source": math.nan})
        for number, event in enumerate(Stream().events(5))
    ]
    watch.receive(events)
    (arrival,) = watch.watched(1).monitor._pending
    assert list(arrival.batch.columns) == ["words"]


def test_versions_without_a_profile_are_refused(ledger, store, open_watch):
    """An unknown version, and a release from before there were profiles, say what to do."""
    release_version(ledger, store, 4, None)
    watch = open_watch(released_profiles(ledger, store))
    assert "make a new one" in watch.problems["release"]
    for version, problem in ((4, "make a new one"), (5, "no release of model version 5")):
        with pytest.raises(RefusedEventError, match=problem):
            watch.receive(Stream(version=version).events(1))


class LameLedger:
    """A ledger that refuses to be written until it is mended."""

    def __init__(self, ledger):
        self.ledger, self.broken = ledger, True

    def __getattr__(self, name):
        if name == "exclusive" and self.broken:
            raise LedgerError("the disk is full")
        return getattr(self.ledger, name)


def test_a_change_outlives_a_ledger_that_cannot_be_written(open_watch, feed, ledger):
    """It is told as a problem, kept, and recorded in order once the ledger is back."""
    lame = LameLedger(ledger)
    watch = open_watch(ledger=lame)
    feed(watch, Stream().events(4 * WINDOW, drifted=True))
    assert watch.problems == {"ledger": "the disk is full"}
    assert recorded(ledger) == []
    lame.broken = False
    watch.keep()
    assert watch.problems == {}
    assert [state for _, state, _ in recorded(ledger)] == ["alarm", "confirmed"]


def test_every_verdict_and_label_reaches_the_store(open_watch, feed, store):
    """As many rows as verdicts were given, and a row a label, also of events that came too late."""
    watch = open_watch()
    late = Stream(seed=2, start_ms=START_MS - 3_600_000).events(5, labelled=True)
    feed(watch, Stream().events(WINDOW, labelled=True))
    feed(watch, late)
    rows = {
        kind: sum(
            part.num_rows
            for keys in segment_keys(store, kind, env=ENV, line=LINE).values()
            for part in read_segments(store, keys)
        )
        for kind in ("verdicts", "labels")
    }
    assert rows == {"verdicts": watch.verdicts_total, "labels": WINDOW + 5}
    assert watch.by_version[1].monitor.counters.late_beyond_horizon == 5


def test_threads_take_up_everything_before_they_end(ledger, store):
    """Started and stopped, nothing that was received is left behind, and the log is written."""
    watch = Watch(
        LINE,
        POLICY,
        ledger=ledger,
        store=store,
        env=ENV,
        salt=SALT,
        profile_of=lambda line, version: ("release-1", PROFILE),
    )
    watch.start()
    watch.receive(Stream(version=1).events(50, labelled=True))
    watch.stop()
    assert watch.by_version[1].monitor.counters.received == 50
    assert watch.problems == {}
    assert any("/labels-" in key for key in store.list())


# --- Replay --------------------------------------------------------------------------------------------


def as_json_lines(events, path):
    """The events as the command `predict` appends them."""
    path.write_text("".join(json.dumps(event.to_json()) + "\n" for event in events))
    return path


def as_parquet(events, path):
    """The events with a column for each field and each watched column."""
    rows = [event.to_json() for event in events]
    flat = [{**{k: v for k, v in row.items() if k != "columns"}, **row["columns"]} for row in rows]
    pq.write_table(pa.Table.from_pylist(flat), path)
    return path


def _unexpected(problem):
    raise problem


@pytest.fixture
def changes_of(open_watch, clock):
    """Column and state of each change that a replay finds."""

    def changes_of(files, watch=None, *, refused=_unexpected, **options):
        found = replay(files, watch or open_watch(), clock, refused=refused, **options)
        return [(change.column, change.state) for change in found]

    return changes_of


def test_files_replay_as_the_live_stream(changes_of, ledger, tmp_path):
    """From either format, in one file or several, in whatever order; what is found is recorded."""
    stream = Stream()
    calm, drifted = stream.events(2 * WINDOW), stream.events(3 * WINDOW, drifted=True)
    expected = [("words", "alarm"), ("words", "confirmed")]
    lines = [as_json_lines(drifted, tmp_path / "2.jsonl"), as_json_lines(calm, tmp_path / "1.jsonl")]
    assert changes_of(lines) == expected
    assert [(column, state) for column, state, _ in recorded(ledger)] == expected
    # The line stands confirmed now, so it is the end of it that the same stream tells.
    parquet = as_parquet([*calm, *drifted], tmp_path / "all.parquet")
    assert changes_of([parquet]) == [("words", "clear"), *expected]


def test_every_replayed_event_is_in_a_verdict(changes_of, open_watch, store, tmp_path):
    """Also the last ones, whose windows only silence ends; and every verdict is stored."""
    watch = open_watch()
    changes_of([as_json_lines(Stream().events(30), tmp_path / "events.jsonl")], watch)
    monitor = watch.by_version[1].monitor
    assert (monitor.counters.absorbed, monitor.latency_since_start.count) == (30, 30)
    (keys,) = segment_keys(store, "verdicts", env=ENV, line=LINE).values()
    assert sum(part.num_rows for part in read_segments(store, keys)) == watch.verdicts_total


def test_the_speed_is_kept(changes_of, tmp_path):
    """A tenth of a second of events at double speed takes at least half of that."""
    path = as_json_lines(Stream().events(20), tmp_path / "events.jsonl")
    started = time.monotonic()
    changes_of([path], speed=2.0)
    assert time.monotonic() - started >= 0.04


def test_a_replay_names_what_it_does_not_take_and_takes_the_others(changes_of, open_watch, tmp_path):
    """Of another line, of a version that is not watched, no event at all: each by its file and row."""
    lines = as_json_lines(Stream().events(7), tmp_path / "events.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace(LINE, "another")
    lines[3] = lines[3].replace('"model_version": 1', '"model_version": 7')
    lines[4] = lines[4].replace('"model_version": 1', '"model_version": 7')
    lines[5] = "{"
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    asked = []

    def profile_of(line, version):
        asked.append(version)
        if version == 7:
            raise DriftError(f"{line} has no release of model version 7")
        return "release-1", PROFILE

    refused: list[NoEventError] = []
    watch = open_watch(profile_of)
    changes_of([tmp_path / "events.jsonl"], watch, refused=refused.append)
    assert {problem.row: problem.problem[:13] for problem in refused} == {
        6: "is no JSON: i",
        2: "line is not '",
        4: "model_version",
        5: "model_version",
    }
    assert str(refused[1]).startswith(f"{tmp_path / 'events.jsonl'}: row 2: ")
    assert watch.by_version[1].monitor.counters.absorbed == 3
    assert asked.count(7) == 1


def test_a_replay_whose_findings_cannot_be_kept_ends(changes_of, open_watch, ledger, tmp_path, monkeypatch):
    """Rather than losing what it found."""
    stream = Stream()
    path = as_json_lines(
        [*stream.events(WINDOW), *stream.events(3 * WINDOW, drifted=True)], tmp_path / "e.jsonl"
    )

    def broken(*_, **__):
        raise LedgerError("the disk is full")

    monkeypatch.setattr(type(ledger), "exclusive", broken)
    with pytest.raises(DriftError, match="the disk is full"):
        changes_of([path])


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00", "1969-12-31T23:59:59", "9999-12-31T23:59:59.999"])
def test_any_year_that_can_be_written_is_taken(changes_of, open_watch, store, tmp_path, year):
    """A clock that is centuries wrong stops neither the replay nor the events after it."""
    lines = as_json_lines(Stream().events(20), tmp_path / "events.jsonl").read_text().splitlines()
    odd = json.loads(lines[0]) | {"event_time": f"{year}+00:00", "label": 1, "event_id": "odd"}
    (tmp_path / "events.jsonl").write_text("\n".join([json.dumps(odd), *lines]))
    watch = open_watch()
    changes_of([tmp_path / "events.jsonl"], watch)
    assert watch.by_version[1].monitor.counters.absorbed == 21
    assert len(segment_keys(store, "labels", env=ENV, line=LINE)) == 1

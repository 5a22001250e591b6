"""Changes of drift states in the ledger: one entry a change, whoever tells it and however often."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from platform_assets.drift.monitor import StateChange, WindowVerdict
from platform_assets.drift.record import KIND, newest_alarm, newest_changes, onsets, record_change, states
from platform_assets.drift.source_names import keep_names, named_mix
from platform_assets.validation.source_names import hashed_source
from resources.object_store import LocalObjectStore

LINE, ENV = "reviews_sentiment", "dev"
SALT = b"of these tests"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def change(state, column="score", *, minute=0, p_value=1e-9):
    """A change of a column's state at some minute after noon."""
    end = NOON + timedelta(minutes=minute)
    verdict = WindowVerdict(
        line=LINE,
        model_version=3,
        column=column,
        window="count",
        window_start=end - timedelta(seconds=30),
        window_end=end,
        events=250,
        ks=0.31,
        ks_lower=0.30,
        ks_upper=0.32,
        p_value=p_value,
        sample_rate=1.0,
        threshold=0.14,
        state=state,
    )
    return StateChange(column, state, verdict, {"imdb": 0.25, "rotten_tomatoes": 0.75})


def recorded(ledger):
    """Column and state of every entry, oldest first."""
    return [(entry.body["column"], entry.body["state"]) for entry in ledger.entries(kind=KIND)]


def test_an_entry_says_what_was_seen(ledger):
    """Release, window, distance with its interval, threshold and mix are all in it."""
    entry = record_change(ledger, LINE, "a1b2", change("alarm"), salt=SALT)
    assert (entry.kind, entry.subject) == ("drift", LINE)
    assert entry.body == {
        "column": "score",
        "state": "alarm",
        "previous_state": "clear",
        "release_id": "a1b2",
        "model_version": 3,
        "mix_by_hash": {hashed_source("imdb", SALT): 0.25, hashed_source("rotten_tomatoes", SALT): 0.75},
        "window": "count",
        "window_start": "2026-11-22T11:59:30+00:00",
        "window_end": "2026-11-22T12:00:00+00:00",
        "events": 250,
        "sample_rate": 1.0,
        "ks": 0.31,
        "ks_lower": 0.30,
        "ks_upper": 0.32,
        "p_value": 1e-9,
        "threshold": 0.14,
        "psi": None,
    }


def test_the_same_change_twice_is_one_entry(ledger):
    """Told again, or by a second monitor with other numbers, it is no change any more."""
    first = record_change(ledger, LINE, "a1b2", change("alarm"), salt=SALT)
    assert record_change(ledger, LINE, "a1b2", change("alarm"), salt=SALT) == first
    assert record_change(ledger, LINE, "a1b2", change("alarm", minute=1), salt=SALT) == first
    assert recorded(ledger) == [("score", "alarm")]


def test_a_second_monitor_that_is_behind_takes_nothing_back(ledger):
    """Its alarm after another's confirmation is old news; its all-clear counts."""
    for state in ("alarm", "confirmed", "alarm", "clear"):
        record_change(ledger, LINE, "a1b2", change(state), salt=SALT)

    assert [state for _, state in recorded(ledger)] == ["alarm", "confirmed", "clear"]


def test_a_state_comes_back_as_a_change_of_its_own(ledger):
    """Alarm, clear and alarm again are three entries, each naming the state before it."""
    for minute, state in enumerate(("alarm", "confirmed", "clear", "alarm")):
        record_change(ledger, LINE, "a1b2", change(state, minute=minute), salt=SALT)
    previous = [entry.body["previous_state"] for entry in ledger.entries(kind=KIND)]
    assert previous == ["clear", "alarm", "confirmed", "clear"]


def test_the_newest_entry_of_a_column_is_its_state(ledger):
    """Columns and lines do not disturb each other, and what never changed is not named."""
    record_change(ledger, LINE, "a1b2", change("alarm"), salt=SALT)
    record_change(ledger, LINE, "a1b2", change("alarm", "words"), salt=SALT)
    record_change(ledger, LINE, "a1b2", change("clear", "words", minute=1), salt=SALT)
    record_change(ledger, "other", "c3d4", change("confirmed"), salt=SALT)
    assert states(ledger, LINE) == {"score": "alarm", "words": "clear"}
    assert states(ledger, "nobody") == {}
    assert newest_changes(ledger, LINE)["words"].body["window_end"] == "2026-11-22T12:01:00+00:00"


def test_since_when_a_column_is_not_clear(ledger):
    """The onset is the first entry after the last clear one; the newest alarm may be over."""
    for minute, state in enumerate(("alarm", "clear", "alarm", "confirmed")):
        newest = record_change(ledger, LINE, "a1b2", change(state, minute=minute), salt=SALT)
    assert onsets(ledger, LINE)["score"].seq == newest.seq - 1
    record_change(ledger, LINE, "a1b2", change("clear", minute=9), salt=SALT)
    assert onsets(ledger, LINE) == {}
    assert newest_alarm(ledger, LINE).body["window_end"] == "2026-11-22T12:02:00+00:00"
    assert newest_alarm(ledger, "nobody") is None


def test_what_could_not_be_measured_is_null(ledger):
    """JSON has no NaN: the entry is written all the same."""
    entry = record_change(ledger, LINE, "a1b2", change("alarm", p_value=math.nan), salt=SALT)
    assert entry.body["p_value"] is None


def test_the_monitors_own_deadline_has_no_window(ledger):
    """A broken deadline is a state of the column `latency`, without a verdict."""
    entry = record_change(ledger, LINE, "a1b2", StateChange("latency", "alarm", None), salt=SALT)
    assert states(ledger, LINE) == {"latency": "alarm"}
    assert "ks" not in entry.body


# --- What the ledger may not hold ----------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    """An empty object store."""
    return LocalObjectStore(tmp_path / "objects")


def test_no_name_of_a_source_gets_into_the_ledger(ledger):
    """Whatever events call their source may be somebody's name, and a ledger forgets nothing."""
    told = replace(change("alarm"), mix={"ada@example.org": 0.5, "half \ud83d": 0.5})
    record_change(ledger, LINE, "a1b2", told, salt=SALT)
    (stored,) = ledger.entries(kind=KIND)
    assert "ada" not in json.dumps(stored.body)
    assert set(stored.body["mix_by_hash"]) == {hashed_source(name, SALT) for name in told.mix}
    assert hashed_source("imdb", b"another salt") != hashed_source("imdb", SALT)


def test_names_are_looked_up_while_they_are_kept(ledger, store):
    """Told again they are there once; erased, the shares stay and nobody can tell whose they were."""
    told = replace(change("alarm"), mix={"ada@example.org": 0.75, "half \ud83d": 0.25})
    for _ in range(2):
        keep_names(store, told.mix, told.verdict.window_end, env=ENV, line=LINE, salt=SALT)
    body = record_change(ledger, LINE, "a1b2", told, salt=SALT).body
    assert named_mix(store, body, env=ENV, line=LINE) == told.mix
    (key,) = store.list()
    assert store.info(key).gdpr_class == "personal"
    store.delete(key)
    assert named_mix(store, body, env=ENV, line=LINE) == {
        hashed_source(name, SALT): share for name, share in told.mix.items()
    }


def test_names_under_legal_hold_are_there_already(ledger, store):
    """What is kept is not stored anew: the store would refuse it, and an erased name would come back."""
    told = replace(change("alarm"), mix={"ada@example.org": 1.0})
    keep_names(store, told.mix, told.verdict.window_end, env=ENV, line=LINE, salt=SALT)
    (key,) = store.list()
    store.set_legal_hold(key, held=True)
    stored_at = store.info(key).stored_at
    keep_names(store, told.mix, told.verdict.window_end, env=ENV, line=LINE, salt=SALT)
    assert store.info(key).stored_at == stored_at


def test_entries_of_earlier_releases_hold_their_names(store):
    """And entries without sources hold none."""
    assert named_mix(store, {"mix": {"imdb": 1.0}}, env=ENV, line=LINE) == {"imdb": 1.0}
    assert named_mix(store, {"mix_by_hash": {}}, env=ENV, line=LINE) == {}
    keep_names(store, {}, NOON, env=ENV, line=LINE, salt=SALT)
    assert list(store.list()) == []

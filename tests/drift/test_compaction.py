"""Segments that become one: nothing is lost, nothing counts twice, whoever reads or dies in between."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from platform_assets.drift import compaction
from platform_assets.drift.compaction import compact, of_day
from platform_assets.drift.decay import labelled_days
from platform_assets.drift.event import EventBatch, PredictionEvent
from platform_assets.drift.segments import DriftLog, folder_of, segment_keys
from platform_assets.drift.table import rolled_up
from resources.object_store import LocalObjectStore, ObjectMissingError
from tests.drift.test_table import ENV, LINE, MIDNIGHT, add, verdict

DAY = MIDNIGHT.date()
FOLDER = folder_of(ENV, LINE)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(tmp_path):
    """An empty object store."""
    return LocalObjectStore(tmp_path / "objects")


@pytest.fixture
def log(store):
    """A log into the store."""
    seconds = count()
    return DriftLog(store, env=ENV, line=LINE, now=lambda: MIDNIGHT + timedelta(seconds=next(seconds)))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Five segments are many."""
    monkeypatch.setattr(compaction, "MOST_SEGMENTS", 4)


def tell(log, event, label, *, at=MIDNIGHT):
    """The label of an event becomes known, in a segment of its own."""
    log.add_labels(EventBatch.of([PredictionEvent(event, at, LINE, 1, {}, 0.5, label)]), 1)
    log.flush()


def write(log, times=6):
    """So many segments of verdicts and of labels; event `a` is told to be now 0, now 1, and is 1 in the end."""
    for number in range(times):
        add(log, verdict(MIDNIGHT + timedelta(seconds=number), ks=number / 100))
        tell(log, "a", (number + times + 1) % 2)
        tell(log, f"other {number}", 0)


def state(store):
    """What the table and the decay make of the segments."""
    table = of_day(store, "verdicts", env=ENV, line=LINE, day=DAY, made=rolled_up).to_pylist()
    found = labelled_days(store, env=ENV, line=LINE)
    (day,) = found[1]
    return table, sorted(day.labels.tolist())


def keys_of(store):
    """How many segments of each kind there are."""
    return {
        kind: sum(map(len, segment_keys(store, kind, env=ENV, line=LINE).values()))
        for kind in ("verdicts", "labels")
    }


def test_many_segments_become_one_that_says_the_same(log, store):
    """Of each day and kind; where they are few, they stay."""
    write(log)
    add(log, verdict(MIDNIGHT + timedelta(days=1)))
    log.flush()
    before = state(store)
    assert compact(store, env=ENV, line=LINE) == 5 + 11
    assert keys_of(store) == {"verdicts": 2, "labels": 1}
    assert state(store) == before
    assert compact(store, env=ENV, line=LINE) == 0


def test_what_comes_later_counts_after_what_was_put_together(log, store):
    """Of two labels of one event, the last one told; and so again, when those are put together."""
    write(log)
    compact(store, env=ENV, line=LINE)
    for number in range(6):
        tell(log, "a", number % 2)
        add(log, verdict(MIDNIGHT, ks=0.5))
        log.flush()
    tell(log, "a", 0)
    before = state(store)
    assert before[1] == [0] * 7
    assert before[0][0]["verdicts"] == 12
    assert compact(store, env=ENV, line=LINE) == 6 + 7
    assert state(store) == before


def test_a_segment_that_was_stored_late_still_counts(log, store):
    """A flush that failed is tried again under its old name, which others have been put together around."""
    write(log, times=3)
    store_put, late = store.put, {}
    store.put = lambda key, content, **carried: late.update({key: (content, carried)})
    add(log, verdict(MIDNIGHT + timedelta(minutes=1)))
    log.flush()
    store.put = store_put
    write(log, times=3)
    before = state(store)[0]
    compact(store, env=ENV, line=LINE)
    for key, (content, carried) in late.items():
        store.put(key, content, **carried)
    assert [row["verdicts"] for row in state(store)[0]] == [before[0]["verdicts"], 1]


@pytest.mark.parametrize("deaths", range(8))
def test_a_death_while_they_are_put_together_changes_nothing(log, store, deaths):
    """After the new one is stored, or after any of the old ones has gone; the next time ends as the first would have."""
    write(log)
    before = state(store)
    steps, put, delete = [deaths], store.put, store.delete

    def dies(act):
        def step(*arguments, **named):
            if steps[0] == 0:
                raise Killed
            steps[0] -= 1
            return act(*arguments, **named)

        return step

    store.put, store.delete = dies(put), dies(delete)
    with pytest.raises(Killed):
        compact(store, env=ENV, line=LINE)
    store.put, store.delete = put, delete
    assert state(store) == before
    for number in range(5):
        tell(log, f"more {number}", 0)
        add(log, verdict(MIDNIGHT))
        log.flush()
    compact(store, env=ENV, line=LINE)
    table, labels = state(store)
    assert table[0]["verdicts"] == before[0][0]["verdicts"] + 5
    assert labels == sorted([*before[1], *[0] * 5])
    assert keys_of(store)["labels"] <= 4


def test_whoever_reads_meanwhile_sees_all_of_them_once(log, store):
    """The keys that it has listed are gone when it opens them: it lists them again."""
    write(log)
    before = state(store)
    get, compacted = store.get, []

    def meanwhile(key):
        if store.get is not get:
            store.get = get
            compacted.append(compact(store, env=ENV, line=LINE))
        return get(key)

    store.get = meanwhile
    assert state(store) == before
    assert compacted == [16]


def test_a_segment_that_is_listed_and_never_there_is_told(log, store):
    """Rather than passed over in silence."""
    write(log, times=1)
    store.get = lambda key: (_ for _ in ()).throw(ObjectMissingError(f"no object {key}"))
    with pytest.raises(ObjectMissingError):
        state(store)


def test_no_row_stays_longer_than_it_would_have(log, store):
    """The new segment has the days that the oldest of the old ones had left."""
    write(log)
    stored = min(store.info(key).stored_at for key in store.list(FOLDER))
    compact(store, env=ENV, line=LINE, now=stored + timedelta(days=30, seconds=1))
    assert {store.info(key).retention_days for key in store.list(FOLDER)} == {59}
    assert {store.info(key).gdpr_class for key in store.list(FOLDER)} == {"internal"}


def test_a_day_under_legal_hold_stays_as_it_is(log, store):
    """Nothing of it may be removed."""
    write(log)
    held = next(key for key in store.list(FOLDER) if "labels-" in key)
    store.set_legal_hold(held, held=True)
    assert compact(store, env=ENV, line=LINE, now=datetime.now(UTC)) == 5
    assert keys_of(store) == {"verdicts": 1, "labels": 12}

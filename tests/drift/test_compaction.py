"""Segments that become one: nothing is lost, nothing counts twice, whoever reads or dies in between."""

import io
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest

from platform_assets.drift import compaction
from platform_assets.drift.compaction import compact, of_day
from platform_assets.drift.decay import labelled_days
from platform_assets.drift.event import EventBatch, PredictionEvent
from platform_assets.drift.segments import DriftLog, folder_of, segment_keys
from platform_assets.drift.table import rolled_up
from resources.locks import FileLocks, LockLostError, LockTimeoutError
from resources.object_store import LocalObjectStore, ObjectMissingError
from tests.drift.test_table import ENV, LINE, MIDNIGHT, add, verdict

DAY = MIDNIGHT.date()
FOLDER = folder_of(ENV, LINE)


class LostLocks:
    """Locks that hold nobody apart, and know it or not."""

    def __init__(self, told=None):
        self.told = told

    @contextmanager
    def hold(self, name, *, timeout_seconds=None):
        """Everybody has it at once."""
        yield Mock(check=Mock(side_effect=self.told))


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(tmp_path):
    """An empty object store."""
    return LocalObjectStore(tmp_path / "objects")


@pytest.fixture
def locks(tmp_path):
    """Locks of this machine."""
    return FileLocks(tmp_path / "locks")


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


def test_many_segments_become_one_that_says_the_same(log, store, locks):
    """Of each day and kind; where they are few, they stay."""
    write(log)
    add(log, verdict(MIDNIGHT + timedelta(days=1)))
    log.flush()
    before = state(store)
    assert compact(store, locks, env=ENV, line=LINE) == 5 + 11
    assert keys_of(store) == {"verdicts": 2, "labels": 1}
    assert state(store) == before
    assert compact(store, locks, env=ENV, line=LINE) == 0


def test_what_comes_later_counts_after_what_was_put_together(log, store, locks):
    """Of two labels of one event, the last one told; and so again, when those are put together."""
    write(log)
    compact(store, locks, env=ENV, line=LINE)
    for number in range(6):
        tell(log, "a", number % 2)
        add(log, verdict(MIDNIGHT, ks=0.5))
        log.flush()
    tell(log, "a", 0)
    before = state(store)
    assert before[1] == [0] * 7
    assert before[0][0]["verdicts"] == 12
    assert compact(store, locks, env=ENV, line=LINE) == 6 + 7
    assert state(store) == before


def test_a_segment_that_was_stored_late_still_counts(log, store, locks):
    """A flush that failed is tried again under its old name, which others have been put together around."""
    write(log, times=3)
    store_put, late = store.put, {}
    store.put = lambda key, content, **carried: late.update({key: (content, carried)})
    add(log, verdict(MIDNIGHT + timedelta(minutes=1)))
    log.flush()
    store.put = store_put
    write(log, times=3)
    before = state(store)[0]
    compact(store, locks, env=ENV, line=LINE)
    for key, (content, carried) in late.items():
        store.put(key, content, **carried)
    assert [row["verdicts"] for row in state(store)[0]] == [before[0]["verdicts"], 1]


@pytest.mark.parametrize("deaths", range(8))
def test_a_death_while_they_are_put_together_changes_nothing(log, store, locks, deaths):
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
        compact(store, locks, env=ENV, line=LINE)
    store.put, store.delete = put, delete
    assert state(store) == before
    for number in range(5):
        tell(log, f"more {number}", 0)
        add(log, verdict(MIDNIGHT))
        log.flush()
    compact(store, locks, env=ENV, line=LINE)
    table, labels = state(store)
    assert table[0]["verdicts"] == before[0][0]["verdicts"] + 5
    assert labels == sorted([*before[1], *[0] * 5])
    assert keys_of(store)["labels"] <= 4


def test_whoever_reads_meanwhile_sees_all_of_them_once(log, store, locks):
    """The keys that it has listed are gone when it opens them: it lists them again."""
    write(log)
    before = state(store)
    get, compacted = store.get, []

    def meanwhile(key):
        if store.get is not get:
            store.get = get
            compacted.append(compact(store, locks, env=ENV, line=LINE))
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


def test_no_row_stays_longer_than_it_would_have(log, store, locks):
    """The new segment has the days that the oldest of the old ones had left."""
    write(log)
    stored = min(store.info(key).stored_at for key in store.list(FOLDER))
    compact(store, locks, env=ENV, line=LINE, now=stored + timedelta(days=30, seconds=1))
    assert {store.info(key).retention_days for key in store.list(FOLDER)} == {59}
    assert {store.info(key).gdpr_class for key in store.list(FOLDER)} == {"internal"}


def test_compactions_one_after_the_other_take_less_than_a_day(log, store, locks):
    """However many there are: days are counted down from the first expiry, not from what the last one left."""
    tell(log, "a", 0)
    (first,) = store.list(FOLDER)
    stored = store.info(first).stored_at
    for hour in range(30):
        for number in range(4):
            tell(log, f"late {hour} {number}", 1)
        now = stored + timedelta(hours=hour)
        compact(store, locks, env=ENV, line=LINE, now=now)
        (merged,) = store.list(FOLDER)
        gone = now + timedelta(days=store.info(merged).retention_days)
        assert stored + timedelta(days=89) < gone <= stored + timedelta(days=90)


def test_a_merged_segment_that_does_not_tell_its_expiry_has_its_own_days(log, store, locks):
    """Those of earlier releases."""
    write(log)
    compact(store, locks, env=ENV, line=LINE)
    for key in list(store.list(FOLDER)):
        rows, sink = pq.read_table(io.BytesIO(store.get(key))), io.BytesIO()
        told = {name: text for name, text in rows.schema.metadata.items() if name != b"platform.expires"}
        pq.write_table(rows.replace_schema_metadata(told), sink)
        store.put(key, sink.getvalue(), gdpr_class="internal", retention_days=50, source_commit="a1b2c3")
    stored = min(store.info(key).stored_at for key in store.list(FOLDER))
    write(log)
    compact(store, locks, env=ENV, line=LINE, now=stored + timedelta(seconds=1))
    assert {store.info(key).retention_days for key in store.list(FOLDER)} == {49}


def test_what_is_about_to_go_is_not_put_together(log, store, locks):
    """An object stays a day at least, which is longer than its rows would have stayed."""
    write(log)
    before = list(store.list(FOLDER))
    stored = min(store.info(key).stored_at for key in before)
    assert compact(store, locks, env=ENV, line=LINE, now=stored + timedelta(days=89, seconds=1)) == 0
    assert list(store.list(FOLDER)) == before


def test_of_two_at_once_one_puts_together(log, store, locks):
    """The other is told who does, and has touched nothing."""
    write(log)
    before, put, refused = state(store), store.put, []

    def meanwhile(*arguments, **named):
        with pytest.raises(LockTimeoutError, match="drift-segments"):
            compact(store, locks, env=ENV, line=LINE)
        refused.append(len(list(store.list(FOLDER))))
        return put(*arguments, **named)

    store.put = meanwhile
    compact(store, locks, env=ENV, line=LINE)
    assert refused == [18, 18 - 5]
    assert state(store) == before


@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("deaths", [0, 2, None])
def test_two_at_once_count_nothing_twice_though_the_lock_is_lost(log, store, more, deaths):
    """The first has read when the second begins, with what came since; the second ends, or dies before or amid deleting."""
    write(log)
    put, delete, expected = store.put, store.delete, []

    def overtaken(*arguments, **named):
        store.put = put
        for number in range(more):
            add(log, verdict(MIDNIGHT + timedelta(minutes=number), ks=0.9))
            log.flush()
        expected.append(state(store))
        deletes = count()

        def dies(key):
            if next(deletes) == deaths:
                raise Killed
            delete(key)

        store.delete = dies
        with suppress(Killed):
            compact(store, LostLocks(), env=ENV, line=LINE)
        store.delete = delete
        return put(*arguments, **named)

    store.put = overtaken
    compact(store, LostLocks(), env=ENV, line=LINE)
    assert [state(store)] == expected
    write(log, times=5)
    expected = state(store)
    compact(store, LostLocks(), env=ENV, line=LINE)
    assert state(store) == expected
    assert keys_of(store) == {"verdicts": 1, "labels": 1}


def test_whoever_knows_that_the_lock_is_lost_stores_nothing(log, store):
    """Somebody else may be at it by now."""
    write(log)
    before = list(store.list(FOLDER))
    with pytest.raises(LockLostError):
        compact(store, LostLocks(LockLostError("the server has ended it")), env=ENV, line=LINE)
    assert list(store.list(FOLDER)) == before


def test_a_day_under_legal_hold_stays_as_it_is(log, store, locks):
    """Nothing of it may be removed."""
    write(log)
    held = next(key for key in store.list(FOLDER) if "labels-" in key)
    store.set_legal_hold(held, held=True)
    assert compact(store, locks, env=ENV, line=LINE, now=datetime.now(UTC)) == 5
    assert keys_of(store) == {"verdicts": 1, "labels": 12}

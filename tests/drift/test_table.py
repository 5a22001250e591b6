"""The drift table: nothing that a monitor said is lost or counted twice on the way to it."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from platform_assets.drift import segments
from platform_assets.drift.event import EventBatch, PredictionEvent
from platform_assets.drift.latency import LatencyHistogram
from platform_assets.drift.monitor import Counters, WindowVerdict
from platform_assets.drift.segments import DriftLog, segment_keys
from platform_assets.drift.table import publish_drift_table
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks
from resources.object_store import LocalObjectStore, ObjectStoreError

LINE, ENV = "reviews_sentiment", "dev"
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    """An empty object store."""
    return LocalObjectStore(tmp_path / "objects")


@pytest.fixture
def warehouse(tmp_path):
    """An empty warehouse."""
    return IcebergWarehouse(
        f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        str(tmp_path / "tables"),
        locks=FileLocks(tmp_path / "locks"),
    )


@pytest.fixture
def log(store):
    """A log into the store."""
    return DriftLog(store, env=ENV, line=LINE)


def verdict(at, *, column="score", window="count", ks=0.1, state="clear", p_value=0.5, version=1):
    """A verdict whose window ends at this time."""
    return WindowVerdict(
        line=LINE,
        model_version=version,
        column=column,
        window=window,
        window_start=at - timedelta(seconds=1),
        window_end=at,
        events=250,
        ks=ks,
        ks_lower=ks - 0.01,
        ks_upper=ks + 0.01,
        p_value=p_value,
        sample_rate=1.0,
        threshold=0.2,
        state=state,
    )


def latency(*milliseconds):
    """The histogram of these latencies."""
    histogram = LatencyHistogram()
    histogram.add(np.array(milliseconds, float))
    return histogram


def add(log, *verdicts, counters=None, took=(5.0,)):
    """One tick with these verdicts."""
    log.add(verdicts, counters or Counters(), latency(*took))


def published(store, warehouse):
    """The rows of the table, brought up to date."""
    snapshot = publish_drift_table(store, warehouse, env=ENV, line=LINE)
    return warehouse.read(snapshot.table, snapshot.snapshot_id).to_pylist()


def test_a_minute_shows_its_worst_verdict(log, store, warehouse):
    """Distance, interval and threshold are of one verdict; the p-value is the smallest of all."""
    add(log, verdict(MIDNIGHT, ks=0.1, p_value=0.01))
    add(log, verdict(MIDNIGHT + timedelta(seconds=20), ks=0.4, p_value=0.02, state="alarm"))
    log.flush()
    add(log, verdict(MIDNIGHT + timedelta(seconds=59), ks=0.2, p_value=math.nan))
    add(log, verdict(MIDNIGHT + timedelta(seconds=60), ks=0.3))
    log.flush()
    first, second = published(store, warehouse)
    assert first["minute"] == MIDNIGHT
    assert {name: first[name] for name in ("verdicts", "ks", "ks_lower", "ks_upper", "p_value")} == {
        "verdicts": 3,
        "ks": 0.4,
        "ks_lower": pytest.approx(0.39),
        "ks_upper": pytest.approx(0.41),
        "p_value": 0.01,
    }
    assert (first["in_alarm"], second["in_alarm"]) == (True, False)
    assert (second["verdicts"], second["ks"]) == (1, 0.3)


def test_a_row_for_each_column_window_and_version(log, store, warehouse):
    """None of them is mixed with another."""
    kinds = [
        (column, window, version)
        for column in ("score", "words")
        for window in ("count", "l1")
        for version in (1, 2)
    ]
    add(
        log,
        *(
            verdict(MIDNIGHT, column=column, window=window, version=version)
            for column, window, version in kinds
        ),
    )
    log.flush()
    rows = published(store, warehouse)
    assert sorted((row["column"], row["window"], row["model_version"]) for row in rows) == sorted(kinds)


def test_counters_add_up_over_minutes(log, store, warehouse):
    """The monitor's counters only grow; a row has by how much they did, whichever ticks had verdicts."""
    for minute, (sampled_out, late, duplicate) in enumerate([(1, 0, 2), (5, 1, 2), (9, 1, 7)]):
        counters = Counters(
            received=99, absorbed=0, sampled_out=sampled_out, late_beyond_horizon=late, duplicate=duplicate
        )
        at = MIDNIGHT + timedelta(minutes=minute)
        add(log, verdict(at), counters=counters)
        if minute != 1:
            add(log, verdict(at, window="l1"), counters=counters)
        log.flush()
    rows = published(store, warehouse)
    for window in ("count", "l1"):
        of_window = [row for row in rows if row["window"] == window]
        assert [sum(row[name] for row in of_window) for name in ("sampled_out", "late", "duplicate")] == [
            9,
            1,
            7,
        ]


def test_a_new_monitor_of_a_version_counts_from_zero(log, store, warehouse):
    """Its counters are not taken for the old one's."""
    add(log, verdict(MIDNIGHT), counters=Counters(duplicate=5))
    log.forget(1)
    add(log, verdict(MIDNIGHT), counters=Counters(duplicate=2))
    log.flush()
    assert published(store, warehouse)[0]["duplicate"] == 7


def test_latency_is_the_worst_of_the_minute(log, store, warehouse):
    """And null where nothing was measured."""
    add(log, verdict(MIDNIGHT), took=(100.0,) * 100)
    add(log, verdict(MIDNIGHT), took=(300.0,) * 100)
    add(log, verdict(MIDNIGHT + timedelta(minutes=1)), took=())
    log.flush()
    first, second = published(store, warehouse)
    assert first["latency_p99_ms"] == pytest.approx(300, rel=0.03)
    assert second["latency_p50_ms"] is None


def test_a_segment_lies_under_the_day_of_its_rows(log, store):
    """A flush over midnight writes one segment a day."""
    add(log, verdict(MIDNIGHT - timedelta(seconds=1)), verdict(MIDNIGHT))
    keys = log.flush()
    assert [key.rsplit("/", 1)[0] for key in keys] == [
        f"reports/{ENV}/{LINE}/drift/2026-11-21",
        f"reports/{ENV}/{LINE}/drift/2026-11-22",
    ]
    assert store.info(keys[0]).gdpr_class == "internal"
    assert list(segment_keys(store, "verdicts", env=ENV, line=LINE)) == [
        date(2026, 11, 21),
        date(2026, 11, 22),
    ]


def test_nothing_to_flush_writes_nothing(log, store):
    """No empty segments."""
    assert log.flush() == []
    assert list(store.list()) == []


def test_old_days_outlive_their_segments(log, store, warehouse):
    """A published day stays when retention has taken its segments; newer days are made of theirs."""
    for day in range(4):
        add(log, verdict(MIDNIGHT + timedelta(days=day), ks=day / 10))
        log.flush()
        published(store, warehouse)
    keys = segment_keys(store, "verdicts", env=ENV, line=LINE)
    for day in list(keys)[:3]:
        for key in keys[day]:
            store.delete(key)
    assert [row["ks"] for row in published(store, warehouse)] == [0.0, 0.1, 0.2, 0.3]


def test_what_came_after_midnight_still_counts(log, store, warehouse):
    """The day before the newest one is rolled up again."""
    add(log, verdict(MIDNIGHT + timedelta(seconds=5)))
    log.flush()
    assert len(published(store, warehouse)) == 1
    add(log, verdict(MIDNIGHT - timedelta(seconds=1)))
    log.flush()
    assert len(published(store, warehouse)) == 2


def test_published_twice_it_is_one_version(log, store, warehouse):
    """Equal segments give equal rows and no other snapshot."""
    add(log, verdict(MIDNIGHT), verdict(MIDNIGHT, column="words"))
    log.flush()
    first = publish_drift_table(store, warehouse, env=ENV, line=LINE)
    assert publish_drift_table(store, warehouse, env=ENV, line=LINE) == first


def test_no_verdict_no_table(store, warehouse):
    """A line that was never watched has none."""
    assert publish_drift_table(store, warehouse, env=ENV, line=LINE) is None
    assert warehouse.tables() == []


class LameStore:
    """Takes so many objects, then refuses until it is mended."""

    def __init__(self, store, takes):
        self.store, self.takes = store, takes

    def put(self, key, content, **carried):
        """The store's own `put`, as long as it takes any."""
        if self.takes <= 0:
            raise ObjectStoreError("no room")
        self.takes -= 1
        return self.store.put(key, content, **carried)


def test_a_store_that_comes_back_gets_everything_once(store, warehouse):
    """What failed is tried again under its key; what came meanwhile follows."""
    lame = LameStore(store, takes=1)
    log = DriftLog(lame, env=ENV, line=LINE)
    add(log, verdict(MIDNIGHT - timedelta(seconds=1)), verdict(MIDNIGHT))
    for _ in range(2):
        with pytest.raises(ObjectStoreError):
            log.flush()
        add(log, verdict(MIDNIGHT))
    lame.takes = 99
    log.flush()
    assert [row["verdicts"] for row in published(store, warehouse)] == [1, 3]


def test_the_buffer_is_bounded(store, monkeypatch):
    """What does not fit is counted, and memory stays as it is."""
    monkeypatch.setattr(segments, "LARGEST_BUFFER", 3)
    log = DriftLog(store, env=ENV, line=LINE)
    for _ in range(5):
        add(log, verdict(MIDNIGHT))
    assert log.dropped == 2
    log.flush()
    add(log, verdict(MIDNIGHT))
    assert log.dropped == 2


def test_only_labelled_events_become_labels(log, store):
    """Events without a label leave no row."""
    events = [
        PredictionEvent(str(number), MIDNIGHT, LINE, 1, {}, 0.5, label)
        for number, label in enumerate((None, 1, None, 0))
    ]
    log.add_labels(EventBatch.of(events), 1)
    (key,) = log.flush()
    assert Path(key).name.startswith("labels-")
    (rows,) = segments.read_segments(store, [key])
    assert rows["label"].to_pylist() == [1, 0]
    assert pc.sum(rows["model_version"]).as_py() == 2

"""The drift table: nothing that a monitor said is lost or counted twice on the way to it."""

import io
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.drift import segments
from platform_assets.drift.event import EventBatch, PredictionEvent
from platform_assets.drift.latency import LatencyHistogram
from platform_assets.drift.monitor import Counters, WindowVerdict
from platform_assets.drift.segments import DriftLog, segment_keys
from platform_assets.drift.table import newest_days, publish_drift_table
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks
from resources.object_store import LocalObjectStore, ObjectStoreError
from tests.benchmarks.drift_table import HOURS_A_DAY, grow

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


def verdict(
    at, *, column="score", window="count", ks=0.1, state="clear", p_value=0.5, version=1, psi=math.nan
):
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
        psi=psi,
        psi_by_chance=math.nan if math.isnan(psi) else 0.08,
    )


def latency(*milliseconds):
    """The histogram of these latencies."""
    histogram = LatencyHistogram()
    histogram.add(np.array(milliseconds, float))
    return histogram


def add(log, *verdicts, counters=None, took=(5.0,)):
    """One tick with these verdicts."""
    log.add(verdicts, counters or Counters(), latency(*took))


def publish(store, warehouse, *, now=MIDNIGHT + timedelta(days=4), versions_days=7):
    """The newest version, brought up to date some days after the first verdicts."""
    return publish_drift_table(store, warehouse, env=ENV, line=LINE, versions_days=versions_days, now=now)


def published(store, warehouse):
    """The rows of the table, brought up to date."""
    snapshot = publish(store, warehouse)
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


def test_a_minute_shows_the_stability_of_its_worst_verdict(log, store, warehouse):
    """In the window that measures it; of the others it is null."""
    add(log, verdict(MIDNIGHT, ks=0.1, psi=0.5), verdict(MIDNIGHT, window="l1", ks=0.9))
    add(log, verdict(MIDNIGHT + timedelta(seconds=20), ks=0.4, psi=0.3))
    log.flush()
    shown = {row["window"]: (row["psi"], row["psi_by_chance"]) for row in published(store, warehouse)}
    assert shown == {"count": (0.3, 0.08), "l1": (None, None)}


def test_segments_of_before_the_stability_index_are_read(log, store, warehouse):
    """What they do not tell is null; they stand beside others of their day."""
    add(log, verdict(MIDNIGHT, ks=0.1, psi=0.5))
    (key,) = log.flush()
    rows = pq.read_table(pa.BufferReader(store.get(key))).drop_columns(["psi", "psi_by_chance"])
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    store.delete(key)
    store.put(key, sink.getvalue(), gdpr_class="internal", retention_days=90, source_commit="c")
    add(log, verdict(MIDNIGHT + timedelta(minutes=1), psi=0.2))
    log.flush()
    assert [row["psi"] for row in published(store, warehouse)] == [None, 0.2]


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
    first = publish(store, warehouse)
    assert publish(store, warehouse) == first


def test_no_verdict_no_table(store, warehouse):
    """A line that was never watched has none."""
    assert publish(store, warehouse) is None
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


# --- Days and versions -----------------------------------------------------------------------------


def day_paths(tmp_path):
    """The data files of the table, as they lie there."""
    return {path.name for path in (tmp_path / "tables").rglob("*.parquet")}


def write_days(log, count, *, ks=0.1):
    """A flush for each of so many days, the first of which is `MIDNIGHT`'s."""
    for number in range(count):
        add(log, verdict(MIDNIGHT + timedelta(days=number), ks=ks))
        log.flush()


def test_an_hour_writes_its_own_day_only(log, store, warehouse, tmp_path):
    """All other days are the files that earlier versions have of them, and each is read as it was."""
    write_days(log, 4)
    first = published(store, warehouse)
    before = day_paths(tmp_path)
    assert sorted(name.partition("_")[0] for name in before) == [f"2026-11-{day}" for day in (22, 23, 24, 25)]
    add(log, verdict(MIDNIGHT + timedelta(days=3, minutes=5)))
    log.flush()
    second = published(store, warehouse)
    assert [name.partition("_")[0] for name in day_paths(tmp_path) - before] == ["2026-11-25"]
    assert second[:-1] == first
    assert [row["minute"] for row in second] == sorted(row["minute"] for row in second)


def test_versions_go_after_their_days_and_rows_stay(log, store, warehouse, tmp_path):
    """The newest version has all of them; a sweep removes what only the old ones had."""
    table = f"drift.{LINE}"
    for hour in range(6):
        add(log, verdict(MIDNIGHT + timedelta(hours=hour)))
        log.flush()
        publish(store, warehouse)
    assert len(warehouse.versions(table)) == 6
    rows = published(store, warehouse)
    later = datetime.now(UTC) + timedelta(days=3)
    assert publish(store, warehouse, now=later, versions_days=4) is not None
    assert len(warehouse.versions(table)) == 6
    publish(store, warehouse, now=later, versions_days=2)
    assert len(warehouse.versions(table)) == 1
    assert warehouse.sweep() > 0
    assert len(day_paths(tmp_path)) == 1
    assert published(store, warehouse) == rows


def test_days_go_after_a_year(log, store, warehouse):
    """Counted back from the newest one; an event of the far future takes nothing with it."""
    add(log, verdict(MIDNIGHT - timedelta(days=366)))
    add(log, verdict(MIDNIGHT - timedelta(days=360)))
    log.flush()
    assert len(published(store, warehouse)) == 2
    add(log, verdict(MIDNIGHT), verdict(MIDNIGHT + timedelta(days=3000)))
    log.flush()
    days = [row["minute"].date() for row in published(store, warehouse)]
    assert days == [(MIDNIGHT - timedelta(days=360)).date(), MIDNIGHT.date()]


def test_a_table_of_earlier_releases_is_laid_out_by_day_once(log, store, warehouse, tmp_path):
    """It was one file, had fewer columns, and its old segments are gone: no row is lost, and it goes on by day."""
    write_days(log, 3)
    snapshot = publish(store, warehouse)
    rows = warehouse.read(snapshot.table, snapshot.snapshot_id)
    for keys in segment_keys(store, "verdicts", env=ENV, line=LINE).values():
        for key in keys:
            store.delete(key)
    former = IcebergWarehouse(
        f"sqlite:///{tmp_path / 'former.sqlite'}",
        str(tmp_path / "former"),
        locks=FileLocks(tmp_path / "locks"),
    )
    older = rows.drop_columns(["latency_p99_ms"])
    carried = {"gdpr_class": "internal", "retention_days": 365, "source_commit": "0c0ffee"}
    former.publish(former.stage(snapshot.table, older, content_hash=content_hash(older), **carried))
    add(log, verdict(MIDNIGHT + timedelta(days=3)))
    log.flush()

    found = published(store, former)

    assert found[:3] == [row | {"latency_p99_ms": None} for row in rows.to_pylist()]
    assert len(found) == 4
    current = former.current(snapshot.table)
    assert list(former.days(current, rows.schema)) == [
        (MIDNIGHT + timedelta(days=day)).date() for day in range(4)
    ]
    assert newest_days(former, current, 2).num_rows == 2
    files = {path.name for path in (tmp_path / "former").rglob("*.parquet")}
    add(log, verdict(MIDNIGHT + timedelta(days=3, minutes=1)))
    log.flush()
    publish(store, former)
    assert len({path.name for path in (tmp_path / "former").rglob("*.parquet")} - files) == 1


def test_a_day_that_was_erased_from_is_laid_out_again(log, store, warehouse):
    """An erasure writes a version as one file; what it took out does not come back with the next hour."""
    write_days(log, 3)
    snapshot = publish(store, warehouse)
    gone = MIDNIGHT.replace(tzinfo=None)
    warehouse.rewrite(
        snapshot.table,
        lambda _, rows: pc.not_equal(rows["minute"].cast("timestamp[us]"), gone),
        columns=lambda _: ("minute",),
        content_hash=content_hash,
    )
    assert len(published(store, warehouse)) == 2
    assert (
        warehouse.days(warehouse.current(snapshot.table), snapshot_schema(warehouse, snapshot.table))
        is not None
    )


def snapshot_schema(warehouse, table):
    """The schema of the newest version."""
    return warehouse.read(table, warehouse.current(table).snapshot_id).schema


def check_flat(tmp_path, versions, kept, hours_by_sweep):
    """What an hour and a sweep read does not depend on how many versions there have been."""
    steady, *others = [
        cost
        for cost in grow(tmp_path, versions=versions, kept=kept, days=5, hours_by_sweep=hours_by_sweep)
        if cost.versions > kept + hours_by_sweep
    ]
    for cost in others:
        assert (cost.manifests_by_hour, cost.manifests_by_sweep) == (1, kept)
        # Sequence numbers get longer.
        assert cost.metadata_bytes < 1.05 * steady.metadata_bytes
    assert others


def test_what_an_hour_costs_does_not_grow(tmp_path):
    """One manifest is read for a publication, and one of each version that is left for a sweep."""
    check_flat(tmp_path, versions=24, kept=4, hours_by_sweep=6)


@pytest.mark.long
def test_ten_thousand_versions_cost_what_a_hundred_do(tmp_path):
    """The same, more often; figures are in docs/performance.md."""
    check_flat(tmp_path, versions=10_000, kept=8, hours_by_sweep=HOURS_A_DAY)

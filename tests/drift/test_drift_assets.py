"""The drift asset: the table, a picture a day, the states; and a line that nobody watched is no error."""

import base64
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import dagster as dg
import pytest

from platform_assets.drift import assets, compaction
from platform_assets.drift.assets import drift_asset, drift_schedule
from platform_assets.drift.event import EventBatch, milliseconds
from platform_assets.drift.latency import LatencyHistogram
from platform_assets.drift.monitor import Counters, StateChange, WindowVerdict
from platform_assets.drift.record import record_change
from platform_assets.drift.segments import DriftLog, folder_of, newest_picture_key
from platform_assets.drift.table import TABLE, by_day
from platform_assets.outside_systems import OutsideSystems
from resources.object_store import ObjectStoreError
from resources.settings import PlatformSettings
from tests.drift.watching import ENV, LINE, SALT, Stream

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def outside(tmp_path):
    """A platform that has done nothing yet."""
    return OutsideSystems(PlatformSettings(home=tmp_path))


@pytest.fixture
def ledger(outside):
    """Its ledger."""
    return outside.ledger


@pytest.fixture
def materialize(outside):
    """Runs the asset: its metadata."""

    def materialize():
        result = dg.materialize([drift_asset(LINE)], resources={"outside": outside})
        (event,) = result.asset_materializations_for_node(f"{LINE}_drift")
        return {name: value.value for name, value in event.metadata.items()}

    return materialize


@pytest.fixture
def log(outside):
    """A log of the line."""
    return DriftLog(outside.object_store, env=ENV, line=LINE)


def verdict(at, state="clear", psi=math.nan):
    """A verdict on the score."""
    return WindowVerdict(
        *(LINE, 1, "score", "count", at - timedelta(seconds=9), at, 250),
        *(0.3, 0.29, 0.31, 1e-6, 1.0, 0.14, state, psi, 0.08),
    )


def test_a_line_that_was_never_watched(materialize):
    """It says so, and how to watch it."""
    metadata = materialize()
    assert metadata["dagster/row_count"] == 0
    assert f"drift watch {LINE}" in metadata["note"]
    assert metadata["states"] == {}


def test_segments_are_put_together_by_whoever_may(materialize, outside, log, monkeypatch):
    """How many went is told; whoever may not delete publishes the table all the same, and says why the rest did not."""
    monkeypatch.setattr(compaction, "MOST_SEGMENTS", 2)
    for minute in range(4):
        log.add([verdict(NOON + timedelta(minutes=minute))], Counters(), LatencyHistogram())
        log.flush()
    denied = ObjectStoreError("reports/dev: delete is denied")
    with monkeypatch.context() as patch:
        patch.setattr(outside.object_store, "delete", Mock(side_effect=denied))
        for _ in range(3):
            metadata = materialize()
    assert metadata["segments_not_taken_up_because"] == str(denied)
    assert metadata["dagster/row_count"] == 4
    # Nothing is put together once more for each time that it fails.
    assert len(list(outside.object_store.list(folder_of(ENV, LINE)))) == 4 + 1
    metadata = materialize()
    assert metadata["segments_taken_up"] == 4
    assert metadata["dagster/row_count"] == 4


def test_whoever_comes_second_publishes_without_waiting(materialize, outside, log, monkeypatch):
    """Somebody else puts the segments of the line together; it says so, and leaves them to them."""
    monkeypatch.setattr(compaction, "MOST_SEGMENTS", 2)
    for minute in range(4):
        log.add([verdict(NOON + timedelta(minutes=minute))], Counters(), LatencyHistogram())
        log.flush()
    with outside.locks.hold(f"drift-segments-{LINE}"):
        metadata = materialize()
    assert f"drift-segments-{LINE}" in metadata["segments_not_taken_up_because"]
    assert metadata["dagster/row_count"] == 4
    assert materialize()["segments_taken_up"] == 3


def test_a_picture_for_each_of_the_newest_days(materialize, log, ledger, monkeypatch):
    """As many days as are shown, as images that the UI shows; every row counts."""
    monkeypatch.setattr(assets, "_DAYS_SHOWN", 2)
    for day in range(4):
        log.add([verdict(NOON + timedelta(days=day))], Counters(), LatencyHistogram())
    log.flush()
    record_change(ledger, LINE, "a1b2", StateChange("score", "alarm", verdict(NOON, "alarm")), salt=SALT)
    metadata = materialize()
    assert metadata["dagster/row_count"] == 4
    assert metadata["states"] == {"score": "alarm"}
    pictures = {name: text for name, text in metadata.items() if name.startswith("drift ")}
    assert sorted(pictures) == [f"drift 2026-11-{day}" for day in (24, 25)]
    encoded = pictures["drift 2026-11-25"].partition("base64,")[2].rstrip(")")
    assert base64.b64decode(encoded).startswith(b"\x89PNG")


def test_many_days_are_one_picture_too(materialize, log, outside, monkeypatch):
    """A season is longer than the days that have pictures of their own; each day counts by its worst verdict."""
    monkeypatch.setattr(assets, "_DAYS_SHOWN", 2)
    log.add([verdict(NOON)], Counters(), LatencyHistogram())
    log.flush()
    assert "KS by day" not in materialize()
    for day in range(1, 5):
        at = NOON + timedelta(days=day)
        worse = replace(verdict(at + timedelta(hours=day)), ks=0.5 + day / 100)
        log.add(
            [verdict(at, "alarm"), worse, verdict(at + timedelta(hours=9))], Counters(), LatencyHistogram()
        )
    log.flush()
    assert "image/png" in materialize()["KS by day"]
    published = outside.warehouse.current(TABLE.format(line=LINE))
    rows = by_day(outside.warehouse, published, 3).to_pylist()
    assert [(row["minute"].day, row["minute"].hour) for row in rows] == [(24, 0), (25, 0), (26, 0)]
    assert [row["ks"] for row in rows] == [0.52, 0.53, 0.54]
    assert [(row["verdicts"], row["in_alarm"]) for row in rows] == [(3, True)] * 3


def test_the_newest_days_picture_is_kept_for_browsers(materialize, log, outside):
    """Under a key that stays: the next hour's takes its place, and the link leads to it."""
    key = newest_picture_key(ENV, LINE)
    kept = []
    for minute in range(2):
        log.add([verdict(NOON + timedelta(minutes=minute))], Counters(), LatencyHistogram())
        log.flush()
        metadata = materialize()
        assert metadata["picture"] == outside.report_url(key)
        kept.append(outside.object_store.get(key))
    shown = metadata["drift 2026-11-22"].partition("base64,")[2].rstrip(")")
    assert kept[1] == base64.b64decode(shown) != kept[0]
    # Beside the segments, which are found by their folder.
    assert not key.startswith(f"{folder_of(ENV, LINE)}/")


def test_whoever_may_not_write_pictures_publishes_the_table(materialize, log, outside, monkeypatch):
    """And is told why there is no link."""
    log.add([verdict(NOON)], Counters(), LatencyHistogram())
    log.flush()
    denied = ObjectStoreError("reports/dev: put is denied")
    monkeypatch.setattr(outside.object_store, "put", Mock(side_effect=denied))
    metadata = materialize()
    assert metadata["dagster/row_count"] == 1
    assert metadata["picture_not_kept_because"] == str(denied)
    assert "picture" not in metadata


def test_the_stability_of_the_score_is_told_with_its_band(materialize, log):
    """The newest of each column; nothing where it was never measured."""
    log.add([verdict(NOON)], Counters(), LatencyHistogram())
    log.flush()
    assert "population_stability" not in materialize()
    for minute, psi in ((1, 0.3), (2, 0.12)):
        log.add([verdict(NOON + timedelta(minutes=minute), psi=psi)], Counters(), LatencyHistogram())
    log.flush()
    (row,) = materialize()["population_stability"].records
    told = {name: row.data[name] for name in ("column", "psi", "band", "psi_by_chance")}
    assert told == {"column": "score", "psi": 0.12, "band": "moderate", "psi_by_chance": 0.08}


def test_decay_is_shown_once_there_are_labels(materialize, log):
    """The slope with its interval and a picture; before that, why there is none."""
    log.add([verdict(NOON)], Counters(), LatencyHistogram())
    for day in range(4):
        stream = Stream(seed=day, start_ms=milliseconds(NOON - timedelta(days=day)))
        log.add_labels(EventBatch.of(stream.events(100, labelled=True)), 1)
        log.flush()
        if day == 1:
            assert "at least 3 are needed" in materialize()["model_decay_rate_not_measured_because"]
    metadata = materialize()
    low, rate, high = (metadata[f"model_decay_rate{end}"] for end in ("_low", "", "_high"))
    assert low < rate < high
    assert "image/png" in metadata["decay"]


def test_it_stands_behind_the_deployment_in_a_group_of_its_own():
    """So no run of the line waits for it, and one schedule covers all lines."""
    asset = drift_asset(LINE)
    key = dg.AssetKey(f"{LINE}_drift")
    assert asset.specs_by_key[key].group_name == "drift"
    assert [dep.asset_key for dep in asset.specs_by_key[key].deps] == [dg.AssetKey(f"{LINE}_deployment")]
    definitions = dg.Definitions(
        assets=[asset, drift_asset("other")],
        schedules=[drift_schedule()],
        resources={"outside": object()},
    )
    assert definitions.resolve_job_def("drift").asset_layer.selected_asset_keys == {
        key,
        dg.AssetKey("other_drift"),
    }

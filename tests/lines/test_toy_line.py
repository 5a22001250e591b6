"""A task is one folder and a line one YAML file: a toy goes from its source to answers without a change elsewhere."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.governance import release
from platform_assets.governance.subject_columns import subject_of
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import RunOutcome, open_instance, run_line
from platform_assets.lines.trials import features_for_trials
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.sheets import Sheet
from platform_assets.tasks.registry import known_tasks
from platform_assets.tuning.collector import collected
from platform_assets.tuning.katib_rules import DEFAULT_FILTER
from platform_assets.tuning.measures import METRICS
from resources.errors import PlatformError
from resources.settings import PlatformSettings
from tests.tasks.toys import TOY, toy_task, write_line


@pytest.fixture(scope="module", autouse=True)
def _toy() -> Iterator[None]:
    """The toy is a task while these tests run."""
    with toy_task():
        yield


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line of the toy."""
    return write_line(tmp_path_factory.mktemp("toy"), retention_days=730)


@pytest.fixture(scope="module")
def outside(spec: Path) -> Iterator[OutsideSystems]:
    """Systems of a home of its own, which processes and commands find, too."""
    home = spec.parent / "platform"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(home))
        patch.setenv("PLATFORM_SPECS", json.dumps([str(spec)]))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        yield OutsideSystems(PlatformSettings())


@pytest.fixture(scope="module")
def outcome(spec: Path, outside: OutsideSystems) -> RunOutcome:
    """What the line's first run came to."""
    return run_line(load_line(spec), outside)


@pytest.fixture
def told(outcome: RunOutcome) -> Callable[..., Any]:
    """What a command prints with --json, after that run."""

    def told(*arguments: str) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return told


def test_a_folder_makes_a_task() -> None:
    """It is known by the folder's name, beside those that ship."""
    assert TOY in known_tasks()
    assert "text-classification" in known_tasks()


def test_the_line_runs_from_its_source_to_a_deployment(outcome: RunOutcome, outside: OutsideSystems) -> None:
    """Every asset is made, every gate leaves a verdict, the task's own one too, and a release is active."""
    assert outcome.success, outcome.failure
    assert [step.outcome for step in outcome.steps] == ["done"] * 7
    verdicts = [entry.body for entry in outside.ledger.entries(kind="verdict")]
    assert {body["rule_set"]: body["outcome"] for body in verdicts} == dict.fromkeys(
        ("contract.schema", "contract.labels", "gate.auc", "gate.beats_baseline", "gate.odd_share"), "pass"
    )
    model = release.active(outside.ledger, "toy").card.registered.report.model
    assert model.features.dataset.task == TOY
    assert (model.features.dataset.subject_namespace, model.features.dataset.subject_column) == (
        "number",
        "number_id",
    )
    assert model.features.recipe == {"modulus": 2}
    state = outside.object_store.info(f"{model.features.state_prefix}/mean.json")
    assert (state.gdpr_class, state.retention_days) == ("personal", 730)


def test_a_second_run_reuses_everything(outcome: RunOutcome, outside: OutsideSystems, spec: Path) -> None:
    """Nothing has changed, so nothing runs."""
    assert {step.outcome for step in run_line(load_line(spec), outside).steps} == {"reused"}


def test_it_predicts(told: Callable[..., Any], tmp_path: Path) -> None:
    """The command reads what the task reads, answers from the release, and tells a monitor what is watched."""
    events = tmp_path / "events.jsonl"

    answers = told("predict", "toy", "7", "12", "--events", str(events))

    assert [answer["label"] for answer in answers] == [1, 0]
    assert answers[0]["score"] > 0.9
    assert answers[1]["score"] < 0.2
    watched = [json.loads(line)["columns"] for line in events.read_text(encoding="utf-8").splitlines()]
    assert watched[1]["distance"] - watched[0]["distance"] == 5


@pytest.mark.parametrize(
    ("argument", "problem"), [("seven", "instance 1: invalid literal"), ("7.5", "instance 1: ")]
)
def test_what_is_no_instance_of_the_task_is_refused(
    outcome: RunOutcome, monkeypatch: pytest.MonkeyPatch, argument: str, problem: str
) -> None:
    """Its place and what is wrong with it."""
    result = CliRunner().invoke(app, ["predict", "toy", argument])

    assert result.exit_code == 1
    assert problem in str(result.exception)


def test_its_state_is_told(told: Callable[..., Any]) -> None:
    """Task, headline, rows, metrics with the task's own measure, verdicts and release."""
    status = told("status")["lines"]["toy"]

    assert (status["task"], status["headline"]) == (TOY, "auc")
    assert sum(status["rows_by_split"].values()) == 1000
    assert status["metrics"]["auc"] > 0.9
    assert 0.4 < status["metrics"]["odd_share"] < 0.7
    assert status["blocked_by"] == []
    assert status["deployed_version"]["model_version"] == 1


def test_its_card_shows_the_tasks_own_picture(outcome: RunOutcome, outside: OutsideSystems) -> None:
    """Pictures are those that the report lists."""
    card = release.active(outside.ledger, "toy").card

    assert card.registered.report.pictures == ("roc", "calibration", "score-distribution", "pixel")
    assert outside.object_store.get(card.html_key).count(b"data:image/png;base64,") == 4


def test_what_the_model_shows_of_single_rows_stands_in_its_sheet_alone(
    outcome: RunOutcome, outside: OutsideSystems
) -> None:
    """A stored table about subjects, classified as they are; the figures made with it are in the report."""
    report = release.active(outside.ledger, "toy").card.registered.report
    info = outside.object_store.info(report.sheet_key)
    content = outside.object_store.get(report.sheet_key)
    sheet = Sheet.of_bytes(content)

    assert (info.gdpr_class, info.retention_days) == ("personal", 730)
    assert str(subject_of(content)) == "number:number_id"
    assert sheet.images.num_rows > 0
    assert 0.3 < report.metrics["turned_share"] < 0.7
    assert json.loads(outside.object_store.get(report.report_key))["measures"] == {
        "odd_share": report.metrics["odd_share"],
        **sheet.measures,
    }


def test_a_failed_rule_of_the_task_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gates as a shared one does: everything is made, and nothing is deployed."""
    strict = write_line(tmp_path, gates={"auc": "> 0.9", "beats_baseline": True, "odd_share": "< 0.1"})
    outside = OutsideSystems(PlatformSettings(home=tmp_path / "platform"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "platform" / "dagster"))

    refused = run_line(load_line(strict), outside)

    assert [step.outcome for step in refused.steps] == [*["done"] * 6, "failed"]
    assert "gate.odd_share" in refused.failure
    assert release.active(outside.ledger, "toy") is None


def test_a_rule_of_one_task_is_unknown_to_another(tmp_path: Path) -> None:
    """A spec may name the shared rules and those of its own task."""
    from tests.line_factory import write_spec

    with pytest.raises(ManifestError, match=r'gates.odd_share: unknown gate "odd_share": known are auc'):
        load_line(write_spec(tmp_path, gates={"odd_share": "< 0.7"}))


# --- Trials -----------------------------------------------------------------------------------------


@pytest.fixture
def trial(outcome: RunOutcome) -> Callable[..., Result]:
    """What `platform-assets trial toy …` comes to, after that run."""
    assert outcome.success
    return lambda *arguments: CliRunner().invoke(app, ["trial", "toy", *arguments])


def state_of(outside: OutsideSystems) -> list[Any]:
    """What lies in the ledger, the warehouse and the object store."""
    snapshots = [
        each.snapshot_id for table in outside.warehouse.tables() for each in outside.warehouse.versions(table)
    ]
    entries = [entry.hash for entry in outside.ledger.entries()]
    return [snapshots, entries, sorted(outside.object_store.list(""))]


def test_a_trial_prints_what_katibs_collector_reads(
    outside: OutsideSystems, trial: Callable[..., Result]
) -> None:
    """A time, and metrics by name; with the newest features or those of a version; and changes nothing."""
    before = state_of(outside)
    with open_instance(outside.settings) as instance:
        features = features_for_trials(load_line(outside.settings.specs[0]), instance)
    for chosen in ((), ("--features", features.version)):
        result = trial("--set", "smoothing=2.5", *chosen)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert [line.partition(" ")[2].partition("=")[0] for line in lines] == list(METRICS)
        for line in lines:
            time, _, report = line.partition(" ")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
            assert datetime.now(UTC) - datetime.fromisoformat(time) < timedelta(minutes=1)
            (found,) = collected(
                line, [re.compile(DEFAULT_FILTER, re.ASCII)], METRICS, read_at=datetime.now(UTC)
            )
            assert report == f"{found.metric}={found.value}"
            assert isfinite(float(found.value))
    assert state_of(outside) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--set", "smoothin=1"),
            "smoothin: is no field of the spec that a trial may set; did you mean smoothing?",
        ),
        (("--set", "smoothing=-1"), "smoothing: Input should be greater than 0 (found -1)"),
        (("--features", "0123"), "no materialization of toy_features has version 0123"),
    ],
)
def test_what_cannot_be_tried_is_one_error(
    trial: Callable[..., Result], arguments: tuple[str, ...], told: str
) -> None:
    """Named, and with nothing on the output that a collector could take for a metric."""
    result = trial(*arguments)
    assert isinstance(result.exception, PlatformError)
    assert told in str(result.exception)
    assert result.stdout == ""


def test_values_stand_under_those_that_are_set(
    trial: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run resolved besides its file reaches the trial by the environment; an assignment goes before it."""
    plain, other = trial().stdout, trial("--set", "smoothing=99").stdout

    def metrics(told: str) -> list[str]:
        return [line.partition(" ")[2] for line in told.splitlines()]

    monkeypatch.setenv("PLATFORM_TRIAL_VALUES", '{"smoothing": 99.0}')
    assert metrics(trial().stdout) == metrics(other) != metrics(plain)
    assert metrics(trial("--set", "smoothing=1").stdout) == metrics(plain)
    monkeypatch.setenv("PLATFORM_TRIAL_VALUES", "[]")
    assert trial().exit_code == 2


@pytest.mark.parametrize("given", ["smoothing", "=1"])
def test_what_is_no_assignment_is_wrong_usage(trial: Callable[..., Result], given: str) -> None:
    """So are two values of one parameter."""
    assert trial("--set", given).exit_code == 2
    assert trial("--set", "smoothing=1", "--set", "smoothing=2").exit_code == 2

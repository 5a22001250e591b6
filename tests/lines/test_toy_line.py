"""A task is one folder and a line one YAML file: a toy goes from its source to answers without a change elsewhere."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.governance import release
from platform_assets.governance.subject_columns import subject_of
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import RunOutcome, run_line
from platform_assets.manifest import ManifestError
from platform_assets.outside_systems import OutsideSystems
from platform_assets.sheets import Sheet
from platform_assets.tasks.registry import known_tasks
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

"""A line whose production moves by promotion: from a run by the command line to production, and what people are told."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.datasets.contract import find_contract
from platform_assets.governance import verdict as verdicts
from platform_assets.governance.review_requests import REVIEW_REQUEST
from platform_assets.governance.verdict import Verdict
from platform_assets.lines.assets import asset_key
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import ModelVersion
from platform_assets.reports.overview import Overviews
from platform_assets.reports.pages import line_page
from platform_assets.step import recorded_reference
from platform_assets.tags import STARTED_BY_TAG
from resources.settings import PlatformSettings
from sensors.definitions import review_sensor
from tests.git_factory import run_git
from tests.line_factory import materialize_alone
from tests.reviewing import ReviewersRepository, person
from tests.tasks.toys import toy_task, write_line

LINE = "toy"
GATES = [
    {"subject": "dataset", "rule_set": "contract.schema"},
    {"subject": "dataset", "rule_set": "contract.labels"},
    {"subject": "model", "rule_set": "gate.auc"},
    {"subject": "model", "rule_set": "gate.beats_baseline"},
]


@pytest.fixture(scope="module", autouse=True)
def _toy() -> Iterator[None]:
    """The toy is a task while these tests run."""
    with toy_task():
        yield


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line in a repository of Ada's, whose promotion asks for a gate and a radiologist."""
    folder = tmp_path_factory.mktemp("toy") / "repository"
    path = write_line(
        folder,
        requires={
            "deploy": GATES,
            "promote": [
                {"subject": "model", "rule_set": "gate.odd_share"},
                {"review": {"role": "radiologist"}},
            ],
            "waivable": ["gate.odd_share"],
        },
    )
    run_git(folder, "init", "-q", "-b", "main")
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "-q", "-m", "the line")
    return path


@pytest.fixture(scope="module")
def outside(spec: Path) -> Iterator[OutsideSystems]:
    """A platform in Grace's name, with a file of reviewers."""
    home = spec.parent.parent / "platform"
    reviewers = ReviewersRepository(spec.parent.parent / "reviewers")
    reviewers.commit(
        person(), person(id="grace", name="Grace", roles=[], emails=["g@a.org"], principals=["grace"])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_HOME", str(home))
        patch.setenv("PLATFORM_SPECS", json.dumps([str(spec)]))
        patch.setenv("PLATFORM_REVIEWERS", str(reviewers.file))
        patch.setenv("PLATFORM_PRINCIPAL__USER", "grace")
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        yield OutsideSystems(PlatformSettings())


@pytest.fixture(scope="module")
def command(outside: OutsideSystems) -> Callable[..., str]:
    """What a command prints; it succeeds."""

    def command(*arguments: str, user: str = "grace") -> str:
        result = CliRunner().invoke(
            app, [*arguments], env={"PLATFORM_PRINCIPAL__USER": user}, catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return command


@pytest.fixture(scope="module")
def summary(command: Callable[..., str]) -> str:
    """What the line's first run tells at its end."""
    return command("run", LINE)


@pytest.fixture
def model(summary: str, outside: OutsideSystems) -> ModelVersion:
    """What it trained."""
    with open_instance(outside.settings) as instance:
        return recorded_reference(instance, dg.AssetKey(f"{LINE}_model"), ModelVersion)


def test_a_run_ends_in_staging_and_says_what_comes_next(summary: str) -> None:
    """What is missing, and the commands that bring it about."""
    assert f"Version 1 of {LINE} is in staging; in production is nothing." in summary
    _, _, missing = summary.partition("this is missing:\n")
    assert "radiologist" in missing.splitlines()[0]
    assert f"review {LINE} --version 1 --by NAME --decision approve --comment TEXT" in missing
    assert f"promote {LINE} --version 1 --by NAME --reason TEXT" in missing
    assert missing.rstrip().endswith("--stage staging")


def test_a_model_names_the_author_of_its_spec_and_who_started_its_training(model: ModelVersion) -> None:
    """By Git, and by the tag of the command line's run."""
    assert model.source_author == "Ada Lovelace <ada@example.org>"
    assert model.started_by == "grace"


def test_nobody_is_known_to_have_started_a_run_of_the_ui(
    model: ModelVersion, spec: Path, outside: OutsideSystems
) -> None:
    """Whatever tags are typed in the launchpad: also all of those of a run of Grace's."""
    with open_instance(outside.settings) as instance:
        (grace,) = {
            run.tags[STARTED_BY_TAG]: run for run in instance.get_runs() if STARTED_BY_TAG in run.tags
        }.values()
    tags = {
        name: value for name, value in grace.tags.items() if not name.startswith(("dagster/", ".dagster"))
    }

    materialize_alone(outside.settings, spec, "model", tags=tags, smoothing=2.0)
    with open_instance(outside.settings) as instance:
        found = recorded_reference(instance, asset_key(load_line(spec), "model"), ModelVersion)
        # What the line goes on from is the file's again.
        assert found.version != model.version
    materialize_alone(outside.settings, spec, "model")

    assert found.started_by is None
    assert tags[STARTED_BY_TAG].startswith("grace/")


def test_from_staging_to_production(
    summary: str, command: Callable[..., str], outside: OutsideSystems, spec: Path
) -> None:
    """The sensor asks for a review, status and page show that; then a review and a promotion, and history tells of all."""
    sensor = review_sensor(outside, [load_line(spec)])
    with open_instance(outside.settings) as instance:
        sensor(dg.build_sensor_context(instance=instance))
    (request,) = outside.ledger.entries(kind=REVIEW_REQUEST)
    asked = f"version 1 stands complete in staging, and lacks reviews alone: a review by radiologist (entry {request.seq})"
    before = command("status", LINE)
    page = line_page(*_page_of(outside, spec))
    assert f"asked     {asked}" in before
    assert "staging   version 1" in before
    assert "stands complete in staging" in page

    command("review", LINE, "--by", "lee", "--decision", "approve", "--comment", "all seen", user="alee")
    assert "Nothing is missing for its promotion." in command("run", LINE)
    command("promote", LINE, "--version", "1", "--by", "grace", "--reason", "reviewed")

    state = json.loads(command("status", LINE, "--json"))["lines"][LINE]["promotion"]
    told = json.loads(command("history", LINE, "--json"))
    for unclear in ("2026-11-30", "2026-11-30T12:00", "noon", "2026-11-30T25:00Z"):
        asked = CliRunner().invoke(app, ["history", LINE, "--at", unclear])
        assert "is no time with its zone" in asked.output
    elsewhere = f"{datetime.now(timezone(timedelta(hours=1))):%Y-%m-%dT%H:%M:%S.%f}+01:00"
    assert json.loads(command("history", LINE, "--json", "--at", elsewhere))["stays"]
    before_all = CliRunner().invoke(app, ["history", LINE, "--at", "2020-01-01T00:00Z"])
    assert state["staging"] is None
    assert state["production"]["version"] == 1
    assert state["review_requests"] == []
    assert [(each["stage"], each["act"], each["by"]) for each in told["stays"]] == [
        ("staging", "deploy", "grace"),
        ("production", "promote", "Grace"),
    ]
    assert [each["reviewer"] for each in told["stays"][1]["reviews"]] == ["Dr. Amira Lee"]
    assert {each["rule_set"] for each in told["stays"][1]["verdicts"]} >= {"gate.odd_share", "gate.auc"}
    judged, (review,) = told["stays"][1]["judged_by"], told["stays"][1]["reviews"]
    assert judged["spec_commit"] == load_line(spec).spec_commit
    assert judged["reviewers_commit"] == review["reviewers_commit"]
    assert [rule["role"] for rule in judged["rules"]] == ["radiologist"]
    assert f"by spec {judged['spec_commit'][:12]}, reviewers" in command("history", LINE)
    assert told["chain"]["ok"]
    assert "is not known: its first entry is of" in str(before_all.exception)
    assert _promotions(outside) == ["production", "staging"]
    assert "promote" in line_page(*_page_of(outside, spec))


def test_a_person_waives_what_the_spec_lets_be_waived(
    model: ModelVersion, command: Callable[..., str], outside: OutsideSystems, spec: Path
) -> None:
    """What stands and what must stand is refused; what fails is set aside, and status says by whom."""
    waive = ["--by", "Dr. Lee", "--reason", "even numbers are rare", "--expires-days", "7"]

    def refusal(rule_set: str) -> str:
        return str(CliRunner().invoke(app, ["waive", LINE, rule_set, *waive]).exception)

    assert "stands, so there is nothing to waive" in refusal("gate.odd_share")
    assert "its spec lists gate.odd_share under requires.waivable" in refusal("gate.auc")
    failed = Verdict(
        subject=f"{LINE}_model@{model.version}",
        rule_set="gate.odd_share",
        rule_set_hash=load_line(spec).rule_set_hashes["gate.odd_share"],
        outcome="fail",
        evidence={"observed": 0.8},
        producer={},
    )
    verdicts.record(outside.ledger, failed, evaluation_id="by hand")

    told = command("waive", LINE, "gate.odd_share", *waive)

    assert told.startswith(f"gate.odd_share of {LINE} version 1 (fail) is waived by Dr. Lee until ")
    (entry,) = [
        each for each in outside.ledger.entries(kind=verdicts.KIND) if each.body["outcome"] == "waived"
    ]
    assert entry.body["evidence"] | {"sets_aside_entry": "", "problem": ""} == {
        "sets_aside": "fail",
        "sets_aside_entry": "",
        "observed": 0.8,
        "problem": "",
    }
    verdicts.record(
        outside.ledger, failed.model_copy(update={"outcome": "pass"}), evaluation_id="by hand, again"
    )


def test_a_change_that_was_not_committed_does_not_do_without_people(
    summary: str, outside: OutsideSystems, spec: Path
) -> None:
    """Neither a deployment nor a rollback goes to production by it, and nothing is promoted by a contract of nobody's."""
    original = spec.read_text()
    content = yaml.safe_load(original)
    (gate, _) = content["requires"].pop("promote")
    content["requires"]["deploy"].append(gate)
    spec.write_text(yaml.safe_dump(content))
    try:
        _, failure = materialize_alone(outside.settings, spec, "deployment")
        back = CliRunner().invoke(app, ["rollback", f"{LINE}_version@1", "--by", "grace"])
    finally:
        spec.write_text(original)

    for told in (failure, str(back.exception)):
        assert "asks for no promotion any more in a change that was not committed" in (told or "")
    contract = find_contract(content["contract"], beside=spec.parent)
    assert contract is not None
    before = contract.read_text()
    contract.write_text(f"# ours\n{before}")
    try:
        commit = load_line(spec).spec_commit
    finally:
        contract.write_text(before)
    assert commit == f"{load_line(spec).spec_commit}+dirty"


def _page_of(outside: OutsideSystems, spec: Path) -> tuple[Any, ...]:
    lines = type("Lines", (), {"sound": (load_line(spec),), "broken": ()})()
    overview = Overviews(outside, lambda: lines, fresh_seconds=0).current()
    return overview, overview.line(LINE)


def _promotions(outside: OutsideSystems) -> list[str]:
    """Stages of the rows that the UI shows now."""
    with open_instance(outside.settings) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(f"{LINE}_promotions"))
    return [each.data["stage"] for each in event.asset_materialization.metadata["promotions"].value.records]

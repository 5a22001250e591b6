"""Checks that are executed by themselves: on what is published, with a verdict each, and nothing else is moved."""

from pathlib import Path

import dagster as dg
import pytest

from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.definitions import build_definitions
from platform_assets.governance import release
from platform_assets.ledger.entry import Entry
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import Line, load_line
from platform_assets.lines.runner import RunOutcome, open_instance
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.line.changed_sources import CHANGES, changed
from tests.line_factory import SMALL_SPEC, check_alone, materialize_alone, write_spec

NAME = "reviews_small"
DATASET, VALIDATION = f"{NAME}_dataset", f"{NAME}_validation"


@pytest.fixture
def line() -> Line:
    """The line of the finished home."""
    return load_line(SMALL_SPEC)


def verdicts(ledger: Ledger) -> list[Entry]:
    """All that were recorded, the oldest first."""
    return list(ledger.entries(kind="verdict"))


def test_every_check_of_a_line_can_be_executed_by_itself(outside: OutsideSystems, line: Line) -> None:
    """None of them needs its asset to be made, or another check to be run."""
    graph = build_definitions(outside, [line]).resolve_asset_graph()

    together = {
        key.to_user_string(): len(graph.get_execution_set_asset_and_check_keys(key))
        for key in graph.asset_check_keys
    }

    assert together
    assert set(together.values()) == {1}


def test_a_domain_is_judged_on_the_published_rows(
    outside: OutsideSystems, ledger: Ledger, line: Line
) -> None:
    """Its verdict is about the version that the release was made of; of the others there is none."""
    before = verdicts(ledger)

    found, failure = check_alone(outside.settings, line, f"{DATASET}:contract_core_text")

    (made,) = verdicts(ledger)[len(before) :]
    dataset = release.active(ledger, NAME).card.registered.report.model.features.dataset
    assert failure is None
    assert list(found) == ["contract_core_text"]
    assert found["contract_core_text"].passed
    assert found["contract_core_text"].metadata["snapshot_id"].value == dataset.snapshot.snapshot_id
    assert "/objects/reports/" in found["contract_core_text"].metadata["data_docs"].value
    assert made.body["subject"] == f"{DATASET}@{dataset.version}"
    assert (made.body["rule_set"], made.body["outcome"]) == ("contract.core_text", "pass")
    assert made.body["producer"]["alone"] is True
    assert all("alone" not in each.body["producer"] for each in before)


def test_gates_are_judged_on_the_model_that_was_reported_on(
    outside: OutsideSystems, ledger: Ledger, line: Line
) -> None:
    """Two of them, asked for together; the stored scores are read, and the report stays as it is."""
    before = verdicts(ledger)
    reports = sorted(outside.object_store.list(f"reports/{outside.env}/{NAME}"))

    found, failure = check_alone(
        outside.settings, line, f"{VALIDATION}:gate_auc", f"{VALIDATION}:gate_beats_baseline"
    )

    made = verdicts(ledger)[len(before) :]
    model = release.active(ledger, NAME).card.registered.report.model
    assert failure is None
    assert set(found) == {"gate_auc", "gate_beats_baseline"}
    assert {each.body["subject"] for each in made} == {f"{NAME}_model@{model.version}"}
    assert {each.body["rule_set"] for each in made} == {"gate.auc", "gate.beats_baseline"}
    assert sorted(outside.object_store.list(f"reports/{outside.env}/{NAME}")) == reports


def test_a_gate_that_fails_alone_blocks_the_next_deployment(
    outside: OutsideSystems, ledger: Ledger, tmp_path: Path
) -> None:
    """A rule that was made stricter fails the published model at a click, and the release stays as it was."""
    active = release.active(ledger, NAME)
    strict = load_line(write_spec(tmp_path, gates={**load_line(SMALL_SPEC).spec.gates, "auc": "> 0.999"}))

    found, _ = check_alone(outside.settings, strict, f"{VALIDATION}:gate_auc")
    _, failure = materialize_alone(outside.settings, strict.manifest.path, "deployment")

    assert not found["gate_auc"].passed
    assert failure is not None
    assert "gate.auc" in failure
    assert "fail" in failure
    assert release.active(ledger, NAME) == active


def test_materializing_judges_all_whatever_checks_were_asked_for(
    outside: OutsideSystems, ledger: Ledger, line: Line
) -> None:
    """A run without checks has none to show, and every verdict in the ledger all the same."""
    before = verdicts(ledger)
    with open_instance(outside.settings) as instance:
        job = build_definitions(outside, [line]).resolve_implicit_global_asset_job_def()
        made = job.get_subset(
            asset_selection={dg.AssetKey(DATASET)}, asset_check_selection=set()
        ).execute_in_process(instance=instance)

    assert made.success
    assert not made.get_asset_check_evaluations()
    assert {each.body["rule_set"] for each in verdicts(ledger)[len(before) :]} == set(
        line.contract.rule_set_hashes
    )


def test_the_shape_is_judged_on_the_sources_as_they_are_now(
    outside: OutsideSystems,
    ledger: Ledger,
    source: Path,
    tmp_path: Path,
) -> None:
    """Of other bytes no verdict is laid to the published rows; the breaker is moved by materializing only."""
    spec = write_spec(tmp_path, train_data_uri=str(source))
    line = load_line(spec)
    materialize_alone(outside.settings, spec, "dataset")

    same, _ = check_alone(outside.settings, line, f"{DATASET}:contract_schema")
    published = verdicts(ledger)[-1].body["subject"]
    with changed(source, CHANGES["renamed"][0]):
        other, failure = check_alone(outside.settings, line, f"{DATASET}:contract_schema")

    assert same["contract_schema"].passed
    assert "those of the published version" in same["contract_schema"].metadata["judged"].value
    assert not other["contract_schema"].passed
    assert "have changed since" in other["contract_schema"].metadata["judged"].value
    assert "text" in other["contract_schema"].description
    assert failure is not None
    assert verdicts(ledger)[-1].body["outcome"] == "fail"
    assert verdicts(ledger)[-1].body["subject"] != published
    assert breaker_state(ledger, DATASET).state == "closed"


def test_an_opened_breaker_is_a_failed_check_until_it_is_closed(
    outside: OutsideSystems,
    ledger: Ledger,
    source: Path,
    tmp_path: Path,
) -> None:
    """Red when it opens; executing the check tells what it is since, without making the dataset."""
    spec = write_spec(tmp_path, train_data_uri=str(source))
    line = load_line(spec)
    with changed(source, CHANGES["renamed"][0]):
        opened, _ = materialize_alone(outside.settings, spec, "dataset")
    after_opening, failure = check_alone(outside.settings, line, f"{DATASET}:schema_breaker")
    found = {each.check_name: each.passed for each in opened.get_asset_check_evaluations()}

    assert not found["schema_breaker"]
    assert not after_opening["schema_breaker"].passed
    assert failure is not None
    assert after_opening["schema_breaker"].metadata["state"].value == "open"


def test_what_was_never_made_cannot_be_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that says what to do."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    settings = PlatformSettings(home=tmp_path / "home")
    (tmp_path / "home" / "dagster").mkdir(parents=True)

    _, failure = check_alone(settings, load_line(SMALL_SPEC), f"{DATASET}:contract_core_text")

    assert failure == (
        f"{DATASET} was never materialized, so there is nothing to judge; materialize it: its checks run with it"
    )


def test_a_line_still_runs_as_a_whole(run, line: Line) -> None:
    """Nothing has changed, so everything is reused."""
    outcome: RunOutcome = run(SMALL_SPEC)

    assert {step.outcome for step in outcome.steps} == {"reused"}

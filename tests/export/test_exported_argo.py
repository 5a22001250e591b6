"""The exported Workflow, executed step by step in processes of its own, is the line that Dagster runs."""

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from platform_assets.lines.runner import open_instance
from platform_assets.references import STAGES, FeaturesVersion
from platform_assets.step import recorded_reference
from resources.settings import PlatformSettings
from tests.export.factory import LINE, Exported, Outcome, export
from tests.export.runtimes import run_argo
from tests.line_factory import SMALL_SPEC, write_spec


def test_seven_separate_runs_leave_what_one_run_leaves(argo_run: Exported, dagster_outcome: Outcome):
    """Equal data, equal weights, equal AUC, the same entries in the ledger in the same order, an active release."""
    assert set(argo_run.execution.states.values()) == {"Succeeded"}
    assert list(argo_run.execution.states) == list(STAGES)
    assert argo_run.outcome.is_active
    assert argo_run.outcome == dagster_outcome


def test_each_step_hands_on_the_version_that_it_made(argo_run: Exported):
    """The files that Argo reads hold what the step printed; the AUC is the one in the report."""
    assert {told["stage"]: told["version"] for told in argo_run.told} == {
        stage: outputs["version"] for stage, outputs in argo_run.execution.outputs.items()
    }
    assert float(argo_run.execution.outputs["validation"]["auc"]) == argo_run.outcome.auc


def test_runs_are_separate_and_name_their_workflow(
    argo_run: Exported, argo_home: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seven runs, each tagged with the workflow, so that the UI shows what they belong to."""
    monkeypatch.setenv("DAGSTER_HOME", str(argo_home / "dagster"))
    with open_instance(PlatformSettings(home=argo_home)) as instance:
        tags = {each["run_id"]: instance.get_run_by_id(str(each["run_id"])).tags for each in argo_run.told}

    assert len(tags) == 7
    assert {each["platform/workflow"] for each in tags.values()} == {"reviews-small-x7k2p"}


def test_auc_below_the_gate_skips_the_deployment_and_by_hand_it_is_refused(
    argo_home: Path, in_process, tmp_path: Path
):
    """The condition comes from the spec; who runs the step all the same is told which verdict is in the way."""
    gates = {
        "auc": "> 0.999",
        "beats_baseline": True,
        "score_drift_ks": "<= 0.15",
        "auc_drop_from_production": "<= 0.3",
    }
    spec = write_spec(tmp_path, gates=gates)
    manifest = yaml.safe_load(export("argo", argo_home, specs=spec))
    steps, run_step = in_process(argo_home, spec)

    execution = run_argo(manifest, run_step, scratch=tmp_path)

    assert execution.states == dict.fromkeys(list(STAGES)[:-1], "Succeeded") | {"deployment": "Skipped"}
    assert [json.loads(each.stdout)["stage"] for each in steps] == list(STAGES)[:-1]
    assert json.loads(steps[3].stdout)["checks"]["gate_auc"] is False
    assert run_step(["platform-assets", "materialize", LINE, "deployment"]) == 1
    assert "gate.auc" in steps[-1].stderr
    assert "failed" in steps[-1].stderr
    assert "> 0.999" in steps[-1].stderr


def test_workflow_that_was_exported_from_another_spec_is_refused(argo_home: Path, in_process, tmp_path: Path):
    """Its condition would be the old gate's, so not one step of it runs."""
    manifest = yaml.safe_load(export("argo", argo_home))
    changed = write_spec(tmp_path, gates={"auc": "> 0.9"}, requires=_requires("gate.auc"))
    steps, run_step = in_process(argo_home, changed)

    execution = run_argo(manifest, run_step, scratch=tmp_path)

    assert execution.states["dataset"] == "Failed"
    assert {execution.states[stage] for stage in list(STAGES)[1:]} == {"Omitted"}
    assert "export it again" in steps[0].stderr


def _requires(rule_set: str) -> dict[str, list[dict[str, str]]]:
    return {"deploy": [{"subject": "model", "rule_set": rule_set}]}


def test_step_is_made_from_the_version_that_it_is_given(argo_run: Exported, argo_home: Path, in_process):
    """Somebody has made other features in between; the workflow's own become the newest again, and its model with them."""
    steps, run_step = in_process(argo_home, SMALL_SPEC)
    versions = {stage: outputs["version"] for stage, outputs in argo_run.execution.outputs.items()}
    step = ["platform-assets", "materialize", LINE]

    assert run_step([*step, "features", "--set", "max_length=16"]) == 0
    assert run_step([*step, "model", "--from", versions["features"]]) == 0

    assert json.loads(steps[0].stdout)["version"] != versions["features"]
    assert json.loads(steps[1].stdout)["version"] == versions["model"]
    with open_instance(PlatformSettings(home=argo_home)) as instance:
        newest = recorded_reference(instance, dg.AssetKey(f"{LINE}_features"), FeaturesVersion)
    assert newest.version == versions["features"]


def test_pinned_line_is_left_alone(argo_run: Exported, argo_home: Path, in_process):
    """After a rollback nothing is made behind the back of whoever pinned the line, until they let go."""
    steps, run_step = in_process(argo_home, SMALL_SPEC)
    pinned = f"{LINE}_dataset@{argo_run.outcome.dataset}"

    assert run_step(["platform-assets", "rollback", pinned, "--reason", "a test"]) == 0
    assert run_step(["platform-assets", "materialize", LINE, "features"]) == 1
    assert "reviews_small is pinned to release" in steps[-1].stderr
    assert run_step(["platform-assets", "unpin", LINE, "--by", "tests", "--reason", "a test"]) == 0
    assert run_step(["platform-assets", "materialize", LINE, "features"]) == 0

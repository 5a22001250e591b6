"""The exported pipeline, executed step by step in processes of its own, is the line that Dagster runs."""

from pathlib import Path

import pytest
import yaml

from platform_assets.export.kubeflow import PYTHON_VARIABLE
from platform_assets.references import STAGES
from tests.export.factory import LINE, Outcome, container, export, outcome_in
from tests.export.runtimes import run_kubeflow
from tests.line_factory import write_spec

pytestmark = pytest.mark.long


def test_pipeline_is_the_line_that_dagster_runs_until_its_gate_is_raised(
    kfp_python: Path, dagster_outcome: Outcome, in_process, tmp_path: Path
):
    """First all seven steps, with the same outcome; then, under a gate that fails, all but the deployment."""
    home, told = tmp_path / "platform", []
    sdk = {PYTHON_VARIABLE: str(kfp_python)}
    ir, _ = yaml.safe_load_all(export("kfp", home, **sdk))

    execution = run_kubeflow(ir, container(home, told), scratch=tmp_path / "deployed")

    assert [each["stage"] for each in told] == list(STAGES)
    assert set(execution.states.values()) == {"Succeeded"}
    outcome = outcome_in(home)
    assert outcome.is_active
    assert outcome == dagster_outcome

    gates = {
        "auc": "> 0.999",
        "beats_baseline": True,
        "score_drift_ks": "<= 0.15",
        "auc_drop_from_production": "<= 0.3",
    }
    spec = write_spec(tmp_path, gates=gates)
    ir, _ = yaml.safe_load_all(export("kfp", home, specs=spec, **sdk))
    steps, run_step = in_process(home, spec)

    execution = run_kubeflow(ir, run_step, scratch=tmp_path / "blocked")

    assert len(steps) == 6
    assert execution.states["condition-1"] == "Skipped"
    assert "deployment" not in execution.states
    assert run_step(["platform-assets", "materialize", LINE, "deployment"]) == 1
    assert "gate.auc" in steps[-1].stderr

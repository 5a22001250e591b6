"""The validation asset: what makes it another one, and what one run of it may change."""

import dagster as dg
import pytest

from platform_assets.drift.spec import DriftSpec
from platform_assets.lines.line import load_line
from platform_assets.step import override_config, with_overrides
from platform_assets.tasks.text_classification.task import TASK
from platform_assets.validation.assets import validation_asset, validation_fingerprint
from tests.line_factory import SMALL_SPEC

GATES = {"auc": "> 0.9", "auc_drop_by_source": "<= 0.0"}
MIX = {"imdb": 0.4, "rt": 0.6}
SPEC = load_line(SMALL_SPEC).spec


def identity(gates=GATES, version="m", **drift):
    """The fingerprint under this drift policy."""
    return validation_fingerprint(
        "line", gates, DriftSpec(**drift), TASK.evaluator, SPEC, model_version=version
    )


def make_asset(drift=None):
    """The asset under this drift policy."""
    return validation_asset("line", GATES, drift or DriftSpec(), TASK.evaluator, TASK.trainer, SPEC)


def test_the_mix_makes_another_report_and_the_rest_of_the_drift_policy_does_not():
    """A new profile needs a new validation; another threshold of the monitor needs none."""
    assert identity(window_events=999, tolerance_ks=0.2) == identity()
    assert identity(reference_splits=["validation", "test"]) == identity()
    others = [
        identity(),
        identity(reference_mix=MIX),
        identity(reference_mix={"imdb": 0.6, "rt": 0.4}),
        identity(reference_splits="validation"),
        identity(version="n"),
        identity(gates={"auc": "> 0.9"}),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize("mix", [None, MIX])
def test_one_run_may_change_the_mix(mix):
    """The run config starts as the spec has it, and its value is what the run sees."""
    spec = DriftSpec(reference_mix=mix)
    schema = make_asset(spec).op.config_schema
    overrides = override_config(spec, ("reference_mix",))

    assert {name: field.default_value for name, field in schema.config_type.fields.items()} == {
        "reference_mix": mix
    }
    assert with_overrides(spec, overrides(reference_mix={"rt": 1})).reference_mix == {"rt": 1.0}
    assert with_overrides(spec, overrides(reference_mix=None)).reference_mix is None


@pytest.mark.parametrize(("mix", "problem"), [({"rt": -1.0}, "reference_mix.rt"), ({}, "reference_mix")])
def test_a_mix_that_weighs_nothing_is_refused(mix, problem):
    """The run config is checked as strictly as the file."""
    overrides = override_config(DriftSpec(), ("reference_mix",))
    with pytest.raises(dg.Failure, match=f"run config: {problem}"):
        with_overrides(DriftSpec(), overrides(reference_mix=mix))


def test_every_gate_is_a_check_of_the_asset():
    """The gate by source shows in the UI as the others do."""
    asset = make_asset()

    assert {check.name for check in asset.check_specs} == {"gate_auc", "gate_auc_drop_by_source"}

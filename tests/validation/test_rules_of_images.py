"""Rules on operating points, slices and shortcuts: each blocks what it is for, and decides nothing that was not measured."""

import pytest

from platform_assets.tasks.image_classification.judging_spec import ImageJudgingSpec
from platform_assets.validation.gate import GateInputs, evaluate, rules_with
from platform_assets.validation.task_rules import OPERATING_RULES, SHORTCUT_RULES, SLICE_RULES
from tests.validation.test_gate import metrics

RULES = rules_with({**OPERATING_RULES, **SLICE_RULES, **SHORTCUT_RULES})


def part(name, auc, *, half=0.02, n=200, because=None):
    """A part with figures around this one, each known up to `half`."""
    figures = {
        f"{measure}{end}": auc + off
        for measure in ("auc", "sensitivity", "specificity")
        for end, off in (("", 0), ("_low", -half), ("_high", half))
    }
    return {"slice": name, "n": n, "positives": n // 2, "not_judged_because": because} | figures


def point(name, sensitivity, specificity):
    """An operating point with intervals."""
    return {
        "point": name,
        "threshold": 0.5,
        **{
            f"{measure}{end}": value + off
            for measure, value in (("sensitivity", sensitivity), ("specificity", specificity))
            for end, off in (("", 0), ("_low", -0.04), ("_high", 0.04))
        },
    }


MEASURES = {
    "operating_points": [point("90% specificity", 0.86, 0.9), point("90% sensitivity", 0.9, 0.83)],
    "slices": [
        part("sex: F", 0.95),
        part("sex: M", 0.88),
        part("site: north", 0.5, n=20, because="20 rows, 50 are needed"),
    ],
    "views": [part("view_position: AP", 0.91), part("view_position: PA", 0.95)],
    "metadata_alone": {
        "auc": {"value": 0.63, "low": 0.58, "high": 0.68},
        "ahead": {"value": 0.32, "low": 0.26, "high": 0.38},
        "read": "view_position",
    },
}


def decide(name, condition, **changes):
    """What one gate makes of these measures."""
    inputs = GateInputs(
        test_metrics=metrics(auc=0.95), has_production=False, measures={**MEASURES, **changes}
    )
    (result,) = evaluate({name: condition}, inputs, RULES, ImageJudgingSpec())
    return result


@pytest.mark.parametrize(
    ("name", "passes", "fails", "observed", "reason"),
    [
        ("sensitivity_at_90_specificity", ">= 0.8", ">= 0.9", 0.86, "95 % interval 0.820 to 0.900"),
        ("specificity_at_90_sensitivity", "> 0.8", "> 0.85", 0.83, "at 90 % sensitivity"),
        ("worst_slice_auc", ">= 0.9", "> 0.91", 0.9, "AUC of sex: M 0.880"),
        ("worst_slice_sensitivity", ">= 0.9", "> 0.91", 0.9, "sensitivity of sex: M"),
        ("worst_slice_specificity", ">= 0.9", "> 0.91", 0.9, "specificity of sex: M"),
        ("auc_within_views", "> 0.9", "> 0.92", 0.91, "within view_position: AP"),
        ("auc_above_metadata", ">= 0.3", ">= 0.4", 0.32, "0.6300 to 0.9500"),
    ],
)
def test_a_rule_passes_what_holds_and_blocks_what_does_not(name, passes, fails, observed, reason):
    """The figure that decided, and the sentence that says so."""
    passed, failed = decide(name, passes), decide(name, fails)
    assert (passed.outcome, failed.outcome) == ("pass", "fail")
    assert passed.observed == failed.observed == pytest.approx(observed)
    assert reason in failed.reason


def test_a_slice_is_blocked_only_if_it_is_worse_for_sure_and_all_such_are_named():
    """The upper end decides; what is too small to be judged is named and does not block."""
    assert "not judged: site: north (20 rows, 50 are needed)" in decide("worst_slice_auc", "> 0.8").reason
    uncertain = [part("sex: F", 0.7, half=0.25)]
    assert decide("worst_slice_auc", "> 0.9", slices=uncertain).outcome == "pass"
    worse = [part("sex: F", 0.6), part("sex: M", 0.7), part("sex: O", 0.99)]
    failed = decide("worst_slice_auc", "> 0.9", slices=worse)
    assert failed.outcome == "fail"
    assert "AUC of sex: F" in failed.reason
    assert "nor is that of sex: M" in failed.reason
    assert "sex: O" not in failed.reason


@pytest.mark.parametrize(
    ("name", "without", "problem"),
    [
        ("sensitivity_at_90_specificity", {"operating_points": []}, "was not measured"),
        ("worst_slice_auc", {"slices": []}, "no slice has rows enough to be judged: there are none"),
        ("worst_slice_auc", {"slices": [part("sex: F", 0.99, because="few")]}, "sex: F (few)"),
        ("auc_within_views", {"views": [part("view_position: PA", 0.99, because="few")]}, "no view has rows"),
        ("auc_within_views", {"views": None}, "none was measured"),
        ("auc_above_metadata", {"metadata_alone": None}, "metadata_alone was not measured"),
    ],
)
def test_what_was_not_measured_passes_no_gate(name, without, problem):
    """Nothing to decide on is an error, which never passes."""
    result = decide(name, "> 0.5", **without)
    assert result.outcome == "error"
    assert problem in result.reason

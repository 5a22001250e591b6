"""A scorecard beside its challenger: what is measured, told and demanded, and gates that block."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from platform_assets.models.errors import TrainingError
from platform_assets.tasks.tabular_classification.task import TASK
from platform_assets.validation.assets import validation_fingerprint
from platform_assets.validation.gate import GateInputs, evaluate, rules_with
from platform_assets.validation.metrics import binary_metrics, roc_auc
from platform_assets.validation.report import assess
from tests.tasks.tabular_classification.tables import fitted_woe, make_spec, of_split, trained
from tests.validation.scored import make_model

SPEC = make_spec(model="scorecard", transformers="loans_woe@latest")
TREES = make_spec(max_iterations=10)


@pytest.fixture(scope="module")
def folder(loans, tmp_path_factory):
    """The folder of a trained scorecard."""
    output = tmp_path_factory.mktemp("challenged") / "model"
    trained(loans, SPEC, output, transformers=fitted_woe(loans))
    return output


@pytest.fixture(scope="module")
def scored(loans, folder):
    """Scored rows of validation and test, the challenger's scores among them."""
    rows = of_split(loans, "validation", "test")
    return with_scores(
        rows,
        TASK.trainer.load(folder).score_rows(rows),
        TASK.evaluator.baseline(of_split(loans, "train"), rows, SPEC),
    )


def with_scores(rows, scores, challenger):
    """Rows with the scores of both."""
    rows = rows.append_column("score", pa.array(scores))
    return rows.append_column("baseline_score", pa.array(challenger))


def measures_of(scored, spec=SPEC):
    """The evaluator's measures on the test rows."""
    return TASK.evaluator.measures(
        of_split(scored, "test"), spec, reference=of_split(scored, "validation"), threshold=0.5
    )


def result(gate, condition, measures, scored):
    """What one gate makes of these measures."""
    test = of_split(scored, "test")
    inputs = GateInputs(
        test_metrics=binary_metrics(test["label"].to_numpy(), test["score"].to_numpy(), seed=0),
        has_production=False,
        measures=measures,
    )
    (found,) = evaluate({gate: condition}, inputs, rules_with(TASK.evaluator.rules), SPEC)
    return found


def test_the_challenger_is_trees_on_the_raw_columns(loans, scored):
    """It is called so, is no worse than chance, and reads what the transformers were given, not what they made."""
    assert TASK.evaluator.baseline_name(SPEC) == "gradient boosting, the challenger"
    assert TASK.evaluator.baseline_name(TREES) == "logistic regression"
    test = of_split(scored, "test")
    assert roc_auc(test["label"].to_numpy(), test["baseline_score"].to_numpy()) > 0.7
    rows, train = of_split(loans, "test"), of_split(loans, "train")
    strange = rows.set_column(
        rows.column_names.index("Income"), "Income", pa.array([-1e6] * rows.num_rows, pa.float64())
    )
    asked, changed = (TASK.evaluator.baseline(train, each, SPEC) for each in (rows, strange))
    assert not np.array_equal(asked, changed)
    assert not np.array_equal(asked, TASK.evaluator.baseline(train, rows, TREES))


def test_the_challenger_is_grown_as_the_spec_says_of_trees(loans, tmp_path):
    """By the settings of a line of gradient boosting, constraints included, and with a penalty of its own."""
    said = {"learning_rate": 0.05, "max_iterations": 40, "monotonic": {"Income": "decreasing"}}
    line = make_spec(**said, regularisation=10.0)
    challenged = make_spec(
        **said, model="scorecard", transformers="loans_woe@latest", challenger_regularisation=10.0
    )
    _, scorer, _ = trained(loans, line, tmp_path / "model")
    train, rows = of_split(loans, "train"), of_split(loans, "test")
    challenger = TASK.evaluator.baseline(train, rows, challenged)
    assert np.array_equal(challenger, scorer.score_rows(rows))
    free = challenged.model_copy(update={"monotonic": {}})
    assert not np.array_equal(challenger, TASK.evaluator.baseline(train, rows, free))
    assert fingerprint_of(challenged) != fingerprint_of(free)
    every = {name: each.spec for name, each in fitted_woe(loans).items()}
    assert TASK.featurizer.refusal(challenged, "loans_woe", every) is None


def fingerprint_of(spec):
    """Identity of what the evaluator makes of a model."""
    return validation_fingerprint("loans", {}, spec.drift, TASK.evaluator, spec, model_version="m")


def test_how_far_it_is_ahead_is_measured(scored):
    """The difference of both, with the interval of the paired rows; of other models it is not."""
    measures, test = measures_of(scored), of_split(scored, "test")
    auc, own = (
        roc_auc(test["label"].to_numpy(), test[name].to_numpy()) for name in ("baseline_score", "score")
    )
    found = measures["challenger"]
    assert (found["auc"], found["ahead"]["value"]) == (auc, pytest.approx(auc - own))
    assert found["ahead"]["low"] < found["ahead"]["value"] < found["ahead"]["high"]
    assert "challenger" not in measures_of(scored, TREES)


def test_a_challenger_that_is_far_ahead_blocks(scored):
    """The reason names it, both AUCs and the interval; one that is near passes, and one nobody measured is an error."""
    labels = scored["label"].to_numpy()
    rng = np.random.default_rng(0)
    knowing = np.clip(labels * 0.6 + rng.random(labels.size) * 0.4, 0, 1)
    at = scored.column_names.index("baseline_score")
    ahead = scored.set_column(at, "baseline_score", pa.array(knowing))
    blocked = result("auc_behind_challenger", "<= 0.03", measures_of(ahead), ahead)
    assert (blocked.outcome, blocked.observed > 0.1) == ("fail", True)
    assert "behind gradient boosting, the challenger" in blocked.reason
    assert "is not <= 0.03 (95 % interval" in blocked.reason
    even = scored.set_column(at, "baseline_score", scored["score"])
    assert result("auc_behind_challenger", "<= 0.03", measures_of(even), even).outcome == "pass"
    assert result("auc_behind_challenger", "<= 0.03", {}, even).outcome == "error"


def test_the_bound_itself_passes(scored):
    """And what lies behind the twelfth decimal is no difference."""
    test = of_split(scored, "test")
    auc = roc_auc(test["label"].to_numpy(), test["score"].to_numpy())
    measures = {
        "challenger": {"name": "c", "auc": auc + 0.03, "ahead": {"value": 0.03, "low": 0.01, "high": 0.05}}
    }
    assert result("auc_behind_challenger", "<= 0.03", measures, scored).outcome == "pass"
    assert result("auc_behind_challenger", "< 0.03", measures, scored).outcome == "fail"


def signs(**coefficients):
    """Measures of these coefficients."""
    return {
        "coefficients": [
            {"characteristic": name, "coefficient": each, "agrees": each <= 0, "information_value": 0.1}
            for name, each in coefficients.items()
        ]
    }


@pytest.mark.parametrize(
    ("measures", "outcome", "told"),
    [
        (signs(Income=-1.0, Home=-0.1), "pass", "all 2 coefficients have the sign"),
        (signs(Income=-1.0, Debt=0.25), "fail", "1 of 2 coefficients say the opposite of their characteristic: Debt (+0.250)"),
        ({}, "error", "coefficients was not measured"),
        ({"coefficients": []}, "error", "the model has no coefficients"),
        ({"coefficients": [{"characteristic": "Income"}]}, "error", "coefficients are none"),
        ({"coefficients": 7}, "error", "coefficients are none"),
    ],
)  # fmt: skip
def test_a_coefficient_of_the_wrong_sign_blocks(scored, measures, outcome, told):
    """By name and value; what is not there or is no coefficient never passes."""
    found = result("coefficients_agree", "true", measures, scored)
    assert (found.outcome, told in found.reason) == (outcome, True)


def test_the_files_of_the_model_tell_its_points(folder):
    """Scale, coefficients and a flat row a bin; another kind of model tells nothing; a damaged file is refused."""
    told = TASK.evaluator.of_model(lambda name: (folder / name).read_bytes(), SPEC)
    assert set(told) == {"scale", "coefficients", "points"}
    assert {row["characteristic"] for row in told["points"]} == {"Income", "Home", "Grade"}
    assert all(not isinstance(cell, list | dict) for row in told["points"] for cell in row.values())
    assert told["scale"]["points_to_double_odds"] == 20
    with pytest.raises(TrainingError, match=r"points.json: is no table of points"):
        TASK.evaluator.of_model(
            lambda name: b"{}" if name == "points.json" else (folder / name).read_bytes(), SPEC
        )


def test_trees_tell_nothing_of_themselves(loans, tmp_path):
    """Whatever the spec says now: it goes by the files."""
    trained(loans, TREES, tmp_path / "model")
    assert TASK.evaluator.of_model(lambda name: (tmp_path / "model" / name).read_bytes(), SPEC) == {}


def test_a_report_has_points_beside_the_measures(scored, folder):
    """Gates decide on both; the challenger is its baseline, and the points have a picture."""
    told = TASK.evaluator.of_model(lambda name: (folder / name).read_bytes(), SPEC)
    report = assess(
        scored,
        make_model("loans"),
        {"auc_behind_challenger": "<= 0.5", "coefficients_agree": True},
        TASK.evaluator,
        SPEC,
        training_sources=("loans",),
        production=None,
        now=datetime(2026, 11, 29, tzinfo=UTC),
        of_model=told,
    )
    assert [gate.outcome for gate in report.gates] == ["pass", "pass"]
    assert report.baselines[0].name == "gradient boosting, the challenger"
    assert report.measures["points"] == told["points"]
    pictures = TASK.evaluator.pictures(of_split(scored, "test"), report.measures, SPEC)
    assert set(pictures) == {"gains", "points-by-characteristic"}
    for png in pictures.values():
        assert Image.open(io.BytesIO(png)).size == (640, 420)
        assert len(png) < 60_000

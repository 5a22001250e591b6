"""A model beside itself without what transformers make: what is measured, told and demanded, and a gate that blocks."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from platform_assets.tasks.tabular_classification.spec import SCORE_WITHOUT_TRANSFORMERS
from platform_assets.tasks.tabular_classification.task import TASK
from platform_assets.validation.evaluator import Comparing
from platform_assets.validation.gate import GateInputs, evaluate, rules_with
from platform_assets.validation.metrics import binary_metrics, roc_auc
from tests.tasks.tabular_classification.tables import COLUMNS, fitted_woe, make_spec, of_split, trained

TRANSFORMERS = {"transformers": "loans_woe@latest"}
GAIN = "auc_gain_from_transformers"


def trained_with(spec):
    """What the record of a model says of its training."""
    values = spec.model_dump(mode="json", include=set(TASK.trainer.fields))
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}


def scores_without(loans, spec, **given):
    """Those that are compared, of the test rows."""
    return TASK.evaluator.compared(
        of_split(loans, "train"),
        of_split(loans, "test"),
        spec,
        trained_with=trained_with(spec) | given,
    )


def scored(loans, spec):
    """Validation and test rows, the model's own score being that of the raw columns."""
    rows = of_split(loans, "validation", "test")
    (without,) = TASK.evaluator.compared(
        of_split(loans, "train"), rows, spec, trained_with=trained_with(spec)
    ).values()
    return rows.append_column("score", pa.array(without)).append_column(
        SCORE_WITHOUT_TRANSFORMERS, pa.array(without)
    )


def result(table, condition, spec):
    """What the gate makes of scored rows."""
    test = of_split(table, "test")
    measures = TASK.evaluator.measures(
        test, spec, reference=of_split(table, "validation"), threshold=spec.threshold
    )
    inputs = GateInputs(
        test_metrics=binary_metrics(test["label"].to_numpy(), test["score"].to_numpy(), seed=0),
        has_production=False,
        measures=measures,
    )
    (found,) = evaluate({GAIN: condition}, inputs, rules_with(TASK.evaluator.rules), spec)
    return found, measures


@pytest.mark.parametrize(
    "settings",
    [
        {"max_iterations": 15, "learning_rate": 0.2, "seed": 3, "monotonic": {"Income": "decreasing"}},
        {"model": "logistic", "regularisation": 4.0},
    ],
    ids=["trees", "logistic"],
)
def test_it_is_the_model_that_the_line_would_have_without_them(loans, tmp_path, settings):
    """To the last bit: of the same kind, with the same settings, on the same rows; and it is not the line's own."""
    alone, using = make_spec(**settings), make_spec(**settings, **TRANSFORMERS)
    _, scorer, _ = trained(loans, alone, tmp_path / "alone")
    free = {key: value for key, value in settings.items() if key != "monotonic"}
    _, own, _ = trained(loans, make_spec(**free), tmp_path / "own", transformers=fitted_woe(loans))
    tested = of_split(loans, "test")
    found = scores_without(loans, using)[SCORE_WITHOUT_TRANSFORMERS]
    assert np.array_equal(found, scorer.score_rows(tested))
    assert not np.array_equal(found, own.score_rows(tested))


def test_it_has_the_settings_of_the_run_that_trained(loans):
    """Where a run has trained otherwise than the spec says, both have."""
    spec = make_spec(max_iterations=15, **TRANSFORMERS)
    of_spec, of_run = scores_without(loans, spec), scores_without(loans, spec, max_iterations=5)
    assert np.array_equal(
        of_run[SCORE_WITHOUT_TRANSFORMERS],
        scores_without(loans, make_spec(max_iterations=5, **TRANSFORMERS))[SCORE_WITHOUT_TRANSFORMERS],
    )
    assert not np.array_equal(of_spec[SCORE_WITHOUT_TRANSFORMERS], of_run[SCORE_WITHOUT_TRANSFORMERS])


def test_there_is_none_where_nothing_can_be_left_out(loans):
    """A line without transformers is itself, and a scorecard reads nothing else."""
    assert isinstance(TASK.evaluator, Comparing)
    assert scores_without(loans, make_spec(max_iterations=5)) == {}
    assert scores_without(loans, make_spec(model="scorecard", **TRANSFORMERS)) == {}


def test_features_that_gain_nothing_block(loans):
    """The reason tells both AUCs, the gain and its interval; a gain passes, and one that nobody measured is an error."""
    spec = make_spec(max_iterations=15, **TRANSFORMERS)
    table = scored(loans, spec)
    even, measures = result(table, ">= 0.0", spec)
    assert (even.outcome, even.observed) == ("pass", 0.0)
    assert result(table, "> 0.0", spec)[0].outcome == "fail"

    rng = np.random.default_rng(0)
    at = table.column_names.index("score")
    noise = np.clip(table["score"].to_numpy() + rng.normal(0, 0.4, table.num_rows), 0, 1)
    worse, measures = result(table.set_column(at, "score", pa.array(noise)), ">= 0.0", spec)
    test = of_split(table, "test")
    auc = roc_auc(test["label"].to_numpy(), test[SCORE_WITHOUT_TRANSFORMERS].to_numpy())
    gain = measures["without_transformers"]["gain"]
    assert (worse.outcome, worse.observed < -0.01) == ("fail", True)
    assert worse.observed == pytest.approx(gain["value"])
    assert measures["without_transformers"]["auc"] == auc
    assert gain["low"] < gain["value"] < gain["high"]
    assert f"{auc:.4f} to " in worse.reason
    assert "which is not >= 0 (95 % interval" in worse.reason

    unmeasured, measures = result(table.drop([SCORE_WITHOUT_TRANSFORMERS]), ">= -1", spec)
    assert "without_transformers" not in measures
    assert (unmeasured.outcome, unmeasured.reason) == ("error", "without_transformers was not measured")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "the model reads nothing that transformers make, so there is nothing to gain"),
        ({"model": "scorecard", **TRANSFORMERS}, "a scorecard cannot be trained without its weights of evidence"),
    ],
)  # fmt: skip
def test_a_gate_that_could_never_be_measured_is_refused(changed, told):
    """When the spec is read, at the gate, with what to do."""
    with pytest.raises(ValidationError, match=f"gates.{GAIN}: {told}"):
        make_spec(gates={"auc": "> 0.5", GAIN: ">= 0.0"}, **changed)


def test_its_column_is_nobody_elses():
    """A column of the source would take the place of the scores."""
    with pytest.raises(
        ValidationError, match=f"columns.{SCORE_WITHOUT_TRANSFORMERS}: is the name of a column"
    ):
        make_spec(columns={**COLUMNS, SCORE_WITHOUT_TRANSFORMERS: "numeric"})

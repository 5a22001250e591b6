"""How a model of a table is judged: a strong baseline, its own measures, gates that block, pictures."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from platform_assets.tasks.tabular_classification.task import TASK
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.gate import GateInputs, evaluate, rules_with
from platform_assets.validation.metrics import binary_metrics, roc_auc
from platform_assets.validation.reference import reference_profile
from platform_assets.validation.report import assess
from tests.tasks.tabular_classification.tables import make_spec, of_split, trained
from tests.validation.scored import make_model

SPEC = make_spec(
    fairness={
        "favourable": 0,
        "min_rows": 50,
        "groups": {"home": {"column": "Home"}, "income": {"column": "Income", "bands": [80, 120]}},
    },
    max_iterations=40,
)


@pytest.fixture(scope="module")
def scored(loans, tmp_path_factory):
    """Scored rows of validation and test, as the validation makes them."""
    _, scorer, features = trained(loans, SPEC, tmp_path_factory.mktemp("scored") / "model")
    rows, features = (of_split(table, "validation", "test") for table in (loans, features))
    table = rows.select(["person", "label", "source", "split"])
    for name, column in zip(SPEC.features, TASK.evaluator.columns(features, rows, SPEC).columns, strict=True):
        table = table.append_column(name, column)
    return table.append_column("score", pa.array(scorer.score_features(features))).append_column(
        "baseline_score", pa.array(TASK.evaluator.baseline(of_split(loans, "train"), rows, SPEC))
    )


def measures_of(scored, spec=SPEC):
    """The evaluator's measures on the test rows."""
    return TASK.evaluator.measures(
        of_split(scored, "test"), spec, reference=of_split(scored, "validation"), threshold=0.5
    )


def outcomes(scored, measures, gates):
    """Outcome by gate, as a report has them."""
    test = of_split(scored, "test")
    inputs = GateInputs(
        test_metrics=binary_metrics(test["label"].to_numpy(), test["score"].to_numpy(), seed=0),
        has_production=False,
        measures=measures,
    )
    found = evaluate(gates, inputs, rules_with(TASK.evaluator.rules), SPEC)
    return {each.rule_set.removeprefix("gate."): each.outcome for each in found}


def test_the_baseline_is_a_strong_one(scored):
    """Logistic regression on the same columns knows nearly as much."""
    test = of_split(scored, "test")
    assert roc_auc(test["label"].to_numpy(), test["baseline_score"].to_numpy()) > 0.75


def test_a_baseline_that_cannot_be_fitted_says_so(loans):
    """One class only."""
    at = loans.column_names.index("label")
    rows = loans.set_column(at, "label", pa.array(np.zeros(loans.num_rows, np.int32)))
    with pytest.raises(ValidationError, match="baseline: "):
        TASK.evaluator.baseline(rows, rows, SPEC)


def test_measures_are_told_and_gated(scored):
    """Figures by name, sections besides; gates on them pass where they hold and block where they do not."""
    measures = measures_of(scored)
    assert set(measures) == {"ks", "gini", "lift", "psi", "stability", "calibration", "fairness"}
    lenient = {"ks": "> 0.2", "gini": "> 0.3", "psi": "< 0.5", "parity_ratio": ">= 0.1"}
    strict = {"ks": "> 0.99", "gini": "> 0.99", "psi": "< 0.5", "parity_ratio": ">= 0.9"}
    assert outcomes(scored, measures, lenient) == dict.fromkeys(lenient, "pass")
    assert outcomes(scored, measures, strict) == {
        "ks": "fail",
        "gini": "fail",
        "psi": "pass",
        "parity_ratio": "fail",
    }


def test_without_groups_nothing_is_said_of_fairness(scored):
    """And a gate on it would be an error."""
    measures = measures_of(scored, make_spec())
    assert "fairness" not in measures
    assert outcomes(scored, measures, {"parity_ratio": ">= 0.1"}) == {"parity_ratio": "error"}


def test_groups_are_those_of_the_scored_rows(scored):
    """Categories and bands by name; rows without a value are a group of their own."""
    names = {(each["grouping"], each["name"]) for each in measures_of(scored)["fairness"]["groups"]}
    assert names == {
        ("home", "own"),
        ("home", "rent"),
        ("home", "parents"),
        ("home", "missing"),
        ("income", "under 80"),
        ("income", "80 to under 120"),
        ("income", "120 and over"),
        ("income", "missing"),
    }


def test_drift_watches_every_feature_as_it_is_asked(scored):
    """Numbers with their gaps, categories as texts."""
    profile = reference_profile(scored, TASK.evaluator.profiled(SPEC), mix=None, salt=b"salt")
    assert TASK.watchable(SPEC) == ("score", "Income", "Home", "Grade", "source", "error")
    assert profile.columns["Income"].missing.nan == scored["Income"].null_count
    assert set(profile.columns["Home"].binning.names) == {"own", "rent", "parents"}


def test_a_report_measures_by_the_threshold_that_the_model_was_trained_with(scored):
    """A run may have stated another than the spec; of a model that states none, the spec's counts."""
    for training, threshold in (({"threshold": 0.28}, 0.28), ({}, 0.5)):
        report = assess(
            scored,
            make_model("loans", training=training),
            {"ks": "> 0.2", "auc": "> 0.5"},
            TASK.evaluator,
            SPEC,
            training_sources=("loans",),
            production=None,
            now=datetime(2026, 11, 29, tzinfo=UTC),
        )
        assert report.metrics.threshold == report.measures["fairness"]["threshold"] == threshold
        assert [gate.outcome for gate in report.gates] == ["pass", "pass"]
        assert {finding.column for finding in report.drift} == {"score", "Income"}


def test_pictures_are_small_and_whole(scored):
    """Lift always, fairness where it was measured."""
    pictures = TASK.evaluator.pictures(of_split(scored, "test"), measures_of(scored), SPEC)
    assert set(pictures) == {"gains", "fairness"}
    assert set(TASK.evaluator.pictures(of_split(scored, "test"), {}, make_spec())) == {"gains"}
    for png in pictures.values():
        assert Image.open(io.BytesIO(png)).size == (640, 420)
        assert len(png) < 60_000


def test_the_cards_sections_name_a_term_for_every_key():
    """A card with a key that its context does not know would not be JSON-LD."""
    import json
    from pathlib import Path

    import yaml

    import platform_assets.model_cards

    sections = yaml.safe_load(TASK.card_sections.read_text(encoding="utf-8"))
    shared = json.loads((Path(platform_assets.model_cards.__file__).parent / "context.jsonld").read_bytes())

    def keys(entries):
        for entry in entries:
            yield entry["key"]
            yield from keys(entry.get("fields", ()))

    assert set(keys(sections["sections"])) <= {*shared["@context"], *sections["context"]}

"""Gates pass only where their condition was seen to hold."""

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.validation.drift import DriftFinding
from platform_assets.validation.gate import (
    SHARED_RULES,
    Gate,
    GateInputs,
    SourceComparison,
    evaluate,
    parse_condition,
)
from platform_assets.validation.metrics import BinaryMetrics

OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}
NAN = math.nan


def metrics(auc=0.95):
    """Metrics of 2,000 rows with the AUC that a test is about."""
    return BinaryMetrics(
        n=2000,
        positives=1000,
        auc=auc,
        auc_low=auc - 0.01,
        auc_high=auc + 0.01,
        confidence=0.95,
        pr_auc=0.9,
        accuracy=0.9,
        f1=0.9,
        ece=0.03,
        brier=0.1,
        threshold=0.5,
    )


def drift(ks=0.03, n_reference=2000, n_current=2000):
    """A drift finding with the KS and the rows that a test is about."""
    return DriftFinding(
        column="score",
        reference="validation",
        current="test",
        n_reference=n_reference,
        n_current=n_current,
        ks=ks,
        p_value=0.2,
        gated=True,
    )


def source(name="rt", auc=0.9, production_auc=0.89, **given):
    """A comparison on another source."""
    return SourceComparison(source=name, n=800, auc=auc, production_auc=production_auc, **given)


def inputs(auc=0.95, **measured):
    """The measurements of a line that has a production version, unless a test says otherwise."""
    given = {"test_metrics": metrics(auc), "has_production": True, "baseline_name": "TF-IDF baseline"}
    return GateInputs(**given | measured)


def decide(name, condition, given_inputs):
    """The result of one gate alone."""
    (result,) = evaluate({name: condition}, given_inputs)
    return result


CASES = [
    (
        "auc",
        "> 0.92",
        inputs(auc=0.9312),
        "pass",
        "AUC 0.9312 is > 0.92 (95 % interval 0.921 to 0.941, n = 2000)",
    ),
    (
        "auc",
        "> 0.92",
        inputs(auc=0.9),
        "fail",
        "AUC 0.9000 is not > 0.92 (95 % interval 0.890 to 0.910, n = 2000)",
    ),
    (
        "auc",
        "> 0.92",
        inputs(auc=0.92),
        "fail",
        "AUC 0.9200 is not > 0.92 (95 % interval 0.910 to 0.930, n = 2000)",
    ),
    ("auc", ">= 0.92", inputs(auc=NAN), "error", "the AUC on the test split is nan"),
    (
        "beats_baseline",
        True,
        inputs(baseline_auc=0.9435),
        "pass",
        "AUC 0.9500 is >= 0.9435 of the TF-IDF baseline (n = 2000)",
    ),
    (
        "beats_baseline",
        True,
        inputs(baseline_auc=0.95),
        "pass",
        "AUC 0.9500 is >= 0.9500 of the TF-IDF baseline (n = 2000)",
    ),
    (
        "beats_baseline",
        True,
        inputs(baseline_auc=0.96),
        "fail",
        "AUC 0.9500 is not >= 0.9600 of the TF-IDF baseline (n = 2000)",
    ),
    (
        "beats_baseline",
        True,
        inputs(),
        "error",
        "the AUC of the TF-IDF baseline on the test split was not measured",
    ),
    (
        "beats_baseline",
        True,
        inputs(baseline_auc=NAN),
        "error",
        "the AUC of the TF-IDF baseline on the test split is nan",
    ),
    (
        "score_drift_ks",
        "<= 0.1",
        inputs(score_drift=drift()),
        "pass",
        "KS 0.0300 of the scores, validation against test, is <= 0.1 (n = 2000 and 2000)",
    ),
    (
        "score_drift_ks",
        "<= 0.1",
        inputs(score_drift=drift(ks=0.173)),
        "fail",
        "KS 0.1730 of the scores, validation against test, is not <= 0.1 (n = 2000 and 2000)",
    ),
    ("score_drift_ks", "<= 0.1", inputs(), "error", "the drift of the scores was not measured"),
    ("score_drift_ks", "<= 0.1", inputs(score_drift=drift(ks=NAN)), "error", "the KS of the scores is nan"),
    (
        "score_drift_ks",
        "<= 0.1",
        inputs(score_drift=drift(n_current=999)),
        "error",
        "KS cannot decide on so few rows (n = 2000 and 999): chance alone moves it, 1000 a side are needed",
    ),
    (
        "score_drift_ks",
        "<= 0.1",
        inputs(score_drift=drift(n_reference=999)),
        "error",
        "KS cannot decide on so few rows (n = 999 and 2000): chance alone moves it, 1000 a side are needed",
    ),
    (
        "auc_drop_from_production",
        "<= 0.01",
        inputs(auc=0.94, production_auc=0.95),
        "pass",
        "the AUC drop of 0.0100 from production, 0.9500 to 0.9400, is <= 0.01 (n = 2000)",
    ),
    (
        "auc_drop_from_production",
        "<= 0.01",
        inputs(auc=0.93, production_auc=0.95),
        "fail",
        "the AUC drop of 0.0200 from production, 0.9500 to 0.9300, is not <= 0.01 (n = 2000)",
    ),
    (
        "auc_drop_from_production",
        "<= 0.01",
        inputs(has_production=False),
        "pass",
        "no production version to compare with",
    ),
    (
        "auc_drop_from_production",
        "<= 0.01",
        inputs(),
        "error",
        "the AUC of the production version on the test split was not measured",
    ),
    (
        "auc_drop_from_production",
        "<= 0.01",
        inputs(production_auc=NAN),
        "error",
        "the AUC of the production version on the test split is nan",
    ),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(other_sources=(source(), source("yelp", drop_low=-0.02, drop_high=0.005, production_auc=0.9))),
        "pass",
        "the largest AUC drop on another source, 0.0000 on yelp, 0.9000 to 0.9000, is <= 0 (95 % interval -0.020 to 0.005, n = 800)",
    ),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(other_sources=(source(), source("yelp", production_auc=0.91))),
        "fail",
        "the largest AUC drop on another source, 0.0100 on yelp, 0.9100 to 0.9000, is not <= 0 (n = 800)",
    ),
    ("auc_drop_by_source", "< 0.01", inputs(other_sources=()), "pass", "no other source in training"),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(has_production=False, other_sources=(source(production_auc=None),)),
        "pass",
        "no production version to compare with",
    ),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(),
        "error",
        "nobody knows which sources in training are not the line's own: make the dataset anew, which records it",
    ),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(
            other_sources=(
                source(),
                source("yelp", production_auc=None, not_compared_because="49 rows, at least 50 are needed"),
            )
        ),
        "error",
        "not every source could be compared: yelp: 49 rows, at least 50 are needed",
    ),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(other_sources=(source(), source("yelp", auc=NAN))),
        "error",
        "the AUC on the test split of yelp is nan",
    ),
    (
        "auc_drop_by_source",
        "<= 0.0",
        inputs(other_sources=(source(production_auc=None),)),
        "error",
        "the AUC of the production version on the test split of rt was not measured",
    ),
]


@pytest.mark.parametrize(("name", "condition", "measured", "outcome", "reason"), CASES)
def test_gate_decides_and_says_why(name, condition, measured, outcome, reason):
    """Each gate passes, fails and errors where it should, in one clear sentence."""
    result = decide(name, condition, measured)
    assert (result.outcome, result.reason) == (outcome, reason)
    assert result.rule_set == f"gate.{name}"


def test_every_gate_was_seen_to_pass_to_fail_and_to_err():
    """No gate is known that the cases above leave untried."""
    seen = {(name, outcome) for name, _, _, outcome, _ in CASES}
    assert seen == {(name, outcome) for name in SHARED_RULES for outcome in ("pass", "fail", "error")}


def test_observed_is_the_figure_that_decided():
    """The result carries the exact figure, and none where nothing was decided."""
    assert decide("auc", "> 0.92", inputs(auc=0.91)).observed == 0.91
    assert decide("beats_baseline", "true", inputs(baseline_auc=0.96)).observed == pytest.approx(-0.01)
    assert decide("score_drift_ks", "< 0.1", inputs(score_drift=drift(ks=0.2))).observed == 0.2
    assert decide("auc_drop_from_production", "<= 0.01", inputs(production_auc=0.97)).observed == 0.02
    assert decide("auc", "> 0.92", inputs(auc=NAN)).observed is None


def test_an_exception_in_one_gate_leaves_the_others_standing():
    """A gate that breaks is an error that names the exception and its place; the gates around it still decide."""
    broken = GateInputs.model_construct(
        test_metrics=metrics(),
        baseline_auc="high",
        production_auc=0.95,
        has_production=True,
        score_drift=None,
    )
    results = evaluate(
        {"auc": "> 0.9", "beats_baseline": True, "auc_drop_from_production": "<= 0.01"}, broken
    )
    assert [result.outcome for result in results] == ["pass", "error", "pass"]
    assert results[1].reason.startswith("TypeError at platform_assets/validation/gate.py:")


@given(st.sampled_from(list(OPERATORS)), st.floats(allow_nan=False, allow_infinity=False), st.floats())
def test_a_condition_holds_exactly_where_its_operator_does(symbol, bound, value):
    """A parsed condition agrees with Python's operator on every value, and its text parses to itself."""
    condition = parse_condition(f"{symbol} {bound!r}")
    assert condition.holds(value) is OPERATORS[symbol](value, bound)
    assert parse_condition(str(condition)) == condition


@given(st.sampled_from([*(f"{symbol} 0.5" for symbol in OPERATORS), True]))
def test_not_a_number_never_satisfies_a_condition(text):
    """NaN satisfies no condition whatsoever."""
    assert not parse_condition(text).holds(NAN)


def test_true_demands_that_a_statement_is_true():
    """A bare true, also as text, holds for 1 and for nothing else."""
    demanded = parse_condition("true")
    assert demanded == parse_condition(text=True)
    assert str(demanded) == "true"
    assert demanded.holds(1)
    assert not demanded.holds(0)


@pytest.mark.parametrize(
    "text", ["", "0.92", "=> 0.92", "!= 1", "> high", "> nan", "< inf", "> 0.9 or so", "> 0,92"]
)
def test_text_that_is_no_condition_is_refused(text):
    """The error repeats the text and shows how a condition is written."""
    with pytest.raises(ValueError, match="is not a condition: write a comparison") as refused:
        parse_condition(text)
    assert f'"{text}"' in str(refused.value)


@pytest.mark.parametrize("off", [False, "false"])
def test_a_gate_is_removed_rather_than_set_to_false(off):
    """A gate that is there but off would look like protection."""
    with pytest.raises(ValueError, match="remove it from the spec"):
        evaluate({"beats_baseline": off}, inputs())


@pytest.mark.parametrize(
    ("name", "condition", "message"),
    [
        ("auc", "< 0.92", 'auc: "< 0.92" must be written with > or >='),
        ("auc", True, 'auc: "true" must be written with > or >='),
        ("beats_baseline", "> 0.92", 'beats_baseline: "> 0.92" must be written with true'),
        ("score_drift_ks", ">= 0.1", 'score_drift_ks: ">= 0.1" must be written with < or <='),
        ("score_drift_ks", "<= 10", 'score_drift_ks: "<= 10" must be a share such as 0.1'),
        ("auc_drop_by_source", "> 0", 'auc_drop_by_source: "> 0" must be written with < or <='),
        ("auc_drop_from_production", "== 0", 'auc_drop_from_production: "== 0" must be written with < or <='),
    ],
)
def test_a_condition_that_would_let_anything_through_is_refused(name, condition, message):
    """A comparison turned round, or a percentage for a share, is found when the spec is read."""
    with pytest.raises(ValueError, match=message):
        Gate.parse(name, condition)


def test_an_unknown_gate_is_refused_with_the_known_ones():
    """A misspelt gate is an error that lists the gates there are."""
    with pytest.raises(ValueError, match='unknown gate "acu": known are auc, beats_baseline, '):
        evaluate({"acu": "> 0.92"}, inputs())


def test_the_rule_set_hash_follows_the_meaning_and_not_the_spelling():
    """Equal conditions share a hash however they are written; another bound, operator or gate has its own."""
    hashes = {Gate.parse("auc", text).rule_set_hash for text in ("> 0.92", ">0.920", "  >  9.2e-1 ")}
    assert hashes == {"87baaa3f6913d780b816177dbe414b51c9abd51abd7adf260e30f66fdcf5544f"}
    others = [("auc", "> 0.93"), ("auc", ">= 0.92"), ("beats_baseline", True), ("score_drift_ks", "<= 0.1")]
    assert len(hashes | {Gate.parse(*other).rule_set_hash for other in others}) == 5

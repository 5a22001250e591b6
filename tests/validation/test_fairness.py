"""Fairness between groups: intervals that hold, and gates that stop what chance does not explain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from platform_assets.validation.fairness import MISSING, banded, fairness
from platform_assets.validation.gate import Gate, GateInputs
from platform_assets.validation.metrics import binary_metrics
from platform_assets.validation.task_rules import FAIRNESS_RULES, SCORECARD_RULES

RULES = {**SCORECARD_RULES, **FAIRNESS_RULES}


class Spec(BaseModel):
    """As much of a spec as the rules read."""

    fairness: dict[str, int] = {"min_rows": 100}


def people(sizes, *, seed=0, effect=0.0, base=0.28):
    """Labels, scores and group of each row; the effect raises the log-odds of the first group's scores."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"g{at}" for at in range(len(sizes))], sizes).astype(object)
    labels = (rng.random(groups.size) < base).astype(int)
    log_odds = rng.normal(1.8 * labels - 1.4 + effect * (groups == "g0"), 1.2)
    return labels, 1 / (1 + np.exp(-log_odds)), groups


def measured(sizes, *, min_rows=100, **given):
    """What fairness finds, group by group as the threshold 0.28 has it."""
    labels, scores, groups = people(sizes, **given)
    return fairness(labels, scores, {"by": groups}, threshold=0.28, favourable=0, min_rows=min_rows)


def decided(gate, condition, measures):
    """Outcome and reason of a gate on these measures."""
    labels, scores, _ = people((300,))
    inputs = GateInputs(
        test_metrics=binary_metrics(labels, scores, seed=0), has_production=False, measures=measures
    )
    result = Gate.parse(gate, condition, RULES, Spec()).evaluate(inputs)
    return result.outcome, result.reason


def test_rates_are_counted_as_they_are_defined():
    """By group: who is predicted to have the favourable label, true and false positives, observed minus predicted."""
    labels, scores, groups = people((120, 200))
    found = {each.name: each for each in measured((120, 200)).groups}
    for name, group in found.items():
        own = groups == name
        predicted, actual = scores[own] >= 0.28, labels[own] == 1
        assert group.n == own.sum()
        assert group.selection_rate.value == pytest.approx((~predicted).mean())
        assert group.tpr.value == pytest.approx(predicted[actual].mean())
        assert group.fpr.value == pytest.approx(predicted[~actual].mean())
        assert group.calibration_gap.value == pytest.approx((labels[own] - scores[own]).mean())


@settings(max_examples=20)
@given(st.lists(st.integers(60, 400), min_size=2, max_size=5), st.integers(0, 99), st.floats(0, 2))
def test_intervals_hold_their_values_and_equal_input_gives_equal_intervals(sizes, seed, effect):
    """Of every rate and of every difference, within what such a figure can be."""
    found = measured(sizes, seed=seed, effect=effect, min_rows=60)
    assert measured(sizes, seed=seed, effect=effect, min_rows=60) == found
    for group in found.groups:
        for rate in (group.selection_rate, group.tpr, group.fpr):
            assert rate is None or 0 <= rate.low <= rate.value <= rate.high <= 1
    (worst,) = found.groupings
    for each in (worst.parity_difference, worst.equalized_odds_difference):
        assert 0 <= each.low <= each.value <= each.high
    assert 0 < worst.parity_ratio.low <= worst.parity_ratio.value <= worst.parity_ratio.high <= 1


def test_an_interval_of_a_rate_covers_the_truth():
    """Nineteen times of twenty, counted over 200 samples."""
    truth = measured((20_000, 10), seed=1).groups[0].tpr.value
    found = [measured((300, 10), seed=seed).groups[0].tpr for seed in range(200)]
    assert np.mean([each.low <= truth <= each.high for each in found]) == pytest.approx(0.95, abs=0.04)


def test_no_effect_seldom_fails_even_where_groups_are_small():
    """Of 200 draws without any effect the gates fail at most one in twenty, where the bare figure fails far more.

    The interval alone, against a bound of 0, errs about as often as it says.
    """
    bare, gated, at_zero = [], [], []
    for seed in range(200):
        found = measured((100, 100, 100), seed=seed)
        measures = {"fairness": found.model_dump(mode="json")}
        outcomes = [
            decided("equalized_odds_difference", "<= 0.1", measures)[0],
            decided("parity_ratio", ">= 0.8", measures)[0],
        ]
        gated.append("fail" in outcomes)
        bare.append(found.groupings[0].equalized_odds_difference.value > 0.1)
        at_zero.append(found.groupings[0].equalized_odds_difference.low > 0)
    assert np.mean(gated) <= 0.05
    assert np.mean(bare) > 0.5
    assert np.mean(at_zero) == pytest.approx(0.05, abs=0.04)


def chosen(counts, *, min_rows=50):
    """What fairness finds of groups of which so many are chosen among so many; parity alone, all labels are 0."""
    scores = np.concatenate([np.arange(rows) < picked for picked, rows in counts]).astype(float)
    groups = np.repeat([f"g{at}" for at in range(len(counts))], [rows for _, rows in counts]).astype(object)
    labels = np.zeros(groups.size, dtype=int)
    return fairness(labels, scores, {"by": groups}, threshold=0.5, favourable=1, min_rows=min_rows)


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05, 0.28])
@pytest.mark.parametrize("sizes", [(50, 50), (100, 100), (50, 2000), (100, 2000)])
def test_few_chosen_are_no_unfairness(sizes, rate):
    """However seldom anybody is chosen: without any effect `>= 0.8` fails no more than one in twenty draws.

    Of 120 draws, one in twenty are up to 10 by chance.
    """
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(120):
        found = chosen([(rng.binomial(size, rate), size) for size in sizes])
        failed += found.groupings[0].parity_ratio.high < 0.8
    assert failed <= 10


def test_nobody_chosen_of_a_hundred_is_known_no_better_than_chance_has_it():
    """0 of 100 beside 2 % of 2,000 happens by chance; 0 of 1,000 does not, and 2 of 100 beside 10 % does not either."""
    (by_chance,) = chosen([(0, 100), (40, 2000)]).groupings
    assert (by_chance.parity_ratio.high, by_chance.parity_difference.low) == (1, 0)
    for effect in ([(0, 1000), (40, 2000)], [(2, 100), (200, 2000)]):
        outcome, reason = decided(
            "parity_ratio", ">= 0.8", {"fairness": chosen(effect).model_dump(mode="json")}
        )
        assert outcome == "fail", reason


@pytest.mark.parametrize(
    ("gate", "condition"),
    [("equalized_odds_difference", "<= 0.1"), ("parity_ratio", ">= 0.8"), ("parity_difference", "<= 0.1")],
)
def test_a_strong_effect_fails(gate, condition):
    """In every one of 20 draws, also in a group of 100 beside one of 900; the reason has value and interval."""
    for seed in range(20):
        measures = {"fairness": measured((100, 900), seed=seed, effect=2.0).model_dump(mode="json")}
        outcome, reason = decided(gate, condition, measures)
        assert outcome == "fail", reason
        assert "95 % interval" in reason
        assert "2 groups of at least 100 rows" in reason


def test_groups_that_are_too_small_are_shown_and_not_gated():
    """However unfair; and of fewer than ten rows nothing is shown, since it would tell of single people."""
    found = measured((60, 300, 300, 9), effect=4.0)
    small, *_, tiny = found.groups
    assert (small.compared, small.selection_rate is None, tiny.selection_rate) == (False, False, None)
    assert found.groupings[0].compared == 2
    outcome, _ = decided("parity_ratio", ">= 0.8", {"fairness": found.model_dump(mode="json")})
    assert outcome == "pass"


@pytest.mark.parametrize("gate", ["parity_ratio", "parity_difference", "equalized_odds_difference"])
def test_a_gate_is_an_error_where_nothing_can_be_compared(gate):
    """One group only, or nothing measured at all: an error, which blocks, and never a pass."""
    condition = ">= 0.8" if gate == "parity_ratio" else "<= 0.1"
    alone = measured((500, 50)).model_dump(mode="json")
    assert decided(gate, condition, {"fairness": alone}) == (
        "error",
        "by cannot be compared: 1 of 2 groups have 100 rows, and two are needed",
    )
    assert decided(gate, condition, {}) == ("error", "fairness was not measured")


def test_rates_of_a_label_that_a_group_has_not_are_not_compared():
    """Nobody of label 1 in one of two groups: true positive rates cannot be compared, so odds cannot."""
    labels, scores, groups = people((150, 150))
    labels[groups == "g0"] = 0
    found = fairness(labels, scores, {"by": groups}, threshold=0.28, favourable=1, min_rows=100)
    assert (found.groups[0].tpr, found.groups[0].auc) == (None, None)
    outcome, reason = decided(
        "equalized_odds_difference", "<= 0.1", {"fairness": found.model_dump(mode="json")}
    )
    assert (outcome, reason) == ("error", "by cannot be compared: no two groups have rows of both labels")


def test_bands_are_named_and_missing_values_are_a_group_of_their_own():
    """A value at an edge belongs to the band that begins there."""
    values = np.array([29.0, 30.0, 44.9, 45.0, 99.0, np.nan])
    assert banded(values, [30, 45]).tolist() == [
        "under 30",
        "30 to under 45",
        "30 to under 45",
        "45 and over",
        "45 and over",
        MISSING,
    ]


@pytest.mark.parametrize(
    ("gate", "condition", "measures", "outcome", "reason"),
    [
        ("ks", "> 0.4", {"ks": 0.41}, "pass", "ks 0.4100 is > 0.4 (n = 300)"),
        ("ks", "> 0.4", {"ks": 0.4}, "fail", "ks 0.4000 is not > 0.4 (n = 300)"),
        ("gini", ">= 0.5", {"gini": 0.49}, "fail", "gini 0.4900 is not >= 0.5 (n = 300)"),
        ("gini", ">= 0.5", {}, "error", "the gini on the test split was not measured"),
        (
            "psi",
            "< 0.1",
            {"stability": (0.05, 0.06)},
            "pass",
            "PSI 0.0500 of the scores, validation against test",
        ),
        ("psi", "< 0.1", {"stability": (0.2, 0.06)}, "fail", "PSI 0.2000 of the scores"),
        ("psi", "< 0.1", {"stability": (0.05, 0.3)}, "error", "PSI cannot decide on so few rows"),
        ("psi", "< 0.1", {"stability": None}, "error", "stability was not measured"),
    ],
)
def test_gates_on_a_scorecard(gate, condition, measures, outcome, reason):
    """Each passes, fails and is an error where nothing can be decided."""
    if stability := measures.get("stability"):
        psi, by_chance = stability
        measures = {
            "stability": {"psi": psi, "by_chance": by_chance, "bins": 10, "n_reference": 9, "n_current": 9}
        }
    found = decided(gate, condition, measures)
    assert found[0] == outcome
    assert found[1].startswith(reason)


@pytest.mark.parametrize(
    ("gate", "condition"),
    [("ks", "< 0.4"), ("psi", "> 0.1"), ("parity_ratio", "<= 0.8"), ("equalized_odds_difference", ">= 0.1")],
)
def test_a_condition_that_would_pass_what_it_should_stop_is_refused(gate, condition):
    """When the spec is read."""
    with pytest.raises(ValueError, match=f"{gate}: .* must be written with"):
        Gate.parse(gate, condition, RULES, Spec())


def test_what_the_spec_says_of_fairness_decides_too():
    """Of a gate on it another `min_rows` is another rule, and one that nobody knows is none; of others nothing changes."""
    gates = [
        [Gate.parse(*gate, RULES, spec).rule_set_hash for spec in (Spec(), Spec(fairness={"min_rows": 50}))]
        for gate in (("parity_ratio", ">= 0.8"), ("ks", "> 0.4"))
    ]
    assert [len(set(hashes)) for hashes in gates] == [2, 1]
    assert gates[1][0] == Gate.parse("ks", "> 0.4", RULES).rule_set_hash
    with pytest.raises(ValueError, match="parity_ratio: the spec decides too, in fairness; give the spec"):
        Gate.parse("parity_ratio", ">= 0.8", RULES)

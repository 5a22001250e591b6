"""A scorecard's measures agree with their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import roc_auc
from platform_assets.validation.scorecard import (
    calibration,
    gains_curve,
    gini,
    ks_separation,
    lift,
    population_stability,
    scorecard,
)


def rows(n=2000, *, seed=0, slope=1.0, shift=0.0):
    """Labels, and scores whose log-odds are those of the labels times a slope, plus a shift."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1.5, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return labels, 1 / (1 + np.exp(-(log_odds * slope + shift)))


@st.composite
def scored(draw):
    """Labels of both classes, with scores that repeat."""
    n = draw(st.integers(2, 60))
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))])
    scores = np.array(draw(st.lists(st.integers(0, 9), min_size=n + 2, max_size=n + 2))) / 10
    return labels, scores


@given(scored())
def test_ks_is_the_two_sample_distance_and_gini_twice_the_auc_less_one(given_rows):
    """As scipy has the one, and whatever repeats."""
    labels, scores = given_rows
    distance = ks_2samp(scores[labels == 1], scores[labels == 0]).statistic
    assert ks_separation(labels, scores) == pytest.approx(distance, abs=1e-12)
    assert gini(labels, scores) == 2 * roc_auc(labels, scores) - 1


@given(scored())
def test_the_gains_curve_rises_from_nothing_to_all(given_rows):
    """Its area says what the AUC says, and its slope at the highest scores is the lift."""
    labels, scores = given_rows
    share, found = gains_curve(labels, scores)
    assert (share[0], found[0], share[-1], found[-1]) == pytest.approx((0, 0, 1, 1))
    assert (np.diff(share) > 0).all()
    assert (np.diff(found) >= 0).all()
    assert lift(labels, scores, share=1.0) == pytest.approx(1.0)
    positive = labels.mean()
    area = (roc_auc(labels, scores) * (1 - positive)) + positive / 2
    assert np.trapezoid(found, share) == pytest.approx(area)


def test_lift_counts_ties_by_their_fraction():
    """Two of ten rows are positive; of the highest-scored half, four rows tie."""
    labels = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert lift(labels, scores, share=0.1) == pytest.approx(5.0)
    assert lift(labels, scores, share=0.3) == pytest.approx((0.5 + 0.5 * 2 / 4) / 0.3)


def test_psi_is_its_definition():
    """Σ (p − q) ln(p / q) over the reference's tenths, half a row added to each."""
    reference, current = np.arange(1000) / 1000, np.arange(1000) / 2000
    edges = np.arange(1, 10) / 10
    q, p = (
        (np.histogram(values, [-1, *(edges - 0.0005), 2])[0] + 0.5) / 1005 for values in (reference, current)
    )
    found = population_stability(reference, current)
    assert found.psi == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert (found.bins, found.n_reference, found.n_current) == (10, 1000, 1000)


def test_psi_exceeds_by_chance_what_it_says_in_one_of_twenty():
    """Counted over 400 pairs of samples from one distribution, also of very different sizes."""
    rng = np.random.default_rng(3)
    for n, m in ((400, 1300), (100, 100)):
        found = [population_stability(rng.random(n), rng.random(m)) for _ in range(400)]
        assert np.mean([each.psi > each.by_chance for each in found]) == pytest.approx(0.05, abs=0.03)


def test_psi_of_few_distinct_values_has_fewer_bins():
    """And of one value none, which is refused; so are values that are not finite."""
    assert population_stability(np.array([0.1, 0.2] * 50), np.array([0.1] * 50)).bins == 2
    for reference in (np.full(9, 0.5), np.array([]), np.array([0.1, np.nan])):
        with pytest.raises(ValidationError, match="PSI"):
            population_stability(reference, np.array([0.5]))


@settings(max_examples=20)
@given(st.floats(0.5, 2.0), st.floats(-1, 1), st.integers(0, 1000))
def test_calibration_finds_the_slope_that_scores_were_stretched_by(slope, shift, seed):
    """Its interval holds it (three times over, so that no seed fails); of true probabilities slope 1, intercept 0."""
    found = calibration(*rows(4000, seed=seed, slope=slope, shift=shift)).slope
    assert abs(found.value - 1 / slope) < 3 * (found.high - found.low) / 2
    fair = calibration(*rows(4000, seed=seed))
    for each, true in ((fair.slope, 1.0), (fair.intercept, 0.0)):
        assert abs(each.value - true) < 3 * (each.high - each.low) / 2


def test_calibration_agrees_with_an_unpenalised_regression():
    """That of scikit-learn on the log-odds."""
    from sklearn.linear_model import LogisticRegression

    labels, scores = rows(slope=1.7, shift=0.4)
    log_odds = np.log(scores / (1 - scores))[:, None]
    library = LogisticRegression(C=1e12, tol=1e-10).fit(log_odds, labels)
    assert calibration(labels, scores).slope.value == pytest.approx(library.coef_[0, 0], abs=1e-5)


def test_what_cannot_be_measured_is_none_and_stops_nothing():
    """Scores that are all equal have no slope; a reference of one value no bins."""
    found = scorecard(np.array([0, 1] * 20), np.full(40, 0.3), np.full(30, 0.3))
    assert (found["stability"], found["calibration"], found["ks"]) == (None, None, 0.0)
    assert "psi" not in found
    perfect = scorecard(np.array([0, 1] * 20), np.array([0.1, 0.9] * 20), np.linspace(0, 1, 50))
    assert (perfect["calibration"], perfect["ks"], perfect["gini"]) == (None, 1.0, 1.0)

"""The metrics of a binary classifier, against scikit-learn and against what theory says."""

import math
import statistics
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    roc_auc_score,
)

from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import (
    MIN_SLICE_ROWS,
    BinaryMetrics,
    binary_metrics,
    measure_slice,
    paired_auc_difference,
    reliability_curve,
    roc_auc,
    roc_curve,
)


@st.composite
def rows(draw, min_rows=2, steps=(1, 3, 20, 10**6)):
    """Labels of both classes with probabilities on a grid: the coarser the grid, the heavier the ties."""
    n = draw(st.integers(min_rows, 200))
    grid = draw(st.sampled_from(steps))
    scores = draw(st.lists(st.integers(0, grid), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda y: 0 < sum(y) < len(y)))
    return np.array(labels, dtype=np.int8), np.array(scores) / grid


def normal_scores(rng, n, *, shift=1.0):
    """`n` rows of each class, whose scores are normal and `shift` standard deviations apart."""
    labels = np.repeat(np.array([0, 1], dtype=np.int64), n)
    return labels, rng.normal(size=2 * n) + shift * labels


@settings(deadline=None, max_examples=60)
@given(rows(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_metrics_agree_with_scikit_learn(data, threshold):
    """Every metric equals scikit-learn's, however many scores are tied."""
    labels, scores = data
    metrics = binary_metrics(labels, scores, threshold=threshold, bootstrap_samples=2, seed=0)
    predicted = scores >= threshold
    assert (metrics.n, metrics.positives) == (labels.size, labels.sum())
    assert metrics.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics.pr_auc == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert metrics.accuracy == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    assert metrics.f1 == pytest.approx(f1_score(labels, predicted, zero_division=0), abs=1e-12)
    assert metrics.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(rows(min_rows=20), st.integers(0, 2**32))
def test_interval_contains_the_point_estimate(data, seed):
    """The bootstrap interval of the AUC lies around the AUC and within 0 … 1."""
    metrics = binary_metrics(*data, bootstrap_samples=200, confidence=0.99, seed=seed)
    assert 0 <= metrics.auc_low <= metrics.auc <= metrics.auc_high <= 1


def test_interval_covers_the_true_auc_as_often_as_it_claims():
    """Over 200 draws from a model of known AUC, the 90 % interval covers it in about 90 % of them."""
    true_auc = statistics.NormalDist().cdf(1 / math.sqrt(2))
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        labels, scores = normal_scores(rng, 100)
        probabilities = 1 / (1 + np.exp(-scores))
        metrics = binary_metrics(labels, probabilities, bootstrap_samples=200, confidence=0.9, seed=seed)
        covered += metrics.auc_low <= true_auc <= metrics.auc_high
    # Four standard deviations of the count around 180.
    assert abs(covered - 180) < 4 * math.sqrt(200 * 0.9 * 0.1)


def test_interval_has_the_width_that_hanley_and_mcneil_predict():
    """The bootstrap's standard error agrees with the closed formula of 1982 within a tenth."""
    labels, scores = normal_scores(np.random.default_rng(3), 1000)
    metrics = binary_metrics(labels, 1 / (1 + np.exp(-scores)), bootstrap_samples=4000, seed=1)
    auc, n = metrics.auc, 1000
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / n**2
    assert (metrics.auc_high - metrics.auc_low) / (2 * 1.96) == pytest.approx(math.sqrt(variance), rel=0.1)


def test_interval_is_the_same_for_the_same_seed():
    """The seed alone decides the interval."""
    labels, scores = normal_scores(np.random.default_rng(0), 50)
    probabilities = 1 / (1 + np.exp(-scores))
    first, again, other = (binary_metrics(labels, probabilities, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.auc_low != other.auc_low


def test_bootstrap_is_fast_and_bounded_in_memory():
    """1,000 resamples of 2,000 rows take well below a second and some tens of MB."""
    labels, scores = normal_scores(np.random.default_rng(0), 1000)
    probabilities = 1 / (1 + np.exp(-scores))
    started = time.process_time()
    binary_metrics(labels, probabilities, bootstrap_samples=1000, seed=0)
    assert time.process_time() - started < 1
    tracemalloc.start()
    binary_metrics(labels, probabilities, bootstrap_samples=5000, seed=0)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100e6


@settings(deadline=None, max_examples=40)
@given(rows())
def test_auc_does_not_change_under_a_monotone_transform(data):
    """The AUC depends on the order of the scores alone; the reversed order gives its complement."""
    labels, scores = data
    auc = roc_auc(labels, scores)
    assert roc_auc(labels, np.exp(3 * scores) - 7) == auc
    assert roc_auc(labels, -scores) == pytest.approx(1 - auc, abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(rows(), st.randoms(use_true_random=False))
def test_auc_does_not_change_with_the_order_of_rows(data, random):
    """Shuffled rows give the very same float."""
    labels, scores = data
    order = list(range(labels.size))
    random.shuffle(order)
    assert roc_auc(labels[order], scores[order]) == roc_auc(labels, scores)


@settings(deadline=None, max_examples=40)
@given(rows())
def test_area_under_the_roc_curve_is_the_auc(data):
    """The curve rises from (0, 0) to (1, 1), and the area under it is the AUC."""
    labels, scores = data
    false_rate, true_rate = roc_curve(labels, scores)
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_rate) >= 0).all()
    assert (np.diff(true_rate) >= 0).all()
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(roc_auc(labels, scores), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(rows())
def test_reliability_curve_accounts_for_every_row(data):
    """The bins' rows, positives and summed scores add up to those of the data, and the ECE is a share."""
    labels, scores = data
    curve = reliability_curve(labels, scores)
    assert curve.n.sum() == labels.size
    assert curve.n @ curve.positive_share == pytest.approx(labels.sum())
    assert curve.n @ curve.mean_score == pytest.approx(scores.sum())
    assert 0 <= curve.expected_calibration_error <= 1


def test_a_score_of_one_belongs_to_the_last_bin():
    """The upper edge of the range opens no sixteenth bin."""
    curve = reliability_curve(np.array([0, 1]), np.array([0.95, 1.0]))
    assert (curve.n, curve.mean_score, curve.positive_share) == (2, 0.975, 0.5)


def test_ece_of_a_known_case():
    """Rows at 0.2 with 50 % positives and at 0.9 with 100 % are off by 0.3 and 0.1, half of them each."""
    labels = np.array([0, 1, 1, 1])
    metrics = binary_metrics(labels, np.array([0.2, 0.2, 0.9, 0.9]), seed=0)
    assert metrics.ece == pytest.approx(0.2)


def test_paired_difference_of_a_score_with_itself_is_zero():
    """Equal scores differ by exactly nothing on every resample."""
    labels, scores = normal_scores(np.random.default_rng(0), 60)
    assert paired_auc_difference(labels, scores, scores, seed=0) == (0, 0, 0)


def test_paired_interval_is_narrower_than_unpaired_ones():
    """Because both scores see the same rows, a small constant advantage is found to be significant."""
    rng = np.random.default_rng(5)
    labels, worse = normal_scores(rng, 500)
    better = worse + 0.3 * labels
    difference, low, high = paired_auc_difference(labels, better, worse, seed=0)
    assert difference == pytest.approx(roc_auc(labels, better) - roc_auc(labels, worse))
    assert 0 < low < difference < high
    single = binary_metrics(labels, 1 / (1 + np.exp(-worse)), seed=0)
    assert high - low < (single.auc_high - single.auc_low) / 2


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, 0.2], r"labels \(3,\) and scores \(2,\)"),
        ([], [], "no rows"),
        ([0, 1, 1], [0.1, float("nan"), float("inf")], "2 of 3 scores are NaN or infinite"),
        ([0, 1, 2], [0.1, 0.2, 0.3], "1 of 3 labels are neither 0 nor 1"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "3 positive and 0 negative rows"),
        ([0, 0], [0.1, 0.2], "0 positive and 2 negative rows"),
        ([0, 1], [-0.1, 4.2], "2 of 2 scores lie outside 0 … 1"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(labels, scores, message):
    """The error says what is wrong and how many rows it concerns."""
    with pytest.raises(ValidationError, match=message):
        binary_metrics(np.array(labels, dtype=np.int64), np.array(scores, dtype=np.float64), seed=0)


def test_a_slice_is_measured_as_its_rows_are():
    """A slice that is large enough carries the same metrics as its rows alone."""
    labels, scores = normal_scores(np.random.default_rng(0), MIN_SLICE_ROWS // 2)
    probabilities = 1 / (1 + np.exp(-scores))
    measured = measure_slice("short", labels, probabilities, seed=4)
    assert measured.metrics == binary_metrics(labels, probabilities, seed=4)
    assert (measured.name, measured.n, measured.not_measured_because) == ("short", MIN_SLICE_ROWS, None)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([], "0 rows, at least 50 are needed"),
        ([0, 1] * 24, "48 rows, at least 50 are needed"),
        ([1] * 60, "all 60 rows have the label 1, AUC needs both"),
    ],
)
def test_a_slice_that_tells_nothing_says_why(labels, reason):
    """A slice with too few rows or one class only has no metrics but a reason."""
    measured = measure_slice("thin", np.array(labels, dtype=np.int64), np.full(len(labels), 0.5), seed=0)
    assert measured.metrics is None
    assert measured.not_measured_because == reason


def test_metrics_survive_a_round_trip_through_json():
    """A stored report reads back as it was written, to the last bit."""
    labels, scores = normal_scores(np.random.default_rng(0), 50)
    metrics = binary_metrics(labels, 1 / (1 + np.exp(-scores)), seed=0)
    assert BinaryMetrics.model_validate_json(metrics.model_dump_json()) == metrics

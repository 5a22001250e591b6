"""Intervals of rows that depend on each other: made of clusters, which are drawn whole."""

import math
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.validation.clusters import COLUMN, Clusters, clusters_of
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.fairness import fairness
from platform_assets.validation.metrics import (
    FEWEST_CLUSTERS,
    ROWS,
    binary_metrics,
    measure_slice,
    paired_auc_difference,
)
from platform_assets.validation.scorecard import calibration


def patients(rng, clusters, rows, *, alike, mixed=False):
    """Labels, scores and clusters of patients with so many rows each; `alike` of a score's variance is the patient's.

    The scores of either label are normal and one standard deviation apart. A patient has one label, if not `mixed`.
    """
    codes = np.repeat(np.arange(clusters), rows)
    labels = (np.arange(codes.size) if mixed else codes) % 2
    own = rng.normal(size=clusters)[codes] * math.sqrt(alike)
    scores = own + rng.normal(size=codes.size) * math.sqrt(1 - alike) + labels
    return labels, 1 / (1 + np.exp(-scores)), Clusters("patients", codes)


def repeated(times, labels, *scores):
    """Every row so many times, and which of them are one: they tell nothing that the first of them has not told."""
    codes = np.repeat(np.arange(labels.size), times)
    return [np.repeat(each, times) for each in (labels, *scores)], Clusters("originals", codes)


@pytest.mark.parametrize("mixed", [False, True])
def test_intervals_of_clusters_cover_as_often_as_they_claim(mixed):
    """Over 200 draws the 90 % interval covers the true AUC in about 90 %; that of rows in far fewer."""
    true_auc = statistics.NormalDist().cdf(1 / math.sqrt(2))
    rng = np.random.default_rng(3)
    by_cluster = by_row = 0
    for seed in range(200):
        labels, scores, clusters = patients(rng, 40, 10, alike=0.0 if mixed else 0.5, mixed=mixed)
        found = binary_metrics(
            labels, scores, clusters=clusters, bootstrap_samples=200, confidence=0.9, seed=seed
        )
        rows = binary_metrics(labels, scores, bootstrap_samples=200, confidence=0.9, seed=seed)
        by_cluster += found.auc_low <= true_auc <= found.auc_high
        by_row += rows.auc_low <= true_auc <= rows.auc_high
        assert (found.auc, found.resampled) == (rows.auc, "40 patients")
    assert 0.83 <= by_cluster / 200 <= 0.95
    assert (by_row / 200 > 0.83) == mixed


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(0, 2**31))
def test_rows_that_only_repeat_others_tell_nothing_more(times, seed):
    """Of rows that stand there several times, clusters give the interval that each of them once gives."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 2
    scores, others = (1 / (1 + np.exp(-(rng.normal(size=60) + labels))) for _ in range(2))
    (labels_again, scores_again, others_again), clusters = repeated(times, labels, scores, others)
    once = binary_metrics(labels, scores, seed=5)
    again = binary_metrics(labels_again, scores_again, clusters=clusters, seed=5)
    assert (again.auc_low, again.auc_high) == (once.auc_low, once.auc_high)
    assert binary_metrics(labels_again, scores_again, seed=5).auc_low > once.auc_low
    assert paired_auc_difference(
        labels_again, scores_again, others_again, clusters=clusters, seed=5
    ) == paired_auc_difference(labels, scores, others, seed=5)


def test_rows_without_another_of_their_cluster_are_drawn_by_themselves():
    """Keys that stand there once make no difference, and nothing is said of them."""
    labels, scores, _ = patients(np.random.default_rng(0), 100, 1, alike=0.0)
    clusters = Clusters("patients", np.random.default_rng(1).permutation(100))
    assert binary_metrics(labels, scores, clusters=clusters, seed=0) == binary_metrics(labels, scores, seed=0)


def test_too_few_clusters_are_not_drawn_and_that_is_told():
    """With four patients of one label, rows are drawn; the report says so, of a slice too."""
    labels, scores, clusters = patients(np.random.default_rng(0), 2 * FEWEST_CLUSTERS - 1, 10, alike=0.5)
    found = measure_slice("few", labels, scores, clusters=clusters, seed=0).metrics
    assert found.resampled == "rows, as 4 patients of one label are too few to be drawn"
    assert found.auc_low == binary_metrics(labels, scores, seed=0).auc_low
    assert binary_metrics(labels, scores, seed=0).resampled == ROWS


def test_a_resample_has_both_labels_however_rare_one_is():
    """Five clusters of label 1 among 500: drawn together, some resample would have none."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(500), 2)
    labels = (codes < FEWEST_CLUSTERS).astype(int)
    found = binary_metrics(labels, rng.random(1000), clusters=Clusters("patients", codes), seed=0)
    assert 0 <= found.auc_low < found.auc < found.auc_high <= 1


@pytest.mark.parametrize("mixed", [False, True])
def test_a_cluster_that_is_the_only_one_of_its_kind_is_drawn_as_any_other(mixed):
    """An account that everybody uses has most rows; drawn once in every resample, it would make them as good as certain."""
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.zeros(1500, int), 1 + np.arange(1500) // 30])
    of_both = np.arange(3000) % 2
    labels = np.where(codes == 0, of_both, codes % 2) if mixed else np.where(codes == 0, 1, of_both)
    scores = 1 / (1 + np.exp(-(rng.normal(size=3000) + labels + np.where(codes == 0, 2 * labels, 0))))
    found = binary_metrics(labels, scores, clusters=Clusters("accounts", codes), seed=0)
    rows = binary_metrics(labels, scores, seed=0)
    assert found.resampled == "51 accounts"
    assert found.auc_high - found.auc_low > 4 * (rows.auc_high - rows.auc_low)


def test_a_resample_without_a_label_is_not_measured():
    """Label 0 stands in ten of 19 clusters: of a million resamples, one has none. With this seed it is among the thousand."""
    codes = np.concatenate([np.arange(19), np.arange(9, 19)])
    labels = (np.arange(29) < 19).astype(int)
    scores = np.random.default_rng(0).random(29)
    found = binary_metrics(labels, scores, clusters=Clusters("patients", codes), seed=1208)
    assert 0 <= found.auc_low < found.auc < found.auc_high <= 1


def test_clusters_of_other_rows_are_refused():
    """A mistake of the caller, not a wrong interval."""
    labels, scores, clusters = patients(np.random.default_rng(0), 30, 10, alike=0.5)
    with pytest.raises(ValidationError, match="299 rows have the clusters of 300"):
        binary_metrics(labels[1:], scores[1:], clusters=clusters, seed=0)


def test_rates_of_groups_are_known_as_far_as_their_clusters_tell():
    """Rows that stand there five times tell of a group what they tell once; taken for others, they would tell more."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = 1 / (1 + np.exp(-(rng.normal(size=400) + labels)))
    groups = np.where(rng.random(400) < 0.5, "a", "b").astype(object)
    (labels_again, scores_again, groups_again), clusters = repeated(5, labels, scores, groups)
    asked = {"threshold": 0.5, "favourable": 0, "min_rows": 50}
    once = fairness(labels, scores, {"by": groups}, **asked)
    again = fairness(labels_again, scores_again, {"by": groups_again}, clusters=clusters, **asked)
    naive = fairness(labels_again, scores_again, {"by": groups_again}, **asked)
    for name in ("parity_difference", "equalized_odds_difference"):
        wide, same, narrow = (
            getattr(each.groupings[0], name).high - getattr(each.groupings[0], name).low
            for each in (once, again, naive)
        )
        assert same == pytest.approx(wide, rel=0.1)
        assert narrow < 0.8 * wide
    for first, second in zip(once.groups, again.groups, strict=True):
        for name in ("selection_rate", "tpr", "fpr", "auc", "calibration_gap"):
            one, other = getattr(first, name), getattr(second, name)
            assert other.value == pytest.approx(one.value, abs=1e-12)
            assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=0.01), name


@pytest.mark.parametrize(("clusters", "least"), [(1, 0.7), (12, 0.15)])
def test_a_rate_that_never_varies_is_as_uncertain_as_its_clusters_are_few(clusters, least):
    """Nobody of 120 rows is chosen; of one patient that says next to nothing, of twelve some."""
    labels = np.arange(240) % 2
    groups = np.repeat(["a", "b"], 120).astype(object)
    codes = np.concatenate([np.arange(120) % clusters, 1000 + np.arange(120)])
    found = fairness(
        labels,
        np.full(240, 0.1),
        {"by": groups},
        threshold=0.5,
        favourable=1,
        min_rows=50,
        clusters=Clusters("patients", codes),
    )
    of_few, of_many = (group.selection_rate.high for group in found.groups)
    assert of_few > least
    assert of_many < 0.03
    assert -1 <= found.groups[0].calibration_gap.low < found.groups[0].calibration_gap.high <= 1


def test_scored_rows_without_clusters_have_none():
    """Those of an earlier version, and those of a task that knows of none."""
    scored = pa.table({COLUMN: pa.array([4, 4, 7])})
    assert clusters_of(scored, "patients").codes.tolist() == [4, 4, 7]
    assert clusters_of(scored, None) is None
    assert clusters_of(scored.rename_columns(["other"]), "patients") is None


def test_calibration_is_known_as_far_as_its_clusters_tell():
    """Rows that stand there five times tell what they tell once; few clusters, and rows by themselves, change nothing."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.05, 0.95, 400)
    labels = (rng.random(400) < scores).astype(int)
    (labels_again, scores_again), clusters = repeated(5, labels, scores)
    once, again, naive = (
        calibration(labels, scores),
        calibration(labels_again, scores_again, clusters),
        calibration(labels_again, scores_again),
    )
    for name in ("slope", "intercept"):
        wide, same, narrow = (
            getattr(each, name).high - getattr(each, name).low for each in (once, again, naive)
        )
        assert getattr(again, name).value == pytest.approx(getattr(once, name).value)
        assert same == pytest.approx(wide, rel=0.15)
        assert narrow < 0.5 * wide
    assert calibration(labels, scores, Clusters("rows", np.arange(400))) == once
    assert calibration(labels, scores, Clusters("few", np.arange(400) % 4)) == once

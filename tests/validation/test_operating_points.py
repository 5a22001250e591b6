"""Operating points: what they are by a plain search over all thresholds, and how far so many patients tell them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import counts_by_score, resampled
from platform_assets.validation.operating_pictures import operating_points_picture
from platform_assets.validation.operating_points import (
    operating_points,
    sensitivity_at,
    specificity_at,
    threshold_at_sensitivity,
    threshold_at_specificity,
)
from tests.validation.scored import probabilities


def reference(labels, scores, threshold):
    """Sensitivity and specificity of a threshold, counted row by row."""
    found = sum(s >= threshold for s, y in zip(scores, labels, strict=True) if y == 1)
    left = sum(s < threshold for s, y in zip(scores, labels, strict=True) if y == 0)
    return found / sum(labels), left / (len(labels) - sum(labels))


def thresholds(scores):
    """Each score, and one above all."""
    return [*sorted(set(scores)), np.inf]


ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.75, 0.9, 1.0])),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({label for label, _ in rows}) == 2)


@settings(deadline=None, max_examples=150)
@given(ROWS, st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]))
def test_they_are_the_best_of_all_thresholds(rows, kept):
    """Of those that keep the share; ties and few rows included. The threshold that is told reaches it."""
    labels, scores = np.array([y for y, _ in rows]), np.array([s for _, s in rows])
    each = [(t, *reference(labels.tolist(), scores.tolist(), t)) for t in thresholds(scores.tolist())]
    _, positives, negatives = counts_by_score(labels, scores)

    best = max(sensitivity for _, sensitivity, specificity in each if specificity >= kept - 1e-12)
    assert sensitivity_at(positives, negatives, specificity=kept) == pytest.approx(best)
    threshold = threshold_at_specificity(labels, scores, kept)
    if threshold is None:
        assert best == 0
    else:
        sensitivity, specificity = reference(labels.tolist(), scores.tolist(), threshold)
        assert (sensitivity, specificity >= kept - 1e-12) == (pytest.approx(best), True)

    best = max(specificity for _, sensitivity, specificity in each if sensitivity >= kept - 1e-12)
    assert specificity_at(positives, negatives, sensitivity=kept) == pytest.approx(best)
    sensitivity, specificity = reference(
        labels.tolist(), scores.tolist(), threshold_at_sensitivity(labels, scores, kept)
    )
    assert (specificity, sensitivity >= kept - 1e-12) == (pytest.approx(best), True)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_intervals_are_those_of_patients(seed, times):
    """Images that stand there several times tell what each of them tells once."""
    rng = np.random.default_rng(seed)
    labels = np.arange(80) % 2
    scores = 1 / (1 + np.exp(-(rng.normal(size=80) + 2 * labels)))
    asked = {"threshold": 0.6, "fixed": 0.7, "seed": 3}
    once = operating_points(labels, scores, **asked)
    clusters = Clusters("patients", np.repeat(np.arange(80), times))
    again = operating_points(np.repeat(labels, times), np.repeat(scores, times), clusters=clusters, **asked)
    naive = operating_points(np.repeat(labels, times), np.repeat(scores, times), **asked)
    for first, second, narrow in zip(
        *(each["operating_points"] for each in (once, again, naive)), strict=True
    ):
        assert first["point"] == second["point"]
        for name in ("sensitivity", "specificity"):
            assert second[name] == pytest.approx(first[name])
            if first[f"{name}_low"] is not None:
                width, wide, thin = (
                    each[f"{name}_high"] - each[f"{name}_low"] for each in (first, second, narrow)
                )
                assert wide == pytest.approx(width, abs=0.06)
                assert thin <= wide + 1e-9


def test_a_resample_is_measured_as_the_rows_are():
    """Each statistic over resamples is that of the rows which were drawn: with one row a class, the rows themselves."""
    labels, scores = np.array([0, 1]), np.array([0.2, 0.8])
    drawn, made_of = resampled(
        labels, scores, lambda p, n: sensitivity_at(p, n, specificity=0.9), bootstrap_samples=7, seed=0
    )
    assert (drawn.tolist(), made_of) == ([1.0] * 7, "rows")


@pytest.mark.parametrize(
    ("samples", "least", "most"), [(30, 25, 30), pytest.param(1000, 925, 975, marks=pytest.mark.long)]
)
def test_intervals_cover_as_often_as_they_claim(samples, least, most):
    """The 95 % interval of the sensitivity at 90 % specificity holds the true one in about 95 of 100 samples."""
    from statistics import NormalDist

    # Two normal distributions two deviations apart.
    true = 1 - NormalDist(2, 1).cdf(NormalDist().inv_cdf(0.9))
    rng, held = np.random.default_rng(5), 0
    for seed in range(samples):
        labels = np.arange(400) % 2
        scores = 1 / (1 + np.exp(-(rng.normal(size=400) + 2 * labels)))
        point = operating_points(labels, scores, threshold=0.5, fixed=None, seed=seed)["operating_points"][0]
        held += point["sensitivity_low"] <= true <= point["sensitivity_high"]
    assert least <= held <= most


def test_no_threshold_keeps_the_specificity_where_the_highest_score_is_a_negatives():
    """Then nothing is found, and no threshold is told."""
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.9, 0.9, 0.9, 0.1])
    found = operating_points(labels, scores, threshold=0.5, fixed=None, seed=0)
    assert found["sensitivity_at_90_specificity"] == 0
    assert found["operating_points"][0]["threshold"] is None
    assert found["specificity_at_90_sensitivity"] == 0


def test_points_that_were_fixed_before_are_told_beside_those_chosen_here():
    """The model's own threshold, and the one of the validation rows, each with what it really keeps."""
    labels = np.arange(300) % 2
    scores = probabilities(labels, skill=3)
    found = operating_points(labels, scores, threshold=0.5, fixed=0.8, seed=0)["operating_points"]
    assert [each["point"] for each in found] == [
        "90% specificity",
        "90% sensitivity",
        "the model's threshold",
        "90% specificity on validation rows",
    ]
    for each in found[2:]:
        expected = reference(labels.tolist(), scores.tolist(), each["threshold"])
        assert (each["sensitivity"], each["specificity"]) == pytest.approx(expected)
        assert each["sensitivity_low"] < each["sensitivity"] < each["sensitivity_high"]
    assert operating_points_picture(labels, scores, found).startswith(b"\x89PNG")


def test_one_label_is_refused():
    """As wherever an AUC is asked for."""
    with pytest.raises(ValidationError, match="AUC needs both classes"):
        operating_points(np.ones(5, int), np.linspace(0, 1, 5), threshold=0.5, fixed=None, seed=0)

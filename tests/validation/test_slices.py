"""Parts of the rows: what they are worth as far as so many rows can tell, and which are judged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.validation.clusters import Clusters
from platform_assets.validation.metrics import binary_metrics
from platform_assets.validation.operating_pictures import slices_picture
from platform_assets.validation.rates import rate
from platform_assets.validation.slices import UNKNOWN, named, parts
from tests.validation.scored import probabilities


def sliced(groups, labels, scores, **changes):
    """Parts by one grouping, called `by`."""
    asked = {"threshold": 0.5, "min_rows": 50, "min_of_label": 10, "seed": 0} | changes
    return parts(labels, scores, {"by": named(groups)}, **asked)


def test_each_part_is_measured_as_its_rows_alone():
    """AUC with the interval of its own patients, sensitivity and specificity at the threshold."""
    labels, rng = np.arange(400) % 2, np.random.default_rng(0)
    scores, groups = probabilities(labels, skill=2), rng.choice(["a", "b"], 400)
    clusters = Clusters("patients", np.arange(400) // 4)
    for part in sliced(groups, labels, scores, clusters=clusters):
        rows = groups == part.slice.removeprefix("by: ")
        own = binary_metrics(labels[rows], scores[rows], clusters=clusters.of(rows), seed=0)
        assert (part.auc, part.auc_low, part.auc_high) == (own.auc, own.auc_low, own.auc_high)
        assert (part.n, part.positives, part.not_judged_because) == (rows.sum(), labels[rows].sum(), None)
        found = scores[rows & (labels == 1)] >= 0.5
        assert (part.sensitivity, part.specificity) == pytest.approx(
            (found.mean(), (scores[rows & (labels == 0)] < 0.5).mean())
        )
        assert part.sensitivity_low < part.sensitivity < part.sensitivity_high


def test_parts_of_few_rows_are_named_and_not_judged_and_the_smallest_are_not_told():
    """Too few rows, too few of a label, and so few that a rate would tell of single people."""
    groups = ["few"] * 20 + ["one-sided"] * 60 + ["tiny"] * 4 + [None] * 60
    labels = np.array([0, 1] * 10 + [1] * 3 + [0] * 57 + [0, 1, 0, 1] + [0, 1] * 30)
    found = {part.slice: part for part in sliced(groups, labels, probabilities(labels, skill=2))}
    assert {name: part.not_judged_because for name, part in found.items()} == {
        "by: few": "20 rows, 50 are needed",
        "by: one-sided": "3 rows of one label, 10 of either are needed",
        "by: tiny": "4 rows, 50 are needed",
        f"by: {UNKNOWN}": None,
    }
    assert found["by: few"].auc is not None
    assert found["by: one-sided"].sensitivity is None
    tiny = found["by: tiny"]
    assert (tiny.auc, tiny.sensitivity, tiny.specificity, tiny.positives) == (None, None, None, None)
    assert slices_picture([part.model_dump() for part in found.values()]).startswith(b"\x89PNG")


def test_of_few_patients_nothing_is_told_however_many_images_they_have():
    """Of thirty images of two patients, a sensitivity, and how many have a finding, would be what these two have."""
    labels = np.repeat([1, 0], 15)
    asked = {
        "groups": ["90-99"] * 30,
        "labels": labels,
        "scores": probabilities(labels, skill=2),
        "min_rows": 20,
    }
    (part,) = sliced(**asked, clusters=Clusters("patients", labels))
    figures = part.model_dump(exclude={"slice", "n", "not_judged_because"})
    assert set(figures.values()) == {None}
    assert (part.n, part.not_judged_because) == (30, "2 patients, 10 are needed")
    (of_label,) = sliced(**asked, clusters=Clusters("patients", np.where(labels == 1, 0, np.arange(30))))
    assert of_label.sensitivity is None
    assert of_label.specificity is not None


def test_a_picture_is_drawn_whatever_quantiles_an_interval_has():
    """Both ends of a bootstrap's interval may lie on one side of the figure."""
    part = {"slice": "sex: F", "n": 60, "not_judged_because": None}
    figures = {
        f"{measure}{end}": value
        for measure in ("auc", "sensitivity", "specificity")
        for end, value in (("", 0.9), ("_low", 0.91), ("_high", 0.95))
    }
    assert slices_picture([part | figures]).startswith(b"\x89PNG")


def test_many_rows_of_few_patients_are_not_judged():
    """A hundred images of eight patients with a finding tell little more than eight would."""
    labels = np.arange(200) % 2
    codes = np.where(labels == 1, np.arange(200) % 16, 100 + np.arange(200))
    asked = {"groups": ["a"] * 200, "labels": labels, "scores": probabilities(labels, skill=2)}
    (few,) = sliced(**asked, clusters=Clusters("patients", codes))
    (many,) = sliced(**asked)
    assert few.not_judged_because == "8 patients of one label, 10 of either are needed"
    assert many.not_judged_because is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(2, 5))
def test_a_rate_lies_within_its_interval_and_repeats_tell_nothing_more(hits, times):
    """Whatever it is, 0 and 1 included; rows that stand there several times as clusters give the interval of each once."""
    once = rate(np.array(hits))
    repeated = np.repeat(hits, times)
    again = rate(repeated, Clusters("originals", np.repeat(np.arange(len(hits)), times)))
    assert 0 <= once.low <= once.value <= once.high <= 1
    assert once.low < once.high
    assert again.value == pytest.approx(once.value)
    # Of few clusters the variance is known badly, and is taken to be larger.
    assert again.high - again.low > once.high - once.low - 0.01
    if len(hits) >= 20:
        assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=0.03)
    assert rate(repeated).high - rate(repeated).low < once.high - once.low


def test_no_rows_have_no_rate():
    """There is nothing to divide by."""
    assert rate(np.array([], bool)) is None

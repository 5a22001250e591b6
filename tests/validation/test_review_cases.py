"""Cases of a review: all that were missed, and samples in which each part has its place."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.validation.review_cases import case_groups, groupings_of

cases = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0, 1), st.sampled_from(["AP", "PA", None])),
    min_size=1,
    max_size=80,
)


@given(cases, st.floats(0, 1), st.integers(1, 5))
def test_all_missed_cases_are_shown_and_none_twice(rows, threshold, per_stratum):
    """Whatever the scores are: missed ones first and worst first, each case once, no more than asked for of a stratum."""
    labels, scores = (np.array([row[at] for row in rows]) for at in (0, 1))
    views = np.array([row[2] for row in rows], dtype=object)
    groups = case_groups(labels, scores, {"view": views}, threshold=threshold, per_stratum=per_stratum)
    shown = [row for group in groups for row in group.rows]
    missed = np.flatnonzero((labels == 1) & (scores < threshold)).tolist()

    assert len(shown) == len(set(shown))
    assert set(missed) <= set(shown)
    if missed:
        assert sorted(groups[0].rows) == missed
        assert scores[list(groups[0].rows)].tolist() == sorted(scores[missed])
    for group in groups[1:] if missed else groups:
        assert len(group.rows) <= min(per_stratum, group.of)
    for view in {each for each in views.tolist() if each}:
        of_view = [row for row in shown if views[row] == view]
        assert len(of_view) >= min(per_stratum, int(np.count_nonzero(views == view)))


def test_equal_rows_give_equal_samples():
    """Two people who review the same version see the same cases."""
    random = np.random.default_rng(3)
    labels, scores = random.integers(0, 2, 400), random.random(400)
    again = [case_groups(labels, scores, {}, threshold=0.5, per_stratum=4) for _ in range(2)]

    assert again[0] == again[1]
    assert [group.title for group in again[0]][1:3] == [
        "Label 1, score 0.4 to 0.6",
        "Label 1, score 0.6 to 0.8",
    ]


@pytest.mark.parametrize("score", [0.0, 1.0, 0.2])
def test_scores_at_the_edges_have_a_band(score):
    """0 and 1 belong to the first and the last, an edge within to the upper one."""
    (group,) = case_groups(np.array([0]), np.array([score]), {}, threshold=0.5, per_stratum=1)

    assert (
        group.title
        == {0.0: "Label 0, score 0 to 0.2", 1.0: "Label 0, score 0.8 to 1", 0.2: "Label 0, score 0.2 to 0.4"}[
            score
        ]
    )


def test_parts_are_told_from_texts_and_ids():
    """Columns of few names are sampled by; ids, texts, numbers and constants are not."""
    table = pa.table(
        {
            "patient": ["a", "a", "b"] * 10,
            "view": ["AP", None, "PA"] * 10,
            "flag": [True, False, True] * 10,
            "image": [str(at) for at in range(30)],
            "age": list(range(30)),
            "site": ["one"] * 30,
        }
    )
    found = groupings_of(table, without=("patient",))

    assert list(found) == ["view", "flag"]
    assert found["flag"].tolist()[:2] == ["True", "False"]
    assert found["view"].tolist()[:3] == ["AP", None, "PA"]

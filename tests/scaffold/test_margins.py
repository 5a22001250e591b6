"""Margins leave room for what was not seen, and no more."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.scaffold.margins import bounds, rate_bounds, share_given

finite = st.floats(-1e12, 1e12, allow_subnormal=False)


@pytest.mark.parametrize(
    ("least", "most", "whole", "expected"),
    [
        (0, 72, True, (0, 79)),
        (18, 118, True, (0, 130)),
        (0, 1, True, (0, 1)),
        (1, 5, True, (1, 5)),
        (18.25, 118.75, False, (0.0, 130.0)),
        (0.17, 71, False, (0.0, 79.0)),
        (-0.5, 0.5, False, (-0.6, 0.6)),
        (-20, -10, False, (-21.0, -9.0)),
        (7, 7, True, (6, 8)),
        (0, 0, False, (0.0, 0.0)),
        (0.001, 0.002, False, (0.0009, 0.0021)),
        (0, 2.3e-308, False, (0.0, 1e-300)),
    ],
)
def test_bounds(least, most, whole, expected):
    """A tenth of the span beyond what was seen, in round figures; what was never negative stays so."""
    assert bounds(least, most, whole=whole) == expected


@given(one=finite, other=finite, whole=st.booleans())
def test_what_was_seen_always_lies_within(one, other, whole):
    """No bound excludes a value that was seen, and each is a number that a manifest can hold."""
    least, most = sorted(map(math.floor, (one, other)) if whole else (one, other))
    low, high = bounds(least, most, whole=whole)
    assert low <= least <= most <= high
    assert json.loads(json.dumps([low, high])) == [low, high]


@pytest.mark.parametrize(
    ("missing", "given_share"), [(0.0, 0.98), (0.1, 0.85), (0.424, 0.36), (0.7, 0.0), (0.99, 0.0)]
)
def test_share_given(missing, given_share):
    """Half as many again may be missing, and two in a hundred in any case."""
    assert share_given(missing) == given_share


@given(rate=st.floats(0.01, 0.99), rows=st.integers(200, 10**7))
def test_the_rate_lies_within_its_bounds(rate, rows):
    """The share that was seen passes, and bounds are shares."""
    low, high = rate_bounds(rate, rows)
    assert 0 <= low < rate < high <= 1


def test_few_rows_widen_the_bounds_of_a_rate():
    """What chance does to few rows is no reason to stop."""
    assert rate_bounds(0.5, 10**6) == (0.375, 0.625)
    assert rate_bounds(0.5, 200) == (0.358, 0.642)

"""The distance between two batches of one column."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.validation.drift import ks_drift
from platform_assets.validation.errors import ValidationError

NAMES = {"column": "score", "reference_name": "validation", "current_name": "test"}
batches = st.lists(st.integers(-5, 5), min_size=2, max_size=60).map(lambda xs: np.array(xs, dtype=np.float64))


@settings(deadline=None, max_examples=50)
@given(batches, batches)
def test_ks_is_the_largest_gap_between_the_distribution_functions(reference, current):
    """KS equals its definition, is symmetric, and lies in 0 … 1 as its p-value does."""
    at = np.union1d(reference, current)[:, None]
    gap = np.abs((reference <= at).mean(axis=1) - (current <= at).mean(axis=1)).max()
    finding = ks_drift(reference, current, **NAMES)
    assert finding.ks == pytest.approx(gap, abs=1e-12)
    assert finding.ks == pytest.approx(ks_drift(current, reference, **NAMES).ks, abs=1e-12)
    assert 0 <= finding.p_value <= 1


@pytest.mark.parametrize("n", [100, 5000])
def test_a_shift_is_found_and_its_absence_is_not(n):
    """In small and in large batches, a shift is significant and its absence is not."""
    reference, same = np.random.default_rng(2).normal(size=(2, n))
    assert ks_drift(reference, same, **NAMES).p_value > 0.01
    shifted = ks_drift(reference, same + 1, **NAMES, gated=True)
    assert shifted.ks > 0.3
    assert shifted.p_value < 1e-6
    assert (shifted.n_reference, shifted.n_current, shifted.gated) == (n, n, True)


@pytest.mark.parametrize(
    ("current", "message"),
    [
        ([0.5, float("nan"), float("-inf")], "score: 2 of 3 values of test are NaN or infinite"),
        ([0.5], "score: test has 1 rows, too few to compare"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(current, message):
    """The error names the column, the batch and how many values are concerned."""
    with pytest.raises(ValidationError, match=message):
        ks_drift(np.array([0.1, 0.2]), np.array(current, dtype=np.float64), **NAMES)

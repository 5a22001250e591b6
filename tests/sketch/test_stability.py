"""The stability index of a window: as a plain computation over tenths has it, and what chance makes of it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.sketch.sketch import ColumnProfile
from platform_assets.sketch.stability import GROUPS, Stability, band

REFERENCE = np.random.default_rng(5).normal(size=20_000)


def psi_of(values, *, reference=REFERENCE, **profiled):
    """The index of these values against a profile of the reference."""
    profile = ColumnProfile.of(reference, **profiled)
    counts = np.bincount(profile.index(values), minlength=profile.bins)[: profile.bins]
    return Stability(profile).psi(counts)


def plain_psi(values, reference):
    """By deciles of the sorted reference, half a row added to each."""
    edges = np.quantile(reference, np.arange(1, GROUPS) / GROUPS)
    shares = [
        (np.bincount(np.searchsorted(edges, each), minlength=GROUPS) + 0.5) / (len(each) + GROUPS / 2)
        for each in (reference, values)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


@settings(max_examples=25, deadline=None)
@given(st.floats(-1.5, 1.5), st.floats(0.5, 2.0), st.integers(0, 100))
def test_it_is_that_of_deciles(shift, scale, seed):
    """The profile's bins are so fine that its tenths are those of the values, to a few hundredths."""
    values = np.random.default_rng(seed).normal(shift, scale, 2000)
    assert psi_of(values) == pytest.approx(plain_psi(values, REFERENCE), rel=0.08, abs=0.01)


def test_an_index_by_hand():
    """Two categories, 60:40 of the reference and 30:70 of the events, half a row added to each."""
    reference = np.array(["a"] * 60 + ["b"] * 40, dtype=object)
    values = np.array(["a"] * 30 + ["b"] * 70, dtype=object)
    profile = ColumnProfile.of(reference)
    groups = profile.bins
    q = np.array([60.5, 40.5] + [0.5] * (groups - 2))
    p = np.array([30.5, 70.5] + [0.5] * (groups - 2))
    q, p = q / q.sum(), p / p.sum()
    assert psi_of(values, reference=reference) == pytest.approx(float(((p - q) * np.log(p / q)).sum()))


def test_the_same_rows_have_none_and_an_empty_window_no_index():
    """What did not move is 0; of nothing there is no index."""
    assert psi_of(REFERENCE) == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(psi_of(np.array([])))


def test_a_reference_of_one_value_is_left_by_any_other():
    """What lies beside it is a group of its own, which adds next to nothing while it stays empty."""
    reference = np.zeros(1000)
    assert psi_of(np.zeros(250), reference=reference) < 0.01
    assert psi_of(np.ones(250), reference=reference) > 1


def test_many_categories_are_ten_groups():
    """The nine most frequent and the others."""
    rng = np.random.default_rng(1)
    names = np.array([f"c{each}" for each in rng.geometric(0.1, 5000)], dtype=object)
    profile = ColumnProfile.of(names)
    counts = np.zeros(profile.bins, np.int64)
    counts[np.argsort(profile.mass)[: profile.bins // 2]] = 10
    assert profile.bins > GROUPS
    assert Stability(profile).psi(counts) > 1


def test_weights_of_the_reference_count():
    """A reference whose upper half weighs all is left by events of the lower one."""
    weights = np.where(REFERENCE > 0, 1.0, 1e-9)
    upper = REFERENCE[REFERENCE > 0]
    assert psi_of(upper, weights=weights) < 0.01
    assert psi_of(REFERENCE, weights=weights) > 1


def test_chance_exceeds_it_in_one_of_twenty_windows():
    """As often as it says, within the error of 2,000 windows; of 50 events it would be called major."""
    rng = np.random.default_rng(2)
    profile = ColumnProfile.of(REFERENCE)
    stability = Stability(profile)
    found = [
        stability.psi(np.bincount(profile.index(rng.normal(size=250)), minlength=profile.bins))
        for _ in range(2000)
    ]
    assert np.mean(np.array(found) > stability.by_chance(250)) == pytest.approx(0.05, abs=0.02)
    assert band(stability.by_chance(50)) == "major"


@pytest.mark.parametrize(
    ("psi", "named"), [(0.0, "stable"), (0.0999, "stable"), (0.1, "moderate"), (0.25, "major"), (3, "major")]
)
def test_the_usual_bands(psi, named):
    """Below 0.1, from 0.1, from 0.25."""
    assert band(psi) == named

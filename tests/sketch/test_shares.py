"""Shares of missing values: exact p-values, and bounds that a stream keeps to as they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from platform_assets.sketch.shares import share_bound, share_p_value

counts = st.integers(1, 300).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows)))


@given(counts, counts)
@settings(max_examples=200)
def test_the_p_value_is_fishers(reference, current):
    """Twice the smaller tail of the hypergeometric distribution, and the same seen from either side."""
    (x0, n0), (x, n) = reference, current
    exact = hypergeom(n0 + n, x0 + x, n)
    expected = min(1.0, 2 * min(exact.cdf(x), exact.sf(x - 1)))
    assert share_p_value(x0, n0, x, n) == pytest.approx(expected, rel=1e-9)
    assert share_p_value(x, n, x0, n0) == pytest.approx(expected, rel=1e-9)
    assert share_p_value(n0 - x0, n0, n - x, n) == pytest.approx(expected, rel=1e-9)


def test_where_nothing_can_differ_the_p_value_is_1():
    """Nothing is missing, everything is, or a side is empty."""
    for arguments in ((0, 10, 0, 5), (10, 10, 5, 5), (0, 0, 3, 5), (3, 5, 0, 0)):
        assert share_p_value(*arguments) == 1.0


def test_many_rows_are_no_burden():
    """A billion of them, far apart and close together."""
    assert share_p_value(0, 10**9, 10**6, 10**9) == 0.0
    assert share_p_value(5 * 10**8, 10**9, 500_010_000, 10**9) == pytest.approx(0.6547, abs=1e-3)


def false_alarm_rate(reports, *, seed, level=0.05):
    """How often two samples of one share differ significantly."""
    random, alarms = np.random.default_rng(seed), 0
    for _ in range(reports):
        share = random.random() ** 3
        n0, n = random.integers(1, 400, 2).tolist()
        alarms += (
            share_p_value(int(random.binomial(n0, share)), n0, int(random.binomial(n, share)), n) <= level
        )
    return alarms / reports


def test_the_p_value_errs_no_more_often_than_it_says():
    """Of 1,000 pairs of samples."""
    assert false_alarm_rate(1_000, seed=1) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1_000)


@pytest.mark.long
def test_the_p_value_errs_no_more_often_than_it_says_in_many():
    """Of 10,000."""
    assert false_alarm_rate(10_000, seed=2) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 10_000)


WINDOW, RUN_LENGTH, EVENTS = 50, 2_000, 4_000


def false_alarms(streams, *, seed):
    """Alarms that begin in streams which keep to the share that their reference was drawn from."""
    random, begun = np.random.default_rng(seed), 0
    for _ in range(streams):
        share, rows = random.random() ** 2, int(random.integers(100, 5_000))
        in_reference = int(random.binomial(rows, share))
        bound = share_bound(
            window=WINDOW, reference_rows=rows, reference_missing=in_reference, expected_run_length=RUN_LENGTH
        )
        missing = np.cumsum(np.append(0, random.random(EVENTS + WINDOW) < share))
        distance = np.abs((missing[WINDOW:] - missing[:-WINDOW]) / WINDOW - in_reference / rows)
        over = distance > bound + 1e-9
        begun += int((over[1:] & ~over[:-1]).sum())
    return begun


def test_a_stream_keeps_to_its_bound():
    """No more alarms in 200 streams than the run length allows for."""
    allowed = 200 * EVENTS / RUN_LENGTH
    assert false_alarms(200, seed=3) <= allowed + 3 * math.sqrt(allowed)


@pytest.mark.long
def test_many_streams_keep_to_their_bounds():
    """Nor in 10,000: references of all sizes and shares, each drawn anew."""
    allowed = 10_000 * EVENTS / RUN_LENGTH
    assert 0 < false_alarms(10_000, seed=4) <= allowed + 3 * math.sqrt(allowed)


@given(st.integers(50, 500), st.integers(500, 10_000), st.floats(0, 0.5), st.integers(0, 2**32))
@settings(max_examples=50)
def test_another_share_is_found_within_two_windows(window, rows, share, seed):
    """Of a reference of some hundred rows; what differs by twice the bound is beyond it most of the time."""
    random = np.random.default_rng(seed)
    in_reference = int(random.binomial(rows, share))
    bound = share_bound(
        window=window, reference_rows=rows, reference_missing=in_reference, expected_run_length=100_000
    )
    changed = in_reference / rows + 2 * bound
    if changed <= 1:
        found = [
            abs(random.binomial(window, changed) / window - in_reference / rows) > bound for _ in range(50)
        ]
        assert sum(found) > 25
    assert 0 < bound < 0.5


def test_a_bound_for_whole_numbers_of_the_window():
    """Nothing missing in 5,000 rows: the fifth in 250 events is an alarm, in 1,000 the eighth."""
    for window, most in ((250, 4), (1_000, 7)):
        bound = share_bound(
            window=window, reference_rows=5_000, reference_missing=0, expected_run_length=200_000
        )
        assert bound == pytest.approx(most / window)

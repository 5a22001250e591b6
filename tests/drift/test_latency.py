"""Latency histograms: quantiles within a bucket's width, in fixed memory."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.drift.latency import BUCKET_EDGES_MS, LatencyHistogram, RollingLatency


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_quantile_is_within_a_bucket_of_the_exact_one(latencies, q):
    """No more than 2.2 % (below 1 ms: 1 ms) beside the order statistic."""
    histogram = LatencyHistogram()
    histogram.add(latencies)
    exact = sorted(latencies)[math.ceil(q * len(latencies)) - 1]
    assert histogram.quantile_ms(q) == pytest.approx(exact, rel=0.022, abs=1.0)
    assert histogram.count == len(latencies)
    assert histogram.sum_ms == pytest.approx(sum(latencies))


def test_quantile_is_linear_within_a_bucket():
    """The middle of a bucket that holds everything is its median."""
    histogram = LatencyHistogram()
    histogram.add(100.0, 1000)
    bucket = np.searchsorted(BUCKET_EDGES_MS, 100.0, side="right") - 1
    assert histogram.p50_ms == pytest.approx((BUCKET_EDGES_MS[bucket] + BUCKET_EDGES_MS[bucket + 1]) / 2)
    assert BUCKET_EDGES_MS[bucket] < histogram.p99_ms < BUCKET_EDGES_MS[bucket + 1]


def test_nothing_has_no_quantile_and_excess_has_the_last_edge():
    """Empty: NaN, which is no pass; longer than the last edge: at least that edge; negative: 0."""
    histogram = LatencyHistogram()
    assert math.isnan(histogram.p99_ms)
    histogram.add(1e12)
    assert histogram.p99_ms == BUCKET_EDGES_MS[-1]
    histogram.add(-5.0, 1000)
    assert histogram.p50_ms < 1.0


def test_rolling_window_forgets_whole_periods():
    """A latency is told for as long as its period is among the newest ones."""
    rolling = RollingLatency(period_ms=100, periods=3)
    assert rolling.turn(now_ms=1000)
    rolling.add(50.0)
    assert not rolling.turn(now_ms=1099)
    assert rolling.turn(now_ms=1299)
    rolling.add(70.0, 2)
    assert rolling.histogram.count == 3
    assert not rolling.turn(now_ms=1250)
    assert rolling.turn(now_ms=1300)
    assert rolling.histogram.count == 2
    assert not rolling.turn(now_ms=900)
    assert rolling.turn(now_ms=10**12)
    assert rolling.histogram.count == 0

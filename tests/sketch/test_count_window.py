"""The distance of the newest values, after each of them, and the bound that it seldom exceeds by chance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from platform_assets.sketch import kernels
from platform_assets.sketch.count_window import CountWindow, threshold
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.sketch import ColumnProfile, compare

RUN_LENGTH = 100_000
WINDOW = 250
REFERENCE_ROWS = 10_000

values = st.integers(-3, 3).map(float) | st.floats(-3, 3) | st.sampled_from([math.nan, math.inf, -math.inf])


class TestWindow:
    """Against a window that is counted anew for every value."""

    @given(
        arrays.arrays(np.float64, st.integers(2, 30), elements=st.integers(-3, 3) | st.floats(-3, 3)),
        arrays.arrays(np.float64, st.integers(0, 25), elements=values),
        st.integers(1, 12),
        st.integers(2, 20),
        st.integers(1, 9),
    )
    @settings(max_examples=25)
    def test_the_distance_after_every_value_is_that_of_the_newest(self, reference, stream, size, bins, step):
        """In whatever steps the stream comes; NaN until the window is full, and what is missing takes no place."""
        profile = ColumnProfile.of(reference, bins=bins)
        window = CountWindow(profile, size)
        found = np.concatenate(
            [window.push(stream[start : start + step]) for start in range(0, stream.size, step)] or [[]]
        )
        for position in range(stream.size):
            seen = stream[: position + 1]
            newest = seen[np.isfinite(seen)][-size:]
            if newest.size < size:
                assert math.isnan(found[position])
                continue
            histogram = profile.histogram()
            histogram.add(newest)
            assert found[position] == pytest.approx(compare(profile, histogram).ks_lower, abs=1e-12)
        assert window.full == (np.isfinite(stream).sum() >= size)
        if stream.size:
            assert found[-1] == window.ks or not window.full

    def test_nothing_drifts_in_a_long_stream(self):
        """After 200,000 values the tree still says what a fresh count of the window does, weights or not."""
        random = np.random.default_rng(1)
        for weights in (None, random.random(3_000)):
            profile = ColumnProfile.of(random.normal(size=3_000), bins=64, weights=weights)
            window = CountWindow(profile, 500)
            stream = random.normal(size=200_000)
            window.push(stream)
            histogram = profile.histogram()
            histogram.add(stream[-500:])
            assert window.ks == pytest.approx(compare(profile, histogram).ks_lower, abs=1e-13)

    def test_categories_have_a_window_too(self):
        """A stream of a single one of two equally frequent categories is half of the mass away."""
        window = CountWindow(ColumnProfile.of(["imdb", "tomatoes"] * 50), 10)
        assert window.push(["imdb"] * 10)[-1] == 0.5
        assert window.push([None, "unseen"]).tolist() == pytest.approx([0.5, 0.4])

    def test_a_window_of_nothing_is_refused(self):
        """It would never be empty nor full."""
        with pytest.raises(SketchError, match="at least one"):
            CountWindow(ColumnProfile.of([1.0, 2.0]), 0)


def false_alarms(bound, *, streams, length, seed):
    """False alarms of so many null streams, each with a reference of its own."""
    random = np.random.default_rng(seed)
    alarms = np.zeros(1, np.int64)
    for _ in range(streams):
        window = CountWindow(ColumnProfile.of(random.normal(size=REFERENCE_ROWS)), WINDOW)
        kernels.count_alarms(window.push(random.normal(size=length)), np.array([bound]), WINDOW, alarms)
    return int(alarms[0])


def median_delay(bound, change, *, streams, seed):
    """Values between a change and the alarm; infinite where there is none within 8,000."""
    random = np.random.default_rng(seed)
    delays = []
    for _ in range(streams):
        window = CountWindow(ColumnProfile.of(random.normal(size=REFERENCE_ROWS)), WINDOW)
        window.push(random.normal(size=2_000))
        hits = np.flatnonzero(window.push(change(random.normal(size=8_000))) > bound)
        delays.append(hits[0] + 1 if hits.size else math.inf)
    return np.median(delays)


class TestThreshold:
    """The bound for a false-alarm rate."""

    def test_it_rises_with_the_run_length_and_falls_with_window_and_reference(self):
        """Rarer alarms need a higher bound; more values or a better reference a lower one."""
        bound = threshold(window=WINDOW, reference_rows=REFERENCE_ROWS, expected_run_length=RUN_LENGTH)
        assert 0 < bound < threshold(window=WINDOW, reference_rows=100, expected_run_length=RUN_LENGTH)
        assert bound < threshold(window=WINDOW, reference_rows=REFERENCE_ROWS, expected_run_length=10**6)
        assert bound > threshold(window=1_000, reference_rows=32_000, expected_run_length=RUN_LENGTH)

    def test_a_large_window_is_simulated_by_a_smaller_one(self):
        """What is asked per window and relative to the reference, it gives at the scale of 1 / sqrt(window)."""
        small = threshold(window=1_000, reference_rows=32_000, expected_run_length=400_000)
        large = threshold(window=100_000, reference_rows=3_200_000, expected_run_length=40_000_000)
        assert large == pytest.approx(small / 10)

    def test_no_bound_exceeds_the_largest_distance(self):
        """Where references are tiny, nothing alarms rather than everything."""
        assert threshold(window=50, reference_rows=2, expected_run_length=10_000_000) == 1.0

    def test_false_alarms_are_as_rare_as_asked_for(self):
        """With the default window, a rate of 1 in 2,000 holds over 400,000 values."""
        bound = threshold(window=WINDOW, reference_rows=REFERENCE_ROWS, expected_run_length=2_000)
        assert false_alarms(bound, streams=40, length=10_000, seed=1) <= 1.3 * 400_000 / 2_000

    @pytest.mark.long
    def test_false_alarms_are_as_rare_as_asked_for_in_five_million_values(self):
        """At the default rate, at most 1.3 times the nominal."""
        bound = threshold(window=WINDOW, reference_rows=REFERENCE_ROWS, expected_run_length=RUN_LENGTH)
        assert false_alarms(bound, streams=250, length=20_000, seed=2) <= 1.3 * 5_000_000 / RUN_LENGTH

    @pytest.mark.parametrize(
        ("change", "values"),
        [
            (lambda x: x + 0.25, 300),
            (lambda x: x + 0.5, 150),
            (lambda x: x + 1, 80),
            (lambda x: 1.5 * x, 320),
        ],
        ids=["quarter", "half", "one", "variance"],
    )
    def test_changes_are_found_soon(self, change, values):
        """Median delays at the default window and rate."""
        bound = threshold(window=WINDOW, reference_rows=REFERENCE_ROWS, expected_run_length=RUN_LENGTH)
        assert median_delay(bound, change, streams=150, seed=3) <= values

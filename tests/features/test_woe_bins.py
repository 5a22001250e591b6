"""Fine bins and how they are put together."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from platform_assets.features.woe_bins import EQUAL, Merged, Odds, merge, quantile_edges
from platform_assets.features.woe_prebins import least_rows

DIRECTIONS = ("auto", "up", "down", "peak", "none")


def plain_value(bins: np.ndarray, odds: Odds) -> float:
    """Information value by the formula alone; minus infinity where a bin has rows of one class and nothing is added."""
    totals = np.array([odds.non_events, odds.events])
    shares = (bins + odds.smoothing * totals / totals.sum()) / totals
    if (shares == 0).any():
        return -math.inf
    return float(
        ((bins[:, 0] / totals[0] - bins[:, 1] / totals[1]) * np.log(shares[:, 0] / shares[:, 1])).sum()
    )


def goes(bins: np.ndarray, direction: str) -> bool:
    """Whether the share of events goes along the bins as it should, in whole numbers."""
    # n1 / n below m1 / m where n1 m < m1 n.
    steps = [
        np.sign(int(after[1]) * int(before.sum()) - int(before[1]) * int(after.sum()))
        for before, after in itertools.pairwise(bins)
    ]
    up, down = all(step >= 0 for step in steps), all(step <= 0 for step in steps)
    if direction == "peak":
        return any(
            all(step >= 0 for step in steps[:at]) and all(step <= 0 for step in steps[at:])
            for at in range(len(steps) + 1)
        )
    return {"up": up, "down": down, "auto": up or down, "none": True}[direction]


def every_partition(counts: np.ndarray, max_bins: int, min_rows: int):
    """Each way to put neighbours together that keeps to the limits, as ends and bins."""
    for size in range(1, min(max_bins, len(counts)) + 1):
        for cuts in itertools.combinations(range(1, len(counts)), size - 1):
            bins = np.add.reduceat(counts, [0, *cuts], axis=0)
            if bins.sum(axis=1).min() >= min_rows:
                yield (*cuts, len(counts)), bins


def check_optimum(seed: int) -> str:
    """Compare one random case with all of its partitions; what it was."""
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 10))
    counts = random.integers(0, random.choice([3, 10, 1000]), (size, 2))
    counts[~counts.any(axis=1), 0] = 1
    outside = random.integers(1, 50, 2)  # missing and special rows, that are in no prebin
    totals = counts.sum(axis=0) + outside
    odds = Odds(int(totals[0]), int(totals[1]), float(random.choice([0, 0.5, 1, 20])))
    max_bins, direction = int(random.integers(2, 7)), str(random.choice(DIRECTIONS))
    min_rows = int(random.choice([0, 1, counts.sum() // 10, counts.sum() // 4, counts.sum() + 1]))

    merged = merge(counts, odds, max_bins=max_bins, min_rows=min_rows, monotonic=direction)

    allowed = {
        ends: value
        for ends, bins in every_partition(counts, max_bins, min_rows)
        if goes(bins, direction) and (value := plain_value(bins, odds)) > -math.inf
    }
    if not allowed:
        assert merged.ends == (size,)
        return "nothing allowed"
    best = max(allowed.values())
    assert merged.ends in allowed
    assert allowed[merged.ends] == pytest.approx(best, abs=1e-12)
    assert merged.value == pytest.approx(best, abs=1e-12)
    assert len(merged.ends) == min(len(ends) for ends, value in allowed.items() if value >= best - EQUAL / 2)
    bins = np.add.reduceat(counts, [0, *merged.ends[:-1]], axis=0)
    assert direction in {merged.direction, "auto"}
    assert goes(bins, merged.direction)
    return direction


def test_the_optimum_is_that_of_all_partitions():
    """No way to put neighbours together has more information, and none as much with fewer bins."""
    seen = [check_optimum(seed) for seed in range(1_000)]

    assert {*DIRECTIONS, "nothing allowed"} == set(seen)


@pytest.mark.long
def test_the_optimum_is_that_of_all_partitions_in_many_cases():
    """So it is in 5,000 more cases."""
    for seed in range(1_000, 6_000):
        check_optimum(seed)


def test_a_bin_of_equal_odds_is_not_cut():
    """Of equal information the fewest bins: neighbours with one share of events are one bin."""
    counts = np.array([[10, 10], [20, 20], [30, 30], [5, 50]])

    merged = merge(counts, Odds(65, 110, 0.0), max_bins=4, min_rows=1, monotonic="none")

    assert merged.ends == (3, 4)


def test_a_peak_is_found_where_a_slope_is_not():
    """A share of events that rises and falls has three bins as a peak, and fewer where it may only rise."""
    counts = np.array([[90, 10], [50, 50], [80, 20]])
    odds = Odds(220, 80, 1.0)

    peak = merge(counts, odds, max_bins=3, min_rows=1, monotonic="peak")
    up = merge(counts, odds, max_bins=3, min_rows=1, monotonic="up")

    assert peak == Merged((1, 2, 3), peak.value, "peak")
    assert up.ends == (1, 3)
    assert up.value < peak.value


def test_auto_takes_the_better_slope():
    """The direction is that which keeps more, and is told."""
    counts = np.array([[50, 50], [80, 20], [90, 10]])

    assert merge(counts, Odds(220, 80, 1.0), max_bins=3, min_rows=1, monotonic="auto").direction == "down"
    assert merge(counts[::-1], Odds(220, 80, 1.0), max_bins=3, min_rows=1, monotonic="auto").direction == "up"


def test_of_equal_slopes_auto_takes_the_rising_one():
    """A symmetric column says nothing about its direction; the choice is the same every time."""
    counts = np.array([[90, 10], [50, 50], [90, 10]])

    merged = merge(counts, Odds(230, 70, 1.0), max_bins=3, min_rows=1, monotonic="auto")

    assert (merged.direction, merged.ends) == ("up", (1, 3))


def test_fewer_rows_than_a_bin_needs_are_one_bin():
    """A column that is missing nearly everywhere has one bin, however small."""
    merged = merge(np.array([[3, 1], [1, 3]]), Odds(100, 100, 1.0), max_bins=5, min_rows=10, monotonic="auto")

    assert merged.ends == (2,)


@pytest.mark.parametrize(
    ("share", "rows", "least"), [(0.07, 100, 7), (0.07, 101, 8), (0.05, 20, 1), (0, 100, 0)]
)
def test_a_share_of_rows_is_counted_exactly(share, rows, least):
    """0.07 of 100 rows are 7, though 0.07 * 100 is a little more as floats."""
    assert least_rows(share, rows) == least


def test_the_weight_of_an_empty_bin_is_zero_and_of_an_average_one_too():
    """What tells nothing weighs nothing, and what is added leaves it so."""
    odds = Odds(700, 300, 1.0)

    assert odds.weight(0, 0) == 0.0
    assert odds.weight(7, 3) == pytest.approx(0, abs=1e-15)
    assert odds.weight(3, 7) < 0 < odds.weight(9, 1)
    assert math.isfinite(odds.weight(5, 0))
    with pytest.raises(ValueError, match="one class"):
        Odds(700, 300, 0.0).weight(5, 0)


values_of_columns = stn.arrays(
    np.float64,
    st.integers(0, 300),
    elements=st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5).map(float), st.just(0.0)
    ),
)


@given(values_of_columns, st.integers(2, 20))
@example(np.array([-5e-324, 0.0, 5e-324]), 10)
@example(np.array([-1.7976931348623157e308, 1.7976931348623157e308]), 10)
def test_edges_lie_between_values(values, prebins):
    """Edges ascend, cut between neighbours, and are a value only where nothing lies between it and the next."""
    edges = quantile_edges(values, prebins)

    distinct = np.unique(values)
    assert (np.diff(edges) > 0).all()
    assert np.isfinite(edges).all()
    below = np.searchsorted(distinct, edges, side="right")
    assert (below > 0).all()
    assert (below < distinct.size).all()
    assert (np.diff(below) > 0).all()
    with np.errstate(over="ignore"):
        next_to = np.nextafter(distinct[below - 1], np.inf) == distinct[below]
    assert not (np.isin(edges, distinct) & ~next_to).any()
    assert edges.size <= 2 * prebins
    if distinct.size <= prebins:
        assert edges.size == max(0, distinct.size - 1)


def test_edges_between_integers_are_halves():
    """An integer that the sample lacks is no edge either."""
    edges = quantile_edges(np.array([1.0, 3.0, 5.0, 1000.0]), 10)

    assert edges.tolist() == [2.5, 4.5, 502.5]


def test_prebins_hold_about_as_many_rows_each_and_a_heavy_value_has_its_own():
    """Quantiles cut where ties allow it; the value of half of all rows is cut off on both sides."""
    random = np.random.default_rng(1)
    values = np.concatenate([np.zeros(5_000), random.normal(size=5_000)])

    edges = quantile_edges(values, 20)
    held = np.bincount(np.searchsorted(edges, values))

    assert held.max() == 5_000
    assert np.sort(held)[-2] <= 600
    assert np.isin(values, edges).sum() == 0

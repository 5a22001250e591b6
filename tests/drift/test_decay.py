"""How fast a model decays: the slope is right, its interval covers, and doubt is no measurement."""

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.drift.decay import MIN_CLASS_ROWS, LabelledDay, labelled_days, model_decay_rate
from platform_assets.drift.event import EventBatch, PredictionEvent
from platform_assets.drift.pictures import decay_picture
from platform_assets.drift.segments import DriftLog
from platform_assets.validation.metrics import roc_auc
from resources.object_store import LocalObjectStore
from tests.benchmarks.decay import measure_decay

FIRST = date(2026, 11, 1)


def day_of(number, rng, *, separation=1.5, rows=200):
    """A day whose positive rows score `separation` standard deviations higher."""
    labels = np.arange(rows) % 2
    return LabelledDay(FIRST + timedelta(days=number), labels, labels * separation + rng.normal(size=rows))


def auc_at(separation):
    """The AUC of two unit normals so far apart."""
    return 0.5 * (1 + math.erf(separation / 2))


def test_a_model_that_decays_is_found_out():
    """The slope is that of the AUC, and the whole interval lies below zero."""
    rng = np.random.default_rng(1)
    decay = model_decay_rate([day_of(day, rng, separation=2 - 0.08 * day, rows=1000) for day in range(15)])
    true_rate = (auc_at(2 - 0.08 * 14) - auc_at(2)) / 14
    assert decay.slope.low < true_rate < decay.slope.high
    assert decay.decays
    assert decay.slope.per_day == pytest.approx(true_rate, abs=0.003)


def test_the_interval_covers_as_often_as_it_says():
    """Of models that do not decay, about 5 % get an interval without 0: days weigh what their rows are worth."""
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(300):
        days = [day_of(day, rng, rows=int(rng.choice([60, 400]))) for day in range(10)]
        decay = model_decay_rate(days)
        missed += not decay.slope.low <= 0 <= decay.slope.high
    assert 3 <= missed <= 27  # of Binomial(300, 0.05), all but 2·10^-3


def test_the_variance_is_delongs():
    """Equal, for one day of its own, to the variance of the AUC over many such days."""
    rng = np.random.default_rng(3)
    days = [day_of(day, rng, rows=120) for day in range(800)]
    measured = model_decay_rate(days).days
    observed = np.var([each.auc for each in measured], ddof=1)
    assert np.mean([each.variance for each in measured]) == pytest.approx(observed, rel=0.15)


def test_a_bad_week_is_no_trend():
    """Days that scatter more than their rows explain widen the interval."""
    rng = np.random.default_rng(4)
    steady = [day_of(day, rng, rows=2000) for day in range(12)]
    ragged = [day_of(day, rng, rows=2000, separation=1.5 + 0.5 * (-1) ** (day // 2)) for day in range(12)]
    widths = [decay.slope.high - decay.slope.low for decay in map(model_decay_rate, (steady, ragged))]
    assert widths[1] > 3 * widths[0]


def test_the_interval_also_covers_where_days_scatter():
    """Of models that go up and down from day to day but do not decay, not many more than 5 % get an interval without 0."""
    rng = np.random.default_rng(11)
    missed = 0
    for _ in range(300):
        slope = model_decay_rate(
            [day_of(day, rng, rows=400, separation=rng.normal(1.5, 0.4)) for day in range(5)]
        ).slope
        missed += not slope.low <= 0 <= slope.high
    assert missed <= 27  # of Binomial(300, 0.05), all but 2·10^-3; by the normal quantile it would be 45


@settings(max_examples=20)
@given(st.permutations(range(6)))
def test_the_order_of_days_does_not_matter(order):
    """Days are put in order of their dates."""
    rng = np.random.default_rng(5)
    days = [day_of(day, rng, rows=60) for day in range(6)]
    assert model_decay_rate([days[at] for at in order]) == model_decay_rate(days)


def test_days_with_too_few_of_one_class_are_left_out():
    """With the reason; the others are measured as if it had not been there."""
    rng = np.random.default_rng(6)
    days = [day_of(day, rng) for day in range(5)]
    scarce = LabelledDay(
        FIRST + timedelta(days=9), np.array([1] * 50 + [0] * (MIN_CLASS_ROWS - 1)), rng.normal(size=59)
    )
    one_class = LabelledDay(FIRST + timedelta(days=10), np.ones(50, int), rng.normal(size=50))
    decay = model_decay_rate([*days, scarce, one_class])
    assert decay.slope.per_day == model_decay_rate(days).slope.per_day
    assert "9 negative" in decay.left_out[scarce.day]
    assert "both classes" in decay.left_out[one_class.day]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_day_with_a_score_that_is_no_number_is_not_measured(bad):
    """It is left out and told, and never becomes part of a slope."""
    rng = np.random.default_rng(7)
    days = [day_of(day, rng) for day in range(4)]
    days[2].scores[5] = bad
    decay = model_decay_rate(days)
    assert "NaN or infinite" in decay.left_out[days[2].day]
    assert math.isfinite(decay.slope.per_day)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_without_enough_days_there_is_no_rate(count):
    """And so it does not decay, as far as anybody knows."""
    rng = np.random.default_rng(8)
    decay = model_decay_rate([day_of(day, rng) for day in range(count)])
    assert (decay.slope, decay.decays) == (None, False)
    assert "at least 3" in decay.not_measured_because


def test_perfect_days_alone_say_nothing_about_their_error():
    """No interval of width zero is made up; one imperfect day is enough to know better."""
    rng = np.random.default_rng(9)
    perfect = [day_of(day, rng, separation=50) for day in range(4)]
    assert "perfectly" in model_decay_rate(perfect).not_measured_because
    decay = model_decay_rate([*perfect, day_of(4, rng)])
    assert decay.slope.high > decay.slope.low


def test_labels_that_come_later_are_read_by_day_and_version(tmp_path):
    """Each event once, with the last label told, under the day of its answer."""
    store = LocalObjectStore(tmp_path)
    log = DriftLog(store, env="dev", line="line")

    def label(event_id, day, score, label, version=1):
        at = datetime(2026, 11, day, 12, tzinfo=UTC)
        batch = EventBatch.of([PredictionEvent(event_id, at, "line", version, {}, score, label)])
        log.add_labels(batch, version)

    label("a", 1, 0.2, 1)
    label("b", 1, 0.9, 1)
    label("c", 2, 0.4, 0)
    label("d", 2, 0.4, 0, version=2)
    log.flush()
    label("a", 1, 0.2, 0)
    label("e", 1, math.nan, 0)
    log.flush()
    found = labelled_days(store, env="dev", line="line")
    assert sorted(found) == [1, 2]
    first, second = found[1]
    assert (first.day, second.day) == (date(2026, 11, 1), date(2026, 11, 2))
    assert dict(zip(first.scores.tolist(), first.labels.tolist(), strict=True)) == {0.2: 0, 0.9: 1}
    assert roc_auc(first.labels, first.scores) == 1
    assert [day.day for day in labelled_days(store, env="dev", line="line", newest_days=1)[1]] == [second.day]


def test_the_picture_of_a_decay():
    """A PNG, with and without a rate."""
    rng = np.random.default_rng(10)
    for count in (2, 8):
        decay = model_decay_rate([day_of(day, rng) for day in range(count)])
        assert decay_picture(decay).startswith(b"\x89PNG")


def test_our_detector_of_errors_beside_adwin(tmp_path):
    """Both notice a model that is often wrong; only ours is quick where errors change their shape."""
    pytest.importorskip("river", reason="no river: install the extra `dev`")
    detectors = measure_decay(tmp_path, streams=5, null_streams=1).detectors
    ours, adwin = detectors["count window 250, KS"], detectors["river ADWIN, mean"]
    assert ours.missed["25 % labels flipped"] == adwin.missed["25 % labels flipped"] == 0
    assert ours.median_delay["twice as sure"] < 0.3 * adwin.median_delay["twice as sure"]

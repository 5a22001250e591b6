"""Prediction events: to JSON and back, and side by side as columns."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import EventBatch, PredictionEvent, hashed, milliseconds, moment


def make_event(**changes):
    """An event with `changes`."""
    return PredictionEvent(
        **{
            "event_id": "e1",
            "event_time": datetime(2026, 1, 31, 12, tzinfo=UTC),
            "line": "reviews_sentiment",
            "model_version": 3,
            "columns": {"words": 120.0, "source": "imdb"},
            "score": 0.75,
        }
        | changes
    )


_texts = st.text(st.characters(exclude_characters="\0"), max_size=5)


@given(
    score=st.floats(0, 1),
    label=st.none() | st.integers(0, 1),
    columns=st.dictionaries(
        _texts,
        st.floats(allow_nan=False, allow_infinity=False) | _texts,
        max_size=3,
    ),
    time=st.datetimes(timezones=st.just(UTC)),
)
def test_event_survives_json(score, label, columns, time):
    """What is written as JSON text is read as the same event."""
    event = make_event(score=score, label=label, columns=columns, event_time=time)
    assert PredictionEvent.from_json(json.loads(json.dumps(event.to_json(), allow_nan=False))) == event


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_null_and_read_as_missing(missing):
    """NaN and infinity are valid JSON as null, and come back as NaN."""
    content = make_event(score=missing, columns={"words": missing}).to_json()
    assert content["score"] is None
    assert content["columns"] == {"words": None}
    event = PredictionEvent.from_json(content)
    assert math.isnan(event.score)
    assert math.isnan(event.columns["words"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""),
        ("event_id", 7),
        ("event_id", "x" * 257),
        ("event_time", "2026-01-31T12:00:00"),
        ("event_time", "yesterday"),
        ("event_time", "0001-01-01T00:00:00+14:00"),
        ("event_time", 1769860800),
        ("line", None),
        ("model_version", True),
        ("model_version", "3"),
        ("columns", ["words"]),
        ("columns", {"words": [1]}),
        ("columns", {"source": "x" * 257}),
        ("event_id", "\0"),
        ("line", "reviews\0"),
        ("columns.source", {"source": "im\0db"}),
        ("columns", {"sou\0rce": 1}),
        ("score", "0.5"),
        ("score", True),
        ("label", 2),
        ("label", True),
        ("label", 0.5),
        ("label", 2.0),
        ("model_version", 3.5),
        ("colour", "red"),
    ],
)
def test_wrong_field_is_refused_by_name(field, value):
    """A field that is unknown or of another type is refused, and the message names it."""
    with pytest.raises(DriftError, match=field):
        PredictionEvent.from_json(make_event().to_json() | {field.split(".")[0]: value})


@pytest.mark.parametrize("field", ["event_id", "event_time", "line", "model_version", "columns", "score"])
def test_missing_field_is_refused_by_name(field):
    """Every field but the label must be there."""
    content = make_event().to_json()
    del content[field]
    with pytest.raises(DriftError, match=field):
        PredictionEvent.from_json(content)


def test_any_json_text_can_be_an_id():
    """Ids that are no valid UTF-8 are hashed all the same, and apart."""
    event = PredictionEvent.from_json(make_event().to_json() | {"event_id": json.loads('"\\ud800"')})
    assert len(set(EventBatch.of([event, make_event(event_id="\ud801")]).event_ids.tolist())) == 2


@pytest.mark.parametrize("content", [None, [], "event", 3])
def test_what_is_no_object_is_refused(content):
    """A JSON value that is no object is no event."""
    with pytest.raises(DriftError, match="JSON object"):
        PredictionEvent.from_json(content)


def test_number_too_large_for_a_float_is_infinite():
    """JSON integers have no bound; what no float can hold is read as infinite."""
    assert PredictionEvent.from_json(make_event().to_json() | {"score": 10**400}).score == math.inf


def test_batch_puts_events_side_by_side():
    """Columns are the union of the events' columns; what an event lacks is missing."""
    batch = EventBatch.of(
        [
            make_event(),
            make_event(event_id="e2", label=1, columns={"words": 7.0}, score=math.nan),
            make_event(event_id="e3", label=0, columns={"source": "rt"}),
        ]
    )
    assert len(batch) == 3
    assert batch.event_ids.tolist() == hashed(["e1", "e2", "e3"]).tolist()
    assert batch.event_time_ms.tolist() == [1769860800000] * 3
    np.testing.assert_array_equal(batch.score, [0.75, math.nan, 0.75])
    np.testing.assert_array_equal(batch.label, [math.nan, 1, 0])
    np.testing.assert_array_equal(batch.columns["words"], [120, 7, math.nan])
    assert batch.columns["source"].tolist() == ["imdb", None, "rt"]
    assert len(EventBatch.of([])) == 0


def test_what_is_missing_is_no_category():
    """A text that is null is missing like one that was not sent; a column without any value is left out."""
    events = [
        make_event(event_id=str(row), columns={"source": value, "words": math.nan})
        for row, value in enumerate(("rt", math.nan))
    ]
    batch = EventBatch.of(events)
    assert list(batch.columns) == ["source"]
    assert batch.columns["source"].tolist() == ["rt", None]


def test_batch_of_uneven_columns_is_refused():
    """Every column has as many rows as there are ids."""
    batch = EventBatch.of([make_event()])
    with pytest.raises(DriftError, match="words"):
        EventBatch(batch.event_ids, batch.event_time_ms, batch.score, batch.label, {"words": np.zeros(2)})


def test_event_time_needs_a_zone():
    """A time without a zone could be any of 38."""
    with pytest.raises(DriftError, match="time zone"):
        make_event(event_time=datetime(2026, 1, 31))  # noqa: DTZ001


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])))
def test_milliseconds_lose_less_than_one(time):
    """Milliseconds since the epoch are exact and rounded down, in any zone."""
    assert timedelta(0) <= time - moment(milliseconds(time)) < timedelta(milliseconds=1)

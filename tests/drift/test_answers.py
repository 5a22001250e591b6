"""What the drift monitor is told of predictions."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from platform_assets.drift.answers import prediction_events
from platform_assets.serving.predictor import Prediction

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def make_predictions(number):
    """So many answers of one release."""
    answer = Prediction(
        event_id="", score=0.25, label=0, line="reviews_sentiment", model_version=3, release_id="r"
    )
    return [replace(answer, event_id=f"e{each}") for each in range(number)]


def test_events_say_who_answered_and_when():
    """Line, model version, score and id are the prediction's; a label is not known yet."""
    (event,) = prediction_events(make_predictions(1), [{"words": 2.0}], event_time=NOW)
    assert (event.event_id, event.event_time) == ("e0", NOW)
    assert (event.line, event.model_version, event.score, event.label) == ("reviews_sentiment", 3, 0.25, None)
    assert event.columns == {"words": 2.0}


def test_source_is_told_where_it_is_known():
    """A source becomes a column of its own."""
    (event,) = prediction_events(make_predictions(1), [{"words": 2.0}], event_time=NOW, source="imdb")
    assert event.columns == {"words": 2.0, "source": "imdb"}


def test_every_prediction_needs_what_is_watched_of_it():
    """Answers and instances that do not pair up are an error, not a guess."""
    with pytest.raises(ValueError, match="shorter"):
        prediction_events(make_predictions(2), [{"words": 2.0}], event_time=NOW)

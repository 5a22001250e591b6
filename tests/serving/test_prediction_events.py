"""What the drift monitor is told of predictions."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from platform_assets.features.tokens import load_tokenizer, token_features
from platform_assets.serving.predictor import Prediction, prediction_events

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TEXTS = ["", " a  film ", "naïve\u00a0Kieślowski\nfilm", "one\ttwo\r\nthree four"]


def make_predictions(number):
    """So many answers of one release."""
    answer = Prediction(
        event_id="", score=0.25, label=0, line="reviews_sentiment", model_version=3, release_id="r"
    )
    return [replace(answer, event_id=f"e{each}") for each in range(number)]


def test_events_say_who_answered_and_when():
    """Line, model version, score and id are the prediction's; a label is not known yet."""
    (event,) = prediction_events(make_predictions(1), ["a film"], event_time=NOW)
    assert (event.event_id, event.event_time) == ("e0", NOW)
    assert (event.line, event.model_version, event.score, event.label) == ("reviews_sentiment", 3, 0.25, None)
    assert event.columns == {"words": 2.0}


def test_source_is_told_where_it_is_known():
    """A source becomes a column of its own."""
    (event,) = prediction_events(make_predictions(1), ["a film"], event_time=NOW, source="imdb")
    assert event.columns == {"words": 2.0, "source": "imdb"}


def test_words_are_those_of_the_features(encoder):
    """The reference profile is made of the features' counts, so events must count alike, whatever the spaces."""
    rows = pa.table(
        {
            "review_id": [str(each) for each in range(len(TEXTS))],
            "text": TEXTS,
            "label": [0] * len(TEXTS),
            "source": ["imdb"] * len(TEXTS),
            "split": ["test"] * len(TEXTS),
        }
    )
    features = token_features(rows, load_tokenizer(encoder, max_length=16, head_fraction=0.25))
    events = prediction_events(make_predictions(len(TEXTS)), TEXTS, event_time=NOW)
    assert [event.columns["words"] for event in events] == features["words"].to_pylist()


def test_every_prediction_needs_its_text():
    """Answers and texts that do not pair up are an error, not a guess."""
    with pytest.raises(ValueError, match="shorter"):
        prediction_events(make_predictions(2), ["a film"], event_time=NOW)

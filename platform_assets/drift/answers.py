"""Answers of a deployed model as the events that a monitor takes."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from platform_assets.drift.event import PredictionEvent
from platform_assets.serving.predictor import Prediction


def prediction_events(
    predictions: Sequence[Prediction],
    watched: Sequence[Mapping[str, float | str]],
    *,
    event_time: datetime,
    source: str | None = None,
) -> list[PredictionEvent]:
    """What the drift monitor is told of these answers.

    Args:
        predictions: Answers.
        watched: What `Scorer.watched` tells of what each of them answers.
        event_time: When they were given, with a time zone.
        source: Where the instances come from, where that is known.
    """
    return [
        PredictionEvent(
            event_id=prediction.event_id,
            event_time=event_time,
            line=prediction.line,
            model_version=prediction.model_version,
            columns={**columns, **({"source": source} if source else {})},
            score=prediction.score,
        )
        for prediction, columns in zip(predictions, watched, strict=True)
    ]

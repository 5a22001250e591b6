"""Answers from the deployed release: the pointer is resolved once, then everything is read by version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import uuid4

from platform_assets.drift.event import PredictionEvent
from platform_assets.governance import release as releases
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.release import Release
from platform_assets.models.scorer import SavedClassifier
from platform_assets.serving.inference_service import ServingError
from resources.object_store import ObjectStore

_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer, and which release gave it."""

    event_id: str
    """Of this answer alone, wherever it was given."""
    score: float
    """Probability of label 1."""
    label: int
    line: str
    model_version: int
    release_id: str


@dataclass(frozen=True, slots=True)
class Predictor:
    """A loaded release."""

    release: Release
    classifier: SavedClassifier

    @classmethod
    def of_active_release(cls, line: str, *, ledger: Ledger, store: ObjectStore) -> Self:
        """The predictor of the line's active release.

        Raises:
            ServingError: nothing is deployed.
            ObjectStoreError: the model's files are missing or damaged.
        """
        release = releases.active(ledger, line)
        if release is None:
            raise ServingError(
                f"line {line} has no active release; deploy one with: platform-assets run {line}"
            )
        return cls(
            release, SavedClassifier.load(store.folder(release.card.registered.report.model.object_prefix))
        )

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction for each text, in order."""
        return [
            Prediction(
                event_id=uuid4().hex,
                score=float(score),
                label=int(score >= _THRESHOLD),
                line=self.release.line,
                model_version=self.release.card.registered.number,
                release_id=self.release.release_id,
            )
            for score in self.classifier.score_texts(texts)
        ]


def prediction_events(
    predictions: Sequence[Prediction],
    texts: Sequence[str],
    *,
    event_time: datetime,
    source: str | None = None,
) -> list[PredictionEvent]:
    """What the drift monitor is told of these answers; of the texts only their length.

    Args:
        predictions: Answers.
        texts: What each of them answers.
        event_time: When they were given, with a time zone.
        source: Where the texts come from, where that is known.
    """
    return [
        PredictionEvent(
            event_id=prediction.event_id,
            event_time=event_time,
            line=prediction.line,
            model_version=prediction.model_version,
            # Counted as the features that the reference profile is made of.
            columns={"words": float(len(text.split()))} | ({"source": source} if source else {}),
            score=prediction.score,
        )
        for prediction, text in zip(predictions, texts, strict=True)
    ]

"""Answers from the deployed release: the pointer is resolved once, then everything is read by version."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

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
                score=float(score),
                label=int(score >= _THRESHOLD),
                line=self.release.line,
                model_version=self.release.card.registered.number,
                release_id=self.release.release_id,
            )
            for score in self.classifier.score_texts(texts)
        ]

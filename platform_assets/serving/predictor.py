"""Answers from the deployed release: the pointer is resolved once, then everything is read by version."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self
from uuid import uuid4

from pydantic import JsonValue

from platform_assets.governance import release as releases
from platform_assets.governance.release import Release, Stage
from platform_assets.ledger.ledger import Ledger
from platform_assets.models.instances import refuse_untexts
from platform_assets.models.scorer import Scorer, explanations
from platform_assets.references import ModelVersion
from platform_assets.serving.inference_service import ServingError
from resources.object_store import ObjectStore


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
    explanation: Mapping[str, JsonValue] = field(default_factory=dict)
    """What led to it, as the task tells it: of a scorecard `points`, `decision` and `reasons`. Of most models nothing."""

    def to_json(self) -> dict[str, JsonValue]:
        """As people and programs are told it: the explanation's parts stand beside the score."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "explanation"}
        return {**own, **self.explanation, **own}


@dataclass(frozen=True, slots=True)
class Predictor:
    """A loaded release."""

    release: Release
    scorer: Scorer

    @classmethod
    def of_active_release(
        cls,
        line: str,
        load: Callable[[ModelVersion, Path], Scorer],
        *,
        ledger: Ledger,
        store: ObjectStore,
        stage: Stage = "production",
    ) -> Self:
        """The predictor of the line's active release.

        Args:
            line: The line.
            load: Loads a model of any task from a folder.
            ledger: Names the active release.
            store: Holds its files.
            stage: Another stage than production, whose release answers instead.

        Raises:
            ServingError: nothing is deployed there.
            ObjectStoreError: the model's files are missing or damaged.
        """
        release = releases.active(ledger, line, stage)
        if release is None and stage == "staging":
            raise ServingError(
                f"line {line} has nothing in staging: what was there is in production, or no run has brought anything there"
            )
        if release is None and releases.active(ledger, line, "staging") is not None:
            raise ServingError(
                f"line {line} has nothing in production yet; what is in staging answers with --stage staging, and gets to "
                f"production with: platform-assets promote {line}"
            )
        if release is None:
            raise ServingError(
                f"line {line} has no active release; deploy one with: platform-assets run {line} (with --spec FILE, where "
                "its spec is one of your own)"
            )
        model = release.card.registered.report.model
        return cls(release, load(model, store.folder(model.object_prefix)))

    @property
    def model(self) -> ModelVersion:
        """The model that answers."""
        return self.release.card.registered.report.model

    def predict(self, instances: Sequence[JsonValue]) -> list[Prediction]:
        """One prediction for each instance, in order.

        Raises:
            PlatformError: an instance is none of the line's task, or a string in it is no text.
        """
        refuse_untexts(instances)
        return [
            Prediction(
                event_id=uuid4().hex,
                score=float(score),
                label=int(score >= self.scorer.threshold),
                line=self.release.line,
                model_version=self.release.card.registered.number,
                release_id=self.release.release_id,
                explanation=explanation,
            )
            for score, explanation in zip(
                self.scorer.score_instances(instances), explanations(self.scorer, instances), strict=True
            )
        ]

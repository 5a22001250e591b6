"""A trained model of a table with its encoding: rows or objects in, probabilities out."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.features.joined import is_joined
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.models.errors import TrainingError
from platform_assets.tasks.tabular_classification.encoding import ENCODING_FILE
from platform_assets.tasks.tabular_classification.inputs import ModelInputs
from platform_assets.tasks.tabular_classification.logistic import Logistic
from platform_assets.tasks.tabular_classification.points import (
    POINTS_FILE,
    PointsTable,
    explained,
    points_table,
)
from platform_assets.tasks.tabular_classification.scorecard import Scorecard
from platform_assets.tasks.tabular_classification.spec import TabularTrainingSpec
from platform_assets.tasks.tabular_classification.trees import Trees

if TYPE_CHECKING:
    import pyarrow as pa

CLASSIFIER_FILE: Final = "classifier.json"
_SHOWN_COLUMNS: Final = 3


class Classifier(BaseModel):
    """What is said of a model beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: Literal["logistic", "gradient_boosting", "scorecard"]
    threshold: float = Field(gt=0, lt=1)
    features: tuple[str, ...]
    """Names of the columns that it reads, in its order."""

    def to_bytes(self) -> bytes:
        """As canonical JSON."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What was written.

        Raises:
            TrainingError: it is something else.
        """
        try:
            return cls.model_validate_json(content)
        except PydanticValidationError:
            raise TrainingError(f"{CLASSIFIER_FILE}: is no model of a table; train it again") from None


@dataclass(frozen=True, slots=True)
class TabularScorer:
    """The model in a folder, loaded once. An instance is an object of some of the columns; see `ModelInputs.read`."""

    model: Trees | Logistic | Scorecard
    inputs: ModelInputs
    features: tuple[str, ...]
    """What the model reads, in its order."""
    threshold: float
    points: PointsTable | None = None
    """Of a scorecard."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model saved in `folder`. Its files are JSON and arrays: reading them runs no code.

        Raises:
            PlatformError: a file is missing, damaged, or of another model.
        """
        try:
            classifier = Classifier.from_bytes((folder / CLASSIFIER_FILE).read_bytes())
            inputs = ModelInputs.load(folder)
        except OSError:
            raise TrainingError(
                f"{folder}: holds no whole model of a table ({CLASSIFIER_FILE}, {ENCODING_FILE}); train it again"
            ) from None
        if sorted(inputs.names) != sorted(classifier.features):
            raise TrainingError(f"{folder}: the encoding is of other columns than the model; train it again")
        model = _MODELS[classifier.model].load(folder, features=len(classifier.features))
        points = (
            _own_points(folder, model, inputs, classifier.threshold) if isinstance(model, Scorecard) else None
        )
        return cls(model, inputs, classifier.features, classifier.threshold, points)

    def score_features(self, features: "pa.Table") -> NDArray[np.float64]:
        """See `Scorer.score_features`; reads the columns by their names."""
        return self._score(np.stack([features[name].to_numpy() for name in self.features], axis=1))

    def score_rows(self, rows: "pa.Table", chosen: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """See `Scorer.score_rows`; reads the columns by their names."""
        return self._score(self._ordered(self.inputs.rows(rows, chosen)))

    def score_instances(self, instances: Sequence[JsonValue]) -> NDArray[np.float64]:
        """See `Scorer.score_instances`."""
        return self._score(self._ordered(self.inputs.instances(instances)))

    @property
    def joined(self) -> Collection[str]:
        """See `Joining.joined`."""
        return self.inputs.joined

    def with_tables(self, tables: Mapping[str, "pa.Table"]) -> Self:
        """See `Joining.with_tables`."""
        return replace(self, inputs=self.inputs.with_tables(tables))

    def watched(self, instances: Sequence[JsonValue]) -> list[Mapping[str, float | str]]:
        """See `Scorer.watched`: every value that is there, as it was given."""
        return list(self.inputs.read(instances))

    def explain(self, instances: Sequence[JsonValue]) -> list[Mapping[str, JsonValue]]:
        """See `Explaining.explain`: of a scorecard the points, the decision and its reasons, of others nothing."""
        if self.points is None:
            return [{} for _ in instances]
        labels = (self.score_instances(instances) >= self.threshold).astype(int).tolist()
        positions = self.inputs.positions(instances)
        by_row = np.stack([positions[each.feature] for each in self.points.characteristics], axis=1)
        return explained(self.points, by_row.tolist(), labels)

    def _ordered(self, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        return encoded[:, [self.inputs.names.index(name) for name in self.features]]

    def _score(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import expit

        scores: NDArray[np.float64] = expit(self.model.log_odds(features))
        return scores


_MODELS: Final[Mapping[str, type[Trees] | type[Logistic] | type[Scorecard]]] = MappingProxyType(
    {"gradient_boosting": Trees, "logistic": Logistic, "scorecard": Scorecard}
)


def _own_points(folder: Path, model: Scorecard, inputs: ModelInputs, threshold: float) -> PointsTable:
    """The table in a model's folder, which follows from the rest of it.

    Raises:
        TrainingError: it is missing or damaged, or is of another model.
    """
    try:
        content = (folder / POINTS_FILE).read_bytes()
    except OSError:
        raise TrainingError(f"{POINTS_FILE}: the scorecard has no table of points; train it again") from None
    table = PointsTable.from_bytes(content)
    if not table.gives_the_points_of(
        points_table(model, inputs.transformers, threshold=threshold, event=table.event)
    ):
        raise TrainingError(f"{POINTS_FILE}: is not the table of this scorecard; train it again")
    return table


def example_instance(spec: TabularTrainingSpec, transformers: Mapping[str, TransformerSpec]) -> str:
    """An object that a model of this spec answers: some of its columns, with values that any such column may have.

    And every feature that is looked up in a table, which an instance must give.
    """
    values: dict[str, JsonValue] = {}
    for name, column in spec.features.items():
        if name in spec.derived:
            continue
        if column.role == "numeric":
            values[name] = 1
        elif column.role == "ordinal":
            values[name] = column.order[0]
    given = dict(list(values.items())[:_SHOWN_COLUMNS])
    joined = [each for each in transformers.values() if is_joined(each, spec.line)]
    given |= {output: None for each in joined for output in each.outputs.values()}
    return json.dumps(given, ensure_ascii=False)


def read_instance(argument: str) -> JsonValue:
    """The object that an argument of the command line is.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        read = json.loads(argument)
    except json.JSONDecodeError as problem:
        raise ValueError(f"is no JSON ({problem.msg} at character {problem.pos + 1})") from None
    if not isinstance(read, dict):
        raise ValueError('is no JSON object; write one like {"Income": 129}')  # noqa: TRY004 - as the caller expects
    return read

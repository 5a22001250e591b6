"""A machine-learning task: all that a line of it does differently from lines of others."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import JsonValue

from platform_assets.datasets.ingestion import Ingestion
from platform_assets.datasets.spec import OVERRIDABLE as DATASET_OVERRIDABLE
from platform_assets.features.featurizer import Featurizer
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.models.trainer import Trainer
from platform_assets.scaffold.draft import Drafter
from platform_assets.tasks.training_spec import TrainingSpec
from platform_assets.validation.evaluator import Evaluator
from platform_assets.validation.gate import Rule, rules_with
from platform_assets.validation.reference import SHARED_COLUMNS
from platform_assets.validation.spec import OVERRIDABLE as VALIDATION_OVERRIDABLE

S = TypeVar("S", bound=TrainingSpec)
Overrides = Mapping[str, Mapping[str, JsonValue]]
"""Values that one run uses instead of the spec's, by stage and field."""


@dataclass(frozen=True, slots=True)
class Task(Generic[S]):
    """Four parts, each behind the Protocol of the domain that uses it, and a spec that names what they need."""

    name: str
    """As specs write it: the name of its folder, with hyphens."""
    spec: type[S]
    ingestion: Ingestion[S]
    featurizer: Featurizer[S]
    trainer: Trainer[S, Any]
    evaluator: Evaluator[S]
    model_format: str
    """KServe's name of the models' format, by which it picks a serving runtime."""
    read_instance: Callable[[str], JsonValue]
    """What somebody asks about, from an argument of the command line; raises ValueError where it is none."""
    example_instance: Callable[[S, Mapping[str, TransformerSpec]], str]
    """An argument that `read_instance` reads and a model of this spec, with these transformers, answers: to be shown."""
    drafter: Drafter | None = None
    """Writes the first draft of a line from a look at its data; None where somebody has to write it."""
    card_sections: Path | None = None
    """YAML file of the sections that only cards of this task's models have, as in `card-schema.yaml`."""
    companions: Callable[[S], Mapping[str, str]] = lambda spec: {"contract": spec.contract}
    """Files beside a spec that belong to it, by the field that names each, besides its Experiment."""

    def files_of(self, spec: S) -> dict[str, str]:
        """Files beside a spec that belong to it, by the field that names each: a push of one is a push of the spec."""
        tuned = {} if spec.experiment is None else {"experiment": spec.experiment}
        return {**self.companions(spec), **tuned}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules of gates that a line of this task may have, by name."""
        return rules_with(self.evaluator.rules)

    def watchable(self, spec: S) -> tuple[str, ...]:
        """Columns of prediction events that drift can be measured of."""
        score, *others = SHARED_COLUMNS
        return (score, *self.evaluator.profiled(spec), *others)

    @property
    def overridable(self) -> dict[str, Collection[str]]:
        """What one run may change, by stage.

        The rest is what the definitions are made of: gates, requirements, contract and splits, so that no run can
        loosen what it is judged by.
        """
        return {
            "dataset": DATASET_OVERRIDABLE,
            "features": self.featurizer.overridable,
            "model": self.trainer.fields,
            "validation": VALIDATION_OVERRIDABLE,
        }

    def overrides(self, spec: S) -> dict[str, dict[str, JsonValue]]:
        """The values of everything that one run may change, by stage and field."""
        values = spec.model_dump(mode="json")
        return {
            stage: {field: (values if field in values else values["drift"])[field] for field in fields}
            for stage, fields in self.overridable.items()
        }

    def with_overrides(self, spec: S, overrides: Overrides) -> S:
        """The spec with these values put into their places.

        Raises:
            ValueError: a value is out of range.
        """
        values = spec.model_dump(mode="json")
        for fields in overrides.values():
            for field, value in fields.items():
                (values if field in values else values["drift"])[field] = value
        return self.spec.model_validate(values)


AnyTask = Task[Any]

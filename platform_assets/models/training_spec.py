"""`training-spec.yaml`: one model line, declared.

The same file is read on a laptop and on a cluster. It is parsed strictly: an unknown key, a wrong type
or a value out of range is one error that names file, line and field.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from platform_assets.datasets.spec import LAUNCHPAD, DatasetSpec
from platform_assets.drift.spec import DriftSpec
from platform_assets.features.spec import TokensSpec
from platform_assets.governance.verdict import Requirement
from platform_assets.manifest import Manifest, Many, Section, read_manifest
from platform_assets.models.hyper_parameters import HyperParameters
from resources.cluster import mebibytes

MEMORY_PATTERN = r"^[1-9][0-9]*(Mi|Gi)$"


class TolerationSpec(Section):
    """A taint of nodes that the training pod may run on all the same."""

    key: Annotated[str, Field(min_length=1)]
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class ResourcesSpec(Section):
    """What the training step asks for; only an executor that makes pods reads the amounts."""

    gpu: Annotated[int, Field(ge=0, le=16)] = 0
    """GPUs of each node; one training process each."""
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Machines that train together."""
    mixed_precision: bool = True
    cpu: Annotated[str, Field(pattern=r"^([1-9][0-9]*m?|[0-9]+\.[0-9]+)$")] = "2"
    memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] = "8Gi"
    max_memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] | None = None
    """A pod that ran out of memory is tried again with twice as much, up to this; default: twice `memory`."""
    shared_memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] | None = None
    """Size of /dev/shm, part of `memory`; default: what the container runtime gives."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that will do."""
    tolerations: Many[TolerationSpec] = ()
    runtime_class: str | None = None
    """Name of a Kubernetes RuntimeClass, e.g. `nvidia`."""
    priority_class: str | None = None
    """Name of a Kubernetes PriorityClass; default: that of the run's pod."""

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        for name, least, most in (
            ("max_memory must not be less than memory", self.memory, self.max_memory),
            ("shared_memory must not exceed memory", self.shared_memory, self.memory),
        ):
            if least and most and mebibytes(least) > mebibytes(most):
                raise ValueError(name)
        return self


class RequiresSpec(Section):
    """The verdicts each act demands; an act that demands nothing is not allowed."""

    deploy: Annotated[Many[Requirement], Field(min_length=1)]


class DeploymentSpec(Section):
    """How the released model is served."""

    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 3
    cpu: str = "1"
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")] = "2Gi"
    gpu: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not exceed max_replicas")
        return self


class CardSpec(Section):
    """What only people can say about the model."""

    owner: Annotated[str, Field(min_length=1)]
    intended_use: Annotated[str, Field(min_length=1)]
    limitations: Annotated[str, Field(min_length=1)]


class TrainingSpec(DatasetSpec, TokensSpec, HyperParameters):
    """One model line: data, tokens, training, gates, deployment."""

    line: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9_]{0,46}[a-z0-9])?$")]
    description: str = ""

    resources: ResourcesSpec = ResourcesSpec()
    gates: Annotated[dict[str, str | bool], Field(min_length=1)]
    requires: RequiresSpec
    deployment: DeploymentSpec = DeploymentSpec()
    drift: DriftSpec = DriftSpec()
    card: CardSpec


LAUNCHED = {
    "dataset": LAUNCHPAD,
    "features": tuple(TokensSpec.model_fields),
    "model": tuple(HyperParameters.model_fields),
    "validation": ("reference_mix",),
}
"""What one run may change, by stage. The rest is what the definitions are made of: gates, requirements,
contract and splits, so that no run can loosen what it is judged by."""


def launchable(spec: TrainingSpec) -> dict[str, dict[str, JsonValue]]:
    """The values of everything that one run may change, by stage and field."""
    values = spec.model_dump(mode="json")
    return {
        stage: {field: (values if field in values else values["drift"])[field] for field in fields}
        for stage, fields in LAUNCHED.items()
    }


def with_launched(spec: TrainingSpec, config: Mapping[str, Mapping[str, JsonValue]]) -> TrainingSpec:
    """The spec with the values of `launchable` put into their places.

    Raises:
        ValueError: a value is out of range.
    """
    values = spec.model_dump(mode="json")
    for fields in config.values():
        for field, value in fields.items():
            (values if field in values else values["drift"])[field] = value
    return TrainingSpec.model_validate(values)


def read_training_spec(path: Path) -> Manifest[TrainingSpec]:
    """The spec in `path`.

    Raises:
        ManifestError: names file, line and field of everything that is wrong.
    """
    return read_manifest(path, TrainingSpec)

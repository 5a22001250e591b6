"""What a training spec says about where its model is trained, whatever the task."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from platform_assets.datasets.spec import DatasetSpec
from platform_assets.manifest import Many, Section
from resources.cluster import mebibytes

MEMORY_PATTERN = r"^[1-9][0-9]*(Mi|Gi)$"


class TolerationSpec(Section):
    """A taint of nodes that the training pod may run on all the same."""

    key: Annotated[str, Field(min_length=1)]
    """Of the taint."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Exists`: whatever its value; `Equal`: with this `value`."""
    value: str | None = None
    """Of the taint, where the operator compares it."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Of the taint; empty for all effects."""


class ResourcesSpec(Section):
    """What the training step asks for; only an executor that makes pods reads the amounts."""

    gpu: Annotated[int, Field(ge=0, le=16)] = 0
    """GPUs of each node; one training process each."""
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Machines that train together."""
    mixed_precision: bool = True
    """Whether networks train in half precision where the hardware has it."""
    cpu: Annotated[str, Field(pattern=r"^([1-9][0-9]*m?|[0-9]+\.[0-9]+)$")] = "2"
    """Cores, as Kubernetes writes them; libraries start as many threads."""
    memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] = "8Gi"
    """Of the training pod."""
    max_memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] | None = None
    """A pod that ran out of memory is tried again with twice as much, up to this; default: twice `memory`."""
    shared_memory: Annotated[str, Field(pattern=MEMORY_PATTERN)] | None = None
    """Size of /dev/shm, part of `memory`; default: what the container runtime gives."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that will do."""
    tolerations: Many[TolerationSpec] = ()
    """Taints of nodes that the training pod may run on all the same."""
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


class ModelSpec(DatasetSpec):
    """A line's data, and what its training asks for."""

    resources: ResourcesSpec = ResourcesSpec()

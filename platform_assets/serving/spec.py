"""What a training spec says about how its model is served."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from platform_assets.manifest import Section


class DeploymentSpec(Section):
    """How the released model is served."""

    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Servers that are always there."""
    max_replicas: Annotated[int, Field(ge=1)] = 3
    """Servers at most."""
    cpu: str = "1"
    """Cores of a server, as Kubernetes writes them."""
    memory: Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")] = "2Gi"
    """Of a server."""
    gpu: Annotated[int, Field(ge=0)] = 0
    """GPUs of a server."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not exceed max_replicas")
        return self

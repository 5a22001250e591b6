"""What a training spec says about training itself."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section


class HyperParameters(Section):
    """Everything but data and encoder that decides what the weights become. Rates are per optimizer step."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    head_learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Each encoder layer below the last learns this much slower than the one above it."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    freeze_embeddings: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7

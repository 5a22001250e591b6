"""What a training spec says about training by steps."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section


class HyperParameters(Section):
    """What decides how weights move, whatever network they are of. Rates are per optimizer step."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7

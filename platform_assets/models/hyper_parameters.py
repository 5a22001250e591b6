"""What a training spec says about training by steps."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section


class HyperParameters(Section):
    """What decides how weights move, whatever network they are of. Rates are per optimizer step."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """How often each training row is seen."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Rows of an optimizer step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """The highest rate, reached after the warm-up."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the rate rises to that."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """How much weights are pulled towards 0."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Longest gradient of a step; longer ones are scaled down to it."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Of the order of rows and of whatever training draws."""

"""What a training spec says about training by steps."""

from typing import Annotated, Literal

from pydantic import Field

from platform_assets.manifest import AddedLater, Section


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
    schedule: Annotated[Literal["linear", "cosine"], AddedLater("linear")] = "linear"
    """How the rate falls from there to 0 at the end: along a straight line, or along half a wave of the cosine."""
    average_decay: Annotated[float, Field(ge=0, lt=1), AddedLater(0.0)] = 0.0
    """What is kept is an average of the weights over the steps, of which each step leaves so much, or less where steps are
    few; 0: those of the last step."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """How much weights are pulled towards 0."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Longest gradient of a step; longer ones are scaled down to it."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Of the order of rows and of whatever training draws."""

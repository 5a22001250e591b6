"""What a training spec says about how its model is judged."""

from typing import Annotated, Literal

from pydantic import Field

from platform_assets.manifest import AddedLater, Many, Section

OVERRIDABLE = ("reference_mix",)
"""What one run may change."""


class ReferenceSpec(Section):
    """What the answers of a deployed model are compared with."""

    reference_mix: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Weight by source in the reference profile; left out: as the held-out rows have them."""
    reference_splits: Annotated[
        Many[Literal["validation", "test"]], Field(min_length=1), AddedLater(["validation", "test"])
    ] = ("validation", "test")
    """Whose held-out rows the reference profile is of. Of a line split by time, `validation` alone is what came next after
    training, so that drift of the test rows can be told too."""

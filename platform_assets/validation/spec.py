"""What a training spec says about how its model is judged."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section

OVERRIDABLE = ("reference_mix",)
"""What one run may change."""


class ReferenceSpec(Section):
    """What the answers of a deployed model are compared with."""

    reference_mix: Annotated[dict[str, Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Weight by source in the reference profile; left out: as the held-out rows have them."""

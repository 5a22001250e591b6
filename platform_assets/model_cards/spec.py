"""What a training spec says on the model card."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section


class CardSpec(Section):
    """What only people can say about the model."""

    owner: Annotated[str, Field(min_length=1)]
    """Who answers for the model."""
    intended_use: Annotated[str, Field(min_length=1)]
    """What it may be used for."""
    limitations: Annotated[str, Field(min_length=1)]
    """Where it must not be relied upon."""

"""What a training spec says on the model card."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section


class CardSpec(Section):
    """What only people can say about the model."""

    owner: Annotated[str, Field(min_length=1)]
    intended_use: Annotated[str, Field(min_length=1)]
    limitations: Annotated[str, Field(min_length=1)]

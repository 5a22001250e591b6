"""What a training spec says about its tokens."""

from typing import Annotated

from pydantic import Field

from platform_assets.manifest import Section


class TokensSpec(Section):
    """The tokenizer, and how texts that are too long are cut."""

    model_name: Annotated[str, Field(min_length=1)]
    """A Hugging Face id, a folder, or `package://<package>/<folder>`."""
    max_length: Annotated[int, Field(ge=8, le=4096)] = 256
    """Tokens, special ones included."""
    head_fraction: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of a truncated text kept from its beginning; the rest is kept from its end."""

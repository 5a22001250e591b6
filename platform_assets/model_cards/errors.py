"""What can be wrong with a model card."""

from resources.errors import PlatformError


class CardError(PlatformError):
    """A model card cannot be made from what is at hand."""

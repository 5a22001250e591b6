"""What can go wrong while a model is measured."""

from resources.errors import PlatformError


class ValidationError(PlatformError):
    """A metric, a finding or a report cannot be made from what was handed in."""

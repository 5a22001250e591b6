"""What the drift domain refuses, and why."""

from resources.errors import PlatformError


class DriftError(PlatformError):
    """A profile, a stream or a drift policy cannot be used as it is."""

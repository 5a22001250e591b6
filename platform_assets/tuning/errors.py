"""What can go wrong while a line is tuned."""

from resources.errors import PlatformError


class TuningError(PlatformError):
    """Base of all errors of tuning."""

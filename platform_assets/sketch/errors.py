"""Errors of sketches."""

from resources.errors import PlatformError


class SketchError(PlatformError):
    """A sketch cannot be made, read or compared."""

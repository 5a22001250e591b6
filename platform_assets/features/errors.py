"""Errors of features."""

from resources.errors import PlatformError


class FeatureError(PlatformError):
    """Features cannot be computed from what is there."""

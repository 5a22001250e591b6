"""Errors of specs and training."""

from resources.errors import PlatformError


class TrainingError(PlatformError):
    """Training cannot start, or its result cannot be used."""


class InstanceError(PlatformError):
    """What a model is asked about is nothing that it can answer."""

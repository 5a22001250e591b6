"""What can go wrong between a source and a published dataset."""

from resources.errors import PlatformError


class DatasetError(PlatformError):
    """A source is missing, garbled or refused."""


class ContractError(DatasetError):
    """A contract cannot be read, or asks for something that cannot be evaluated."""

"""What can go wrong between a source and a published dataset.

DatasetError
├── UnreadableError        a source is there, and nobody can tell its shape
│   └── NoTableError       it is not what its ending says, or its rows make no table
├── ContractError          a contract cannot be read, or a dataset breaks it
└── BreakerError           a schema breaker is asked for what it cannot do
    └── BreakerOpenError   it is open: nothing is built on its dataset
"""

from resources.errors import PlatformError


class DatasetError(PlatformError):
    """A source is missing, garbled or refused."""


class UnreadableError(DatasetError):
    """A source is there and cannot be read as a table, so nobody can tell its shape."""


class NoTableError(UnreadableError):
    """A source is not what its ending says, or its rows make no table; the message names the first such row."""


class ContractError(DatasetError):
    """A contract cannot be read, or asks for something that cannot be evaluated."""


class BreakerError(DatasetError):
    """A schema breaker is not in the state that an act needs."""


class BreakerOpenError(BreakerError):
    """A source has changed shape, and nobody has taken responsibility yet."""

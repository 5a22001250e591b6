"""What can go wrong between a source and a published dataset.

DatasetError
├── WrongRowsError         some rows of a source hold what a column must not
├── UnreadableError        a source is there, and nobody can tell its shape
│   └── NoTableError       it is not what its ending says, or its rows make no table
├── UnfitFilesError        sources were read, and what passed their gate makes no dataset
├── ContractError          a contract cannot be read, or a dataset breaks it
├── BreakerError           a schema breaker is asked for what it cannot do
│   └── BreakerOpenError   it is open: nothing is built on its dataset
└── QuarantineError        a file that was held back cannot be decided on so
    └── QuarantineDeniedError  not by this principal
"""

from typing import TYPE_CHECKING

from resources.errors import PlatformError

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.row_batches import RowBatches


class DatasetError(PlatformError):
    """A source is missing, garbled or refused."""


class WrongRowsError(DatasetError):
    """Some rows of a source hold what a column must not. Its parts, where it comes in several, are told as one."""

    def __init__(self, where: str, what: str, *, wrong: int, rows: int, first: int, advice: str = "") -> None:
        """The sentence of all parts.

        Args:
            where: Source and column.
            what: What is wrong with so many of its values or rows.
            wrong: How many are.
            rows: Of how many.
            first: Number of the first one, from 1.
            advice: What ends the sentence.
        """
        self.where, self.what, self.wrong, self.first, self.advice = where, what, wrong, first, advice
        super().__init__(f"{where}: {wrong} of {rows} {what} (first: row {first}){advice}")


class UnreadableError(DatasetError):
    """A source is there and cannot be read as a table, so nobody can tell its shape."""


class NoTableError(UnreadableError):
    """A source is not what its ending says, or its rows make no table; the message names the first such row."""


class UnfitFilesError(DatasetError):
    """Sources were read, and what passed their gate makes no dataset. What is to be said of the files comes with it."""

    def __init__(self, reason: str, *, judged: "RowBatches", held_back: "pa.Table") -> None:
        """The reason.

        Args:
            reason: Why there is no dataset.
            judged: As `PreparedRows.judged`.
            held_back: As `PreparedRows.held_back`.
        """
        self.judged, self.held_back = judged, held_back
        super().__init__(reason)


class ContractError(DatasetError):
    """A contract cannot be read, or asks for something that cannot be evaluated."""


class BreakerError(DatasetError):
    """A schema breaker is not in the state that an act needs."""


class BreakerOpenError(BreakerError):
    """A source has changed shape, and nobody has taken responsibility yet."""


class QuarantineError(DatasetError):
    """No file of a quarantine is meant, or nobody can decide so about it."""


class QuarantineDeniedError(QuarantineError):
    """This principal is not in the group that decides of a line's files."""

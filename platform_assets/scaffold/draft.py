"""What a task says to the first draft of a line of its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from platform_assets.datasets.sources import Source
from platform_assets.scaffold.yaml_text import one_line

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a draft is made of."""

    line: str
    source: Source
    frame: "pd.DataFrame"
    """As `read_data` gives it."""
    target: str | None
    """Name of the column to tell; None: the only one that can be meant."""
    contract: str
    """Name of the contract's file, beside the spec."""
    owner: str
    """Who answers for the line and its contract."""

    @property
    def file(self) -> str:
        """What the file is called, as it may be shown."""
        return one_line(self.source.name + self.source.suffix)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a column that somebody should look at."""

    column: str
    used: bool
    what: str
    """In words, without a value of the column."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The texts of a spec and of its contract, and what was seen on the way."""

    spec: str
    contract: str
    seen: str
    """The data in one line."""
    findings: tuple[Finding, ...]
    instance: str
    """Something to ask the model about, as the command line takes it; no row of the data."""


class Drafter(Protocol):
    """How a task drafts a line from a file."""

    def draft(self, wanted: Wanted) -> Draft:
        """The draft.

        Raises:
            ScaffoldError: no line of this task can be made of the file, and why.
        """
        ...

"""What a training spec says about its data."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from platform_assets.manifest import Many, Section
from resources.object_store import GdprClass

LINE_PATTERN = r"^[a-z]([a-z0-9_]{0,46}[a-z0-9])?$"
Fraction = Annotated[float, Field(gt=0, lt=1)]
Uri = Annotated[str, Field(min_length=1)]
OVERRIDABLE = ("train_data_uri", "shift_data_uri", "train_rows", "shift_rows")
"""What one run may change. Contract, splits and a given test split are not among it: they are what makes
runs comparable."""
_MOST_SET_APART = 0.9


class SplitSharesSpec(Section):
    """How much is set apart, by which draw."""

    test: Fraction = 0.1
    """Share of the rows that gates measure on."""
    validation: Fraction = 0.06
    """Share of the rows that are held out beside the test split."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 17
    """Of the draw: the same rows for the same seed."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.test + self.validation >= _MOST_SET_APART:
            raise ValueError(
                f"test + validation must stay below {_MOST_SET_APART}, or too little is left to train on"
            )
        return self


class BlockSplitSpec(SplitSharesSpec):
    """Whole blocks of neighbours are set apart, with guard rows where blocks of two splits meet."""

    block_rows: Annotated[int, Field(ge=2)] = 150
    """Rows of a block."""
    guard_rows: Annotated[int, Field(ge=0)] = 30
    """At least as many as the longest run of related neighbours."""

    @model_validator(mode="after")
    def _leaves_blocks(self) -> Self:
        if self.guard_rows >= self.block_rows:
            raise ValueError("guard_rows must be fewer than block_rows, or a whole block may vanish")
        return self


class DatasetSpec(Section):
    """A line's sources and contract; how rows are split is the task's."""

    line: Annotated[str, Field(pattern=LINE_PATTERN)]
    """Name of the model line; the key of each of its assets begins with it."""
    train_data_uri: Annotated[Many[Uri], Field(min_length=1)]
    """Where the labelled rows are. Of several sources the first is what gates measure on."""
    val_data_uri: Uri | None = None
    """Where given it is the test split, and no test split is cut from the training data."""
    shift_data_uri: Uri | None = None
    """A source the model never trains on; its drift is shown and never gated."""
    contract: Annotated[str, Field(min_length=1)]
    """Contract file: one that ships with the package, or a path relative to the spec."""
    train_rows: Annotated[int, Field(ge=16)] | None = None
    """How many rows to train on, drawn evenly from what the splits leave; empty for all."""
    shift_rows: Annotated[int, Field(ge=1)] | None = 2000
    """How many rows of `shift_data_uri` are read; empty for all."""
    gdpr_class: GdprClass = "personal"
    """Of the table and of whatever is made of it row by row. What is about people, or by them, is personal."""
    retention_days: Annotated[int, Field(ge=1)] = 3650
    """After so many days versions and objects may go, never those under legal hold."""

"""A contract judged day by day: which days of a table break a promise that is one about each of its rows.

A table that passes with `mostly` may have a day on which nothing is as it should be. What is a share of rows of the table is
then a share of the rows of each day. What is about a table as a whole (its rows, a mean, that values differ), and what Great
Expectations alone can judge, has no answer for a day; it is named, and the verdict on the table stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from platform_assets.datasets.batches import Cells, batched
from platform_assets.datasets.contract import Contract, Expectation
from platform_assets.datasets.measures import can_be_compared, row_measure_of

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.datasets.measures import RowMeasure


@dataclass(frozen=True, slots=True)
class BrokenPromise:
    """One expectation that the rows of a day do not meet."""

    domain: str
    type: str
    column: str
    unexpected: int
    """Rows that it objects to."""
    looked_at: int

    def __str__(self) -> str:
        return (
            f"contract.{self.domain}: {self.type}: {self.unexpected:,} of {self.looked_at:,} values of column "
            f"`{self.column}` are unexpected"
        )


@dataclass(frozen=True, slots=True)
class DayJudgement:
    """What a contract says of the days of a table."""

    broken: Mapping[int, tuple[BrokenPromise, ...]]
    """By day, of those days that are refused, what they break."""
    judged: tuple[int, ...]
    """Expectations, by their position in the contract, that were judged by day."""


def judge_days(contract: Contract, table: "pa.Table", days: NDArray[np.int64]) -> DayJudgement:
    """Which days are refused, from one pass over the rows; only an expectation that is critical refuses one.

    Args:
        contract: Of the table.
        table: Its rows, in any order.
        days: Of each row, any number that tells days apart; shape (rows,).

    Raises:
        DatasetError: a time lies outside the years 1 to 9999.
    """
    rows = batched(table)
    measures: list[tuple[Expectation, str, RowMeasure]] = [
        (each, each.column, measure)
        for each in contract.expectations
        if each.severity == "critical"
        and each.column is not None
        and can_be_compared(each, rows.schema)
        and (measure := row_measure_of(each, rows.schema)) is not None
    ]
    columns = {column for _, column, _ in measures}
    known, codes = np.unique(days, return_inverse=True)
    many = len(known)
    counted = np.bincount(codes, minlength=many)
    filled = {column: np.zeros(many, np.int64) for column in columns}
    unexpected = [np.zeros(many, np.int64) for _ in measures]
    first_row = 0
    for batch in rows.batches(columns) if measures else ():
        of_day = codes[first_row : first_row + batch.num_rows]
        cells = {
            name: Cells(batch.column(name), table=rows.name, column=name, first_row=first_row)
            for name in batch.schema.names
            if name in columns
        }
        for name, each in cells.items():
            filled[name] += np.bincount(of_day if each.given is None else of_day[each.given], minlength=many)
        for at, (_, column, measure) in enumerate(measures):
            # A batch in which no row has a value has nothing that a test could be given.
            if (found := _objected(measure, cells[column])) is not None:
                unexpected[at] += np.bincount(of_day[found], minlength=many)
        first_row += batch.num_rows
    broken = {
        int(day): promises
        for place, day in enumerate(known)
        if (promises := _broken(measures, place, counted, filled, unexpected))
    }
    return DayJudgement(broken, tuple(each.index for each, _, _ in measures))


def _objected(measure: "RowMeasure", cells: Cells) -> "NDArray[Any] | None":
    return measure.unexpected(cells) if cells.filled or measure.looked_at(1, 0) else None


def _broken(
    measures: "Sequence[tuple[Expectation, str, RowMeasure]]",
    place: int,
    counted: NDArray[Any],
    filled: Mapping[str, NDArray[Any]],
    unexpected: Sequence[NDArray[Any]],
) -> tuple[BrokenPromise, ...]:
    found = []
    for (each, column, measure), wrong in zip(measures, unexpected, strict=True):
        looked_at = measure.looked_at(int(counted[place]), int(filled[column][place]))
        if not measure.passes(looked_at, int(wrong[place])):
            found.append(BrokenPromise(each.domain, each.type, column, int(wrong[place]), looked_at))
    return tuple(found)

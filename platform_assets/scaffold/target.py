"""What is to be told: the column, and which of its two values is the one that is looked for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.scaffold.errors import ScaffoldError
from platform_assets.scaffold.look import Column, Value
from platform_assets.scaffold.personal import words_of

FEWEST_ROWS: Final = 200
FEWEST_OF_A_CLASS: Final = 30
"""With fewer, a test split holds so few that no figure about them means anything."""
_CLASSES: Final = 2
_MOST_LISTED: Final = 20
_MOST_SHOWN: Final = 5
_NAME: Final = re.compile(
    "target|label|y|class|outcome|response|churn|churned|default|defaulted|survived|fraud|converted|conversion|"
    "attrition|exited|approved|subscribed|cancelled|canceled|readmitted|purchased|clicked|diagnosis|deposit"
)
_POSITIVE: Final = re.compile(
    r"1(\.0)?|yes|y|true|t|positive|pos|bad|churn|churned|default|defaulted|fraud|survived|exited|left|attrited|"
    "cancelled|canceled|converted|subscribed|approved|purchased|clicked|malignant|spam|sick|dead"
)


@dataclass(frozen=True, slots=True)
class Target:
    """The column that is told from the others."""

    column: Column
    positive: Value
    """The value that becomes label 1."""
    why: str
    """Why this one, in words."""
    label: NDArray[np.int64]
    """0 or 1 of each row, shape (rows,)."""

    @property
    def positives(self) -> int:
        """Rows of label 1."""
        return int(self.label.sum())

    @property
    def rate(self) -> float:
        """Share of label 1 (0 … 1)."""
        return self.positives / self.column.rows


def find_target(columns: Sequence[Column], name: str | None) -> Target:
    """The target of this name, or the only column that can be meant.

    Raises:
        ScaffoldError: there is no such column or several could be meant, it has not two values, rows lack one, or
            there are too few rows.
    """
    column = _named(columns, name) if name is not None else _inferred(columns)
    if column.rows < FEWEST_ROWS:
        raise ScaffoldError(
            f"has {column.rows} rows, and {FEWEST_ROWS} are the fewest that can be split and judged; give more"
        )
    if column.distinct != _CLASSES:
        raise ScaffoldError(
            f"target {column.name!r} has {column.distinct:,} different value{'' if column.distinct == 1 else 's'}{_shown(column)}, and two classes are told "
            "apart; name another --target, or keep or merge values in the file until two are left"
        )
    if column.missing:
        raise ScaffoldError(
            f"target {column.name!r} is empty in {column.missing:,} of {column.rows:,} rows; leave those rows out of the file"
        )
    (_, _), (rarer, fewest) = column.commonest
    if fewest < FEWEST_OF_A_CLASS:
        raise ScaffoldError(
            f"target {column.name!r} is {rarer!r} in {fewest} rows, and {FEWEST_OF_A_CLASS} are the fewest that can be "
            "split and judged; give more rows of it"
        )
    positive, why = _positive(column)
    return Target(column, positive, why, _label(column, positive))


def _named(columns: Sequence[Column], name: str) -> Column:
    for column in columns:
        if column.name == name:
            return column
    raise ScaffoldError(f"there is no column {name!r}; the columns are {_listed(columns)}")


def _inferred(columns: Sequence[Column]) -> Column:
    two_valued = [column for column in columns if column.distinct == _CLASSES]
    likely = [column for column in two_valued if any(map(_NAME.fullmatch, words_of(column.name)))]
    if len(likely) == 1:
        return likely[0]
    if candidates := likely or two_valued:
        raise ScaffoldError(
            f"nobody can tell which column is the target; name it with --target, one of {_listed(candidates)}"
        )
    raise ScaffoldError(
        f"no column has two values, and two classes are told apart; the columns are {_listed(columns)}"
    )


def _positive(column: Column) -> tuple[Value, str]:
    (common, often), (rare, seldom) = column.commonest
    named = [value for value in (common, rare) if _POSITIVE.fullmatch(str(value).strip().casefold())]
    if len(named) == 1:
        return named[0], "what is looked for, by its name"
    if often == seldom:
        return max(common, rare, key=str), "both are as frequent, and one had to be taken"
    return rare, "the rarer of the two"


def _label(column: Column, positive: Value) -> NDArray[np.int64]:
    (common, _), _ = column.commonest
    counts = np.bincount(column.codes, minlength=_CLASSES)
    # The commonest stands first, of equals the one that appears first, as `argsort` with kind stable has it.
    code_of_common = int(np.argmax(counts))
    code = code_of_common if positive == common else 1 - code_of_common
    label: NDArray[np.int64] = (column.codes == code).astype(np.int64)
    return label


def _shown(column: Column) -> str:
    if not 0 < column.distinct <= _MOST_SHOWN:
        return ""
    return f" ({', '.join(repr(value) for value, _ in column.commonest)})"


def _listed(columns: Sequence[Column]) -> str:
    names = [column.name for column in columns[:_MOST_LISTED]]
    more = len(columns) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")

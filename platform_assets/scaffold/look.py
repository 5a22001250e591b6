"""A look at a table: what each column holds, as far as the values tell.

Symbols: n rows, d distinct values of a column, missing ones left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from platform_assets.datasets.contract import RawType
from platform_assets.datasets.raw_schema import observed_type
from platform_assets.scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["integer", "number", "boolean", "time", "string", "empty"]
Value = str | int | float | bool

MISSING_MARKS: Final = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--", "."})
"""What other programs write where there is no value; to the platform only an empty field is missing."""
MOST_CATEGORIES: Final = 50
"""Values of a column that anybody can look over."""
_SAMPLED: Final = 1000
"""Distinct values by which the look of a column is told."""
_LARGEST_EXACT: Final = 2**53
_KINDS: Final[dict[str, Kind]] = {"timestamp": "time"}

_LEADING_ZERO: Final = re.compile(r"[+-]?0[0-9]+")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?[0-9]{1,3}(\.?[0-9]{3})*,[0-9]+")
_FOREIGN_DATE: Final = re.compile(
    r"[0-9]{1,4}[/.][0-9]{1,2}[/.][0-9]{1,4}([ T].*)?|[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}"
)
_SPACED: Final = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as its values tell."""

    name: str
    kind: Kind
    raw_type: RawType
    """What a contract's section `raw` says of it."""
    rows: int
    missing: int
    distinct: int
    commonest: tuple[tuple[Value, int], ...]
    """(value, rows) of at most `MOST_CATEGORIES` values, the most frequent first."""
    least: float | None
    """The smallest finite number; None where the values are no numbers."""
    most: float | None
    median: float | None
    oddity: str
    """How the values are written that could be read as something better, in words; empty where they could not."""
    whole_words: float
    """Words a value, on average; 0 where the values are no text."""
    sample: tuple[str, ...] = field(repr=False)
    """Some distinct values as text, evenly from all of them: to be looked at, and shown to nobody."""
    codes: NDArray[np.int64] = field(repr=False, compare=False)
    """Which distinct value each row has, counted by first appearance; -1 where it is missing. Shape (n,)."""
    numbers: NDArray[np.float64] | None = field(repr=False, compare=False)
    """Numbers, or times in seconds, NaN where missing, shape (n,); None where the values are neither."""

    @property
    def is_constant(self) -> bool:
        """Whether there is one value, and it is never missing."""
        return self.distinct == 1 and not self.missing

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.distinct == self.rows

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers that can be reckoned with."""
        return self.kind in ("integer", "number")

    @property
    def is_counter(self) -> bool:
        """Whether the values are whole numbers that rise from row to row, or consecutive ones in any order."""
        if self.kind != "integer" or not self.is_unique or self.numbers is None:
            return False
        return bool((np.diff(self.numbers) > 0).all() or np.ptp(self.numbers) == self.rows - 1)

    @property
    def missing_share(self) -> float:
        """Share of rows without a value (0 … 1)."""
        return self.missing / self.rows


def look_at(frame: "pd.DataFrame", *, suffix: str) -> tuple[Column, ...]:
    """What each column of a raw frame holds, in its order.

    Args:
        frame: As `read_frame` gives it, with names that are text.
        suffix: The format of its file: `.csv`, `.jsonl` or `.parquet`.

    Raises:
        ScaffoldError: a column holds lists, objects, or values of several types.
    """
    return tuple(_column(str(name), frame[name], suffix) for name in frame.columns)


def _column(name: str, values: "pd.Series[Any]", suffix: str) -> Column:
    import pandas as pd

    if values.dtype == "category":
        values = values.astype(values.cat.categories.dtype)
    try:
        codes, distinct = pd.factorize(values)
        observed = observed_type(values.drop_duplicates(), suffix=suffix)
    except TypeError:  # what cannot be hashed is a list or an object
        observed = "other"
    if observed == "other":
        raise ScaffoldError(
            f"column {name!r}: holds lists, objects, or values of several types, which no contract can state; "
            "give each value a column of its own, and each column one type"
        )
    texts = [value for value in distinct if isinstance(value, str)]
    kind = _KINDS.get(observed, observed)
    if texts and kind in ("integer", "number") and any(map(_LEADING_ZERO.fullmatch, texts)):
        kind = "string"  # 01234 is a code, and as a number it would lose its zero
    numbers = _numbers(kind, distinct)
    finite = numbers[np.isfinite(numbers)] if numbers is not None else np.empty(0)
    by_row = None if numbers is None else np.append(numbers, np.nan)[codes]
    counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
    commonest = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    sample = tuple(map(str, _evenly(distinct, _SAMPLED)))
    is_text = kind == "string" and bool(texts)
    return Column(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        raw_type="string" if kind in ("string", "empty") else observed,  # type: ignore[arg-type]
        rows=len(values),
        missing=int((codes < 0).sum()),
        distinct=len(distinct),
        commonest=tuple((_plain(distinct[at]), int(counts[at])) for at in commonest),
        least=float(finite.min()) if finite.size and kind != "time" else None,
        most=float(finite.max()) if finite.size and kind != "time" else None,
        median=float(np.nanmedian(by_row)) if by_row is not None and finite.size and kind != "time" else None,
        oddity=_oddity(kind, distinct, sample, numbers),
        whole_words=float(np.mean([len(_SPACED.findall(text)) for text in sample])) if is_text else 0.0,
        sample=sample,
        codes=codes.astype(np.int64),
        numbers=by_row,
    )


def _numbers(kind: str, distinct: Any) -> NDArray[np.float64] | None:
    """The distinct values as numbers, or as seconds; None where they are neither."""
    if kind in ("integer", "number"):
        return np.array([float(value) for value in distinct], dtype=np.float64)
    if kind == "time":
        return np.array([_seconds(value) for value in distinct], dtype=np.float64)
    return None


def _seconds(value: str | date) -> float:
    """Seconds from 1970 to a time, in UTC where it states no offset, or to the beginning of a day."""
    stated = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(stated, datetime):
        stated = datetime(stated.year, stated.month, stated.day, tzinfo=UTC)
    return (stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp()


def _oddity(kind: str, distinct: Any, sample: tuple[str, ...], numbers: NDArray[np.float64] | None) -> str:
    """What keeps the values from being read as the numbers or times that they are; empty where nothing does."""
    if numbers is not None and kind != "time" and np.isinf(numbers).any():
        return "holds infinite numbers; leave those fields empty in the file"
    if kind == "integer" and numbers is not None and np.abs(numbers).max() > _LARGEST_EXACT:
        return "whole numbers too large to reckon with: an identifier"
    if kind != "string" or not sample:
        return ""
    marks = {text for text in map(str, distinct) if text.strip().casefold() in MISSING_MARKS}
    rest = [text for text in sample if text not in marks]
    if not rest:
        return ""
    if marks and _all_read_as_numbers(text for text in map(str, distinct) if text not in marks):
        shown = ", ".join(sorted(repr(mark) for mark in marks))
        return f"numbers, but {shown} stands where one is missing; leave those fields empty in the file"
    if all(map(_DECIMAL_COMMA.fullmatch, rest)):
        return "numbers with decimal commas; write them with points in the file"
    if all(map(_FOREIGN_DATE.fullmatch, rest)):
        return "dates that are not written as 2026-12-31; write them so in the file"
    return ""


def _all_read_as_numbers(texts: Iterable[str]) -> bool:
    try:
        for text in texts:
            float(text)
    except ValueError:
        return False
    return True


def _evenly(values: Any, most: int) -> Any:
    step = max(1, len(values) // most)
    return values[::step][:most]


def _plain(value: Any) -> Value:
    """A value as Python's own type; times as text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | bool | int | float) else str(value)

"""Columns made of others, of the rows of a source as of what somebody asks about.

Whole numbers and decimals are compared, and become microseconds, without a float between; a float is the shortest
decimal that reads as it, so that `0.1` is the same in every format.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.datasets.errors import DatasetError, WrongRowsError
from platform_assets.tasks.tabular_classification.derived_spec import DerivedSpec
from platform_assets.tasks.tabular_classification.values import exact_numbers, texts, times

if TYPE_CHECKING:
    import pandas as pd

_SEPARATOR: Final = "|"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", _SEPARATOR: "\\" + _SEPARATOR})
_MICROSECONDS: Final[Mapping[str, int]] = {
    "plus_minutes": 60_000_000,
    "plus_hours": 3_600_000_000,
    "plus_days": 86_400_000_000,
}
"""Of one, by field."""
_FIRST, _LAST = (
    int(np.datetime64(each, "us").astype(np.int64)) for each in ("0001-01-01", "9999-12-31T23:59:59.999999")
)
"""Microseconds since 1970 of the first and the last instant that a time can be."""


def with_derived(
    frame: "pd.DataFrame", derived: Mapping[str, DerivedSpec], where: str, *, rows: int | None = None
) -> "pd.DataFrame":
    """The frame and the columns that are made of its own; a value is missing where one that it is made of is.

    Args:
        frame: Rows of a source, as they were read.
        derived: Each made of columns of the frame, and of those before it.
        where: The source, for messages.
        rows: How many the source has, where the frame is a part of it.

    Returns:
        A new frame; the columns that were there are those of `frame`.

    Raises:
        DatasetError: the frame has a column of that name already, lacks one, or has values of another kind; the
            message names column and first row, and never a value.
    """
    found = frame.copy(deep=False)
    for name, each in derived.items():
        if name in frame.columns:
            raise DatasetError(
                f"{where}: has a column {name!r} of its own, and derived.{name} makes one of that name; give what is derived "
                "another name"
            )
        for field, column in each.reads():
            if column not in found.columns:
                listed = ", ".join(map(str, frame.columns))
                raise DatasetError(
                    f"{where}: derived.{name}.{field}: column {column!r} is missing "
                    f"({len(frame) if rows is None else rows} rows, columns: {listed})"
                )
        found[name] = _column(found, each, f"{where}: derived.{name}")
    return found


def _column(frame: "pd.DataFrame", spec: DerivedSpec, where: str) -> "pd.Series[Any]":
    import pandas as pd

    def place(column: str) -> str:
        return f"{where}: column {column!r}"

    match spec.makes:
        case "time":
            assert spec.time is not None
            values: Any = _later(
                times(frame[spec.time], place(spec.time)),
                {field: exact_numbers(frame[name], place(name)) for field, name in spec.plus.items()},
                where,
            )
            return pd.Series(values, index=frame.index)
        case "text":
            parts = [texts(frame[name], place(name)) for name in spec.joined]
            values = [_joined(row) for row in zip(*parts, strict=True)]
        case "truth":
            assert spec.number is not None
            values = _compared(exact_numbers(frame[spec.number], place(spec.number)), *spec.comparison)
    return pd.Series(values, index=frame.index, dtype=object)


def _later(
    starts: "np.typing.NDArray[np.datetime64]", plus: Mapping[str, list[Decimal | None]], where: str
) -> "np.typing.NDArray[np.datetime64]":
    """Each start and what is added, to the microsecond; NaT where one of them is missing."""
    found: list[int | None] = [
        None if absent else at
        for at, absent in zip(starts.astype(np.int64).tolist(), np.isnat(starts), strict=True)
    ]
    for field, amounts in plus.items():
        unit, known = _MICROSECONDS[field], dict[Decimal, int]()
        for row, amount in enumerate(amounts):
            if (at := found[row]) is None or amount is None:
                found[row] = None
                continue
            if amount not in known:
                known[amount] = round(Fraction(amount) * unit)
            found[row] = at + known[amount]
    beyond = [row for row, at in enumerate(found, start=1) if at is not None and not _FIRST <= at <= _LAST]
    if beyond:
        raise WrongRowsError(
            where,
            "times lie beyond the years 1 to 9999",
            wrong=len(beyond),
            rows=len(found),
            first=beyond[0],
        )
    return np.array(
        [np.datetime64("NaT", "us") if at is None else np.datetime64(at, "us") for at in found],
        dtype="datetime64[us]",
    )


def _joined(parts: tuple[str | None, ...]) -> str | None:
    if None in parts:
        return None
    return _SEPARATOR.join(part.translate(_ESCAPES) for part in parts if part is not None)


def _compared(values: list[Decimal | None], how: str, constant: float) -> list[bool | None]:
    bound = Decimal(str(constant))

    def answer(value: Decimal) -> bool:
        match how:
            case "above":
                return value > bound
            case "at_least":
                return value >= bound
            case "below":
                return value < bound
            case _:
                return value <= bound

    return [None if value is None else answer(value) for value in values]

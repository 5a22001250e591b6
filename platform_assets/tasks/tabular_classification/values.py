"""Values of columns as they are meant, whatever format they came in: `"12"`, `12` and `12.0` are one.

One set of rules for sources and for what somebody asks about, so that a model sees the same either way.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from platform_assets.datasets.errors import WrongRowsError

if TYPE_CHECKING:
    import pandas as pd

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_LARGEST_EXACT: Final = 2**53
_ZERO: Final = (float, 0.0)
T = TypeVar("T")
Zeros = dict[tuple[type, float], Any]
"""What became of the first zero of a column, for its later parts: of `0.0` and `-0.0`, which are equal, it decides for both."""


def number_of(value: Any) -> float:
    """The number that this value is.

    Raises:
        ValueError: it is none, is not finite, or lies beyond 2^53, where integers have no exact float.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if not isinstance(value, int | float | Decimal | np.number | np.bool_):
        raise ValueError("is no number")  # noqa: TRY004 - a text may be one
    # Compared before it is rounded: 2**53 + 1 has no float of its own.
    if not abs(value) <= _LARGEST_EXACT:  # type: ignore[operator]
        raise ValueError("is not finite, or too large for a measurement: an identifier is no number")
    return float(value)


def exact_number_of(value: Any) -> Decimal:
    """The number that this value is, to the last digit; a float is the shortest decimal that reads as it.

    Raises:
        ValueError: it is none, or is not finite.
    """
    if isinstance(value, float | np.floating):
        value = Decimal(str(value))
    elif isinstance(value, int | np.integer | np.bool_):
        value = Decimal(int(value))
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        raise ValueError("is no number")
    return value


def text_of(value: Any) -> str:
    """The one spelling of a category, key or class.

    Raises:
        ValueError: it is a list, an object, or something else that has none.
    """
    match value:
        case str():
            return value
        case bool() | np.bool_():
            return "true" if value else "false"
        case int() | np.integer():
            return str(int(value))
        case float() | np.floating() | Decimal():
            # pandas has no missing integers: a column of integers with gaps arrives as floats.
            return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
        case date():
            return value.isoformat()
    raise ValueError("is neither a text nor a number")


def time_of(value: Any) -> Any:
    """The instant that a value states, in UTC where it states no offset, as numpy's datetime64 of microseconds.

    Raises:
        ValueError: it is no date or time.
    """
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, date):
        raise ValueError("is no date or time")  # noqa: TRY004 - a text may be one
    stated = (
        value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    )
    if stated.tzinfo is not None:
        stated = stated.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(stated, "us")


def plain_text_of(value: Any) -> str:
    """The one spelling of a value of which nobody says what it is meant as: a number's, else an instant's, else its text.

    Raises:
        ValueError: as `text_of`.
    """
    if not isinstance(value, bool | np.bool_):
        for read in (number_of, time_of):
            with suppress(ValueError, ArithmeticError):
                return str(read(value))
    return text_of(value)


def numbers(values: "pd.Series[Any]", where: str, zeros: Zeros | None = None) -> NDArray[np.float64]:
    """The column as numbers, NaN where there is no value; shape (rows,).

    Args:
        values: Of any type.
        where: Source and column, for messages.
        zeros: Of the column's earlier parts; changed in place. In a column of floats alone each zero keeps its sign.

    Raises:
        WrongRowsError: some are none; the message names the first row and never a value.
    """
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(values):
        plain: NDArray[np.float64] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        size = np.abs(plain[~np.isnan(plain)])
        # An integer that lies at the limit may have been rounded to it.
        if (size <= _LARGEST_EXACT if values.dtype.kind == "f" else size < _LARGEST_EXACT).all():
            return plain
    return np.array(_each(values, number_of, where, "a number", math.nan, zeros), dtype=np.float64)


def exact_numbers(values: "pd.Series[Any]", where: str) -> list[Decimal | None]:
    """The column as decimals that have lost no digit, None where there is no value.

    Raises:
        WrongRowsError: as `numbers`.
    """
    import pandas as pd

    if str(values.dtype).lower() in {"float16", "float32"}:
        # As Python's floats they would have digits that nobody wrote.
        narrow = values.to_numpy(dtype=values.dtype.name.lower(), na_value=np.nan)
        values = pd.Series(list(narrow), index=values.index, dtype=object)
    return _each(values, exact_number_of, where, "a number", None)


def texts(values: "pd.Series[Any]", where: str) -> list[str | None]:
    """The column as texts, None where there is no value.

    Raises:
        WrongRowsError: as `numbers`.
    """
    from pandas.api.types import infer_dtype

    if values.dtype == object and infer_dtype(values, skipna=True) == "string":
        return [
            None if absent else value
            for value, absent in zip(values.tolist(), values.isna().tolist(), strict=True)
        ]
    return _each(values, text_of, where, "a text or a number", None)


def plain_texts(values: "pd.Series[Any]", where: str, zeros: Zeros | None = None) -> list[str | None]:
    """The column in the one spelling of each value, whatever it is meant as; None where there is no value.

    Args:
        values: Of any type.
        where: Source and column, for messages.
        zeros: Of the column's earlier parts; changed in place.

    Raises:
        WrongRowsError: as `numbers`.
    """
    return _each(values, plain_text_of, where, "a text, a number or a time", None, zeros)


def times(values: "pd.Series[Any]", where: str) -> "NDArray[np.datetime64]":
    """The column as instants in UTC, to the microsecond, NaT where there is no value; shape (rows,).

    Raises:
        WrongRowsError: as `numbers`.
    """
    if values.dtype.kind == "M":
        naive = (
            values
            if getattr(values.dtype, "tz", None) is None
            else values.dt.tz_convert("UTC").dt.tz_localize(None)
        )
        return naive.to_numpy().astype("datetime64[us]")
    return np.array(
        _each(values, time_of, where, "a date or time", np.datetime64("NaT", "us")), dtype="datetime64[us]"
    )


def _each(
    values: "pd.Series[Any]",
    convert: Callable[[Any], T],
    where: str,
    what: str,
    missing: T,
    zeros: Zeros | None = None,
) -> list[T]:
    # Columns of categories repeat: each distinct value is converted once.
    known: dict[Any, T] = dict(zeros or {})
    converted, wrong = [], []
    for row, (value, absent) in enumerate(zip(values.tolist(), values.isna().tolist(), strict=True), start=1):
        if absent:
            converted.append(missing)
            continue
        try:
            # True equals 1, and they are spelt differently.
            name = (type(value), value)
            if name not in known:
                known[name] = convert(value)
            converted.append(known[name])
        except (ValueError, TypeError, ArithmeticError):
            wrong.append(row)
    if wrong:
        raise WrongRowsError(
            where, f"values are not {what}", wrong=len(wrong), rows=len(values), first=wrong[0]
        )
    if zeros is not None and _ZERO in known:
        zeros[_ZERO] = known[_ZERO]
    return converted

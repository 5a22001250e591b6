"""Bounds and sets of a contract as tests on the cells of a column, each as exact as the values are written.

A bound of floats becomes the least (or largest) float that lies within it, found by comparing with the bound itself, so that
rows are compared as floats and yet judged by each digit of the contract.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.datasets.batches import Cells, exact_value, family_of

if TYPE_CHECKING:
    import pyarrow as pa

Test = Callable[[Cells], "np.ndarray[Any, Any]"]
"""For each cell whether it passes; anything for cells without a value."""
_FEW: Final = 8
"""So many members of a set are compared one after another, which is faster than sorting."""


def within(
    type_: "pa.DataType", low: Any, high: Any, *, strict_low: bool = False, strict_high: bool = False
) -> Test | None:
    """Whether cells lie within bounds; None where no value could: the lower bound is above the upper one.

    Args:
        type_: Of the column: of numbers or times.
        low: As the contract has it; None for no bound.
        high: Likewise.
        strict_low: Whether the bound itself lies outside.
        strict_high: Likewise.
    """
    family = family_of(type_)
    if low is not None and high is not None and exact_value(low, type_) > exact_value(high, type_):
        return None
    if family in {"float", "narrow"}:
        width: Any = np.float64 if family == "float" else np.float32
        value_of = _float_value(width, [low, high])
        least = None if low is None else _least(low, width, value_of, strict=strict_low)
        most = None if high is None else _most(high, width, value_of, strict=strict_high)
    else:
        least = None if low is None else _rounded_up(exact_value(low, type_), strict=strict_low)
        most = None if high is None else -_rounded_up(-exact_value(high, type_), strict=strict_high)
    if family == "decimal":
        return _decimals_within(type_, least, most)

    def test(cells: Cells) -> "np.ndarray[Any, Any]":
        numbers = cells.numbers
        if least is None:
            return np.asarray(numbers <= most)
        return np.asarray(numbers >= least if most is None else (numbers >= least) & (numbers <= most))

    return test


def among(type_: "pa.DataType", members: Sequence[Any]) -> Test:
    """Whether cells are one of these values of the contract.

    Args:
        type_: Of the column.
        members: That can be held against it; nulls among them count for nothing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stated = [each for each in members if each is not None]
    family = family_of(type_)
    if family in {"text", "boolean"}:
        held = pa.array(stated, type_)
        return lambda cells: pc.is_in(cells.array, value_set=held).to_numpy(zero_copy_only=False)
    if family == "decimal":
        exact = [exact_value(each, type_) for each in stated]
        fitting = [int(each) for each in exact if each.denominator == 1 and abs(each) < 10**type_.precision]
        decimals = pa.array([_decimal(each, type_) for each in fitting], type_)
        return lambda cells: pc.is_in(cells.array, value_set=decimals).to_numpy(zero_copy_only=False)
    targets: list[Any] = []
    if family in {"float", "narrow"}:
        width: Any = np.float64 if family == "float" else np.float32
        value_of = _float_value(width, stated)
        targets = [found for each in stated for found in _floats_equal_to(each, width, value_of)]
    else:
        exact = [exact_value(each, type_) for each in stated]
        targets = [int(each) for each in exact if each.denominator == 1]

    def test(cells: Cells) -> "np.ndarray[Any, Any]":
        numbers = cells.numbers
        if numbers.dtype.kind in "iu":
            limits = np.iinfo(numbers.dtype)
            held = [each for each in targets if limits.min <= each <= limits.max]
        else:
            held = targets
        if len(held) > _FEW:
            return np.isin(numbers, np.array(held, numbers.dtype))
        found = np.zeros(len(numbers), dtype=bool)
        for each in held:
            found |= numbers == each
        return found

    return test


def wide_floats(cells: Cells) -> "np.ndarray[Any, Any]":
    """The numbers as floats of 64 bits, those of fewer as what they stand for; NaN or anything where none is."""
    import pandas as pd

    if cells.family == "decimal":
        return np.array(
            [math.nan if each is None else float(each) for each in cells.array.to_pylist()], dtype=np.float64
        )
    if cells.family == "boolean":
        filled = cells.array.fill_null(fill_value=False)
        return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.float64)
    numbers = cells.numbers
    if cells.family != "narrow":
        return np.asarray(numbers, dtype=np.float64)
    codes, found = pd.factorize(numbers)
    return np.array([*(float(str(each)) for each in found), math.nan])[codes]


def _rounded_up(value: Fraction, *, strict: bool) -> int:
    """The least whole number that is at least the value, or above it."""
    return math.floor(value) + 1 if strict else math.ceil(value)


def _float_value(width: Any, stated: Sequence[Any]) -> Callable[[Any], Any]:
    """What a float of a column is held against a bound as.

    The decimal that it is written as, where the contract states an integer that no float is; else itself.
    """
    exact = any(isinstance(each, int) and int(each) != float(each) for each in stated if each is not None)

    def value_of(number: Any) -> Any:
        wide = float(number) if width is np.float64 else float(str(number))
        return Decimal(repr(wide)) if exact else wide

    return value_of


def _written(stated: Any, value: Any) -> Any:
    return Decimal(repr(stated)) if isinstance(stated, float) and isinstance(value, Decimal) else stated


def _near(stated: Any, width: Any) -> Any:
    with np.errstate(over="ignore"):
        return width(float(stated))


def _least(stated: Any, width: Any, value_of: Callable[[Any], Any], *, strict: bool) -> Any:
    """The least float that lies within a lower bound; NaN where none does."""

    def lies_within(number: Any) -> bool:
        value = value_of(number)
        bound = _written(stated, value)
        return bool(value > bound if strict else value >= bound)

    return _edge(_near(stated, width), lies_within, width(-math.inf), width(math.inf))


def _most(stated: Any, width: Any, value_of: Callable[[Any], Any], *, strict: bool) -> Any:
    """The largest float that lies within an upper bound; NaN where none does."""

    def lies_within(number: Any) -> bool:
        value = value_of(number)
        bound = _written(stated, value)
        return bool(value < bound if strict else value <= bound)

    return _edge(_near(stated, width), lies_within, width(math.inf), width(-math.inf))


def _edge(start: Any, lies_within: Callable[[Any], bool], outer: Any, inner: Any) -> Any:
    """The float next to `outer` that lies within, on the way to `inner`."""
    found = start
    while not lies_within(found):
        if found == inner:
            return type(found)(math.nan)
        found = _next(found, inner)
    while found != outer and lies_within(further := _next(found, outer)):
        found = further
    return found


def _next(number: Any, towards: Any) -> Any:
    with np.errstate(over="ignore"):  # behind the largest one there is infinity
        return np.nextafter(number, towards)


def _floats_equal_to(stated: Any, width: Any, value_of: Callable[[Any], Any]) -> list[Any]:
    near = _near(stated, width)
    beside = [near, _next(near, width(math.inf)), _next(near, width(-math.inf))]
    return [each for each in beside if (value := value_of(each)) == _written(stated, value)]


def _decimal(units: int, type_: "pa.DataType") -> Decimal:
    sign, digits = int(units < 0), tuple(map(int, str(abs(units))))
    return Decimal((sign, digits, -type_.scale))


def _decimals_within(type_: "pa.DataType", least: int | None, most: int | None) -> Test:
    import pyarrow as pa
    import pyarrow.compute as pc

    largest = 10**type_.precision - 1
    if (least is not None and least > largest) or (most is not None and most < -largest):
        return lambda cells: np.zeros(len(cells.array), dtype=bool)
    low = None if least is None else pa.scalar(_decimal(max(least, -largest), type_), type_)
    high = None if most is None else pa.scalar(_decimal(min(most, largest), type_), type_)

    def test(cells: Cells) -> "np.ndarray[Any, Any]":
        found = np.ones(len(cells.array), dtype=bool)
        for compare, bound in ((pc.greater_equal, low), (pc.less_equal, high)):
            if bound is not None:
                found &= (
                    compare(cells.array, bound).fill_null(fill_value=False).to_numpy(zero_copy_only=False)
                )
        return found

    return test

"""Python's values as Arrow arrays of the one type that holds all of them exactly, and literals as values."""

import math
import sys
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate, chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**64)
_EXACT_DIGITS: Final = 15
"""A number of so many digits is the shortest spelling of its float."""
_NARROW_DIGITS: Final = 38
_MOST_DIGITS: Final = 76
"""Of Arrow's widest decimal."""


class UnfitValueError(ValueError):
    """A value has no exact type, or a name no place."""

    def __init__(self, position: int | None, reason: str) -> None:
        super().__init__(reason)
        self.position, self.reason = position, reason


class Room:
    """How many cells a table may still get: every name takes one in every row, whether it has a value there or not.

    Names that are data, such as ids, would take the square of what the file takes.
    """

    def __init__(self, cells: int) -> None:
        self._left = cells

    def check(self, names: int, rows: int) -> None:
        """Ask for the cells of so many more names in so many rows.

        Raises:
            UnfitValueError: there are fewer; it has no position.
        """
        if names * rows > self._left:
            raise UnfitValueError(
                None,
                f"has more than {self._left // rows:,} different names in {rows:,} objects; "
                "write them as a list of keys and values",
            )

    def take(self, names: int, rows: int) -> None:
        """Take them; raises as `check` does."""
        self.check(names, rows)
        self._left -= names * rows


def arrow_array(values: Sequence[Any], room: Room | None = None) -> "pa.Array":
    """The values as one array, each exactly.

    Whole numbers are int64, else uint64, else decimals; other numbers are floats or, where one has digits that no
    float has, decimals. Objects become structs, lists lists. Values of several types become a dense union.

    Args:
        values: None, bool, int, float, Decimal, str, and lists and dicts of these.
        room: What the names of dicts take their cells from; without it they may be as many as they are.

    Raises:
        UnfitValueError: a number is too long for a decimal, or dicts have more names than there is room for.
    """
    import pyarrow as pa

    room = room or Room(sys.maxsize)
    kinds = set(map(type, values)) - {NoneType}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {int}:
        return _integers(values)
    if kinds <= {int, float, Decimal}:
        return _numbers(values, kinds, room)
    if len(kinds) > 1:
        return _union(values, room)
    (kind,) = kinds
    if kind is dict:
        return _structs(values, room)
    if kind is list:
        return _lists(values, room)
    return pa.array(values, {str: pa.string(), bool: pa.bool_()}[kind])


def exact_number(literal: str) -> float | Decimal:
    """The number with all its digits: a float where that would be written so, else a decimal."""
    number = float(literal)
    if len(literal) <= _EXACT_DIGITS + 1 and "e" not in literal and "E" not in literal:
        return number
    return number if _prints(number, literal) else Decimal(literal)


def exact_numbers(literals: Sequence[str | None]) -> list[float | Decimal | None]:
    """The numbers with all their digits: floats where all of them would be written so, else decimals."""
    numbers = [None if literal is None else exact_number(literal) for literal in literals]
    if not any(isinstance(number, Decimal) for number in numbers):
        return numbers
    return [None if literal is None else Decimal(literal) for literal in literals]


def _prints(number: float, literal: str) -> bool:
    """Whether the literal is the float's shortest spelling, or the float written with as many digits."""
    shortest = repr(number)
    if shortest == literal:
        return True
    written = Decimal(literal)
    if not math.isfinite(number):
        return False
    digits = len(written.as_tuple().digits)
    return written in (Decimal(shortest), Decimal(f"{number:.{digits - 1}e}"))


def _integers(values: Sequence[Any]) -> "pa.Array":
    import pyarrow as pa

    given = [value for value in values if value is not None]
    least, most = min(given), max(given)
    for bounds, kind in ((_INT64, pa.int64()), (_UINT64, pa.uint64())):
        if least in bounds and most in bounds:
            return pa.array(values, kind)
    return _decimals(values)


def _numbers(values: Sequence[Any], kinds: set[type], room: Room) -> "pa.Array":
    import pyarrow as pa

    if Decimal not in kinds and all(_is_float(value) for value in values if type(value) is int):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    # Only a float can be infinite, or no number.
    if all(value is None or type(value) is not float or math.isfinite(value) for value in values):
        return _decimals([Decimal(repr(value)) if type(value) is float else value for value in values])
    return _union(values, room)


def _is_float(number: int) -> bool:
    try:
        return _prints(float(number), str(number))
    except OverflowError:
        return False


def _decimals(values: Sequence[Any]) -> "pa.Array":
    import pyarrow as pa

    scale = whole = 0
    for at, value in enumerate(values):
        if value is None:
            continue
        _, digits, exponent = Decimal(value).as_tuple()
        scale, whole = max(scale, -int(exponent)), max(whole, len(digits) + int(exponent))
        if whole + scale > _MOST_DIGITS:
            raise UnfitValueError(
                at,
                f"holds numbers of {whole + scale} digits together with those before it, at most {_MOST_DIGITS} "
                "can be kept; write them as texts",
            )
    precision = max(whole + scale, 1)
    kind = pa.decimal128 if precision <= _NARROW_DIGITS else pa.decimal256
    return pa.array([None if value is None else Decimal(value) for value in values], kind(precision, scale))


def _structs(values: Sequence[dict[str, Any] | None], room: Room) -> "pa.Array":
    import pyarrow as pa

    names = list(dict.fromkeys(chain.from_iterable(value for value in values if value is not None)))
    room.take(len(names), len(values))
    children = [
        arrow_array([None if value is None else value.get(name) for value in values], room) for name in names
    ]
    absent = pa.array([value is None for value in values], pa.bool_())
    if not names:
        return pa.array(values, pa.struct([]))
    return pa.StructArray.from_arrays(children, names, mask=absent)


def _lists(values: Sequence[list[Any] | None], room: Room) -> "pa.Array":
    import pyarrow as pa

    ends = list(accumulate((len(value or ()) for value in values), initial=0))
    try:
        items = arrow_array(list(chain.from_iterable(value for value in values if value is not None)), room)
    except UnfitValueError as problem:
        at = None if problem.position is None else bisect_right(ends, problem.position) - 1
        raise UnfitValueError(at, problem.reason) from None
    absent = pa.array([value is None for value in values], pa.bool_())
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), items, mask=absent)


def _union(values: Sequence[Any], room: Room) -> "pa.Array":
    """Each value under its own type; null stands under one of its own, since a union has no nulls."""
    import pyarrow as pa

    # Numbers of Python's several types are told apart, too: they have no type together.
    kinds = list(dict.fromkeys(map(type, values)))
    children = [[value for value in values if type(value) is kind] for kind in kinds]
    codes, offsets, seen = [], [], dict.fromkeys(kinds, 0)
    numbers = {kind: number for number, kind in enumerate(kinds)}
    for value in values:
        codes.append(numbers[type(value)])
        offsets.append(seen[type(value)])
        seen[type(value)] += 1
    arrays = []
    for kind, child in zip(kinds, children, strict=True):
        try:
            arrays.append(arrow_array(child, room))
        except UnfitValueError as problem:
            of_kind = [at for at, value in enumerate(values) if type(value) is kind]
            at = None if problem.position is None else of_kind[problem.position]
            raise UnfitValueError(at, problem.reason) from None
    return pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()),
        pa.array(offsets, pa.int32()),
        arrays,
        [kind.__name__ for kind in kinds],
    )

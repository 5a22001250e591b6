"""How far new data may be from what was seen before a contract objects."""

import math
from collections.abc import Callable
from typing import Final

MARGIN: Final = 0.1
"""Of the span of a column, beyond its smallest and its largest value."""
MOSTLY: Final = 0.99
"""Share of the values that must lie within; a few odd ones are no change of the column."""
_LEAST_MISSING: Final = 0.02
_STANDARD_ERRORS: Final = 4.0
_MOST_DIGITS: Final = 300
"""Behind the point; ten to the power of more is no float."""
_LARGEST_EXACT: Final = 2**53
"""Whole numbers beyond it have no canonical JSON form."""


def bounds(least: float, most: float, *, whole: bool) -> tuple[float, float]:
    """The range with its margin, rounded to two digits of its span; what is never negative stays so.

    Rounded outwards, but for whole numbers of a small span: of 0 and 1, a margin makes neither -1 nor 2.

    Args:
        least: The smallest value seen.
        most: The largest, no less.
        whole: Whether the values are whole numbers, and the bounds shall be.
    """
    span = (most - least) or abs(most) or 1.0
    digits = min(1 - math.floor(math.log10(span)), _MOST_DIGITS)
    if whole:
        digits = min(digits, 0)
    low, high = least - MARGIN * span, most + MARGIN * span
    if least >= 0:
        low = max(low, 0.0)
    if most <= 0:
        high = min(high, 0.0)
    down, up = (math.ceil, math.floor) if whole and digits == 0 and most > least else (math.floor, math.ceil)
    low, high = _rounded(low, digits, down), _rounded(high, digits, up)
    if whole and max(abs(low), abs(high)) < _LARGEST_EXACT:
        return int(low), int(high)
    return low, high


def share_given(missing_share: float) -> float:
    """Share of rows that must have a value (0 … 1): half as many again may lack one, and 2 % more at least."""
    return max(0.0, math.floor(100 * (1 - missing_share - max(_LEAST_MISSING, missing_share / 2))) / 100)


def rate_bounds(rate: float, rows: int) -> tuple[float, float]:
    """The range of a share: a quarter of the rarer class either way, and what chance does to `rows` rows."""
    margin = max(0.25 * min(rate, 1 - rate), _STANDARD_ERRORS * math.sqrt(rate * (1 - rate) / rows))
    return max(0.0, math.floor(1000 * (rate - margin)) / 1000), min(
        1.0, math.ceil(1000 * (rate + margin)) / 1000
    )


def _rounded(value: float, digits: int, towards: Callable[[float], int]) -> float:
    scale = 10.0**digits
    return round(towards(value * scale) / scale, max(digits, 0))

"""What bins are called, for people."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_MOST_NAMES: Final = 6
_LONGEST: Final = 40
_DIGITS: Final = range(6, 18)
"""17 tell any two floats apart."""


def interval_labels(edges: Sequence[float]) -> list[str]:
    """Of the intervals between ascending edges: as few digits as tell them apart, six at least."""
    if not edges:
        return ["any number"]
    for digits in _DIGITS:
        told = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(told)) == len(told):
            break
    between = [f"({lower}, {upper}]" for lower, upper in pairwise(told)]
    return [f"≤ {told[0]}", *between, f"> {told[-1]}"]


def names_label(names: Sequence[str]) -> str:
    """Of categories: their names, the first of many."""
    told = ", ".join(
        name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names[:_MOST_NAMES]
    )
    more = len(names) - _MOST_NAMES
    return f"{told} and {more} more" if more > 0 else told

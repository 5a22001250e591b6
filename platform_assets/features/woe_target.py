"""Which rows are events, and what a spec's values mean in columns of either kind."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.table_columns import column_of, first_missing
from platform_assets.features.transformer_spec import Value
from platform_assets.features.woe_columns import kind_of

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_CLASSES: Final = 2


@dataclass(frozen=True, slots=True)
class Target:
    """Which rows are events."""

    labels: NDArray[np.uint8]
    """1 where a row is one, else 0; shape (rows,)."""
    others: frozenset[str]
    """Spellings of the values that are none: of a target with two values there is one."""


def read_target(rows: "pa.Table", name: str, event: Value) -> Target:
    """Which rows are events: those whose target is `event`, whatever type has it. 1 is 1.0, "1" and true; 0 is false.

    Raises:
        FeatureError: the column is missing, or of a type that has no classes; a value is missing; there are more than
            two.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column_of(rows, name)
    kind_of(column, name)
    missing, first = first_missing(column)
    if missing:
        raise FeatureError(
            f"target {name}: {missing} of {len(column)} values are missing (first: row {first}); "
            "leave out the rows whose outcome is not known"
        )
    wanted = str(event)
    if pa.types.is_boolean(column.type):
        wanted = {"true": "1", "false": "0"}.get(wanted, wanted)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())  # not every width can be encoded
    elif pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    labels = np.empty(len(column), np.uint8)
    others: set[str] = set()
    start = 0
    for chunk in column.chunks:
        coded = chunk if pa.types.is_dictionary(chunk.type) else pc.dictionary_encode(chunk)
        codes = coded.indices.to_numpy(zero_copy_only=False)
        names = [_spelling(value) for value in coded.dictionary.to_pylist()]
        is_event = np.array([spelt == wanted for spelt in names], np.uint8)
        labels[start : start + len(chunk)] = is_event[codes] if codes.size else ()
        others.update(names[code] for code in np.unique(codes).tolist() if not is_event[code])
        start += len(chunk)
    check_classes(name, others)
    return Target(labels, frozenset(others))


def check_classes(name: str, others: Iterable[str]) -> None:
    """Nothing, where at most one value of a target is no event.

    Raises:
        FeatureError: there are more.
    """
    if (different := len(set(others))) >= _CLASSES:
        raise FeatureError(
            f"target {name} has {different} different values that are not the event, and one is allowed; "
            "make a column with two values, or change woe.event"
        )


def special_numbers(values: Iterable[Value]) -> list[float]:
    """Those of a spec's values that are numbers, each once, in their order.

    Raises:
        FeatureError: one looks like a number, and no column of numbers has it.
    """
    numbers = []
    for place, value in enumerate(values, start=1):
        try:
            number = float(value)
        except ValueError:
            continue
        if not math.isfinite(number) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
            raise FeatureError(
                f"woe.specialValues: value {place} looks like a number, and no column of numbers has it; write it as "
                "-999 or 1e30 (NaN is missing, which has a bin of its own, and infinite values are of the bins at the ends)"
            )
        numbers.append(number + 0.0)  # makes 0 of -0
    return list(dict.fromkeys(numbers))


def refuse_texts(values: Iterable[Value]) -> None:
    """Refuse special values that are texts, where all columns are of numbers.

    Raises:
        FeatureError: one is.
    """
    for place, value in enumerate(values, start=1):
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise FeatureError(
                f"woe.specialValues: value {place} is no number, and all columns are of numbers, none of which has it; "
                "remove it, or correct the columns"
            )


def special_texts(values: Iterable[Value]) -> list[str]:
    """A spec's values as texts, each once, in their order."""
    return list(dict.fromkeys(map(str, values)))


def _spelling(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

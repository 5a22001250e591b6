"""What a contract promises of each column, as people read it beside the column."""

from collections.abc import Mapping
from typing import Final

from platform_assets.datasets.contract import Contract, Expectation

NOT_NULL: Final = "not null"
UNIQUE: Final = "unique"
_MOST_NAMED: Final = 8


def column_promises(contract: Contract) -> dict[str, tuple[str, ...]]:
    """The promises of each column that the contract speaks about, in its order.

    `not null` and `unique` are those that hold for every row and block where they do not; all others tell how much
    of them, for which rows, or that they only warn.
    """
    found: dict[str, list[str]] = {}
    for each in contract.expectations:
        if each.column is not None:
            found.setdefault(each.column, []).append(_promise(each))
    return {column: tuple(promises) for column, promises in found.items()}


def _promise(expectation: Expectation) -> str:
    kwargs = expectation.kwargs
    match expectation.type:
        case "expect_column_values_to_not_be_null":
            told = NOT_NULL
        case "expect_column_values_to_be_unique":
            told = UNIQUE
        case "expect_column_values_to_be_between":
            told = _between(kwargs)
        case "expect_column_values_to_be_in_set":
            told = f"one of {_listed(kwargs['value_set'])}"
        case other:
            told = other.removeprefix("expect_column_").replace("_", " ")
            if "min_value" in kwargs or "max_value" in kwargs:
                told = f"{told.removesuffix(' to be between')} {_between(kwargs)}"
    mostly, condition = kwargs.get("mostly", 1), kwargs.get("row_condition")
    if isinstance(mostly, int | float) and mostly < 1:
        told += f" in at least {mostly:.4%} of the rows".replace(".0000", "")
    if condition is not None:
        told += f" where {condition}"
    return told if expectation.severity == "critical" else f"{told} ({expectation.severity})"


def _between(kwargs: Mapping[str, object]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    strictly = " strictly" if kwargs.get("strict_min") or kwargs.get("strict_max") else ""
    if high is None:
        return f"at least {low}{strictly}"
    return f"at most {high}{strictly}" if low is None else f"between {low} and {high}{strictly}"


def _listed(values: object) -> str:
    named = [str(each) for each in values] if isinstance(values, list) else [str(values)]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more

"""Whether what a contract states can be compared with a column at all.

Great Expectations compares whatever it is given: a number with text, which is never equal, so that a forbidden
value is never found; a pattern with the digits of a number. Here each is an error of the contract that says
what to write instead.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from platform_assets.manifest import FieldPath

if TYPE_CHECKING:
    import pandas as pd

    from platform_assets.datasets.contract import Expectation

Kind = Literal["text", "number", "boolean", "time", "empty", "other"]

BOUNDED: Final = frozenset(
    f"expect_column_{name}_to_be_between" for name in ("values", "max", "min", "median")
)
"""Their `min_value` and `max_value` are values of the column; elsewhere those are counts, shares and the like."""
IN_SETS: Final = frozenset(
    f"expect_column_{name}"
    for name in (
        "values_to_be_in_set",
        "values_to_not_be_in_set",
        "distinct_values_to_be_in_set",
        "distinct_values_to_contain_set",
        "distinct_values_to_equal_set",
        "most_common_value_to_be_in_set",
    )
)
FIGURES: Final = frozenset(
    f"expect_column_{name}"
    for name in (
        "mean_to_be_between",
        "sum_to_be_between",
        "stdev_to_be_between",
        "quantile_values_to_be_between",
        "value_z_scores_to_be_less_than",
        "values_to_not_be_outliers",
    )
)
"""They compute with the values of the column."""
_TEXTS: Final = re.compile(
    r"expect_column_value(s_to_(not_)?match_(regex|like_pattern|strftime|json).*|s_to_be_(dateutil|json)_parseable|_lengths.*)"
)
"""They look at the characters of the values."""
ORDERED: Final = frozenset({"expect_column_values_to_be_increasing", "expect_column_values_to_be_decreasing"})
PAIRED: Final = frozenset(
    {"expect_column_pair_values_a_to_be_greater_than_b", "expect_column_pair_values_to_be_equal"}
)
PAIR_SET: Final = "expect_column_pair_values_to_be_in_set"
ROW_SUM: Final = "expect_multicolumn_sum_to_equal"

_KINDS: Final[Mapping[str, Kind]] = {
    "string": "text",
    "integer": "number",
    "floating": "number",
    "decimal": "number",
    "mixed-integer-float": "number",
    "boolean": "boolean",
    "datetime64": "time",
    "datetime": "time",
    "date": "time",
    "empty": "empty",
}
"""By pandas' name of the values' type; any other is `other`."""
_HELD: Final[Mapping[Kind, str]] = {
    "text": "text",
    "number": "numbers",
    "boolean": "true and false",
    "time": "dates or times",
    "other": "values of several types, or of one that no contract can state",
}
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def kind_of(values: "pd.Series[Any]") -> Kind:
    """What a column holds, as far as a contract can state it; nulls do not count."""
    import pandas as pd
    from pandas.api.types import infer_dtype

    given = values.dropna()
    if given.empty:
        return "empty"
    if isinstance(given.dtype, pd.CategoricalDtype):
        given = given.astype(given.cat.categories.dtype)
    return _KINDS.get(infer_dtype(given), "other")


def instant(text: str) -> int | None:
    """Nanoseconds from 1970 to what an ISO 8601 text states; None where it states no date and no time.

    A date is the beginning of its day, and what states no offset is in UTC, as it is in the data.
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        stated = datetime.fromisoformat(text)
    except ValueError:
        return None
    return nanoseconds(stated)


def nanoseconds(stated: date) -> int:
    """Nanoseconds from 1970 to a date or time; a date begins in UTC, and so does a time that states no zone."""
    if not isinstance(stated, datetime):
        stated = datetime(stated.year, stated.month, stated.day, tzinfo=UTC)
    since = (stated if stated.tzinfo else stated.replace(tzinfo=UTC)) - _EPOCH
    return since // timedelta(microseconds=1) * 1000 + getattr(stated, "nanosecond", 0)


def constants(expectation: "Expectation") -> Iterator[tuple[FieldPath, str, Any]]:
    """What the expectation compares with a column: field below `kwargs`, column, value. Nulls and parameters are none."""
    kwargs: Mapping[str, Any] = expectation.kwargs
    column = expectation.column
    if column is not None and expectation.type in BOUNDED:
        for key in ("min_value", "max_value"):
            if kwargs.get(key) is not None and not isinstance(kwargs[key], dict):
                yield (key,), column, kwargs[key]
    if column is not None and expectation.type in IN_SETS and isinstance(kwargs.get("value_set"), list):
        for index, value in enumerate(kwargs["value_set"]):
            if value is not None:
                yield ("value_set", index), column, value
    if expectation.type == PAIR_SET and isinstance(kwargs.get("value_pairs_set"), list):
        for index, pair in enumerate(kwargs["value_pairs_set"]):
            if isinstance(pair, list):
                for at, (name, value) in enumerate(zip(("column_A", "column_B"), pair, strict=False)):
                    if value is not None and isinstance(kwargs.get(name), str):
                        yield ("value_pairs_set", index, at), kwargs[name], value


def misfit(expectation: "Expectation", kind: Callable[[str], Kind]) -> tuple[FieldPath, str] | None:
    """The first field (below `kwargs`) that cannot be held against its column, and what to write; None where all can.

    Args:
        expectation: What is stated.
        kind: What a column holds.
    """
    for field, column, value in constants(expectation):
        if (problem := _unlike(value, kind(column), column)) is not None:
            return field, problem
    about = expectation.column
    if about is not None and (problem := _unfit(expectation.type, kind(about), about)) is not None:
        return ("column",), problem
    summed = expectation.kwargs.get("column_list") if expectation.type == ROW_SUM else None
    if isinstance(summed, list):
        for index, name in enumerate(map(str, summed)):
            if kind(name) not in {"number", "boolean", "empty"}:
                problem = f"column `{name}` holds {_HELD[kind(name)]}, and {ROW_SUM} is about numbers"
                return ("column_list", index), f"{problem}; name a column of numbers"
    if expectation.type in PAIRED:
        pair = [str(expectation.kwargs.get(name)) for name in ("column_A", "column_B")]
        kinds = [kind(name) for name in pair]
        if "empty" not in kinds and ("other" in kinds or kinds[0] != kinds[1]):
            held = " and ".join(
                f"column `{name}` holds {_HELD[each]}" for name, each in zip(pair, kinds, strict=True)
            )
            return ("column_B",), f"{held}, which cannot be compared; name columns of one type"
    return None


def mixed(expectation: "Expectation") -> Iterator[tuple[FieldPath, str]]:
    """Each value (field below `kwargs`) that no column could hold beside the first one, and what to do."""
    first: dict[str, Any] = {}
    for field, column, value in constants(expectation):
        one = first.setdefault(column, value)
        if _kind_of_constant(value) != _kind_of_constant(one):
            yield (
                field,
                (
                    f"{_told(value)} stands beside {_told(one)}, and no column holds both; "
                    "put text in quotes, and nothing else"
                ),
            )


def _unlike(value: Any, kind: Kind, column: str) -> str | None:
    """Why a value cannot be in a column of this kind."""
    match kind, _kind_of_constant(value):
        case ("empty", _) | ("text", "text") | ("number", "number") | ("boolean", "boolean"):
            return None
        case "time", "text" if instant(value) is not None:
            return None
        case "time", _:
            advice = 'write a date such as "2026-01-31", or a time such as "2026-01-31T10:00:00Z"'
        case "text", "number":
            advice = "put the value in quotes, as it stands in the data"
        case "text", "boolean":
            advice = "put the word in quotes, as it stands in the data"
        case "number", _:
            advice = "write a number, without quotes"
        case "boolean", _:
            advice = "write true or false, without quotes"
        case _:
            advice = "state the column's type in the section raw, or mend the data"
    return f"{_told(value)}, and column `{column}` holds {_HELD[kind]}; {advice}"


def _unfit(type_: str, kind: Kind, column: str) -> str | None:
    """Why an expectation of this type cannot speak about a column of this kind."""
    held = f"column `{column}` holds {_HELD.get(kind)}"
    if kind == "empty":
        return None
    if _TEXTS.fullmatch(type_) and kind != "text":
        return f"{held}, and {type_} is about text; state a range, a set or a type instead"
    if type_ in FIGURES and kind not in {"number", "boolean"}:
        return f"{held}, and {type_} is about numbers; name a column of numbers"
    if type_ in BOUNDED and kind == "text":
        return f"{held}, which has no bounds; state its type in the section raw if it holds numbers or times"
    if type_ in BOUNDED | ORDERED and kind in {"boolean", "other"}:
        return f"{held}, which have no order; state a set instead"
    if type_ in IN_SETS and kind == "other":
        return f"{held}; state the column's type in the section raw, or mend the data"
    return None


def _kind_of_constant(value: Any) -> Kind:
    match value:
        case str():
            return "text"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
    return "other"


def _told(value: Any) -> str:
    """The contract's own value, and what it is."""
    match _kind_of_constant(value):
        case "text":
            return f'"{value}" is text'
        case "boolean":
            return f"{str(value).lower()} is a boolean"
        case "number":
            return f"{value} is a number"
    return "a list or a mapping is no value"

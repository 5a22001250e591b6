"""What one expectation asks of rows that come in batches: a test on each cell, or a figure of the column.

Each is told in Great Expectations' terms (GE's): what counts as looked at, what percents are of, what passes with `mostly`.
Of an expectation that stands in no line here, or whose kwargs say more than is known here, GE is the judge.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from platform_assets.datasets.batches import Cells, family_of, kind_of_type
from platform_assets.datasets.comparisons import Test, among, wide_floats, within
from platform_assets.datasets.contract import Expectation
from platform_assets.datasets.contract_run import Answer
from platform_assets.datasets.contract_values import misfit
from platform_assets.datasets.means import FloatMean, Mean, WholeMean
from platform_assets.datasets.repeats import Repeats, keys
from platform_assets.datasets.row_hash import MOST_ROW_HASHES

if TYPE_CHECKING:
    import pyarrow as pa

_BOUNDS: Final = frozenset({"min_value", "max_value", "strict_min", "strict_max"})


class Measure(Protocol):
    """What becomes of one expectation, batch by batch."""

    column: str | None

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:
        """The next batch: the cells of the measure's column, where it has one."""

    def answer(self) -> Answer:
        """What all batches together say."""

    def unexpected(self, cells: Cells) -> "np.ndarray[Any, Any] | None":
        """Where the batch has rows that are objected to; None for a figure. After `answer`."""

    def close(self) -> None:
        """Remove what lies on disk."""


class _Held:
    """What all measures have."""

    def __init__(self, column: str | None) -> None:
        self.column = column

    def unexpected(self, cells: Cells) -> "np.ndarray[Any, Any] | None":  # noqa: ARG002 - see `Measure`
        return None

    def close(self) -> None:
        """Nothing lies anywhere."""


class RowMeasure(Measure, Protocol):
    """One whose verdict is a share of rows, each of which is objected to or not, whatever the others are."""

    def unexpected(self, cells: Cells) -> "np.ndarray[Any, Any]":
        """Where the batch has rows that are objected to; before `answer`, too."""

    def looked_at(self, rows: int, filled: int) -> int:
        """How many of so many rows, of which so many have a value, are looked at."""

    def passes(self, looked_at: int, unexpected: int) -> bool:
        """Whether so many rows with so many that are objected to are good enough."""


class _EachValue(_Held):
    """A test on each value; nulls are not looked at."""

    def __init__(self, column: str, mostly: float, test: Test) -> None:
        super().__init__(column)
        self._mostly, self._test = mostly, test
        self._rows = self._filled = self._count = 0

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:  # noqa: ARG002
        assert cells is not None, "the measure has a column"
        self._rows, self._filled = self._rows + rows, self._filled + cells.filled
        if cells.filled:
            self._count += int(np.count_nonzero(self.unexpected(cells)))

    def answer(self) -> Answer:
        filled, count = self._filled, self._count
        return Answer(
            success=self.passes(self.looked_at(self._rows, filled), count),
            elements=self._rows,
            unexpected=count,
            missing=self._rows - filled,
            unexpected_percent=count / filled * 100 if filled else None,
        )

    def unexpected(self, cells: Cells) -> "np.ndarray[Any, Any]":
        passed = self._test(cells)
        return ~passed if cells.given is None else ~passed & cells.given

    def looked_at(self, rows: int, filled: int) -> int:  # noqa: ARG002 - see `RowMeasure`
        return filled

    def passes(self, looked_at: int, unexpected: int) -> bool:
        return not looked_at or (float(looked_at) - float(unexpected)) / float(looked_at) >= self._mostly


class _Filled(_Held):
    """Whether there is a value, or none."""

    def __init__(self, column: str, mostly: float, *, wanted: bool) -> None:
        super().__init__(column)
        self._mostly, self._wanted = mostly, wanted
        self._rows = self._count = 0

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:  # noqa: ARG002
        assert cells is not None, "the measure has a column"
        self._rows += rows
        self._count += rows - cells.filled if self._wanted else cells.filled

    def answer(self) -> Answer:
        return Answer(
            success=self.passes(self._rows, self._count),
            elements=self._rows,
            unexpected=self._count,
            unexpected_percent=self._count / self._rows * 100,
        )

    def unexpected(self, cells: Cells) -> "np.ndarray[Any, Any]":
        given = np.ones(len(cells.array), dtype=bool) if cells.given is None else cells.given
        return ~given if self._wanted else given

    def looked_at(self, rows: int, filled: int) -> int:  # noqa: ARG002 - see `RowMeasure`
        return rows

    def passes(self, looked_at: int, unexpected: int) -> bool:
        return not looked_at or (looked_at - unexpected) / looked_at >= self._mostly


class _Unique(_EachValue):
    """Whether each value occurs once; of those that do not, all are objected to."""

    def __init__(self, column: str, mostly: float) -> None:
        super().__init__(column, mostly, self._occurs_once)
        self._repeats = Repeats(most_named=MOST_ROW_HASHES)
        self._named: pa.Array | None = None

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:
        assert cells is not None, "the measure has a column"
        self._rows, self._filled = self._rows + rows, self._filled + cells.filled
        if cells.filled:
            self._repeats.add(cells, first_row=first_row)

    def answer(self) -> Answer:
        self._count, self._named = self._repeats.result()
        return super().answer()

    def close(self) -> None:
        self._repeats.close()

    def _occurs_once(self, cells: Cells) -> "np.ndarray[Any, Any]":
        """Whether a value is none of those that occur again; the first rows of all such values are theirs."""
        import pyarrow.compute as pc

        rows = np.arange(len(cells.array)) if cells.given is None else np.flatnonzero(cells.given)
        once = np.ones(len(cells.array), dtype=bool)
        found = pc.is_in(keys(cells, rows), value_set=self._named)
        once[rows] = ~found.to_numpy(zero_copy_only=False)
        return once


class _Containing(_Held):
    """Whether each member of a set occurs."""

    def __init__(self, column: str, awaited: Sequence[Test]) -> None:
        super().__init__(column)
        self._awaited = awaited

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:  # noqa: ARG002
        assert cells is not None, "the measure has a column"
        given = True if cells.given is None else cells.given
        self._awaited = [test for test in self._awaited if not (test(cells) & given).any()]

    def answer(self) -> Answer:
        return Answer(success=not self._awaited)


class _Mean(_Held):
    """The mean of the values that are not null."""

    def __init__(self, column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> None:
        super().__init__(column)
        self._kwargs = kwargs
        self._mean: Mean = WholeMean() if family_of(type_) in {"whole", "boolean"} else FloatMean()

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:  # noqa: ARG002
        assert cells is not None, "the measure has a column"
        self._mean.add(wide_floats(cells), cells.given)

    def answer(self) -> Answer:
        mean = self._mean.value()
        if mean is None or np.isnan(mean):
            return Answer(success=False)
        return Answer(success=_lies_within(mean, self._kwargs), observed=mean)

    def close(self) -> None:
        self._mean.close()


class _RowCount(_Held):
    """The number of rows."""

    def __init__(self, kwargs: Mapping[str, Any]) -> None:
        super().__init__(None)
        self._kwargs, self._rows = kwargs, 0

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:  # noqa: ARG002
        self._rows += rows

    def answer(self) -> Answer:
        return Answer(success=_lies_within(self._rows, self._kwargs), observed=self._rows)


class _Columns(_Held):
    """What the columns are called."""

    def __init__(self, *, success: bool) -> None:
        super().__init__(None)
        self._success = success

    def add(self, cells: Cells | None, *, first_row: int, rows: int) -> None:
        """Rows have no say."""

    def answer(self) -> Answer:
        return Answer(success=self._success)


def measure_of(expectation: Expectation, schema: "pa.Schema") -> Measure | None:
    """What the expectation asks of a table of this schema; None where Great Expectations alone can tell.

    Args:
        expectation: What is stated; not one about a column that is not there.
        schema: Of plain types.
    """
    kwargs: Mapping[str, Any] = expectation.kwargs
    column = expectation.column
    making = _MAKING.get(expectation.type)
    if making is None or not kwargs.keys() <= making[0] or not _is_plain(kwargs):
        return None
    if column is None:
        return _of_table(expectation.type, kwargs, schema)
    if column not in schema.names:
        return None
    return making[1](column, schema.field(column).type, kwargs)


def row_measure_of(expectation: Expectation, schema: "pa.Schema") -> RowMeasure | None:
    """The same where its verdict is a share of rows; None of any other, as of one that compares rows with each other."""
    measure = measure_of(expectation, schema)
    return measure if isinstance(measure, _EachValue | _Filled) and not isinstance(measure, _Unique) else None


def can_be_compared(expectation: Expectation, schema: "pa.Schema") -> bool:
    """Whether what is stated fits the types of its columns; where it does not, no row need be looked at."""
    return misfit(expectation, lambda name: _kind(name, schema)) is None


def _kind(name: str, schema: "pa.Schema") -> Any:
    return kind_of_type(schema.field(name).type) if name in schema.names else "empty"


def _of_table(type_: str, kwargs: Mapping[str, Any], schema: "pa.Schema") -> Measure | None:
    if type_ == "expect_table_columns_to_match_ordered_list":
        stated = kwargs.get("column_list")
        return _Columns(success=stated == schema.names) if isinstance(stated, list) else None
    if type_ == "expect_table_columns_to_match_set":
        return _column_set(kwargs, schema.names)
    if type_ == "expect_table_row_count_to_equal":
        kwargs = {"min_value": kwargs.get("value"), "max_value": kwargs.get("value")}
    return _RowCount(kwargs) if type_.startswith("expect_table_row_count") and _has_bounds(kwargs) else None


def _column_set(kwargs: Mapping[str, Any], names: Sequence[str]) -> Measure | None:
    stated, exact = kwargs.get("column_set"), kwargs.get("exact_match", True)
    if (
        not isinstance(stated, list)
        or not isinstance(exact, bool)
        or not all(isinstance(each, str) for each in stated)
    ):
        return None
    return _Columns(success=set(stated) == set(names) if exact else set(stated) <= set(names))


def _is_plain(kwargs: Mapping[str, Any]) -> bool:
    """Whether each kwarg is of the type that it usually is: GE fills in other ones, and has parameters."""
    flags = all(isinstance(kwargs.get(key, False), bool) for key in ("strict_min", "strict_max"))
    return flags and _is_number(kwargs.get("mostly", 1))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _has_bounds(kwargs: Mapping[str, Any]) -> bool:
    """Whether these bounds are numbers, the lower one not above the upper one; one is enough."""
    bounds = [kwargs[key] for key in ("min_value", "max_value") if kwargs.get(key) is not None]
    return bool(bounds) and all(map(_is_number, bounds)) and bounds[0] <= bounds[-1]


def _lies_within(figure: float, kwargs: Mapping[str, Any]) -> bool:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = low is None or (figure > low if kwargs.get("strict_min") else figure >= low)
    below = high is None or (figure < high if kwargs.get("strict_max") else figure <= high)
    return bool(above and below)


def _mostly(kwargs: Mapping[str, Any]) -> float:
    return float(kwargs.get("mostly", 1))


def _between(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    stated = [each for each in (low, high) if each is not None]
    if not stated or not all(isinstance(each, int | float | str) for each in stated):
        return None
    if family_of(type_) in {"boolean", "text", "nothing", "other"}:
        return None
    strict = {"strict_low": kwargs.get("strict_min", False), "strict_high": kwargs.get("strict_max", False)}
    test = within(type_, low, high, **strict)
    return None if test is None else _EachValue(column, _mostly(kwargs), test)


def _in_set(*, wanted: bool) -> Callable[..., Measure | None]:
    def make(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
        members = _members(type_, kwargs)
        if members is None:
            return None
        test = among(type_, members)
        return _EachValue(column, _mostly(kwargs), test if wanted else lambda cells: ~test(cells))

    return make


def _distinct(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
    members = _members(type_, kwargs)
    if members is None or None in members:
        return None
    return _Containing(column, [among(type_, [member]) for member in members])


def _members(type_: "pa.DataType", kwargs: Mapping[str, Any]) -> list[Any] | None:
    stated = kwargs.get("value_set")
    if not isinstance(stated, list) or not stated or family_of(type_) in {"nothing", "other"}:
        return None
    return stated


def _unique(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
    return None if family_of(type_) in {"nothing", "other"} else _Unique(column, _mostly(kwargs))


def _filled(*, wanted: bool) -> Callable[..., Measure | None]:
    def make(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:  # noqa: ARG001
        return _Filled(column, _mostly(kwargs), wanted=wanted)

    return make


def _matching(*, wanted: bool) -> Callable[..., Measure | None]:
    def make(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
        regex = kwargs.get("regex")
        if not isinstance(regex, str) or family_of(type_) != "text":
            return None
        try:
            search = re.compile(regex).search
        except re.error:
            return None

        def test(cells: Cells) -> "np.ndarray[Any, Any]":
            return _of_texts(cells, lambda text: (search(text) is not None) is wanted)

        return _EachValue(column, _mostly(kwargs), test)

    return make


def _of_texts(cells: Cells, passes: Callable[[str], bool]) -> "np.ndarray[Any, Any]":
    """Whether each text passes, each distinct one looked at once."""
    texts, codes = cells.distinct_texts()
    if not len(texts):
        return np.zeros(len(codes), dtype=bool)
    passed = np.fromiter(map(passes, texts), dtype=bool, count=len(texts))
    return np.asarray(passed[codes])


def _lengths(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
    if family_of(type_) != "text" or not _has_bounds(kwargs):
        return None
    low, high = kwargs.get("min_value"), kwargs.get("max_value")

    def test(cells: Cells) -> "np.ndarray[Any, Any]":
        import pyarrow.compute as pc

        lengths = pc.utf8_length(cells.array).fill_null(0).to_numpy(zero_copy_only=False)
        above = True if low is None else lengths > low if kwargs.get("strict_min") else lengths >= low
        below = True if high is None else lengths < high if kwargs.get("strict_max") else lengths <= high
        return np.asarray(above & below)

    return _EachValue(column, _mostly(kwargs), test)


def _mean(column: str, type_: "pa.DataType", kwargs: Mapping[str, Any]) -> Measure | None:
    if family_of(type_) in {"time", "text", "nothing", "other"} or not _has_bounds(kwargs):
        return None
    return _Mean(column, type_, kwargs)


def _never(*_: Any) -> None:
    """Of an expectation about the table: it has no column."""


_MAKING: Final[Mapping[str, tuple[frozenset[str], Callable[..., Measure | None]]]] = {
    "expect_table_columns_to_match_ordered_list": (frozenset({"column_list"}), _never),
    "expect_table_columns_to_match_set": (frozenset({"column_set", "exact_match"}), _never),
    "expect_table_row_count_to_be_between": (_BOUNDS, _never),
    "expect_table_row_count_to_equal": (frozenset({"value"}), _never),
    "expect_column_values_to_be_null": (frozenset({"column", "mostly"}), _filled(wanted=False)),
    "expect_column_values_to_not_be_null": (frozenset({"column", "mostly"}), _filled(wanted=True)),
    "expect_column_values_to_be_unique": (frozenset({"column", "mostly"}), _unique),
    "expect_column_values_to_be_in_set": (frozenset({"column", "value_set", "mostly"}), _in_set(wanted=True)),
    "expect_column_values_to_not_be_in_set": (
        frozenset({"column", "value_set", "mostly"}),
        _in_set(wanted=False),
    ),
    "expect_column_values_to_be_between": (_BOUNDS | {"column", "mostly"}, _between),
    "expect_column_values_to_match_regex": (
        frozenset({"column", "regex", "mostly"}),
        _matching(wanted=True),
    ),
    "expect_column_values_to_not_match_regex": (
        frozenset({"column", "regex", "mostly"}),
        _matching(wanted=False),
    ),
    "expect_column_value_lengths_to_be_between": (_BOUNDS | {"column", "mostly"}, _lengths),
    "expect_column_mean_to_be_between": (_BOUNDS | {"column"}, _mean),
    "expect_column_distinct_values_to_contain_set": (
        frozenset({"column", "value_set"}),
        _distinct,
    ),
}
"""By type: the kwargs that are known, and what makes a measure of them."""

COVERED: Final = frozenset(_MAKING)
"""Types of expectations that need no Great Expectations to look at the rows."""

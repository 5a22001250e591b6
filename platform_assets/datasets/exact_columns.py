"""Columns in a form in which Great Expectations (GE) judges them exactly.

GE turns every bound into a float of 64 bits, compares times with dates not at all, and sums decimals as floats.
So where a float cannot tell two values apart, and for times, the values of a column and the contract's own are
replaced by their ranks among each other: small integers that are equal, smaller and larger exactly where the
values are. A float of 32 or 16 bits is taken for the shortest decimal that it stands for, as text would have it.
Such a column stands beside the others under a name of its own, and only its expectation sees it.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from platform_assets.datasets.contract import Expectation
from platform_assets.datasets.contract_values import (
    BOUNDED,
    FIGURES,
    IN_SETS,
    ORDERED,
    PAIR_SET,
    PAIRED,
    ROW_SUM,
    Kind,
    constants,
    instant,
    kind_of,
    nanoseconds,
)

if TYPE_CHECKING:
    import pandas as pd

_WIDEST: Final = 2**53
"""Up to here each integer is a float of its own."""
_LONGEST: Final = 2**63
_MEDIAN: Final = "expect_column_median_to_be_between"
_SUM: Final = "expect_column_sum_to_be_between"
_ABOUT_SEVERAL: Final = ("expect_compound_columns", "expect_select_column", "expect_multicolumn")
_BYTES: Final = 8
_SUMMED: Final[frozenset[Kind]] = frozenset({"number", "boolean", "empty"})
_IN_TYPES: Final = "expect_column_values_to_be_in_type_list"
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Judged(NamedTuple):
    """How GE is asked about one expectation."""

    kwargs: Mapping[str, Any]
    unit: int | Decimal = 1
    """What one of an observed figure stands for."""


@dataclass
class ExactColumns:
    """The columns of one frame, and those that stand beside them for some expectations."""

    frame: "pd.DataFrame"
    beside: "dict[str, pd.Series[Any]]" = field(default_factory=dict)
    _kinds: dict[str, Kind] = field(default_factory=dict)

    def kind(self, column: str) -> Kind:
        """What a column holds; `empty` where there is no such column."""
        if column not in self._kinds:
            self._kinds[column] = kind_of(self.frame[column]) if column in self.frame.columns else "empty"
        return self._kinds[column]

    def judged(self, expectation: Expectation) -> Judged | None:
        """The expectation about columns beside the others; None where GE judges it exactly as it is."""
        kwargs: dict[str, Any] = dict(expectation.kwargs)
        column, type_ = expectation.column, expectation.type
        if type_ in PAIRED:
            return self._paired(kwargs)
        if type_ == PAIR_SET:
            return self._pairs(expectation)
        if type_ == ROW_SUM:
            return self._row_sum(kwargs)
        if column is None or column not in self.frame.columns:
            return None
        values, stated = (
            _plain(self.frame[column]),
            {path: value for path, _, value in constants(expectation)},
        )
        if type_ == _MEDIAN and self.kind(column) == "time":
            micros = [None if each is None else each / 1000 for each in _instants(values)]
            bounds = {str(path[0]): _moment(value) / 1000 for path, value in stated.items()}
            return Judged(kwargs | bounds | {"column": self._add(_numbers(micros))})
        if type_ in (BOUNDED | IN_SETS | ORDERED) - {_MEDIAN} and self._needs_ranks(
            values, stated.values(), type_
        ):
            ranks, (ranked,) = self._ranks([*stated.values()], [column])
            at = dict(zip(stated, ranks, strict=True))
            changed: dict[str, Any] = {
                str(path[0]): rank for path, rank in at.items() if path[0] != "value_set"
            }
            if isinstance(kwargs.get("value_set"), list):
                changed["value_set"] = [rank for path, rank in at.items() if path[0] == "value_set"]
            return Judged(kwargs | changed | {"column": self._add(ranked)})
        if type_ == _IN_TYPES:
            return self._in_types(kwargs, self.frame[column])
        if type_ in BOUNDED | IN_SETS | FIGURES and _is_narrow(self.frame[column]):
            return Judged(kwargs | {"column": self._add(values)})
        if type_ in FIGURES | {_MEDIAN} and self.kind(column) == "number":
            return self._figure(kwargs, values, type_)
        return None

    def alone(self, expectation: Expectation) -> Judged | None:
        """The expectation about columns of their own, where another column's name differs from theirs in case only.

        GE takes names for the same whatever their case, and then the first of the two columns.
        """
        kwargs: dict[str, Any] = dict(expectation.kwargs)
        names = Counter(str(name).casefold() for name in self.frame.columns)

        def told_apart(name: Any) -> Any:
            doubtful = isinstance(name, str) and name in self.frame.columns and names[name.casefold()] > 1
            return self._add(self.frame[name]) if doubtful else name

        single = [key for key in ("column", "column_A", "column_B") if key in kwargs]
        changed: dict[str, Any] = {key: told_apart(kwargs[key]) for key in single}
        if expectation.type.startswith(_ABOUT_SEVERAL) and isinstance(kwargs.get("column_list"), list):
            changed["column_list"] = [told_apart(name) for name in kwargs["column_list"]]
        return Judged(kwargs | changed) if any(kwargs[key] != each for key, each in changed.items()) else None

    def _paired(self, kwargs: Mapping[str, Any]) -> Judged | None:
        from pandas.api.types import is_extension_array_dtype

        pair = [kwargs.get("column_A"), kwargs.get("column_B")]
        if not all(isinstance(each, str) and each in self.frame.columns for each in pair):
            return None
        columns = [str(each) for each in pair]
        values = [_plain(self.frame[each]) for each in columns]
        if not any(
            # A null of pandas' own types makes a comparison neither true nor false.
            self._needs_ranks(each, (), "") or is_extension_array_dtype(each.dtype) or _is_narrow(frame)
            for each, frame in zip(values, (self.frame[name] for name in columns), strict=True)
        ):
            return None
        _, ranked = self._ranks([], columns)
        named = {key: self._add(each) for key, each in zip(("column_A", "column_B"), ranked, strict=True)}
        return Judged({**kwargs, **named})

    def _pairs(self, expectation: Expectation) -> Judged | None:
        """Each column of a set of pairs in ranks among its own values and those that the set holds for it."""
        kwargs = dict(expectation.kwargs)
        pairs: Any = kwargs.get("value_pairs_set")
        if not isinstance(pairs, list) or not all(isinstance(each, list) for each in pairs):
            return None
        columns: dict[str, pd.Series[Any]] = {}
        told_apart = False
        stated_pairs = [list(pair) for pair in pairs]
        for side, key in enumerate(("column_A", "column_B")):
            column = kwargs.get(key)
            if not isinstance(column, str) or column not in self.frame.columns:
                return None
            columns[key] = values = _plain(self.frame[column])
            stated = {path[1]: value for path, _, value in constants(expectation) if path[2] == side}
            ranked = self._needs_ranks(values, stated.values(), expectation.type)
            if ranked:
                ranks, (columns[key],) = self._ranks([*stated.values()], [column])
                for row, rank in zip(stated, ranks, strict=True):
                    stated_pairs[int(row)][side] = rank
            told_apart |= ranked or _is_narrow(self.frame[column])
        if not told_apart:
            return None
        named = {key: self._add(each) for key, each in columns.items()}
        return Judged({**kwargs, **named, "value_pairs_set": stated_pairs})

    def _row_sum(self, kwargs: Mapping[str, Any]) -> Judged | None:
        """The columns of a sum over each row: 0 in all of them where the exact sum is the stated one, else 1 in one."""
        import numpy as np
        import pandas as pd

        columns: Any = kwargs.get("column_list")
        total = kwargs.get("sum_total")
        if (
            not isinstance(columns, list)
            or not isinstance(total, int | float)
            or not all(name in self.frame.columns and self.kind(name) in _SUMMED for name in columns)
            or not any(self._sums_inexactly(name, len(columns)) for name in columns)
        ):
            return None
        given = [_plain(self.frame[str(name)]) for name in columns]
        missing = [each.isna().to_numpy(dtype=bool) for each in given]
        filled = ~np.logical_or.reduce(missing)
        rows = zip(*(each[filled].tolist() for each in given), strict=True)
        unequal = np.zeros(len(self.frame))
        unequal[filled] = [_total(row) != _exact(total) for row in rows]
        flags = [unequal, *(np.zeros(len(self.frame)) for _ in given[1:])]
        named = [
            self._add(pd.Series(np.where(gone, np.nan, flag)))
            for gone, flag in zip(missing, flags, strict=True)
        ]
        return Judged({**kwargs, "column_list": named, "sum_total": 0})

    def _sums_inexactly(self, column: str, columns: int) -> bool:
        from pandas.api.types import is_extension_array_dtype, is_float_dtype, is_object_dtype

        values = _plain(self.frame[column])
        dtype: Any = values.dtype
        if is_object_dtype(dtype) or is_extension_array_dtype(dtype):
            return True
        if is_float_dtype(values.dtype):
            return _is_narrow(self.frame[column])
        return max(int(values.max()), -int(values.min())) * columns > _WIDEST or dtype.itemsize < _BYTES

    def _needs_ranks(self, values: "pd.Series[Any]", stated: Collection[Any], type_: str) -> bool:
        from pandas.api.types import is_float_dtype, is_object_dtype

        kind = self.kind(str(values.name))
        if kind == "time":
            return True
        if kind != "number":
            return False
        if is_object_dtype(values.dtype) or any(
            int(each) != float(each) for each in stated if isinstance(each, int)
        ):
            return True
        if is_float_dtype(values.dtype):
            return False
        return type_ in ORDERED or max(int(values.max()), -int(values.min())) > _WIDEST

    def _ranks(
        self, stated: Sequence[Any], columns: Sequence[str]
    ) -> "tuple[list[int], list[pd.Series[Any]]]":
        """Ranks of the contract's values, and of those in each column, among all of them."""
        import numpy as np
        import pandas as pd

        as_time = any(self.kind(column) == "time" for column in columns)
        coded = [pd.factorize(_plain(self.frame[column])) for column in columns]
        as_text = any(self.kind(column) == "text" for column in columns)
        exact = str if as_text else _exact
        distinct = [
            _instants(pd.Series(found)) if as_time else [exact(each) for each in found.tolist()]
            for _, found in coded
        ]
        as_stated = [_moment(each) if as_time else exact(each) for each in stated]
        place = {
            value: at
            for at, value in enumerate(sorted({*as_stated, *(each for some in distinct for each in some)}))
        }
        ranked = []
        for (codes, _), found in zip(coded, distinct, strict=True):
            rank_of = np.array([*(place[each] for each in found), -1], dtype="int64")
            ranks = pd.Series(rank_of[codes])
            # GE knows no null among numpy's integers; ranks are small enough for floats.
            ranked.append(ranks if (codes >= 0).all() else ranks.astype("float64").where(codes >= 0))
        return [place[each] for each in as_stated], ranked

    def _figure(self, kwargs: Mapping[str, Any], values: "pd.Series[Any]", type_: str) -> Judged | None:
        """Figures over decimals, and sums that 64 bits do not hold."""
        from pandas.api.types import is_float_dtype, is_object_dtype

        if is_float_dtype(values.dtype):
            return None
        if is_object_dtype(values.dtype):
            given = [None if gone else each for each, gone in zip(values, values.isna(), strict=True)]
            if type_ != _SUM or not all(math.isfinite(each) for each in given if each is not None):
                return Judged({**kwargs, "column": self._add(_numbers(given))})
            # Whole numbers of the smallest unit add up exactly.
            exact = [None if each is None else Decimal(each) for each in given]
            places = max(0, *(-int(each.as_tuple().exponent) for each in exact if each is not None))
            unit = Decimal(1).scaleb(-places)
            units = [None if each is None else int(Fraction(each) * 10**places) for each in exact]
            bounds = {
                key: float(Decimal(repr(kwargs[key])) / unit)
                for key in ("min_value", "max_value")
                if isinstance(kwargs.get(key), int | float)
            }
            return Judged({**kwargs, **bounds, "column": self._add(_objects(units))}, unit)
        if type_ == _SUM and max(abs(int(values.max())), abs(int(values.min()))) * len(values) >= _LONGEST:
            return Judged({**kwargs, "column": self._add(_objects(values.astype(object).tolist()))})
        return None

    def _in_types(self, kwargs: Mapping[str, Any], values: "pd.Series[Any]") -> Judged | None:
        """The list of types with pandas' own for one of numpy, which has no null: as GE judges a single type."""
        stated, type_ = kwargs.get("type_list"), getattr(values.dtype, "numpy_dtype", None)
        if type_ is None or not isinstance(stated, list) or str(type_) not in stated:
            return None
        own = type(values.dtype).__name__
        return Judged({**kwargs, "type_list": [*stated, own], "column": self._add(values)})

    def _add(self, values: "pd.Series[Any]") -> str:
        taken = {str(name).casefold() for name in self.frame.columns} | {
            name.casefold() for name in self.beside
        }
        number = len(self.beside)
        while (name := f"judged {number}").casefold() in taken:
            number += 1
        self.beside[name] = values
        return name


def _exact(value: Any) -> int | Decimal:
    """A number without rounding: a float of a contract is the decimal that is written."""
    if isinstance(value, Decimal):
        return value
    return Decimal(repr(value)) if isinstance(value, float) else int(value)


def _total(values: Iterable[Any]) -> Fraction | None:
    """The sum without rounding; None where it is no finite number."""
    exact = [_exact(each) for each in values]
    return sum(map(Fraction, exact), Fraction()) if all(map(math.isfinite, exact)) else None


def _moment(value: Any) -> int:
    found = instant(value)
    assert found is not None, "what fits no column is not judged"
    return found


def _instants(values: "pd.Series[Any]") -> list[Any]:
    """Nanoseconds from 1970 of each date or time; None for nulls. What states no zone is in UTC."""
    import pandas as pd
    from pandas.api.types import is_object_dtype

    missing = values.isna().tolist()
    if is_object_dtype(values.dtype):
        return [None if gone else nanoseconds(each) for each, gone in zip(values, missing, strict=True)]
    times = pd.DatetimeIndex(values)
    factor = _NANOSECONDS[times.unit]
    return [
        None if gone else number * factor for number, gone in zip(times.asi8.tolist(), missing, strict=True)
    ]


def _numbers(values: Sequence[Any]) -> "pd.Series[Any]":
    import pandas as pd

    return pd.Series([math.nan if each is None else float(each) for each in values], dtype="float64")


def _objects(values: Sequence[Any]) -> "pd.Series[Any]":
    import pandas as pd

    return pd.Series([None if pd.isna(each) else each for each in values], dtype=object)


def _is_narrow(values: "pd.Series[Any]") -> bool:
    """Whether these are floats of fewer than 64 bits."""
    from pandas.api.types import is_float_dtype

    dtype: Any = getattr(values.dtype, "categories", values).dtype
    return is_float_dtype(dtype) and int(dtype.itemsize) < _BYTES


def _plain(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values of categories; narrow floats as what they stand for."""
    import numpy as np
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if not _is_narrow(values):
        return values
    codes, found = pd.factorize(values)
    dtype: Any = values.dtype
    narrow = np.dtype(f"float{8 * dtype.itemsize}").type
    # A narrow float prints as the shortest decimal that no other of its width is nearer to.
    wide = np.array([*(float(str(narrow(each))) for each in found), math.nan])
    return pd.Series(wide[codes], index=values.index, name=values.name)

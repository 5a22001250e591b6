"""Fine bins of a column, what is counted of them, and the bins that they become."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.table_columns import column_of
from platform_assets.features.transformer_spec import WoeSpec
from platform_assets.features.woe_bins import PREBINS, Counts, Floats, Merged, Odds, merge, quantile_edges
from platform_assets.features.woe_columns import (
    Kind,
    as_held,
    check_kind,
    code_chunks,
    number_chunks,
)
from platform_assets.features.woe_labels import interval_labels, names_label
from platform_assets.features.woe_table import BinKind, NumberReader, WoeBin, WoeColumn
from platform_assets.features.woe_target import special_numbers, special_texts

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST_ROWS: Final = 10
"""Fitted rows of a category that is named, and of a weight: what rests on fewer may tell of a single person."""
MOST_CATEGORIES: Final = 1_000_000
"""Different ones of a column while rows are counted."""


@dataclass(frozen=True, slots=True)
class NumberCounts:
    """Rows of each prebin of a column of numbers."""

    by_bin: Counts
    """Non-events and events, shape (bins of the reader, 2)."""

    def __add__(self, other: Self) -> "NumberCounts":
        return NumberCounts(self.by_bin + other.by_bin)


@dataclass(frozen=True, slots=True)
class CategoryCounts:
    """Rows of each category of a column; of missing ones under None."""

    column: str
    by_name: dict[str | None, tuple[int, int]]
    """Non-events and events."""

    def __add__(self, other: Self) -> "CategoryCounts":
        return CategoryCounts(self.column, _added(self.column, dict(self.by_name), other.by_name.items()))


@dataclass(frozen=True, slots=True)
class NumberPrebins:
    """Of a column of numbers."""

    name: str
    edges: Floats
    """Between prebins, ascending, shape (prebins - 1,)."""
    special: tuple[float, ...]
    reader: NumberReader

    @classmethod
    def of(cls, column: "pa.ChunkedArray", name: str, settings: WoeSpec) -> Self:
        """By the quantiles of a sample; what is special, missing or infinite has no part in them."""
        special = tuple(special_numbers(settings.special_values))
        values = np.concatenate([np.empty(0), *(chunk for _, chunk in number_chunks(column, name))])
        values = values[np.isfinite(values)]
        if special:
            values = values[~np.isin(values, as_held(column, special))]
        edges = quantile_edges(values, max(PREBINS, 2 * settings.max_bins))
        return cls(name, edges, special, NumberReader(edges.tolist(), special))

    def count(self, rows: "pa.Table", labels: NDArray[np.uint8], kernels: Any) -> NumberCounts:
        """Rows of each prebin, special value, and of missing values."""
        column = column_of(rows, self.name)
        check_kind(column, self.name, "numeric")
        return NumberCounts(self.reader.counted(column, self.name, labels, kernels))

    def fitted(self, counts: NumberCounts, odds: Odds, settings: WoeSpec, output: str) -> WoeColumn:
        """The bins that keep the most information."""
        prebins = self.edges.size + 1
        if not counts.by_bin[:-1].any():
            raise no_value(self.name)
        by_bin = _few_among_the_largest(counts.by_bin, prebins)
        regular = by_bin[:prebins]
        # What has no rows goes with what is above it.
        full = np.flatnonzero(regular.any(axis=1))
        merged = _merged(regular[full], odds, settings, settings.monotonic)
        edges = [float(self.edges[full[end - 1]]) for end in merged.ends[:-1]]
        bins = _Bins(self.name, odds)
        ends: list[float | None] = [None, *edges, None]
        for at, (label, counted) in enumerate(
            zip(interval_labels(edges), _sums(regular[full], merged.ends), strict=True)
        ):
            bins.add("interval", label, counted, lower=ends[at], upper=ends[at + 1])
        for value, counted in zip(self.special, by_bin[prebins:-1], strict=True):
            bins.add("special", f"special {value!r}".removesuffix(".0"), counted, lower=value, upper=value)
        bins.add_missing(by_bin[-1], settings)
        return bins.column(output, "numeric", merged)


@dataclass(frozen=True, slots=True)
class CategoryPrebins:
    """Of a column of categories: each is its own."""

    name: str

    def count(self, rows: "pa.Table", labels: NDArray[np.uint8], kernels: Any) -> CategoryCounts:
        """Rows of each category and of missing ones."""
        column = column_of(rows, self.name)
        check_kind(column, self.name, "categorical")
        counted: dict[str | None, tuple[int, int]] = {}
        for start, names, codes in code_chunks(column):
            of_rows = labels[start : start + codes.size]
            counts = np.zeros((4, 2 * len(names) + 2), np.int64)
            if kernels:
                kernels.count_codes(np.ascontiguousarray(codes), of_rows, counts)
            else:
                counts[0] = np.bincount(2 * codes.astype(np.intp) + of_rows, minlength=counts.shape[1])
            by_code = counts.sum(axis=0).reshape(-1, 2).tolist()
            _added(self.name, counted, zip([*names, None], by_code, strict=True))
        return CategoryCounts(self.name, counted)

    def fitted(self, counts: CategoryCounts, odds: Odds, settings: WoeSpec, output: str) -> WoeColumn:
        """The bins that keep the most information: along the share of events they are neighbours (Breiman et al. 1984)."""
        special = special_texts(settings.special_values)
        fewest = max(FEWEST_ROWS, least_rows(settings.rare_share, odds.rows))
        others = {
            name: counted
            for name, counted in counts.by_name.items()
            if name is not None and name not in special
        }
        missing = counts.by_name.get(None, (0, 0))
        if sum(missing) == odds.rows:
            raise no_value(self.name)
        named = sorted(name for name, counted in others.items() if sum(counted) >= fewest)
        rare = np.array([(0, 0), *(counted for name, counted in others.items() if name not in named)]).sum(
            axis=0
        )
        of_special = [counts.by_name.get(name, (0, 0)) for name in special]
        by_bin = _few_among_the_largest(
            np.array([*(others[name] for name in named), *of_special, rare, missing], np.int64), len(named)
        )
        shares = by_bin[: len(named), 1] / by_bin[: len(named)].sum(axis=1)
        order = sorted(range(len(named)), key=lambda at: (shares[at], named[at]))
        names, of_names = [named[at] for at in order], by_bin[order]
        ends = _few_ends(of_names.sum(axis=1), max(PREBINS, 2 * settings.max_bins))
        merged = _merged(_sums(of_names, ends), odds, settings, "none")
        bins = _Bins(self.name, odds)
        begin = 0
        for end in merged.ends if names else ():
            group = tuple(sorted(names[begin : ends[end - 1]]))
            counted = of_names[begin : ends[end - 1]].sum(axis=0)
            bins.add("categories", names_label(group), counted, categories=group)
            begin = ends[end - 1]
        for name, counted in zip(special, by_bin[len(named) : -2], strict=True):
            bins.add("special", f"special {name}", counted, categories=(name,))
        bins.add("rare", "rare or new", by_bin[-2])
        bins.add_missing(by_bin[-1], settings)
        return bins.column(output, "categorical", merged)


def _added(
    column: str,
    counted: dict[str | None, tuple[int, int]],
    more: Iterable[tuple[str | None, Sequence[int]]],
) -> dict[str | None, tuple[int, int]]:
    """More rows, counted into what is there already.

    Raises:
        FeatureError: there are too many categories.
    """
    for name, (non_events, events) in more:
        if non_events + events:
            before = counted.get(name, (0, 0))
            counted[name] = before[0] + non_events, before[1] + events
    if len(counted) > MOST_CATEGORIES:
        raise FeatureError(
            f"column {column} has more than {MOST_CATEGORIES:,} different texts: an identifier is no category; "
            "leave the column out"
        )
    return counted


Prebinned = NumberPrebins | CategoryPrebins
Counted = NumberCounts | CategoryCounts


class _Bins:
    """Bins of a column while they are made."""

    def __init__(self, name: str, odds: Odds) -> None:
        self._name, self._odds = name, odds
        self._bins: list[WoeBin] = []

    def add(
        self,
        kind: BinKind,
        label: str,
        counted: Sequence[int] | Counts,
        *,
        lower: float | None = None,
        upper: float | None = None,
        categories: tuple[str, ...] = (),
        neutral: bool = False,
    ) -> None:
        """A bin with these rows; one that is neutral, or of few rows, has no weight."""
        non_events, events = map(int, counted)
        try:
            weight = (
                0.0 if neutral or non_events + events < FEWEST_ROWS else self._odds.weight(non_events, events)
            )
        except ValueError:
            raise FeatureError(
                f"column {self._name}: of the bin of kind {kind} number {len(self._bins) + 1} all {non_events + events} "
                "rows have one class, which has no finite weight; set woe.smoothing above 0"
            ) from None
        self._bins.append(
            WoeBin(
                kind=kind,
                label=label,
                lower=lower,
                upper=upper,
                categories=categories,
                rows=non_events + events,
                events=events,
                woe=weight,
                iv=self._odds.value(non_events, events, weight),
            )
        )

    def add_missing(self, counted: Sequence[int] | Counts, settings: WoeSpec) -> None:
        """The last one."""
        self.add("missing", "missing", counted, neutral=settings.missing != "bin")

    def column(self, output: str, kind: Kind, merged: Merged) -> WoeColumn:
        """All of them."""
        return WoeColumn(
            name=self._name,
            output=output,
            kind=kind,
            direction=merged.direction,
            iv=math.fsum(found.iv for found in self._bins),
            bins=tuple(self._bins),
        )


def _few_among_the_largest(counts: Counts, regular: int) -> Counts:
    """Counts in which special, rare and missing values of fewer than `FEWEST_ROWS` rows are counted among the largest bin.

    They get no weight, which would tell of a single person; and left out, they would be what the sums over a column's bins
    lack.

    Args:
        counts: Non-events and events of each bin, shape (bins, 2).
        regular: How many bins, of intervals or of named categories, stand before the others.
    """
    rows = counts.sum(axis=1)
    largest = int(rows[:regular].argmax() if rows[:regular].any() else rows.argmax())
    few = np.flatnonzero(rows < FEWEST_ROWS)
    few = few[(few >= regular) & (few != largest)]
    moved = counts.copy()
    moved[largest] += counts[few].sum(axis=0)
    moved[few] = 0
    return moved


def no_value(name: str) -> FeatureError:
    """What is said of a column that has nothing to fit to."""
    return FeatureError(f"column {name} has no value in any of the fitted rows; leave it out")


def _merged(
    counts: Counts,
    odds: Odds,
    settings: WoeSpec,
    monotonic: Literal["auto", "up", "down", "peak", "none"],
) -> Merged:
    if not len(counts):
        return Merged((0,), 0.0, "none" if monotonic == "auto" else monotonic)
    return merge(
        counts,
        odds,
        max_bins=settings.max_bins,
        min_rows=max(FEWEST_ROWS, least_rows(settings.min_bin_share, odds.rows)),
        monotonic=monotonic,
    )


def least_rows(share: float, rows: int) -> int:
    """The fewest rows that are this share of all; 0.07 of 100 are 7, whatever 0.07 is as a float."""
    return math.ceil(Decimal(repr(share)) * rows)


def _sums(counts: Counts, ends: Sequence[int]) -> Counts:
    """Of runs that end where `ends` says, shape (ends, 2)."""
    if not len(counts):
        return np.zeros((len(ends), 2), np.int64)
    return np.add.reduceat(counts, [0, *ends[:-1]], axis=0)


def _few_ends(rows: Counts, most: int) -> list[int]:
    """Where runs of about equally many rows end, at most so many: each by itself where they are no more than that."""
    if rows.size <= most:
        return list(range(1, rows.size + 1))
    upto = rows.cumsum()
    run = (upto - rows / 2) * most // upto[-1]
    return [*(np.flatnonzero(np.diff(run)) + 1).tolist(), rows.size]

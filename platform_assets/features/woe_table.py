"""The fitted bins of a column: what it is read by later, and what people read about it."""

import bisect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from platform_assets.features.woe_bins import Direction, Floats
from platform_assets.features.woe_columns import Kind, as_held, code_chunks, listed, number_chunks
from platform_assets.sketch.binning import KeyTable

if TYPE_CHECKING:
    import pyarrow as pa

BinKind = Literal["interval", "categories", "special", "rare", "missing"]
FEW_ROWS: Final = 64
"""So many are read faster by Python than by arrays."""
_KERNEL_VALUES: Final = 10_000_000
"""From so many values on, the compiled loops save more than the second that importing them takes."""


class WoeBin(BaseModel):
    """Rows of one weight."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: BinKind
    label: str
    """For people, as `(40, 75.5]` or `rent, other`."""
    lower: float | None = None
    """Of an interval: values above it belong to it; none where it has no lower end. Of a special number: the number."""
    upper: float | None = None
    """Of an interval: values up to it belong to it; none where it has no upper end. Of a special number: the number."""
    categories: tuple[str, ...] = ()
    """Of categories and of a special text."""
    rows: int
    """Fitted rows."""
    events: int
    """Those of them that are events."""
    woe: float
    """What a row of this bin becomes."""
    iv: float
    """What it adds to the information value of its column."""


class WoeColumn(BaseModel):
    """The bins of one column."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    output: str
    """Name of its feature."""
    kind: Kind
    direction: Direction
    """How the share of events goes along the bins."""
    iv: float
    """Information value: the sum over its bins."""
    bins: tuple[WoeBin, ...]
    """Intervals in ascending order or categories by ascending share of events; then special values as the spec has
    them, rare categories, missing."""

    @model_validator(mode="after")
    def _bins_are_whole(self) -> Self:
        regular: BinKind = "interval" if self.kind == "numeric" else "categories"
        kinds = [found.kind for found in self.bins]
        of_kind = {kind: kinds.count(kind) for kind in kinds}
        tail = ["special"] * of_kind.get("special", 0) + ["rare"] * (self.kind == "categorical") + ["missing"]
        if kinds != [regular] * of_kind.get(regular, 0) + tail:
            raise ValueError(f"bins of {self.name}: not those of a {self.kind} column in their order")
        if self.kind == "numeric":
            ends = [found.upper for found in self._regular]
            begins = [found.lower for found in self._regular]
            edges = [edge for edge in ends[:-1] if edge is not None]
            if (
                not ends
                or begins != [None, *edges]
                or ends[-1] is not None
                or edges != sorted(set(edges))
                or len(edges) != len(ends) - 1
            ):
                raise ValueError(f"bins of {self.name}: the intervals do not follow each other")
            if any(found.lower is None or found.lower != found.upper for found in self._special):
                raise ValueError(f"bins of {self.name}: a special bin has no number")
        else:
            named = [name for found in self.bins for name in found.categories]
            if len(set(named)) != len(named) or not all(
                found.categories for found in (*self._regular, *self._special)
            ):
                raise ValueError(f"bins of {self.name}: a category stands twice, or a bin has none")
        if any(not 0 <= found.events <= found.rows for found in self.bins):
            raise ValueError(f"bins of {self.name}: more events than rows")
        return self

    @property
    def missing(self) -> int:
        """Position of the bin of missing values: the last."""
        return len(self.bins) - 1

    @cached_property
    def weights(self) -> Floats:
        """Of each bin, shape (bins,)."""
        weights = np.array([found.woe for found in self.bins])
        weights.flags.writeable = False
        return weights

    @cached_property
    def reader(self) -> "NumberReader | CategoryReader":
        """What finds the bin of a value."""
        if self.kind == "numeric":
            return NumberReader(
                [found.upper for found in self._regular[:-1] if found.upper is not None],
                [found.lower for found in self._special if found.lower is not None],
            )
        return CategoryReader(
            {name: at for at, found in enumerate(self.bins) for name in found.categories}, len(self.bins)
        )

    @property
    def _regular(self) -> list[WoeBin]:
        return [found for found in self.bins if found.kind in ("interval", "categories")]

    @property
    def _special(self) -> list[WoeBin]:
        return [found for found in self.bins if found.kind == "special"]


@dataclass(frozen=True, eq=False)
class NumberReader:
    """Finds the bin of a number: intervals first, then special values, then missing.

    A special value is looked for as a column has it: of -99.9 a narrow one has a float of its own.
    """

    ends: Sequence[float]
    """Between intervals, ascending."""
    special: Sequence[float]

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.ends) + len(self.special) + 2

    def counted(self, column: "pa.ChunkedArray", name: str, labels: NDArray[np.uint8], kernels: Any) -> Any:
        """Non-events and events of each bin, shape (bins, 2)."""
        cells = self._cells_for(column)
        counts = np.zeros((4, 2 * cells.bin_of.size), np.int64)
        for start, values in number_chunks(column, name):
            of_rows = labels[start : start + values.size]
            if kernels:
                kernels.count(np.ascontiguousarray(values), *cells.table.arguments, of_rows, counts)
            else:
                codes = 2 * cells.find(values) + of_rows
                counts[0] += np.bincount(codes, minlength=counts.shape[1])
        by_cell = counts.sum(axis=0).reshape(-1, 2)
        by_bin = np.zeros((self.bins, 2), np.int64)
        np.add.at(by_bin, cells.bin_of, by_cell)
        return by_bin

    def answered(
        self, column: "pa.ChunkedArray", name: str, answers: NDArray[Any], into: NDArray[Any], kernels: Any
    ) -> None:
        """Write the answer of each row's bin; `answers` is by bin."""
        cells = self._cells_for(column)
        if len(column) <= FEW_ROWS:
            edges, bin_of = cells.lists
            into[:] = [
                # Only NaN differs from itself.
                answers[bin_of[bisect.bisect_left(edges, value) if value == value else -1]]  # noqa: PLR0124
                for value in listed(column, name, "numeric")
            ]
            return
        of_cells = answers[cells.bin_of]
        for start, values in number_chunks(column, name):
            of_rows = into[start : start + values.size]
            if kernels:
                kernels.answer(np.ascontiguousarray(values), *cells.table.arguments, of_cells, of_rows)
            else:
                np.take(of_cells, cells.find(values), out=of_rows)

    def _cells_for(self, column: "pa.ChunkedArray") -> "_Cells":
        special = as_held(column, self.special) if self.special else ()
        found = self._cells.get(special)
        if found is None:
            found = self._cells[special] = _Cells.of(self.ends, special)
        return found

    @cached_property
    def _cells(self) -> "dict[tuple[float, ...], _Cells]":
        """By the special values as columns have them: one for each width of floats at most."""
        return {}


@dataclass(frozen=True, eq=False)
class _Cells:
    """Intervals between edges, as bins are, and finer: a special value has a cell of its own amid a bin."""

    edges: Floats
    """Between cells, ascending, shape (cells - 1,)."""
    bin_of: NDArray[np.int32]
    """By cell, shape (cells + 1,); the last is for NaN."""

    @classmethod
    def of(cls, between: Sequence[float], special: Sequence[float]) -> Self:
        """By the edges between intervals, ascending, and the special values."""
        ends, singles = np.array(between, np.float64), np.array(special, np.float64)
        with np.errstate(over="ignore"):
            below = np.nextafter(singles, -np.inf)
        cells = np.unique(np.concatenate([ends, singles, below[np.isfinite(below)]]))
        cells = cells if cells.size else np.zeros(1)  # one edge, for the loops to look at
        bin_of = np.append(np.searchsorted(ends, cells), [ends.size, ends.size + 1 + singles.size])
        for at, value in enumerate(special):
            bin_of[np.searchsorted(cells, value)] = ends.size + 1 + at
        return cls(cells, bin_of.astype(np.int32))

    def find(self, values: Floats) -> NDArray[np.intp]:
        """The cell of each value, shape (rows,)."""
        cells = np.searchsorted(self.edges, values)
        cells[np.isnan(values)] = self.bin_of.size - 1
        return cells

    @cached_property
    def table(self) -> KeyTable:
        """What the compiled loops look up."""
        return KeyTable.of(self.edges)

    @cached_property
    def lists(self) -> tuple[list[float], list[int]]:
        """Edges and bins as Python has them."""
        return self.edges.tolist(), self.bin_of.tolist()


@dataclass(frozen=True, eq=False)
class CategoryReader:
    """Finds the bin of a category; the last two bins are for others and for missing."""

    bin_of: Mapping[str, int]
    bins: int

    def answered(
        self,
        column: "pa.ChunkedArray",
        name: str,
        answers: NDArray[Any],
        into: NDArray[Any],
        kernels: Any,  # noqa: ARG002 - as `NumberReader` has it: looking up codes needs none
    ) -> None:
        """Write the answer of each row's bin; `answers` is by bin."""
        if len(column) <= FEW_ROWS:
            into[:] = [answers[at] for at in self._bins(listed(column, name, "categorical"))]
            return
        for start, names, codes in code_chunks(column):
            of_names = answers[[*self._bins(names), self.bins - 1]]
            np.take(of_names, codes, out=into[start : start + codes.size])

    def _bins(self, names: Iterable[str | None]) -> list[int]:
        other, missing = self.bins - 2, self.bins - 1
        return [missing if name is None else self.bin_of.get(name, other) for name in names]


def kernels_for(values: int) -> Any:
    """The compiled loops, if they are loaded or so many values make that worth it; else None."""
    if values >= _KERNEL_VALUES:
        from platform_assets.features import woe_kernels

        return woe_kernels
    return loaded_kernels()


def loaded_kernels() -> Any:
    """The compiled loops, if this process has them already; else None."""
    return sys.modules.get("platform_assets.features.woe_kernels")

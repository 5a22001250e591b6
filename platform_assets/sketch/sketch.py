"""The Kolmogorov-Smirnov distance between a reference and a stream, without sorting the stream.

Glossary, for one column of B bins with the upper edges e_0 < e_1 < …:

    p_i, q_i  (B,)  share of the reference and of the stream in bin i
    d_i       (B,)  difference of the distribution functions at e_i: the sum of q - p up to bin i; d_{-1} = 0
    D               the exact distance between the two samples, sup over all x of |F(x) - R(x)|

    max_i |d_i|  <=  D  <=  max_i (max(|d_{i-1}|, |d_i|) + min(p_i, q_i)),   with p_i = 0 for a bin of one value

because within a bin F - R is at most (F at its end) - (R at its beginning) = d_i + p_i = d_{i-1} + q_i, and R - F
at most p_i - d_{i-1} = q_i - d_i. Nothing is assumed about the stream. The width is at most the heaviest bin
that holds more than one value, below 2/B; where all bins with reference rows hold one value, D is exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from platform_assets.sketch.binning import (
    EXACT_INTEGERS,
    Binning,
    Bins,
    CategoryBinning,
    Missing,
    NumericBinning,
    as_column,
    holds_categories,
    loaded_kernels,
)
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.packed import Reader, pack, unpack
from platform_assets.sketch.significance import p_value

DEFAULT_BINS: Final = 1024
SAMPLING_CONFIDENCE: Final = 0.99
"""Of the interval around the distance of a stream that was only sampled; without sampling it is certain."""
_REFERENCE: Final = b"DRIFTREF"
_HISTOGRAM: Final = b"DRIFTHIS"
_FEWEST_BINS: Final = 2


@dataclass(frozen=True, eq=False)
class ColumnProfile:
    """What a column's distribution is compared with: bins, and how much of the reference lies in each."""

    binning: Binning
    mass: NDArray[np.float64]
    """Of the reference in each bin, shape (bins,): rows, or the sum of their weights."""
    rows: int
    """Reference rows that can be compared."""
    effective_rows: float
    """Rows of an unweighted reference that would be as exact (Kish); `rows` without weights."""
    missing: Missing
    missing_mass: float
    """Of the reference rows that cannot be compared: rows, or the sum of their weights."""

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        *,
        bins: int = DEFAULT_BINS,
        weights: NDArray[np.float64] | None = None,
        fewest_rows: int = 1,
    ) -> Self:
        """The profile of a reference.

        Args:
            values: Numbers, or texts (categories), shape (n,).
            bins: How many, not counting atoms; at least two.
            weights: Of each row, shape (n,), not negative: as where a source is to count more than it has rows.
            fewest_rows: A category of fewer rows is not named; it is one of the others, which are not all.

        Raises:
            SketchError: No row can be compared, or the values, weights or bins cannot be used.
        """
        column = as_column(values)
        if bins < _FEWEST_BINS:
            raise SketchError(f"{bins} bins: at least {_FEWEST_BINS} are needed")
        if column.ndim != 1:
            raise SketchError(f"a column has one dimension, not the shape {column.shape}")
        weight = None if weights is None else _checked_weights(weights, column.shape)
        if weight is not None:
            column, weight = column[weight > 0], weight[weight > 0]
        if holds_categories(column):
            return cls(*_of_categories(column, weight, bins, fewest_rows))
        return cls(*_of_numbers(column, weight, bins))

    @property
    def bins(self) -> int:
        """How many there are, atoms included."""
        return self.binning.bins

    def index(self, values: ArrayLike) -> Bins:
        """The bin of each value, shape (n,), dtype uint32; `bins` for what cannot be compared."""
        return self.binning.index(values)

    def histogram(self) -> "Histogram":
        """An empty one over these bins."""
        return Histogram(self)

    @property
    def total(self) -> float:
        """Mass of all bins."""
        return float(self.cumulative[-1])

    @property
    def missing_share(self) -> float:
        """Share of the reference that cannot be compared."""
        return self.missing_mass / (self.missing_mass + self.total)

    @property
    def effective_all_rows(self) -> float:
        """As `effective_rows`, of all rows of the reference: those that cannot be compared too."""
        return self.effective_rows / (1 - self.missing_share)

    @cached_property
    def cumulative(self) -> NDArray[np.float64]:
        """Mass up to the end of each bin, after a leading zero, shape (bins + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self.mass)])

    @cached_property
    def inside(self) -> NDArray[np.float64]:
        """Mass by which a bin leaves the distance open: none in a bin of one value, shape (bins,)."""
        return np.where(self.binning.is_single, 0.0, self.mass)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for profiles with equal content."""
        return _pack_columns({"": self})[-16:].hex()


def _of_numbers(
    values: NDArray[Any], weight: NDArray[np.float64] | None, bins: int
) -> tuple[Binning, NDArray[np.float64], int, float, Missing, float]:
    if _largest_integer(values) > EXACT_INTEGERS:
        raise SketchError("integers beyond 2^53 are identifiers rather than measurements")
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise SketchError("a column of numbers holds something else") from None
    finite = np.isfinite(numbers)
    missing = Missing(
        nan=int(np.isnan(numbers).sum()),
        positive_infinity=int(np.isposinf(numbers).sum()),
        negative_infinity=int(np.isneginf(numbers).sum()),
    )
    missing_mass = _mass_of(~finite, weight)
    if weight is None:
        ascending = np.sort(numbers[finite])
    else:
        order = np.argsort(numbers[finite])
        ascending, weight = numbers[finite][order], weight[finite][order]
    rows = _some(ascending.size, missing)
    starts = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
    distinct = ascending[starts]
    if weight is None:
        mass = np.diff(starts, append=rows).astype(np.float64)
    else:
        mass = np.add.reduceat(weight, starts)
    binning = NumericBinning.of(distinct, mass, bins=bins)
    in_bin: NDArray[np.float64] = np.bincount(
        np.searchsorted(binning.edges, distinct), weights=mass, minlength=binning.bins
    ).astype(np.float64)
    return binning, in_bin, rows, _effective(rows, weight), missing, missing_mass


def _largest_integer(values: NDArray[Any]) -> int:
    """The largest magnitude among a column's integers, whatever else is among them; 0 without any."""
    if values.dtype.kind == "O":
        return max((abs(value) for value in values.tolist() if isinstance(value, int)), default=0)
    if values.dtype.kind not in "iu" or not values.size:
        return 0
    return max(-int(values.min()), int(values.max()))


def _of_categories(
    values: NDArray[Any], weight: NDArray[np.float64] | None, bins: int, fewest_rows: int
) -> tuple[Binning, NDArray[np.float64], int, float, Missing, float]:
    listed = values.tolist()
    known = np.fromiter((isinstance(value, str) for value in listed), np.bool_, len(listed))
    missing = Missing(nan=int(np.count_nonzero(~known)))
    missing_mass = _mass_of(~known, weight)
    rows = _some(int(known.sum()), missing)
    weight = None if weight is None else weight[known]
    code_of: dict[str, int] = {}
    codes = np.fromiter(
        (code_of.setdefault(value, len(code_of)) for value in listed if isinstance(value, str)),
        np.int64,
        rows,
    )
    names = list(code_of)
    rows_of = np.bincount(codes, minlength=len(names))
    mass = np.bincount(codes, weights=weight, minlength=len(names)).astype(np.float64)
    # The most frequent first, so that the last bin, which is for all others, continues the order.
    frequent = np.flatnonzero(rows_of >= fewest_rows).tolist()
    if not frequent:
        raise SketchError(
            f"no category has {fewest_rows} rows: they are identifiers, or too few to be compared"
        )
    named = sorted(frequent, key=lambda code: (-mass[code], names[code]))[:bins]
    in_bin = np.append(mass[named], mass.sum() - mass[named].sum() if len(named) < len(names) else 0.0)
    binning = CategoryBinning(tuple(names[code] for code in named))
    return binning, in_bin, rows, _effective(rows, weight), missing, missing_mass


def _mass_of(rows: NDArray[np.bool_], weight: NDArray[np.float64] | None) -> float:
    return float(np.count_nonzero(rows) if weight is None else weight[rows].sum())


def _some(rows: int, missing: Missing) -> int:
    if not rows:
        raise SketchError(f"no reference row can be compared: {missing.rows} are missing, NaN or infinite")
    return rows


def _effective(rows: int, weights: NDArray[np.float64] | None) -> float:
    if weights is None:
        return float(rows)
    relative = weights / weights.max()
    return float(relative.sum() ** 2 / (relative**2).sum())


def _checked_weights(weights: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    checked = np.asarray(weights, dtype=np.float64)
    if checked.shape != shape:
        raise SketchError(f"weights of the shape {checked.shape} for values of the shape {shape}")
    if not (np.isfinite(checked) & (checked >= 0)).all():
        raise SketchError("weights must be finite and not negative")
    return checked


class Histogram:
    """How many values of a stream lie in each bin of a profile."""

    def __init__(self, profile: ColumnProfile) -> None:
        self.profile = profile
        self.counts: NDArray[np.int64] = np.zeros(profile.bins, np.int64)
        """Shape (bins,)."""
        self.missing = Missing()

    @property
    def rows(self) -> int:
        """Values that can be compared."""
        return int(self.counts.sum())

    def add(self, values: ArrayLike) -> None:
        """Count the values, shape (n,)."""
        counts, missing = self.profile.binning.count(values)
        self.counts += counts
        self.missing = self.missing.plus(missing)

    def add_index(self, index: NDArray[np.integer[Any]]) -> None:
        """Count values by their bins, as `ColumnProfile.index` tells them."""
        counts = np.bincount(index, minlength=self.profile.bins + 1)
        self.counts += counts[:-1]
        self.missing = self.missing.plus(Missing(unknown=int(counts[-1])))

    def merge(self, other: "Histogram") -> None:
        """Count what the other has counted.

        Raises:
            SketchError: It has other bins.
        """
        if self.profile is not other.profile and self.profile.fingerprint != other.profile.fingerprint:
            raise SketchError("histograms over the bins of different profiles cannot be merged")
        self.counts += other.counts
        self.missing = self.missing.plus(other.missing)

    def to_bytes(self) -> bytes:
        """In the format of `packed`."""
        header = {
            "profile": self.profile.fingerprint,
            "bins": self.profile.bins,
            "missing": list(self.missing),
        }
        return pack(_HISTOGRAM, header, [self.counts])

    @classmethod
    def from_bytes(cls, profile: ColumnProfile, data: bytes) -> Self:
        """The histogram that was written over this profile.

        Raises:
            SketchError: It was written over another one, or the bytes cannot be read.
        """
        header, arrays = unpack(_HISTOGRAM, data)
        if header["profile"] != profile.fingerprint:
            raise SketchError("the histogram was counted over the bins of another profile")
        histogram = cls(profile)
        histogram.counts = arrays.take(header["bins"], "int64")
        histogram.missing = Missing(*header["missing"])
        return histogram


class KsResult(NamedTuple):
    """How far a stream lies from its reference. Without rows nothing is known: NaN in 0 … 1, p-value 1."""

    ks: float
    """Middle of the interval."""
    ks_lower: float
    ks_upper: float
    """The exact distance lies between these: for certain, or with `SAMPLING_CONFIDENCE` if the stream was sampled."""
    p_value: float
    """Two-sided. Of the distance at the bins' edges, so that it never overstates the evidence."""
    reference_rows: int
    rows: int
    missing: Missing


def compare(
    profile: ColumnProfile, histogram: Histogram, *, sample_rate: float = 1.0, top_k: int | None = None
) -> KsResult:
    """The distance between a reference and a stream.

    Args:
        profile: The reference.
        histogram: The stream, counted over its bins.
        sample_rate: Share of the stream that was counted, chosen at random: 0 < rate <= 1.
        top_k: Look at the distance only around so many bins, those whose shares differ most. All counts enter
            all the same, and the interval widens by what was not looked at.

    Raises:
        SketchError: The sample rate is not one, or no bin is to be looked at.
    """
    if not 0 < sample_rate <= 1:
        raise SketchError(f"sample rate {sample_rate}: must lie above 0 and not above 1")
    counts, cumulative, inside = histogram.counts, profile.cumulative, profile.inside
    if top_k is not None:
        edges = _around_largest(counts * profile.total - profile.mass * histogram.rows, top_k)
        # Bins that no edge looked at parts are one bin, which leaves open what they hold together.
        alone = np.diff(edges) == 1
        counts = np.add.reduceat(counts, edges[:-1])
        inside = np.where(alone, inside[edges[:-1]], np.diff(cumulative[edges]))
        cumulative = cumulative[edges]
    kernels = loaded_kernels()
    distance = kernels.distance if kernels else _distance
    rows, lower, upper = distance(counts, cumulative, inside)
    if not rows:
        return KsResult(math.nan, 0.0, 1.0, 1.0, profile.rows, 0, histogram.missing)
    sampling = _sampling_error(rows, sample_rate)
    ks_lower, ks_upper = max(0.0, lower - sampling), min(1.0, upper + sampling)
    return KsResult(
        ks=(ks_lower + ks_upper) / 2,
        ks_lower=ks_lower,
        ks_upper=ks_upper,
        p_value=p_value(lower, profile.effective_rows, rows),
        reference_rows=profile.rows,
        rows=rows,
        missing=histogram.missing,
    )


def _distance(
    counts: NDArray[np.int64], cumulative: NDArray[np.float64], inside: NDArray[np.float64]
) -> tuple[int, float, float]:
    """Rows, and the lower and the upper bound of the distance; as `kernels.distance`."""
    counted = np.concatenate([[0], np.cumsum(counts)])
    rows, total = int(counted[-1]), float(cumulative[-1])
    # Times rows × total, these are whole numbers where there are no weights: so 0.1 comes out as 0.1.
    gap = counted * total - cumulative * rows
    lower = np.abs(gap).max()
    upper = (np.maximum(gap[1:], -gap[:-1]) + inside * rows).max()
    scale = max(rows, 1) * total
    return rows, float(lower / scale), float(upper / scale)


def _around_largest(differences: NDArray[np.float64], top_k: int) -> NDArray[np.intp]:
    """Positions of the edges on both sides of the `top_k` largest differences, and the outermost two."""
    if top_k < 1:
        raise SketchError(f"top_k {top_k}: at least one bin must be looked at")
    bins = differences.size
    largest = np.argpartition(-np.abs(differences), min(top_k, bins) - 1)[:top_k]
    return np.unique(np.concatenate([[0, bins], largest, largest + 1]))


def _sampling_error(rows: int, sample_rate: float) -> float:
    """How far the distribution function of a sample may lie from that of the stream it was drawn from.

    A sample of n out of N rows is off by (1 - n/N) times its distance from the rest, a two-sample distance: for these
    the Dvoretzky-Kiefer-Wolfowitz inequality needs the constant e in place of 2 (Wei and Dudley 2012, who prove it
    for samples of equal size).
    """
    return math.sqrt((1 - sample_rate) * math.log(math.e / (1 - SAMPLING_CONFIDENCE)) / (2 * rows))


@dataclass(frozen=True, eq=False)
class ReferenceProfile:
    """The profiles of several columns: an artifact of a model version."""

    columns: Mapping[str, ColumnProfile]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By column of the reference that has no profile, why."""

    @classmethod
    def of(
        cls,
        columns: Mapping[str, ArrayLike],
        *,
        bins: int = DEFAULT_BINS,
        weights: NDArray[np.float64] | None = None,
    ) -> Self:
        """The profile of a reference, column by column.

        Args:
            columns: Values by name, each of shape (n,).
            bins: As of `ColumnProfile.of`.
            weights: Of each row, shape (n,).

        Raises:
            SketchError: There is no column, or one cannot be used; the message names it.
        """
        if not columns:
            raise SketchError("a reference profile needs at least one column")
        profiles = {}
        for name, values in columns.items():
            try:
                profiles[name] = ColumnProfile.of(values, bins=bins, weights=weights)
            except SketchError as error:
                raise SketchError(f"{name}: {error}") from error
        return cls(MappingProxyType(profiles))

    def to_bytes(self) -> bytes:
        """In the format of `packed`."""
        return _pack_columns(self.columns, self.left_out)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The profile that was written.

        Raises:
            SketchError: The bytes cannot be read.
        """
        header, arrays = unpack(_REFERENCE, data)
        columns = {each["name"]: _read_column(each, arrays) for each in header["columns"]}
        return cls(MappingProxyType(columns), MappingProxyType(header.get("left_out", {})))


def _pack_columns(
    columns: Mapping[str, ColumnProfile], left_out: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    headers: list[dict[str, Any]] = []
    arrays = []
    for name, profile in columns.items():
        binning = profile.binning
        headers.append(
            {
                "name": name,
                "bins": profile.bins,
                "rows": profile.rows,
                "effective_rows": profile.effective_rows,
                "missing": list(profile.missing),
                "categories": list(binning.names) if isinstance(binning, CategoryBinning) else None,
            }
        )
        # Without weights it follows from `missing`, as in all that was written before.
        if profile.missing_mass != profile.missing.rows:
            headers[-1]["missing_mass"] = profile.missing_mass
        if isinstance(binning, NumericBinning):
            arrays.append(binning.edges)
        arrays.append(profile.mass)
    header = {"columns": headers} | ({"left_out": dict(left_out)} if left_out else {})
    return pack(_REFERENCE, header, arrays)


def _read_column(header: dict[str, Any], arrays: Reader) -> ColumnProfile:
    binning: Binning
    if header["categories"] is None:
        binning = NumericBinning(arrays.take(header["bins"] - 1, "float64"))
    else:
        binning = CategoryBinning(tuple(header["categories"]))
    missing = Missing(*header["missing"])
    return ColumnProfile(
        binning=binning,
        mass=arrays.take(header["bins"], "float64"),
        rows=header["rows"],
        effective_rows=header["effective_rows"],
        missing=missing,
        missing_mass=header.get("missing_mass", float(missing.rows)),
    )

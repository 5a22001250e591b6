"""One column on two sides, a reference and events: what of it cannot be compared, and how far apart the rest is."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from platform_assets.drift.column_types import (
    FLOATS,
    INTEGER,
    TEXT,
    NotComparableError,
    compared_as,
    decoded,
    factors,
)
from platform_assets.drift.exact import Ranks, integers
from platform_assets.drift.texts import ReferenceTexts
from platform_assets.sketch.binning import EXACT_INTEGERS, Missing
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.sketch import ColumnProfile, KsResult, compare

if TYPE_CHECKING:
    import pyarrow as pa

SideName = Literal["reference", "events"]
REFERENCE: Final = "reference"
EVENTS: Final = "events"


class Side(NamedTuple):
    """How many values one side of a column has, and how many of them cannot be compared."""

    rows: int = 0
    missing: int = 0
    """Null and NaN."""
    positive_infinity: int = 0
    negative_infinity: int = 0

    @classmethod
    def of(cls, compared: int, missing: Missing) -> Self:
        """So many values that can be compared, and these that cannot."""
        infinite = missing.positive_infinity, missing.negative_infinity
        return cls(compared + missing.rows, missing.nan + missing.unknown, *infinite)

    @property
    def compared(self) -> int:
        """Values that can be compared."""
        return self.rows - self.missing - self.positive_infinity - self.negative_infinity

    def plus(self, other: "Side") -> "Side":
        """Both together."""
        return Side(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Pair:
    """A column as both sides have it; a side that lacks it is None."""

    reference: Side | None
    events: Side | None
    found: KsResult | None = None
    compared_as: str | None = None
    because: str | None = None
    """Why there is no distance."""
    is_lost: bool = False
    """Whether the reference has values that can be compared, and what the events have cannot be compared with them."""


def emptiness(name: SideName, side: Side) -> str | None:
    """Why no value of a side can be compared, or None."""
    if side.compared:
        return None
    subject = f"the {name} {'have' if name == EVENTS else 'has'}"
    if not side.rows:
        return f"{subject} no rows"
    infinite = side.positive_infinity + side.negative_infinity
    odd = [f"{side.missing} missing"] * (side.missing > 0) + [f"{infinite} infinite"] * (infinite > 0)
    return f"{subject} no value to compare: {' and '.join(odd)} of {side.rows}"


def alone(values: "Iterable[pa.Array]", name: SideName) -> Pair:
    """A column that only one side has."""
    side = _counted(values)
    because = f"only the {name} {'have' if name == EVENTS else 'has'} it"
    return Pair(side, None, because=because) if name == REFERENCE else Pair(None, side, because=because)


def paired(
    reference: "pa.ChunkedArray",
    events: "Iterable[pa.Array]",
    events_type: "pa.DataType",
    odd: "Mapping[SideName, str] | None" = None,
) -> Pair:
    """A column of two files. Whatever is odd about it is told in the result.

    Args:
        reference: All values of the one.
        events: The other's, piece by piece.
        events_type: Of each piece.
        odd: Why a side cannot be compared whatever the other one is, where it cannot.
    """
    odd = odd or {}
    sides = {REFERENCE: _counted(reference.chunks), EVENTS: Side()}

    def counting() -> "Iterator[pa.Array]":
        for piece in events:
            sides[EVENTS] = sides[EVENTS].plus(_counted([piece]))
            yield piece

    unread = counting()
    found = kind = because = None
    is_lost = False
    try:
        because = emptiness(REFERENCE, sides[REFERENCE])
        if because is None and odd:
            because = "; ".join(f"in the {side}, {reason}" for side, reason in odd.items())
            is_lost = REFERENCE not in odd and _is_comparable(reference)
        elif because is None and not _is_null(events_type):
            kind = compared_as(reference.type, events_type)
            found = _distance(kind, reference, unread, events_type)
    except (NotComparableError, SketchError) as problem:
        because, is_lost = str(problem), _is_comparable(reference)
    for _ in unread:
        pass  # what is not compared is counted all the same
    because = because or emptiness(EVENTS, sides[EVENTS])
    return Pair(sides[REFERENCE], sides[EVENTS], None if because else found, kind, because, is_lost)


def _is_comparable(reference: "pa.ChunkedArray") -> bool:
    """Whether it could be compared with values of its own kind."""
    try:
        _distance(compared_as(reference.type, reference.type), reference, reference.chunks, reference.type)
    except (NotComparableError, SketchError):
        return False
    return True


def _distance(
    kind: str, reference: "pa.ChunkedArray", events: "Iterable[pa.Array]", events_type: "pa.DataType"
) -> KsResult:
    if kind == TEXT:
        return _of_texts(reference, events)
    if kind == INTEGER:
        # None is rounded: the sketch refuses a reference with any beyond 2^53, and knows that others lie beyond.
        return _over_bins(_numpy, reference, events)
    if kind in FLOATS:
        return _of_floats(reference, events, events_type, precision=np.dtype(kind))
    return _of_exact(reference, events, events_type)


def _of_texts(reference: "pa.ChunkedArray", events: "Iterable[pa.Array]") -> KsResult:
    texts = ReferenceTexts(reference)
    counts, rows = texts.none, 0
    for piece in events:
        counts += texts.counted(piece, first_row=rows)
        rows += len(piece)
    return texts.compared(counts)


def _of_floats(
    reference: "pa.ChunkedArray",
    events: "Iterable[pa.Array]",
    events_type: "pa.DataType",
    *,
    precision: "np.dtype[Any]",
) -> KsResult:
    from pyarrow import types

    if types.is_integer(decoded(reference.type)) or types.is_integer(decoded(events_type)):
        largest = max(
            (np.abs(_floats(each, precision)).max(initial=0) for each in reference.chunks), default=0
        )
        if largest > EXACT_INTEGERS:
            raise NotComparableError(
                "integers beyond 2^53 on one side, and floating-point numbers on the other, which cannot hold them"
            )
    return _over_bins(lambda each: _floats(each, precision), reference, events)


def _of_exact(
    reference: "pa.ChunkedArray", events: "Iterable[pa.Array]", events_type: "pa.DataType"
) -> KsResult:
    of_reference, of_events = factors(reference.type, events_type)
    known = [integers(_present(each), of_reference) for each in reference.chunks]
    ranks = Ranks(np.concatenate(known))
    profile = ColumnProfile.of(np.concatenate([ranks.places(each) for each in known]))
    histogram = profile.histogram()
    for piece in events:
        histogram.add(ranks.places(integers(_present(piece), of_events)))
    return compare(profile, histogram)


def _over_bins(
    as_numbers: "Callable[[pa.Array], NDArray[Any]]",
    reference: "pa.ChunkedArray",
    events: "Iterable[pa.Array]",
) -> KsResult:
    profile = ColumnProfile.of(np.concatenate([as_numbers(each) for each in reference.chunks]))
    histogram = profile.histogram()
    for piece in events:
        histogram.add(as_numbers(piece))
    return compare(profile, histogram)


def _floats(values: "pa.Array", precision: "np.dtype[Any]") -> NDArray[np.floating[Any]]:
    """Numbers in a precision; what is finite stays so."""
    import pyarrow as pa
    from pyarrow import types

    present = _present(values)
    if types.is_decimal(present.type):
        # By way of their digits they are rounded once, as whoever wrote them down as floats has done.
        present = present.cast(pa.string()).cast(pa.float64())
    numbers: NDArray[Any] = present.to_numpy(zero_copy_only=False)
    if numbers.dtype.kind == "f" and numbers.dtype.itemsize <= precision.itemsize:
        return numbers
    largest = float(np.finfo(precision).max)
    floats = numbers.astype(np.float64)
    return np.where(np.isinf(floats), floats, floats.clip(-largest, largest)).astype(precision)


def _numpy(values: "pa.Array") -> NDArray[Any]:
    numbers: NDArray[Any] = _present(values).to_numpy(zero_copy_only=False)
    return numbers


def _present(values: "pa.Array") -> "pa.Array":
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.drop_null() if values.null_count else values


def _is_null(kind: "pa.DataType") -> bool:
    from pyarrow import types

    return bool(types.is_null(kind))


def _nulls(values: "pa.Array") -> int:
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_union(values.type):
        # Its nulls stand in its children.
        return sum(value is None for value in values.to_pylist())
    if not types.is_dictionary(values.type) or not values.dictionary.null_count:
        return int(values.null_count)
    known = pc.take(values.dictionary.is_valid(), values.indices)
    return len(values) - int(pc.sum(known).as_py() or 0)


def _counted(values: "Iterable[pa.Array]") -> Side:
    from pyarrow import types

    total = Side()
    for each in values:
        side = Side(len(each), _nulls(each))
        if types.is_floating(decoded(each.type)):
            numbers = _numpy(each)
            odd = (int(is_odd(numbers).sum()) for is_odd in (np.isnan, np.isposinf, np.isneginf))
            side = side.plus(Side(0, *odd))
        total = total.plus(side)
    return total

"""Whether two batches of a column come from one distribution: its numbers, and how many values it lacks."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from platform_assets.sketch.shares import share_p_value
from platform_assets.sketch.significance import holm
from platform_assets.sketch.sketch import ColumnProfile, compare
from platform_assets.validation.errors import ValidationError

_MIN_ROWS: Final = 2
_BINS: Final = 65_536
"""Up to so many distinct reference values the distance is exact; batches to validate seldom have more."""


_FALSE_ALARM_RATE: Final = 0.01
"""Chance that any share of missing or infinite values in a report alarms while none has changed (Holm)."""


class DriftFinding(BaseModel):
    """How far a column's current values lie from the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    reference: str
    current: str
    n_reference: int
    n_current: int
    ks: float
    """Largest gap between the two empirical distribution functions (0 … 1): exact, or where the reference has very
    many distinct values the upper end of the sketch's interval."""
    p_value: float
    """Of the two-sided test. On large batches any gap is significant: gates decide on `ks`."""
    gated: bool
    """Whether a gate decides on this finding; the others are for information."""


def ks_drift(
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
    *,
    column: str,
    reference_name: str,
    current_name: str,
    gated: bool = False,
) -> DriftFinding:
    """The two-sample Kolmogorov-Smirnov distance between two batches of one column.

    Args:
        reference: Finite values, shape (n_reference,).
        current: Finite values, shape (n_current,).
        column: What the values are, such as `score`.
        reference_name: Where the reference values come from, such as `validation`.
        current_name: Where the current values come from, such as `test`.
        gated: Whether a gate decides on this finding.

    Raises:
        ValidationError: A batch has fewer than two values, or holds values that are NaN or infinite.
    """
    for name, values in ((reference_name, reference), (current_name, current)):
        if values.size < _MIN_ROWS:
            raise ValidationError(f"{column}: {name} has {values.size} rows, too few to compare")
        if not_finite := np.count_nonzero(~np.isfinite(values)):
            raise ValidationError(
                f"{column}: {not_finite} of {values.size} values of {name} are NaN or infinite"
            )
    profile = ColumnProfile.of(reference, bins=_BINS)
    histogram = profile.histogram()
    histogram.add(current)
    found = compare(profile, histogram)
    return DriftFinding(
        column=column,
        reference=reference_name,
        current=current_name,
        n_reference=reference.size,
        n_current=current.size,
        ks=found.ks_upper,
        p_value=found.p_value,
        gated=gated,
    )


class MissingFinding(BaseModel):
    """How many values of a column are missing or infinite in two batches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    reference: str
    current: str
    n_reference: int
    n_current: int
    missing_reference: int
    """Null and NaN."""
    missing_current: int
    infinite_reference: int
    infinite_current: int
    p_value: float
    """Of the share of what is missing or infinite, by Fisher's exact test."""
    alarm: bool
    """Whether it is significant among all findings of the report; the chance of any false alarm is 1 %."""


class Batches(NamedTuple):
    """A column in two batches: numbers, or objects with None for what is missing."""

    column: str
    reference_name: str
    current_name: str
    reference: NDArray[Any]
    current: NDArray[Any]


def missing_findings(columns: Sequence[Batches]) -> tuple[MissingFinding, ...]:
    """What each column lacks, where either batch of it lacks anything."""
    found = {}
    for each in columns:
        sides = [_missing_and_infinite(values) for values in (each.reference, each.current)]
        if any(map(any, sides)):
            p_value = share_p_value(sum(sides[0]), each.reference.size, sum(sides[1]), each.current.size)
            found[each[:3]] = MissingFinding(
                column=each.column,
                reference=each.reference_name,
                current=each.current_name,
                n_reference=each.reference.size,
                n_current=each.current.size,
                missing_reference=sides[0][0],
                missing_current=sides[1][0],
                infinite_reference=sides[0][1],
                infinite_current=sides[1][1],
                p_value=p_value,
                alarm=False,
            )
    alarming = holm({key: finding.p_value for key, finding in found.items()}, _FALSE_ALARM_RATE)
    return tuple(finding.model_copy(update={"alarm": key in alarming}) for key, finding in found.items())


def _missing_and_infinite(values: NDArray[Any]) -> tuple[int, int]:
    if values.dtype.kind == "O":
        # Only a missing value differs from itself, or is None.
        return sum(value is None or value != value for value in values.tolist()), 0  # noqa: PLR0124
    if values.dtype.kind in "mM":
        return int(np.isnat(values).sum()), 0
    if values.dtype.kind != "f":
        return 0, 0
    return int(np.isnan(values).sum()), int(np.isinf(values).sum())

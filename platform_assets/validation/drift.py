"""Whether two batches of numbers come from one distribution."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from platform_assets.sketch.sketch import ColumnProfile, compare
from platform_assets.validation.errors import ValidationError

_MIN_ROWS: Final = 2
_BINS: Final = 65_536
"""Up to so many distinct reference values the distance is exact; batches to validate seldom have more."""


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

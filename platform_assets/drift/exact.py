"""Values that floating-point numbers cannot hold (decimals, times), compared without rounding one of them.

A Kolmogorov-Smirnov distance depends on the order of the values alone. So each value is replaced by its place among
the distinct values of the reference, 2i + 1 for the i-th of them and 2i for what lies below it: equal stays equal,
below stays below, and places are small integers, which a float holds.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Integers = NDArray[Any]
"""int64, or where that does not suffice Python's own."""

_LARGEST: Final = 2**63 - 1
_LIMB_BITS: Final = 64
_DIGITS_OF_A_LIMB: Final = 18


class Ranks:
    """Places among the values of a reference."""

    def __init__(self, reference: Integers) -> None:
        self._distinct = np.unique(reference)

    def places(self, values: Integers) -> NDArray[np.float64]:
        """The place of each value, shape (n,)."""
        distinct = self._distinct
        if distinct.dtype != values.dtype:
            distinct, values = distinct.astype(object), values.astype(object)
        at = np.searchsorted(distinct, values)
        within = at < distinct.size
        equal = np.zeros(values.size, np.bool_)
        equal[within] = distinct[at[within]] == values[within]
        return (2 * at + equal).astype(np.float64)


def integers(values: "pa.Array", factor: int) -> Integers:
    """The integers that stand for values of an exact type, in units of 1 / `factor` of its own, shape (n,).

    Args:
        values: Decimals, dates, times, timestamps, durations, integers or truth values; nothing is null.
        factor: Positive.
    """
    stored = _stored(values)
    if factor == 1 or not stored.size:
        return stored
    if stored.dtype == object or max(int(stored.max()), -int(stored.min())) > _LARGEST // factor:
        return stored.astype(object) * factor
    return stored * factor


def _stored(values: "pa.Array") -> Integers:
    import pyarrow as pa
    from pyarrow import types

    kind = values.type
    if types.is_decimal(kind):
        return _of_decimals(values)
    if types.is_date32(kind) or types.is_time32(kind):
        values = values.cast(pa.int32())
    elif types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not types.is_integer(kind):
        values = values.cast(pa.int64())
    numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    if numbers.dtype == np.uint64 and numbers.size and numbers.max() > _LARGEST:
        return numbers.astype(object)
    return numbers.astype(np.int64)


def _of_decimals(values: "pa.Array") -> Integers:
    """The unscaled integers: a decimal's bytes hold them, the lowest 64 bits first."""
    import pyarrow as pa

    kind = values.type
    if kind.bit_width <= _LIMB_BITS:
        values = values.cast(pa.decimal128(kind.precision, kind.scale))
    limbs_each = values.type.bit_width // _LIMB_BITS
    limbs = np.frombuffer(values.buffers()[1], np.dtype("<u8")).reshape(-1, limbs_each)
    limbs = limbs[values.offset : values.offset + len(values)]
    if kind.precision <= _DIGITS_OF_A_LIMB:
        return limbs[:, 0].view(np.int64).copy()
    found = limbs[:, -1].view(np.int64).astype(object)
    for limb in range(limbs_each - 2, -1, -1):
        found = (found << _LIMB_BITS) | limbs[:, limb].astype(object)
    return found

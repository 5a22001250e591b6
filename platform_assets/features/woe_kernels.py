"""Compiled loops of weight of evidence. Whoever needs them imports this module inside a function: numba is heavy.

Glossary:

    edges     (m + 4,)         ascending, then FAST_COMPARES times +inf; cell i is (edges[i-1], edges[i]], cell m is all above
    table     (2 half + 1,)    by place: how many edges lie in places before it
    compares  the most edges in one place
    labels    (n,)             1 where a row is an event, else 0
    counts    (4, 2 (m + 2))   four histograms, so that a run of one value does not wait for itself; position 2 c of
                               cell c counts its non-events, the one after it its events; the last cell is of NaN
    answers   (m + 2,)         what each cell becomes; the last is for NaN

The places are those of `sketch.binning.KeyTable`. Infinite values fall into the cells at the ends. No `fastmath`, for
the reasons in `sketch.kernels`. The look-up is that of `sketch.kernels` once more and not imported: numba's cache on disk
does not see when a function of another file has changed.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import float64, int32, int64, njit, types, uint8, uint32
from numpy.typing import NDArray

from platform_assets.sketch.layout import FAST_COMPARES

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]
"""Of the type in the function's signature, which numba checks."""

_BLOCK: Final = 256
_ONE: Final = 0x3FF0_0000_0000_0000
"""Bits of 1.0: the least that 1 + |x - centre| / scale can be."""
_INFINITY: Final = 0x7FF0_0000_0000_0000


def _read(kind: Any) -> types.Array:
    """An array that is only read: arrays that come from Arrow are not writeable."""
    return types.Array(kind, 1, "C", readonly=True)


def _compiled(signature: Any) -> Callable[[F], F]:
    compiled: Callable[[F], F] = njit(signature, cache=True, nogil=True, error_model="numpy")
    return compiled


def _inlined(function: F) -> F:
    inlined: F = njit(function, inline="always", error_model="numpy")
    return inlined


_TABLE: Final = (float64, float64, int64, int64, _read(uint32), _read(float64), int64)
"""centre, inverse_scale, shift, half, table, edges, compares: the fields of `KeyTable`, in order."""


@_inlined
def _place(
    chunk: Array,
    centre: float,
    inverse_scale: float,
    shift: int,
    half: int,
    table: Array,
    edges: Array,
    compares: int,
    cells: Array,
) -> None:
    """Write the cell of each value of a block to `cells`."""
    one = np.uint64(1)
    highest = np.int64(0)
    # Passes over a block that stays in the L1 cache: this one is pure arithmetic and becomes vector code.
    for j in range(chunk.size):
        distance = chunk[j] - centre
        bits = np.float64(1.0 + abs(distance) * inverse_scale).view(np.int64)
        highest = max(highest, bits)
        key = (bits - _ONE) >> shift
        key = key if key < half else np.int64(half - 1)
        cells[j] = half + (key ^ -np.int64(distance < 0.0))
    if compares == 1:
        for j in range(chunk.size):
            low = np.uint64(table[np.uint64(cells[j])])
            cells[j] = low + np.uint64(chunk[j] > edges[low])
    elif compares <= FAST_COMPARES:
        for j in range(chunk.size):
            low = np.uint64(table[np.uint64(cells[j])])
            found = low
            for step in range(compares):
                found += np.uint64(chunk[j] > edges[low + np.uint64(step)])
            cells[j] = found
    else:
        for j in range(chunk.size):
            place = np.uint64(cells[j])
            low, high = np.uint64(table[place]), np.uint64(table[place + one])
            while low < high:
                middle = (low + high) >> one
                if chunk[j] > edges[middle]:
                    low = middle + one
                else:
                    high = middle
            cells[j] = low
    if highest > _INFINITY:
        for j in range(chunk.size):
            if np.isnan(chunk[j]):
                cells[j] = edges.size - FAST_COMPARES + 1


@_compiled(types.void(_read(float64), *_TABLE, _read(uint8), int64[:, ::1]))
def count(
    values: Array,
    centre: float,
    inverse_scale: float,
    shift: int,
    half: int,
    table: Array,
    edges: Array,
    compares: int,
    labels: Array,
    counts: Array,
) -> None:
    """Count the rows of each cell and label."""
    cells = np.empty(_BLOCK, np.uint32)
    for start in range(0, values.size, _BLOCK):
        chunk = values[start : start + _BLOCK]
        _place(chunk, centre, inverse_scale, shift, half, table, edges, compares, cells)
        for j in range(chunk.size):
            counts[j & 3, np.uint64(2 * cells[j] + labels[start + j])] += 1


@_compiled([types.void(_read(float64), *_TABLE, _read(kind), kind[::1]) for kind in (float64, int32)])
def answer(
    values: Array,
    centre: float,
    inverse_scale: float,
    shift: int,
    half: int,
    table: Array,
    edges: Array,
    compares: int,
    answers: Array,
    into: Array,
) -> None:
    """Write what the cell of each value becomes."""
    cells = np.empty(_BLOCK, np.uint32)
    for start in range(0, values.size, _BLOCK):
        chunk = values[start : start + _BLOCK]
        _place(chunk, centre, inverse_scale, shift, half, table, edges, compares, cells)
        for j in range(chunk.size):
            into[start + j] = answers[np.uint64(cells[j])]


@_compiled(types.void(_read(int32), _read(uint8), int64[:, ::1]))
def count_codes(codes: Array, labels: Array, counts: Array) -> None:
    """Count the rows of each code and label; `counts` is of shape (4, 2 codes)."""
    for j in range(codes.size):
        counts[j & 3, np.uint64(2 * codes[j] + labels[j])] += 1

"""Compiled loops of the sketch. Whoever needs them imports this module inside a function: numba is heavy.

Glossary:

    edges     (m + 4,)        ascending, then FAST_COMPARES times +inf; bin i is (edges[i-1], edges[i]], bin m is all above
    table     (2 half + 1,)   by cell: how many edges lie in cells before it
    cell      where a value falls in the table, a monotone function of it (see binning.KeyTable)
    compares  the most edges in one cell
    counts    (4, m + 2)      four sub-histograms, so that a run of one value does not wait for itself;
                              position m + 1 is for values that cannot be compared (NaN, infinite)
    tree      (2 leaves, 3)   node k holds the (sum, highest prefix sum, lowest prefix sum) over its leaves, the
                              empty prefix among them; its children are 2k and 2k + 1, the root is node 1

No `fastmath` here: it would let the compiler assume that there are no NaN, and a library built with it flushes
denormal numbers to zero for the whole process, so that edges next to zero compare equal to it.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import float32, float64, int64, njit, types, uint32
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
    """An array that is only read: arrays that come from Arrow or from bytes are not writeable."""
    return types.Array(kind, 1, "C", readonly=True)


def _compiled(signature: Any) -> Callable[[F], F]:
    compiled: Callable[[F], F] = njit(signature, cache=True, nogil=True, error_model="numpy")
    return compiled


def _inlined(function: F) -> F:
    inlined: F = njit(function, inline="always", error_model="numpy")
    return inlined


_TABLE: Final = (float64, float64, int64, int64, _read(uint32), _read(float64), int64)
"""centre, inverse_scale, shift, half, table, edges, compares: the fields of `binning.KeyTable`, in order."""


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
    bins: Array,
    missing: Array,
) -> None:
    """Write the bin of each value of a block to `bins`; tally NaN, +inf and -inf in `missing`."""
    one = np.uint64(1)
    highest = np.int64(0)
    # Passes over a block that stays in the L1 cache: this one is pure arithmetic and becomes vector code.
    for j in range(chunk.size):
        distance = np.float64(chunk[j]) - centre
        bits = np.float64(1.0 + abs(distance) * inverse_scale).view(np.int64)
        highest = max(highest, bits)
        key = (bits - _ONE) >> shift
        key = key if key < half else np.int64(half - 1)
        bins[j] = half + (key ^ -np.int64(distance < 0.0))
    if compares == 1:
        for j in range(chunk.size):
            low = np.uint64(table[np.uint64(bins[j])])
            bins[j] = low + np.uint64(chunk[j] > edges[low])
    elif compares <= FAST_COMPARES:
        for j in range(chunk.size):
            low = np.uint64(table[np.uint64(bins[j])])
            found = low
            for step in range(compares):
                found += np.uint64(chunk[j] > edges[low + np.uint64(step)])
            bins[j] = found
    else:
        for j in range(chunk.size):
            cell = np.uint64(bins[j])
            low, high = np.uint64(table[cell]), np.uint64(table[cell + one])
            while low < high:
                middle = (low + high) >> one
                if chunk[j] > edges[middle]:
                    low = middle + one
                else:
                    high = middle
            bins[j] = low
    if highest >= _INFINITY:
        for j in range(chunk.size):
            if not np.isfinite(chunk[j]):
                bins[j] = edges.size - FAST_COMPARES + 1
                missing[0 if np.isnan(chunk[j]) else 1 if chunk[j] > 0 else 2] += 1


@_compiled([types.void(_read(kind), *_TABLE, uint32[::1], int64[::1]) for kind in (float64, float32)])
def index(
    values: Array,
    centre: float,
    inverse_scale: float,
    shift: int,
    half: int,
    table: Array,
    edges: Array,
    compares: int,
    bins: Array,
    missing: Array,
) -> None:
    """Write the bin of each value to `bins`."""
    for start in range(0, values.size, _BLOCK):
        chunk = values[start : start + _BLOCK]
        block = bins[start : start + _BLOCK]
        _place(chunk, centre, inverse_scale, shift, half, table, edges, compares, block, missing)


@_compiled([types.void(_read(kind), *_TABLE, int64[:, ::1], int64[::1]) for kind in (float64, float32)])
def count(
    values: Array,
    centre: float,
    inverse_scale: float,
    shift: int,
    half: int,
    table: Array,
    edges: Array,
    compares: int,
    counts: Array,
    missing: Array,
) -> None:
    """Add the values to the sub-histograms."""
    block = np.empty(_BLOCK, np.uint32)
    for start in range(0, values.size, _BLOCK):
        chunk = values[start : start + _BLOCK]
        _place(chunk, centre, inverse_scale, shift, half, table, edges, compares, block, missing)
        for j in range(chunk.size):
            counts[j & 3, np.uint64(block[j])] += 1


@_compiled(types.Tuple((int64, float64, float64))(int64[::1], _read(float64), _read(float64)))
def distance(counts: Array, cumulative: Array, inside: Array) -> tuple[int, float, float]:
    """Rows, and the lower and the upper bound of the distance; see the head of `sketch`."""
    rows = counts.sum()
    total = cumulative[-1]
    counted, before = np.int64(0), 0.0
    lower = upper = 0.0
    for i in range(counts.size):
        counted += counts[i]
        gap = counted * total - rows * cumulative[i + 1]
        lower = max(lower, abs(gap))
        upper = max(upper, max(gap, -before) + rows * inside[i])
        before = gap
    scale = max(rows, 1) * total
    return rows, lower / scale, upper / scale


@_inlined
def _join(tree: Array, node: np.uint64) -> None:
    """Compute a node from its children."""
    left, right = node + node, node + node + np.uint64(1)
    total = tree[left, 0]
    tree[node, 1] = max(tree[left, 1], total + tree[right, 1])
    tree[node, 2] = min(tree[left, 2], total + tree[right, 2])
    tree[node, 0] = total + tree[right, 0]


@_inlined
def _set(tree: Array, node: np.uint64, value: float) -> None:
    tree[node, 0], tree[node, 1], tree[node, 2] = value, max(value, 0.0), min(value, 0.0)


@_compiled(
    float64[::1](_read(uint32), _read(float64), float64, uint32[::1], int64[::1], float64[:, ::1], int64[::1])
)
def slide(
    bins: Array, mass: Array, total: float, ring: Array, counts: Array, tree: Array, state: Array
) -> Array:
    """The distance of the newest `ring.size` values after each value; NaN until there are so many.

    `state` is (values in the ring, position of the oldest). All are changed in place. A leaf is a bin's count
    times `total` minus its `mass` times the ring's size: whole numbers where the masses are, so that nothing drifts
    however long the stream is.
    """
    one = np.uint64(1)
    size = ring.size
    leaves = np.uint64(tree.shape[0] // 2)
    filled, head = state
    ks = max(tree[1, 1], -tree[1, 2]) / (size * total) if filled == size else np.nan
    after = np.empty(bins.size)
    for i in range(bins.size):
        new, old = np.uint64(bins[i]), np.uint64(ring[head])
        if new == np.uint64(mass.size):  # cannot be compared, so it takes no place in the window
            after[i] = ks
            continue
        ring[head] = new
        head = head + 1 if head + 1 < size else 0
        counts[new] += 1
        if filled < size:
            filled += 1
            if filled == size:
                for leaf in range(mass.size):
                    _set(tree, leaves + np.uint64(leaf), counts[leaf] * total - size * mass[leaf])
                for node in range(leaves - one, 0, -1):
                    _join(tree, np.uint64(node))
        else:
            counts[old] -= 1
            if new != old:
                a, b = leaves + new, leaves + old
                _set(tree, a, counts[new] * total - size * mass[new])
                _set(tree, b, counts[old] * total - size * mass[old])
                a, b = a >> one, b >> one
                while a != b:
                    _join(tree, a)
                    _join(tree, b)
                    a, b = a >> one, b >> one
                while a:
                    _join(tree, a)
                    a >>= one
        if filled == size:
            ks = max(tree[1, 1], -tree[1, 2]) / (size * total)
        after[i] = ks
    state[0], state[1] = filled, head
    return after


@_compiled(types.void(_read(float64), _read(float64), uint32[::1]))
def index_uniform(values: Array, edges: Array, bins: Array) -> None:
    """Write the bin of each value of [0, 1) to `bins`; edges that lie about evenly are found at once."""
    cells = edges.size
    guide = np.searchsorted(edges, np.arange(cells) / cells)
    for i in range(values.size):
        edge = guide[int(values[i] * cells)]
        while edge < edges.size and values[i] > edges[edge]:
            edge += 1
        bins[i] = edge


@_compiled(types.void(_read(float64), _read(float64), int64, int64[::1]))
def count_alarms(ks: Array, thresholds: Array, dead_time: int, alarms: Array) -> None:
    """Add to `alarms` how often `ks` rises above each threshold, `dead_time` values after an alarm passed over."""
    lowest = thresholds.min()
    free_from = np.zeros(thresholds.size, np.int64)
    for i in range(ks.size):
        if ks[i] > lowest:
            for k in range(thresholds.size):
                if ks[i] > thresholds[k] and i >= free_from[k]:
                    alarms[k] += 1
                    free_from[k] = i + dead_time

"""Perceptual hashes: images that look alike have hashes that differ in few bits, whatever their size and encoding."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BITS: Final = 256
_SIDE: Final = 64
_WAVES: Final = 17
_ROWS_AT_ONCE: Final = 1 << 10


def perceptual_hash(image: "npt.NDArray[np.uint8]") -> bytes:
    """256 bits: which of the 16 × 16 longest waves of an image, the mean left out, are stronger than their median.

    Args:
        image: Shape (rows, columns), the usual range stretched to 0 to 255.
    """
    from scipy.fft import dctn

    waves = dctn(_shrunk(image), norm="ortho")[1:_WAVES, 1:_WAVES].ravel()
    return np.packbits(waves > np.median(waves)).tobytes()


def near_pairs(hashes: "npt.NDArray[np.uint8]", most_bits: int) -> "Iterator[npt.NDArray[np.int64]]":
    """Pairs of rows that differ in at most so many bits, each once, the earlier first.

    They come in parts of a million at most: of many images that are all alike there are as many pairs as their square.

    Args:
        hashes: Shape (n, 32).
        most_bits: Bits.

    Yields:
        Shape (pairs, 2).
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for start in range(0, len(words), _ROWS_AT_ONCE):
        for other in range(start, len(words), _ROWS_AT_ONCE):
            left, right = words[start : start + _ROWS_AT_ONCE], words[other : other + _ROWS_AT_ONCE]
            differ = np.bitwise_count(left[:, None, :] ^ right[None, :, :]).sum(axis=2, dtype=np.uint16)
            pairs = np.argwhere(differ <= most_bits) + np.array([start, other])
            yield pairs[pairs[:, 0] < pairs[:, 1]]


def _shrunk(image: "npt.NDArray[np.uint8]") -> "npt.NDArray[np.float32]":
    """The means of 64 × 64 cells; a side that is shorter is drawn out."""
    whole = image
    for axis, side in enumerate(image.shape):
        if side < _SIDE:
            whole = np.repeat(whole, -(-_SIDE // side), axis=axis)
    row_edges, column_edges = (_edges(side) for side in whole.shape)
    # Row by row, as memory has them: reduceat over rows takes twenty times as long.
    by_rows = np.empty((_SIDE, whole.shape[1]), dtype=np.uint32)
    for at, (first, last) in enumerate(pairwise((*row_edges, whole.shape[0]))):
        np.add.reduce(whole[first:last], axis=0, dtype=np.uint32, out=by_rows[at])
    summed = np.add.reduceat(by_rows, column_edges, axis=1)
    heights = np.diff(row_edges, append=whole.shape[0])
    widths = np.diff(column_edges, append=whole.shape[1])
    means: npt.NDArray[np.float32] = (summed / (heights[:, None] * widths[None, :])).astype(np.float32)
    return means


def _edges(side: int) -> "npt.NDArray[np.int64]":
    return np.arange(_SIDE) * side // _SIDE

"""Which rows are trained on together."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BUCKET_BATCHES = 32


def batches_of(
    sizes: NDArray[np.int64], *, batch_size: int, epochs: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Row numbers of every batch of every epoch: shuffled, then grouped by size within large chunks.

    Args:
        sizes: Of each row, such as the length of a sequence; shape (N,).
        batch_size: Rows of a batch; the last one of a chunk may have fewer.
        epochs: How often each row is trained on.
        seed: Of the order.
    """
    rows = len(sizes)
    for epoch in range(epochs):
        random = np.random.default_rng((seed, epoch))
        shuffled = random.permutation(rows)
        chunk = batch_size * _BUCKET_BATCHES
        batches: list[NDArray[np.int64]] = []
        for start in range(0, rows, chunk):
            part = shuffled[start : start + chunk]
            part = part[np.argsort(sizes[part], kind="stable")]
            batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
        for number in random.permutation(len(batches)):
            yield batches[number]

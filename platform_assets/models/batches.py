"""Which rows are trained on together, and their form as tensors.

Symbols: N rows, B rows in a global batch, L tokens in the longest text of a batch.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BUCKET_BATCHES = 32
_PAD_MULTIPLE = 8

Row = tuple[NDArray[np.int32], int]
"""Token ids and label."""


def batches_of(
    rows: Sequence[Row], *, batch_size: int, epochs: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Row numbers of every batch of every epoch: shuffled, then grouped by length within large chunks."""
    lengths = np.array([len(ids) for ids, _ in rows])
    for epoch in range(epochs):
        random = np.random.default_rng((seed, epoch))
        shuffled = random.permutation(len(rows))
        chunk = batch_size * _BUCKET_BATCHES
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(shuffled), chunk):
            part = shuffled[start : start + chunk]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
        for number in random.permutation(len(batches)):
            yield batches[number]


def padded(rows: Sequence[Row], pad_id: int, device: Any) -> tuple[Any, Any, Any]:
    """Token ids (B, L), mask (B, L) and labels (B,), L rounded up to a multiple of 8."""
    import torch

    longest = max((len(ids) for ids, _ in rows), default=1)
    width = -(-longest // _PAD_MULTIPLE) * _PAD_MULTIPLE
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for at, (tokens, _) in enumerate(rows):
        ids[at, : len(tokens)] = tokens
        mask[at, : len(tokens)] = 1
    labels = np.array([label for _, label in rows], dtype=np.int64)
    return tuple(torch.from_numpy(array).to(device) for array in (ids, mask, labels))

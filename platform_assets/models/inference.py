"""Scores of a network that was trained by steps."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from platform_assets.models.hardware import Hardware, autocast

log = logging.getLogger(__name__)

_PROGRESS_INTERVAL_SECONDS = 10.0
R = TypeVar("R")


def score(
    rows: Sequence[R],
    network: Any,
    *,
    sizes: NDArray[np.int64],
    tensors: Callable[[Sequence[R], Any], tuple[Any, ...]],
    hardware: Hardware,
    batch_rows: int = 32,
    label: str = "scoring",
) -> NDArray[np.float64]:
    """Probability of label 1 for each row, shape (N,), in the order given.

    Rows are scored in batches of similar size.

    Args:
        rows: To score.
        network: Yields logits of two classes, shape (B, 2).
        sizes: How much work each row is; shape (N,).
        tensors: What the network is called with for some rows, on a device.
        hardware: Where, and in which precision.
        batch_rows: Rows of a batch, B.
        label: Of the progress that is logged.
    """
    import torch

    order = np.argsort(-sizes, kind="stable")
    scores = np.empty(len(rows))
    device = next(network.parameters()).device
    network.eval()
    reported = time.monotonic()
    with torch.inference_mode(), autocast(hardware):
        for start in range(0, len(order), batch_rows):
            chosen = order[start : start + batch_rows]
            logits = network(*tensors([rows[row] for row in chosen], device))
            scores[chosen] = logits.float().softmax(dim=1)[:, 1].double().cpu().numpy()
            if time.monotonic() - reported > _PROGRESS_INTERVAL_SECONDS:
                reported = time.monotonic()
                log.info("%s: %s of %s rows", label, f"{start + len(chosen):,}", f"{len(order):,}")
    return scores

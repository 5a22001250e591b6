"""What a classifier without any neural network reaches on the same images: edges, coarse brightness, one formula.

Symbols used below:

    n  images        s  side in pixels        c  cells a side        o  orientations of an edge
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.validation.errors import ValidationError

_CELLS: Final = 8
_ORIENTATIONS: Final = 9
_POOLED_SIDE: Final = 16
_INVERSE_REGULARISATION: Final = 1e-3
"""Where the AUC of validation rows was highest, of 1e-5 to 0.1, on phantoms of one seed."""
_LEAST: Final = 1e-6
_AT_ONCE: Final = 256
"""Images, so that gradients of some MB lie in memory, not of all images."""
_BOTH: Final = 2


def classical_scores(
    train: NDArray[np.uint8], labels: NDArray[np.integer[Any]], measured: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Probability of label 1 of each measured image: HOG and pooled pixels, standardised, by a logistic regression.

    Args:
        train: Images to fit on, shape (n, s, s).
        labels: 0 or 1, shape (n,).
        measured: Images to score, shape (m, s, s).

    Returns:
        Shape (m,).

    Raises:
        ValidationError: the training images have one label only, or are too small.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(found := np.unique(labels)) < _BOTH:
        raise ValidationError(
            f"baseline: all {labels.size} training labels are {found}, both classes are needed"
        )
    if (side := train.shape[-1]) < _POOLED_SIDE:
        raise ValidationError(
            f"baseline: images of {side} pixels a side are too small, {_POOLED_SIDE} are needed"
        )
    scaler = StandardScaler()
    rows = scaler.fit_transform(described(train))
    model = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=300).fit(rows, labels)
    scores: NDArray[np.float64] = model.predict_proba(scaler.transform(described(measured)))[:, 1]
    return scores


def described(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The histograms of gradients of each image, then its coarse brightness; shape (n, width).

    Args:
        images: Shape (n, s, s).
    """
    parts = []
    for start in range(0, len(images), _AT_ONCE):
        some = images[start : start + _AT_ONCE].astype(np.float32)
        some -= some.mean(axis=(1, 2), keepdims=True)
        some /= some.std(axis=(1, 2), keepdims=True) + _LEAST
        coarse = _means(some, _POOLED_SIDE).reshape(len(some), -1)
        parts.append(np.concatenate([histograms_of_gradients(some), coarse], axis=1))
    return np.concatenate(parts)


def histograms_of_gradients(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """HOG (Dalal & Triggs 2005): edges by orientation in each cell, brought to one length in each block of 2 × 2 cells.

    Orientations are without a sign, and an edge between two counts for both in part.

    Args:
        images: Shape (n, s, s); pixels that fill no whole cell, on the right and at the bottom, are left out.

    Returns:
        Shape (n, (c − 1)² · 4 · o).
    """
    down, right = np.gradient(images, axis=(1, 2))
    strength = np.hypot(down, right)
    turn = np.mod(np.arctan2(down, right), np.pi) * (_ORIENTATIONS / np.pi)
    below = np.floor(turn).astype(np.int8)
    part = turn - below
    cells = np.empty((len(images), _CELLS, _CELLS, _ORIENTATIONS), np.float32)
    for orientation in range(_ORIENTATIONS):
        weight = np.where(below % _ORIENTATIONS == orientation, 1 - part, 0)
        weight += np.where((below + 1) % _ORIENTATIONS == orientation, part, 0)
        cells[..., orientation] = _means(strength * weight, _CELLS)
    corners = [cells[:, at : at + _CELLS - 1, to : to + _CELLS - 1] for at in (0, 1) for to in (0, 1)]
    blocks = np.concatenate(corners, axis=-1)
    blocks /= np.sqrt((blocks**2).sum(axis=-1, keepdims=True)) + _LEAST
    return blocks.reshape(len(images), -1)


def _means(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of `side` × `side` equal areas; (n, s, s) gives (n, side, side)."""
    n, s, _ = images.shape
    step = s // side
    means: NDArray[np.float32] = (
        images[:, : step * side, : step * side].reshape(n, side, step, side, step).mean(axis=(2, 4))
    )
    return means

"""What is known of X-rays without looking at them, as a model: how far it gets is what a shortcut is worth.

Who is upright for a PA image is less ill than who lies in bed for an AP one, and each device has its wards. A network that
has learnt view and device alone looks good on the whole test split.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.validation.errors import ValidationError

if TYPE_CHECKING:
    import pyarrow as pa

_INVERSE_REGULARISATION: Final = 0.3
_FEWEST_NAMED: Final = 10
"""A value of fewer training rows would be learnt by heart."""
_BOTH: Final = 2


def metadata_scores(train: "pa.Table", measured: "pa.Table", columns: Sequence[str]) -> NDArray[np.float64]:
    """Probability of label 1 of each measured row by its metadata alone, shape (rows,).

    A logistic regression: of texts, which of the values that training rows often have; of numbers, how many standard
    deviations from the mean; and of both, whether there is one at all. What does not vary in training tells nothing; where
    nothing does, all rows have the share of label 1.

    Args:
        train: Rows of the dataset, of split `train`.
        measured: Rows of the dataset.
        columns: Of metadata.

    Raises:
        ValidationError: the training rows have one label only.
    """
    from sklearn.linear_model import LogisticRegression

    labels = train["label"].to_numpy()
    if len(found := np.unique(labels)) < _BOTH:
        raise ValidationError(
            f"metadata alone: all {labels.size} training labels are {found}, both are needed"
        )
    parts = [_encoded(train[name], measured[name]) for name in columns]
    rows, others = (np.concatenate([each[at] for each in parts], axis=1) for at in (0, 1))
    if not rows.shape[1]:
        return np.full(measured.num_rows, labels.mean())
    model = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=1000).fit(rows, labels)
    scores: NDArray[np.float64] = model.predict_proba(others)[:, 1]
    return scores


def _encoded(
    train: "pa.ChunkedArray", measured: "pa.ChunkedArray"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The column of either table as numbers of one meaning, each (rows, width); of width 0 where nothing varies."""
    from pyarrow import types

    is_number = types.is_integer(train.type) or types.is_floating(train.type)
    first, second = _scaled(train, measured) if is_number else _named(train, measured)
    varies = np.ptp(first, axis=0) > 0
    return first[:, varies], second[:, varies]


def _named(
    train: "pa.ChunkedArray", measured: "pa.ChunkedArray"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which of the frequent values each row has; having none is one."""
    first, second = (np.array([str(each) for each in column.to_pylist()]) for column in (train, measured))
    names, counts = np.unique(first, return_counts=True)
    frequent = names[counts >= _FEWEST_NAMED]
    of_first, of_second = ((each[:, None] == frequent).astype(np.float64) for each in (first, second))
    return of_first, of_second


def _scaled(
    train: "pa.ChunkedArray", measured: "pa.ChunkedArray"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviations from the mean, and whether there is a value."""
    first, second = (column.to_numpy().astype(np.float64) for column in (train, measured))
    there = first[np.isfinite(first)]
    mean, deviation = (there.mean(), there.std() or 1.0) if there.size else (0.0, 1.0)

    def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(values)
        return np.stack([np.where(known, (values - mean) / deviation, 0.0), known], axis=1)

    return scaled(first), scaled(second)

"""What a trial tells of a model: metrics by the names that an Experiment's objective may have."""

from typing import Final

import numpy as np

from platform_assets.validation.metrics import Labels, Scores, binary_metrics

METRICS: Final = ("auc", "pr_auc", "log_loss", "accuracy", "f1", "ece", "brier")
"""Higher is better of the areas, accuracy and F1; lower of the others."""
_NO_RESAMPLES: Final = 1
"""Nobody asks a trial for an interval."""


def measured(labels: Labels, scores: Scores, *, threshold: float) -> dict[str, float]:
    """Each of `METRICS`; all are finite.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
        threshold: A score of at least this predicts label 1.

    Raises:
        ValidationError: the rows cannot be measured: none, labels of one class, scores that are no probabilities.
    """
    found = binary_metrics(labels, scores, threshold=threshold, bootstrap_samples=_NO_RESAMPLES, seed=0)
    values = found.model_dump() | {"log_loss": log_loss(labels, scores)}
    return {name: float(values[name]) for name in METRICS}


def log_loss(labels: Labels, scores: Scores) -> float:
    """Mean negative log-likelihood of the labels.

    Scores of 0 and 1 count as the closest numbers to them, as scikit-learn's `log_loss` has it: one certain error would
    make any mean infinite.

    Args:
        labels: 0 or 1, shape (n,).
        scores: Probability of label 1, shape (n,).
    """
    least = np.finfo(np.float64).eps
    kept = np.clip(scores, least, 1 - least)
    return float(-np.mean(np.where(labels == 1, np.log(kept), np.log1p(-kept))))

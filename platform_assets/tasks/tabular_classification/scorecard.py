"""A scorecard: a logistic regression on weights of evidence, scaled to points (Siddiqi 2006, chapter 6).

A weight is ln(share of non-events / share of events), so each coefficient of the event's log-odds should be negative: a
higher weight, fewer events. One that is not says the opposite of its characteristic, mostly because another one says the
same as it; it is told, and refused where the spec says so.

    points = offset - factor · log-odds of the event        factor = PDO / ln 2
                                                            offset = base score - factor · ln(base odds)

Intercept and offset are spread evenly over the characteristics, so that each bin has points of its own:

    points of a bin = (offset - factor · intercept) / C - factor · coefficient · weight

Symbols: N rows, C characteristics, PDO points to double the odds of a non-event.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticValidationError

from platform_assets.models.errors import TrainingError
from platform_assets.tasks.tabular_classification.spec import ScorecardSpec

SCORECARD_FILE: Final = "scorecard.json"
_MOST_ITERATIONS: Final = 10_000


class Coefficient(BaseModel):
    """What a weight of evidence counts in the log-odds of label 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    feature: str
    """Name of the weight's column."""
    coefficient: float

    @property
    def agrees(self) -> bool:
        """Whether a higher weight means fewer events here as it does in its characteristic."""
        return self.coefficient <= 0


class Scorecard(BaseModel):
    """Log-odds and points of weights of evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: float
    coefficients: tuple[Coefficient, ...] = Field(min_length=1)
    scale: ScorecardSpec
    iterations: int
    """Of the solver."""

    @property
    def factor(self) -> float:
        """Points by which the score falls as the log-odds of the event rise by 1."""
        return self.scale.points_to_double_odds / math.log(2)

    @property
    def offset(self) -> float:
        """Points at even odds."""
        return self.scale.base_score - self.factor * math.log(self.scale.base_odds)

    @property
    def wrong_signs(self) -> tuple[str, ...]:
        """Features whose coefficient says the opposite of their characteristic."""
        return tuple(each.feature for each in self.coefficients if not each.agrees)

    def log_odds(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of label 1, shape (N,), of weights (N, C). A row's own do not depend on the others."""
        total = np.full(len(features), self.intercept)
        # Column by column, since a matrix product would round by how many rows it has.
        for at, each in enumerate(self.coefficients):
            total += each.coefficient * features[:, at]
        return total

    def points(self, log_odds: float) -> float:
        """Points of the log-odds of the event, not rounded."""
        return self.offset - self.factor * log_odds

    def points_of(self, at: int, weight: float) -> float:
        """Points of the characteristic in this place for a weight, not rounded; over all of them they add up to `points`."""
        even = (self.offset - self.factor * self.intercept) / len(self.coefficients)
        return even - self.factor * self.coefficients[at].coefficient * weight

    def save(self, folder: Path) -> Sequence[str]:
        """Write it as canonical JSON; returns the files' names."""
        (folder / SCORECARD_FILE).write_bytes(rfc8785.dumps(self.model_dump(mode="json")))
        return (SCORECARD_FILE,)

    @classmethod
    def load(cls, folder: Path, *, features: int) -> Self:
        """The model in a folder, over so many features.

        Raises:
            TrainingError: the file is damaged, or holds something else.
        """
        file = folder / SCORECARD_FILE
        try:
            found = cls.model_validate_json(file.read_bytes())
        except (OSError, PydanticValidationError):
            raise TrainingError(f"{file.name}: is no scorecard; train it again") from None
        if len(found.coefficients) != features:
            raise TrainingError(
                f"{file.name}: has {len(found.coefficients)} coefficients for {features} features; train it again"
            )
        return found


def rounded(points: float) -> int:
    """Whole points; halves go up."""
    return math.floor(points + 0.5)


def _settled(value: float) -> float:
    """A number of the solver without the digits that are noise.

    It stops at 1e-8, and the last bits depend on where it ran: a pod and a laptop of one processor differed by them. Equal
    rows are to give equal weights.
    """
    return float(f"{value:.10g}")


def fit_scorecard(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    names: Sequence[str],
    *,
    regularisation: float,
    scale: ScorecardSpec,
) -> Scorecard:
    """The scorecard with the least penalised loss on these rows.

    Weights are on one scale, that of log-odds, so they are penalised as they are.

    Args:
        features: Weights of evidence, finite, shape (N, C).
        labels: 0 or 1, both, shape (N,).
        names: Of each feature.
        regularisation: Weight of half the sum of squared coefficients, against the sum of the rows' losses.
        scale: Of the points.

    Raises:
        TrainingError: a weight is missing, the solver does not settle, or a sign is wrong and the scale refuses it.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    for name, column in zip(names, features.T, strict=True):
        if wrong := int((~np.isfinite(column)).sum()):
            raise TrainingError(f"{name}: {wrong} of {len(labels)} training rows have no weight of evidence")
    # One thread: sums that are split between several would be rounded by how many there are.
    with threadpool_limits(1):
        solver = LogisticRegression(C=1 / regularisation, max_iter=_MOST_ITERATIONS, tol=1e-8).fit(
            features, labels
        )
    if (iterations := int(solver.n_iter_[0])) >= _MOST_ITERATIONS:
        raise TrainingError(
            f"the scorecard did not settle in {_MOST_ITERATIONS} iterations; raise regularisation"
        )
    found = Scorecard(
        intercept=_settled(solver.intercept_[0]),
        coefficients=tuple(
            Coefficient(feature=name, coefficient=_settled(coefficient))
            for name, coefficient in zip(names, solver.coef_[0], strict=True)
        ),
        scale=scale,
        iterations=iterations,
    )
    if scale.refuse_wrong_signs and found.wrong_signs:
        raise TrainingError(
            f"{', '.join(found.wrong_signs)}: the coefficient has the wrong sign, so that more points would mean more "
            "events; leave the characteristic out, raise regularisation, or let scorecard.refuse_wrong_signs be false"
        )
    return found

"""Logistic regression as a sum of what each column says: kept as JSON that a person can read.

Numbers and ordinals count by their distance from the training rows' mean, in standard deviations; a category by a
coefficient of its own; a missing value as the median, and by a coefficient for being missing. An unknown category counts
nothing.

Symbols: N rows, F features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import rfc8785
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as PydanticValidationError

from platform_assets.models.errors import TrainingError
from platform_assets.tasks.tabular_classification.encoding import Kind

LOGISTIC_FILE: Final = "logistic.json"
_MOST_ITERATIONS: Final = 10_000


class Term(BaseModel):
    """What one column adds to the log-odds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    mean: float = 0.0
    scale: float = 1.0
    coefficient: float = 0.0
    """By standard deviation of a number."""
    categories: tuple[float, ...] | None = None
    """By code of a category; None for numbers."""
    missing: float
    """What a missing value adds."""

    def of(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each value adds, shape (N,)."""
        if self.categories is None:
            added = (values - self.mean) / self.scale * self.coefficient
        else:
            # The last place is for unknown categories.
            by_code = np.append(np.array(self.categories), 0.0)
            is_known = (values >= 0) & (values < len(self.categories))
            added = by_code[np.where(is_known, values, len(self.categories)).astype(np.int64)]
        return np.where(np.isnan(values), self.missing, added)


class Logistic(BaseModel):
    """A logistic regression over columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: float
    terms: tuple[Term, ...]
    iterations: int
    """Of the solver."""

    def log_odds(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of label 1, shape (N,), of features (N, F). A row's own do not depend on the others."""
        total = np.full(len(features), self.intercept)
        # Column by column, since a matrix product would round by how many rows it has.
        for at, term in enumerate(self.terms):
            total += term.of(np.ascontiguousarray(features[:, at]))
        return total

    def save(self, folder: Path) -> Sequence[str]:
        """Write the terms as canonical JSON; returns the files' names."""
        (folder / LOGISTIC_FILE).write_bytes(rfc8785.dumps(self.model_dump(mode="json")))
        return (LOGISTIC_FILE,)

    @classmethod
    def load(cls, folder: Path, *, features: int) -> Self:
        """The model in a folder, over so many features.

        Raises:
            TrainingError: the file is damaged, or holds something else.
        """
        file = folder / LOGISTIC_FILE
        try:
            found = cls.model_validate_json(file.read_bytes())
        except (OSError, PydanticValidationError):
            raise TrainingError(f"{file.name}: is no logistic model; train it again") from None
        if len(found.terms) != features:
            raise TrainingError(
                f"{file.name}: has {len(found.terms)} terms for {features} features; train it again"
            )
        return found


def fit_logistic(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    kinds: Sequence[Kind],
    names: Sequence[str],
    *,
    regularisation: float,
) -> Logistic:
    """The regression with the least penalised loss on these rows.

    Args:
        features: NaN is missing; categories as codes from 0, negative where unknown. Each has a value somewhere. Shape
            (N, F).
        labels: 0 or 1, both, shape (N,).
        kinds: Of each feature.
        names: Of each feature.
        regularisation: Weight of half the sum of squared coefficients, against the sum of the rows' losses.

    Raises:
        TrainingError: the solver does not settle.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    blocks = [
        _Categories(column) if kind == "category" else _Numbers(column)
        for kind, column in zip(kinds, features.T, strict=True)
    ]
    design = np.concatenate([block.design for block in blocks], axis=1)
    # One thread: sums that are split between several would be rounded by how many there are.
    with threadpool_limits(1):
        solver = LogisticRegression(C=1 / regularisation, max_iter=_MOST_ITERATIONS, tol=1e-8).fit(
            design, labels
        )
    if (iterations := int(solver.n_iter_[0])) >= _MOST_ITERATIONS:
        raise TrainingError(
            f"the logistic regression did not settle in {_MOST_ITERATIONS} iterations; raise regularisation"
        )
    ends = np.cumsum([block.design.shape[1] for block in blocks])
    return Logistic(
        intercept=float(solver.intercept_[0]),
        terms=tuple(
            block.term(name, coefficients)
            for block, name, coefficients in zip(
                blocks, names, np.split(solver.coef_[0], ends[:-1]), strict=True
            )
        ),
        iterations=iterations,
    )


class _Numbers:
    """A column of numbers: standardised, gaps filled with the median and told beside it."""

    def __init__(self, column: NDArray[np.float64]) -> None:
        missing = np.isnan(column)
        self.median = float(np.median(column[~missing]))
        filled = np.where(missing, self.median, column)
        self.mean = float(filled.mean())
        self.scale = float(filled.std()) or 1.0
        parts = [(filled - self.mean) / self.scale, *([missing.astype(np.float64)] if missing.any() else [])]
        self.design = np.stack(parts, axis=1)

    def term(self, name: str, coefficients: NDArray[np.float64]) -> Term:
        coefficient, *of_missing = map(float, coefficients)
        return Term(
            name=name,
            mean=self.mean,
            scale=self.scale,
            coefficient=coefficient,
            missing=(self.median - self.mean) / self.scale * coefficient + sum(of_missing),
        )


class _Categories:
    """A column of categories: one indicator each, and one for gaps."""

    def __init__(self, column: NDArray[np.float64]) -> None:
        missing = np.isnan(column)
        self.codes = np.arange(int(np.nanmax(column)) + 1)
        indicators = column[:, None] == self.codes
        parts = [indicators, *([missing[:, None]] if missing.any() else [])]
        self.design = np.concatenate(parts, axis=1).astype(np.float64)

    def term(self, name: str, coefficients: NDArray[np.float64]) -> Term:
        found = [float(each) for each in coefficients]
        of_codes, of_missing = found[: self.codes.size], found[self.codes.size :]
        return Term(name=name, categories=tuple(of_codes), missing=sum(of_missing))

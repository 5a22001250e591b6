"""The points of a scorecard, bin by bin, and what an answer says by them.

A row's points are the sum of the whole points of its bins, as somebody adds them up on paper. They differ from the exact
points, which the probability has, by at most the sum of each characteristic's largest rounding (`rounding`, half a point a
characteristic at most). Whatever decides (gates, threshold, drift) goes by the probability.

Reasons are told as a lender has to (Regulation B, 12 CFR 1002.9): the characteristics that cost most points against the
best bin that a value can have. No bin of missing or special values is such a one, as nobody is told to leave a field
empty, and no bin of rare categories that no fitted row had.

Symbols: N rows, C characteristics.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.woe import Woe
from platform_assets.features.woe_table import WoeBin, WoeColumn
from platform_assets.models.errors import TrainingError
from platform_assets.tasks.tabular_classification.scorecard import Scorecard, rounded

POINTS_FILE: Final = "points.json"
MOST_REASONS: Final = 4
"""Regulation B: more than four are not likely to help the applicant (comment 9(b)(2)-1)."""


class Bin(BaseModel):
    """One bin of a characteristic, as weights were fitted to its rows, and its points."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    attainable: bool
    """Whether it counts among the best: it holds values, rather than what is missing or stands for something else."""
    rows: int
    """Rows that the weight was fitted to."""
    share: float
    """Of these rows, 0 … 1."""
    event_rate: float | None
    """None where there are no rows; those of fewer than ten are not counted here (`features/woe_prebins.py`)."""
    woe: float
    """Weight of evidence."""
    points: int


class Characteristic(BaseModel):
    """A column of the source, with its bins."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    feature: str
    """The column of its weights."""
    coefficient: float
    agrees: bool
    """Whether the coefficient says what the weights say."""
    information_value: float
    """Of the weights."""
    bins: tuple[Bin, ...] = Field(min_length=1)
    """As the transformer has them."""

    @property
    def best(self) -> int:
        """Points of the best bin that a value can have."""
        return max((each.points for each in self.bins if each.attainable), default=self.worst)

    @property
    def worst(self) -> int:
        """Points of the worst bin, whatever is in it."""
        return min(each.points for each in self.bins)

    @property
    def most(self) -> int:
        """Points of the bin that gives most, whatever is in it: with `worst`, all that a row can have lies between."""
        return max(each.points for each in self.bins)


class PointsTable(BaseModel):
    """All that is needed to score by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base_score: float
    base_odds: float
    points_to_double_odds: float
    cut_off: float
    """Exact points at the threshold: as many or fewer predict label 1."""
    rounding: float
    """What a row's whole points may differ from its exact ones, at most."""
    event: str
    """The value of the target that has label 1."""
    characteristics: tuple[Characteristic, ...]

    def to_bytes(self) -> bytes:
        """As canonical JSON: equal tables have equal bytes."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The table that was written.

        Raises:
            TrainingError: it is none.
        """
        try:
            return cls.model_validate_json(content)
        except PydanticValidationError as problem:
            raise TrainingError(
                f"{POINTS_FILE}: is no table of points ({problem.error_count()} problems); train it again"
            ) from None

    def gives_the_points_of(self, other: Self) -> bool:
        """Whether both answer alike. How many rows a bin shows, or what it is called, may change from release to release."""
        return self._answers() == other._answers()

    def _answers(self) -> tuple[Any, ...]:
        bins = [
            (each.feature, [(found.points, found.attainable) for found in each.bins])
            for each in self.characteristics
        ]
        return bins, self.cut_off, self.base_score, self.base_odds, self.points_to_double_odds

    def measures(self) -> dict[str, JsonValue]:
        """What a report says of it: the scale, the coefficients, and a flat row a bin; what informs most comes first."""
        ordered = sorted(self.characteristics, key=lambda each: -each.information_value)
        return {
            "scale": {
                "base_score": self.base_score,
                "base_odds": self.base_odds,
                "points_to_double_odds": self.points_to_double_odds,
                "cut_off": self.cut_off,
                "rounding": self.rounding,
                "wrong_signs": [each.name for each in self.characteristics if not each.agrees],
            },
            "coefficients": [
                {
                    "characteristic": each.name,
                    "coefficient": each.coefficient,
                    "agrees": each.agrees,
                    "information_value": each.information_value,
                    "least_points": each.worst,
                    "most_points": each.most,
                }
                for each in ordered
            ],
            "points": [
                {
                    "characteristic": each.name,
                    **found.model_dump(mode="json", exclude={"name", "attainable", "points"}),
                    "bin": found.name,
                    "points": found.points,
                }
                for each in ordered
                for found in each.bins
            ],
        }


def woe_columns(transformers: Mapping[str, FittedTransformer]) -> dict[str, WoeColumn]:
    """The fitted columns of weights of evidence, by the name of the feature."""
    return {
        column.output: column
        for each in transformers.values()
        if isinstance(each, Woe)
        for column in each.columns
    }


def points_table(
    model: Scorecard, transformers: Mapping[str, FittedTransformer], *, threshold: float, event: str
) -> PointsTable:
    """The table of a scorecard.

    Args:
        model: The scorecard.
        transformers: What makes its weights, by name.
        threshold: A score of at least this predicts label 1, between 0 and 1.
        event: The value of the target that has label 1.

    Raises:
        TrainingError: a feature of the model is no weight of these.
    """
    fitted = woe_columns(transformers)
    if unknown := [each.feature for each in model.coefficients if each.feature not in fitted]:
        raise TrainingError(f"{unknown[0]}: is no weight of evidence of this model's transformers")
    characteristics, rounding = [], 0.0
    for at, coefficient in enumerate(model.coefficients):
        column = fitted[coefficient.feature]
        exact = [model.points_of(at, each.woe) for each in column.bins]
        rounding += max(abs(points - rounded(points)) for points in exact)
        rows = sum(each.rows for each in column.bins)
        characteristics.append(
            Characteristic(
                name=column.name,
                feature=column.output,
                coefficient=coefficient.coefficient,
                agrees=coefficient.agrees,
                information_value=column.iv,
                bins=tuple(
                    _with_points(each, rows, rounded(points))
                    for each, points in zip(column.bins, exact, strict=True)
                ),
            )
        )
    return PointsTable(
        base_score=model.scale.base_score,
        base_odds=model.scale.base_odds,
        points_to_double_odds=model.scale.points_to_double_odds,
        cut_off=model.points(math.log(threshold / (1 - threshold))),
        rounding=rounding,
        event=event,
        characteristics=tuple(characteristics),
    )


def _with_points(fitted: WoeBin, rows: int, points: int) -> Bin:
    return Bin(
        name=fitted.label,
        attainable=fitted.kind in ("interval", "categories") or (fitted.kind == "rare" and fitted.rows > 0),
        rows=fitted.rows,
        share=fitted.rows / rows,
        event_rate=fitted.events / fitted.rows if fitted.rows else None,
        woe=fitted.woe,
        points=points,
    )


def explained(
    table: PointsTable, positions: Sequence[Sequence[int]], labels: Sequence[int]
) -> list[Mapping[str, JsonValue]]:
    """Points, decision and reasons of each row.

    Args:
        table: Of the model.
        positions: Of each row's bin of each characteristic, in the table's order, (N, C).
        labels: As the exact probability predicts them, N.

    Returns:
        `points`: whole, the sum of the bins'. `decision`: the value of the target that is predicted, or that it is not.
        `reasons`: the characteristics that cost points, up to `MOST_REASONS`, the costliest first and of equal cost the
        first by name: `characteristic`, `bin`, `points`, `best` and `lost`.
    """
    found: list[Mapping[str, JsonValue]] = []
    for row, label in zip(positions, labels, strict=True):
        bins = [each.bins[at] for each, at in zip(table.characteristics, row, strict=True)]
        costs = [
            (each, own)
            for each, own in zip(table.characteristics, bins, strict=True)
            if own.points < each.best
        ]
        costs.sort(key=lambda cost: (cost[1].points - cost[0].best, cost[0].name))
        found.append(
            {
                "points": sum(own.points for own in bins),
                "decision": table.event if label else f"not {table.event}",
                "reasons": [
                    {
                        "characteristic": each.name,
                        "bin": own.name,
                        "points": own.points,
                        "best": each.best,
                        "lost": each.best - own.points,
                    }
                    for each, own in costs[:MOST_REASONS]
                ],
            }
        )
    return found

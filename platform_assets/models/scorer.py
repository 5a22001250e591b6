"""A trained model that answers. One way to score for validation and serving."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import JsonValue

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

THRESHOLD = 0.5
"""A score of at least this predicts label 1, where a model names no threshold of its own."""


class Scorer(Protocol):
    """A model, loaded once. Scores are probabilities of label 1, in the order given, shape (rows,)."""

    @property
    def threshold(self) -> float:
        """A score of at least this predicts label 1."""
        ...

    def score_features(self, features: "pa.Table") -> "NDArray[np.float64]":
        """Scores of rows of the features that it was trained on, or of others made alike."""
        ...

    def score_rows(
        self, rows: "pa.Table", chosen: "NDArray[np.bool_] | None" = None
    ) -> "NDArray[np.float64]":
        """Scores of rows of a dataset; features are made of them as of those that it was trained on.

        Args:
            rows: All rows of the dataset: those that are not scored may be the history of those that are.
            chosen: Which of them to score, shape (rows,); all of them if None.
        """
        ...

    def score_instances(self, instances: Sequence[JsonValue]) -> "NDArray[np.float64]":
        """Scores of what somebody asks about, as JSON has it.

        Raises:
            PlatformError: an instance is none of the task's; the message names its place and field.
        """
        ...

    def watched(self, instances: Sequence[JsonValue]) -> list[Mapping[str, float | str]]:
        """What a drift monitor is told of each instance, by column of the reference profile."""
        ...


def chosen_rows(rows: "pa.Table", chosen: "NDArray[np.bool_] | None") -> "pa.Table":
    """The rows that are chosen; all of them if None."""
    return rows if chosen is None else rows.filter(chosen)


@runtime_checkable
class Joining(Protocol):
    """A scorer that looks features up in tables beside the dataset; of rows, it can score none without them."""

    @property
    def joined(self) -> Collection[str]:
        """Names of the transformers whose tables it needs; none where its model looks nothing up."""
        ...

    def with_tables(self, tables: Mapping[str, "pa.Table"]) -> Scorer:
        """The same with a table for each of these names."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A scorer that can say why it answers as it does."""

    def explain(self, instances: Sequence[JsonValue]) -> list[Mapping[str, JsonValue]]:
        """What led to each answer, texts and figures by name; empty where there is nothing to say.

        Raises:
            PlatformError: as `Scorer.score_instances`.
        """
        ...


def explanations(scorer: Scorer, instances: Sequence[JsonValue]) -> list[Mapping[str, JsonValue]]:
    """What a scorer says of its answers; nothing of each where it explains none."""
    return scorer.explain(instances) if isinstance(scorer, Explaining) else [{} for _ in instances]

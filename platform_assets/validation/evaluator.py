"""What of judging a model is the task's: a baseline, what is watched, further measures, rules and pictures.

Metrics of two classes with their intervals, slices by source, comparison with production and drift between splits are
the same for all tasks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, JsonValue

from platform_assets.models.scorer import Scorer
from platform_assets.sheets import Sheet
from platform_assets.validation.gate import Rule

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

S_contra = TypeVar("S_contra", bound=BaseModel, contravariant=True)


class Evaluator(Protocol[S_contra]):
    """How a task judges. Equal rows and scores give equal measures."""

    @property
    def code(self) -> str:
        """Version of the code that measures."""
        ...

    @property
    def scoring_code(self) -> str:
        """Version of the code that computes stored scores: the model's, the baseline's, and watched columns."""
        ...

    @property
    def fields(self) -> Collection[str]:
        """Fields of the spec that decide what is measured, and with the trained model what scored rows hold."""
        ...

    @property
    def headline(self) -> str:
        """The figure that is told first; a gate of this name decides whether an exported workflow goes on."""
        ...

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The task's own rules of gates, by name, beside those that all tasks share."""
        ...

    def baseline_name(self, spec: S_contra) -> str:
        """What the baseline of a line is called, such as `logistic regression`."""
        ...

    def threshold(self, spec: S_contra) -> float:
        """A score of at least this predicts label 1, in metrics as in answers."""
        ...

    def profiled(self, spec: S_contra) -> tuple[str, ...]:
        """Columns of scored rows that the reference profile holds, besides `score`, `source` and `error`."""
        ...

    def columns(self, features: "pa.Table", rows: "pa.Table", spec: S_contra) -> "pa.Table":
        """What scored rows hold besides subject, label, source, split and scores: what is profiled, and what slices need.

        Args:
            features: The measured rows as the model reads them.
            rows: The same rows as the dataset has them, in the same order.
            spec: The line's spec.
        """
        ...

    def cluster_unit(self, spec: S_contra) -> str | None:
        """What rows that depend on each other are of, in the plural, such as `days`; None where none are known to.

        Intervals are then made of such clusters, since their rows are not as many independent ones.
        """
        ...

    def clusters(self, rows: "pa.Table", spec: S_contra) -> "NDArray[np.integer[Any]]":
        """A number for each row, equal for those that depend on each other; asked only where there is a unit.

        Args:
            rows: All rows of the dataset, in its order.
            spec: The line's spec.
        """
        ...

    def baseline(self, train: "pa.Table", measured: "pa.Table", spec: S_contra) -> "NDArray[np.float64]":
        """Probability of label 1 of each measured row by a model that costs nothing, fitted on the training rows.

        Args:
            train: Rows of the dataset, of split `train`.
            measured: Rows of the dataset.
            spec: The line's spec.

        Raises:
            ValidationError: it cannot be fitted.
        """
        ...

    def measures(
        self, scored: "pa.Table", spec: S_contra, *, reference: "pa.Table", threshold: float
    ) -> Mapping[str, JsonValue]:
        """Further measures on the rows that gates measure on, by name; stored in the report.

        Args:
            scored: Test rows of the line's own sources, with all columns of scored rows.
            spec: The line's spec.
            reference: Validation rows of the same sources, what stability is measured against.
            threshold: A score of at least this predicts label 1.
        """
        ...

    def of_model(self, read: Callable[[str], bytes], spec: S_contra) -> Mapping[str, JsonValue]:
        """What the model's own files tell of it, by name; stored in the report beside the measures.

        A list of flat objects is shown as a table.

        Args:
            read: Content of a file of the model's folder by name; of a large model none need be read.
            spec: The line's spec.

        Raises:
            PlatformError: a file is missing or damaged.
        """
        ...

    def pictures(
        self, scored: "pa.Table", measures: Mapping[str, JsonValue], spec: S_contra
    ) -> Mapping[str, bytes]:
        """Further pictures, PNG by name, of the rows that gates measure on."""
        ...


@runtime_checkable
class Comparing(Protocol[S_contra]):
    """An evaluator that holds a model against others, which it trains for that."""

    def compared(
        self,
        train: "pa.Table",
        measured: "pa.Table",
        spec: S_contra,
        *,
        trained_with: Mapping[str, JsonValue],
    ) -> "Mapping[str, NDArray[np.float64]]":
        """Probability of label 1 of each measured row by each other model, by the column of scored rows that holds it.

        Args:
            train: Rows of the dataset, of split `train`.
            measured: Rows of the dataset.
            spec: The line's spec.
            trained_with: What the model itself was trained with, as its record has it (`ModelVersion.training`).

        Raises:
            ValidationError: another cannot be trained.
        """
        ...


@runtime_checkable
class Examining(Protocol[S_contra]):
    """An evaluator that asks the model about rows that it changes, to see what answers rest on."""

    @property
    def examining_code(self) -> str:
        """Version of the code that asks."""
        ...

    def examined(
        self, scorer: Scorer, features: "pa.Table", scored: "pa.Table", spec: S_contra, *, threshold: float
    ) -> Sheet:
        """Images of rows, each with its subject, and the measures that were made on the way; done once for a model.

        Its measures join those of the report. Its images stand in the sheet alone, which erasures reach.

        Args:
            scorer: The model.
            features: Test rows of the line's own sources, as the model reads them.
            scored: The same rows with all columns of scored rows, in the same order.
            spec: The line's spec.
            threshold: A score of at least this predicts label 1.
        """
        ...


@runtime_checkable
class Showing(Protocol[S_contra]):
    """An evaluator that can show single rows, to somebody who reviews a model."""

    @property
    def legend(self) -> str:
        """What is to be seen on the pictures, in a sentence or two."""
        ...

    def shown(
        self,
        scorer: Scorer,
        features: "pa.Table",
        scored: "pa.Table",
        rows: Sequence[int],
        spec: S_contra,
    ) -> "Mapping[int, bytes]":
        """A PNG of each of these rows with what the answer rests on, by place.

        Args:
            scorer: The model.
            features: Test rows of the line's own sources, as the model reads them.
            scored: The same rows with all columns of scored rows, in the same order.
            rows: Places among them.
            spec: The line's spec.
        """
        ...

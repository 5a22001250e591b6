"""What of judging a text classifier is its own: a baseline of words, and the lengths that drift watches."""

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from platform_assets.datasets.neighbours import NEIGHBOURS, blocks_of
from platform_assets.fingerprint import code_version
from platform_assets.models.scorer import THRESHOLD
from platform_assets.tasks.text_classification.baseline import tfidf_logistic_scores
from platform_assets.tasks.text_classification.spec import TextTrainingSpec
from platform_assets.validation.clusters import codes_of
from platform_assets.validation.gate import Rule

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_BASELINE_SEED: Final = 0
_FOLDER: Final = "platform_assets.tasks.text_classification"
_SCORING: Final = (
    *(f"{_FOLDER}.{name}" for name in ("evaluator", "scorer", "baseline")),
    "platform_assets.models.inference",
    "platform_assets.datasets.neighbours",
    "platform_assets.validation.clusters",
)


class TextEvaluator:
    """Judges classifiers of texts."""

    fields: Final = ()
    headline: Final = "auc"
    rules: Final[Mapping[str, Rule]] = MappingProxyType({})

    @cached_property
    def code(self) -> str:
        """See `Evaluator.code`."""
        return code_version("text evaluation", *_SCORING)

    @cached_property
    def scoring_code(self) -> str:
        """See `Evaluator.scoring_code`."""
        return code_version("text scoring", "platform_assets.validation.scoring", *_SCORING)

    def baseline_name(self, spec: TextTrainingSpec) -> str:  # noqa: ARG002 - the same for every line
        """See `Evaluator.baseline_name`."""
        return "TF-IDF baseline"

    def threshold(self, spec: TextTrainingSpec) -> float:  # noqa: ARG002 - the same for every line
        """See `Evaluator.threshold`."""
        return THRESHOLD

    def profiled(self, spec: TextTrainingSpec) -> tuple[str, ...]:  # noqa: ARG002 - the same for every line
        """See `Evaluator.profiled`."""
        return ("words",)

    def columns(self, features: "pa.Table", rows: "pa.Table", spec: TextTrainingSpec) -> "pa.Table":  # noqa: ARG002
        """See `Evaluator.columns`: the number of words, as the features have it."""
        return features.select(["words"])

    def cluster_unit(self, spec: TextTrainingSpec) -> str | None:  # noqa: ARG002 - the same for every line
        """See `Evaluator.cluster_unit`: neighbours may be of one film."""
        return NEIGHBOURS

    def clusters(self, rows: "pa.Table", spec: TextTrainingSpec) -> "NDArray[np.integer[Any]]":
        """See `Evaluator.clusters`: as splits are cut, by source and label."""
        labels = codes_of(rows["label"])
        strata = codes_of(rows["source"]) * (labels.max() + 1) + labels
        return blocks_of(strata, rows["split"].to_numpy(zero_copy_only=False), spec.split)

    def baseline(
        self,
        train: "pa.Table",
        measured: "pa.Table",
        spec: TextTrainingSpec,  # noqa: ARG002
    ) -> "NDArray[np.float64]":
        """See `Evaluator.baseline`: TF-IDF and logistic regression."""
        (scores,) = tfidf_logistic_scores(
            train["text"].to_pylist(),
            train["label"].to_numpy(),
            measured["text"].to_pylist(),
            seed=_BASELINE_SEED,
        )
        return scores

    def measures(
        self,
        scored: "pa.Table",  # noqa: ARG002
        spec: TextTrainingSpec,  # noqa: ARG002
        *,
        reference: "pa.Table",  # noqa: ARG002
        threshold: float,  # noqa: ARG002
    ) -> Mapping[str, JsonValue]:
        """See `Evaluator.measures`: none."""
        return {}

    def of_model(self, read: Callable[[str], bytes], spec: TextTrainingSpec) -> Mapping[str, JsonValue]:  # noqa: ARG002
        """See `Evaluator.of_model`: nothing."""
        return {}

    def pictures(
        self,
        scored: "pa.Table",  # noqa: ARG002
        measures: Mapping[str, JsonValue],  # noqa: ARG002
        spec: TextTrainingSpec,  # noqa: ARG002
    ) -> Mapping[str, bytes]:
        """See `Evaluator.pictures`: none."""
        return {}

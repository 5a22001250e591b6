"""What of judging a model of a table is its own: a scorecard, fairness between groups, and what drift watches."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from platform_assets.fingerprint import code_version
from platform_assets.tasks.tabular_classification.encoding import KINDS, Encoding
from platform_assets.tasks.tabular_classification.logistic import fit_logistic
from platform_assets.tasks.tabular_classification.spec import GroupsSpec, TabularTrainingSpec
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.fairness import MISSING, Fairness, banded, fairness
from platform_assets.validation.gate import Rule
from platform_assets.validation.scorecard import scorecard
from platform_assets.validation.task_rules import FAIRNESS_RULES, SCORECARD_RULES
from resources.errors import PlatformError
from resources.unread import unread

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_FOLDER: Final = "platform_assets.tasks.tabular_classification"
_SCORING: Final = tuple(
    f"{_FOLDER}.{name}"
    for name in ("evaluator", "scorer", "encoding", "inputs", "values", "logistic", "trees")
)


class TabularEvaluator:
    """Judges models of tables."""

    fields: Final = ("columns", "fairness")
    headline: Final = "auc"
    baseline_name: Final = "logistic regression"
    rules: Final[Mapping[str, Rule]] = MappingProxyType({**SCORECARD_RULES, **FAIRNESS_RULES})

    @cached_property
    def code(self) -> str:
        """See `Evaluator.code`."""
        domain = ("scorecard", "fairness", "task_rules", "scorecard_pictures")
        return code_version(
            "table evaluation",
            *_SCORING,
            *(f"platform_assets.validation.{name}" for name in domain),
        )

    @cached_property
    def scoring_code(self) -> str:
        """See `Evaluator.scoring_code`."""
        return code_version("table scoring", "platform_assets.validation.scoring", *_SCORING)

    def threshold(self, spec: TabularTrainingSpec) -> float:
        """See `Evaluator.threshold`."""
        return spec.threshold

    def profiled(self, spec: TabularTrainingSpec) -> tuple[str, ...]:
        """See `Evaluator.profiled`: everything that the model reads."""
        return tuple(spec.features)

    def columns(self, features: "pa.Table", rows: "pa.Table", spec: TabularTrainingSpec) -> "pa.Table":  # noqa: ARG002
        """See `Evaluator.columns`: the values themselves, and those that groups are told apart by."""
        compared = [groups.column for groups in spec.fairness.groups.values()] if spec.fairness else []
        return rows.select(list(dict.fromkeys([*spec.features, *compared])))

    def baseline(
        self, train: "pa.Table", measured: "pa.Table", spec: TabularTrainingSpec
    ) -> "NDArray[np.float64]":
        """See `Evaluator.baseline`: logistic regression on the same columns, strong on purpose.

        Whoever takes hundreds of trees must be better than what one formula gives.
        """
        from scipy.special import expit

        try:
            encoding = Encoding.fit(train, spec.features)
            model = fit_logistic(
                encoding.rows(train),
                train["label"].to_numpy(),
                [KINDS[column.role] for column in spec.features.values()],
                encoding.names,
                regularisation=1.0,
            )
        except PlatformError as problem:
            raise ValidationError(f"baseline: {problem}") from None
        except ValueError as problem:
            raise ValidationError(f"baseline: cannot be fitted to these rows ({unread(problem)})") from None
        scores: NDArray[np.float64] = expit(model.log_odds(encoding.rows(measured)))
        return scores

    def measures(
        self, scored: "pa.Table", spec: TabularTrainingSpec, *, reference: "pa.Table", threshold: float
    ) -> Mapping[str, JsonValue]:
        """See `Evaluator.measures`: those of a scorecard and, where the spec names groups, `fairness`."""
        labels, scores = scored["label"].to_numpy(), scored["score"].to_numpy()
        found: dict[str, JsonValue] = scorecard(labels, scores, reference["score"].to_numpy())
        if spec.fairness is not None:
            found["fairness"] = fairness(
                labels,
                scores,
                {name: groups_of(scored, groups) for name, groups in spec.fairness.groups.items()},
                threshold=threshold,
                favourable=spec.fairness.favourable,
                min_rows=spec.fairness.min_rows,
            ).model_dump(mode="json")
        return found

    def pictures(
        self,
        scored: "pa.Table",
        measures: Mapping[str, JsonValue],
        spec: TabularTrainingSpec,  # noqa: ARG002
    ) -> Mapping[str, bytes]:
        """See `Evaluator.pictures`: gains and, where it was measured, fairness."""
        from platform_assets.validation.scorecard_pictures import fairness_picture, gains_picture

        scores = {
            "model": scored["score"].to_numpy(),
            self.baseline_name: scored["baseline_score"].to_numpy(),
        }
        drawn = {"gains": gains_picture(scored["label"].to_numpy(), scores)}
        if "fairness" in measures:
            drawn["fairness"] = fairness_picture(Fairness.model_validate(measures["fairness"]))
        return drawn


def groups_of(scored: "pa.Table", groups: GroupsSpec) -> "NDArray[np.object_]":
    """Name of each row's group, shape (rows,)."""
    import numpy as np

    values = scored[groups.column]
    if groups.bands is not None:
        return banded(values.to_numpy(), groups.bands)
    return np.array([MISSING if value is None else value for value in values.to_pylist()], dtype=object)

"""What of judging a model of a table is its own: a scorecard, fairness between groups, and what drift watches.

A model is compared with what is nearest to it: trees with a logistic regression, which they must beat to be worth their
hundreds of leaves; a scorecard with trees, its challenger, which tell what a model that can be read costs. One that reads
what transformers make is compared with itself without it.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from platform_assets.datasets.neighbours import NEIGHBOURS, blocks_of
from platform_assets.datasets.spec import BlockSplitSpec
from platform_assets.fingerprint import code_version
from platform_assets.tasks.tabular_classification.encoding import KINDS, Encoding
from platform_assets.tasks.tabular_classification.logistic import fit_logistic
from platform_assets.tasks.tabular_classification.points import POINTS_FILE, PointsTable
from platform_assets.tasks.tabular_classification.scorer import CLASSIFIER_FILE, Classifier
from platform_assets.tasks.tabular_classification.spec import (
    SCORE_WITHOUT_TRANSFORMERS,
    ColumnSpec,
    GroupsSpec,
    TabularParameters,
    TabularTrainingSpec,
)
from platform_assets.tasks.tabular_classification.trees import grow
from platform_assets.validation.clusters import clusters_of, codes_of
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.fairness import MISSING, Fairness, banded, fairness
from platform_assets.validation.gate import Rule
from platform_assets.validation.metrics import paired_auc_difference, roc_auc
from platform_assets.validation.scorecard import Interval, scorecard
from platform_assets.validation.task_rules import (
    FAIRNESS_RULES,
    POINTS_RULES,
    SCORECARD_RULES,
    TRANSFORMER_RULES,
    Challenger,
    WithoutTransformers,
)
from resources.errors import PlatformError
from resources.unread import unread

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_FOLDER: Final = "platform_assets.tasks.tabular_classification"
_MODELS: Final = ("logistic", "trees", "scorecard")
_SCORING: Final = (
    *(f"{_FOLDER}.{name}" for name in ("evaluator", "scorer", "encoding", "inputs", "derived", "values")),
    *(f"{_FOLDER}.{name}" for name in _MODELS),
    "platform_assets.datasets.neighbours",
    "platform_assets.validation.clusters",
)
_BOOTSTRAP_SEED: Final = 20_260
_BASELINE_REGULARISATION: Final = 1.0


class TabularEvaluator:
    """Judges models of tables."""

    fields: Final = (
        *("columns", "fairness", "model"),
        *("learning_rate", "max_iterations", "max_leaf_nodes", "min_samples_leaf", "monotonic"),
        *("challenger_regularisation", "seed"),
    )
    headline: Final = "auc"
    rules: Final[Mapping[str, Rule]] = MappingProxyType(
        {**SCORECARD_RULES, **FAIRNESS_RULES, **POINTS_RULES, **TRANSFORMER_RULES}
    )

    @cached_property
    def code(self) -> str:
        """See `Evaluator.code`."""
        domain = ("scorecard", "fairness", "rates", "task_rules", "scorecard_pictures")
        return code_version(
            "table evaluation",
            *_SCORING,
            f"{_FOLDER}.points",
            *(f"platform_assets.validation.{name}" for name in domain),
        )

    @cached_property
    def scoring_code(self) -> str:
        """See `Evaluator.scoring_code`."""
        return code_version("table scoring", "platform_assets.validation.scoring", *_SCORING)

    def baseline_name(self, spec: TabularTrainingSpec) -> str:
        """See `Evaluator.baseline_name`."""
        if spec.model == "scorecard":
            return "gradient boosting, the challenger"
        return "logistic regression"

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

    def cluster_unit(self, spec: TabularTrainingSpec) -> str | None:
        """See `Evaluator.cluster_unit`: what the split keeps together, else a key's rows."""
        match spec.split.by:
            case "blocks":
                return NEIGHBOURS
            case "time":
                # What makes a day unlike another, such as weather, has all its rows.
                return f"days of {spec.named('time')[0]}"
            case _:
                name = next(iter(spec.named("group")), spec.key)
                return None if name is None else f"values of {name}"

    def clusters(self, rows: "pa.Table", spec: TabularTrainingSpec) -> "NDArray[np.integer[Any]]":
        """See `Evaluator.clusters`."""
        import numpy as np

        found: NDArray[np.integer[Any]]
        if isinstance(spec.split, BlockSplitSpec):
            sources = codes_of(rows["source"])
            return blocks_of(sources, rows["split"].to_numpy(zero_copy_only=False), spec.split)
        if spec.split.by == "time":
            found = rows[spec.named("time")[0]].to_numpy().astype("datetime64[D]").astype(np.int64)
            return found
        return codes_of(rows[next(iter(spec.named("group")), spec.key)])

    def baseline(
        self, train: "pa.Table", measured: "pa.Table", spec: TabularTrainingSpec
    ) -> "NDArray[np.float64]":
        """See `Evaluator.baseline`: logistic regression on the same columns, strong on purpose; of a scorecard trees.

        Whoever takes hundreds of trees must be better than what one formula gives. And who gives them up for points should
        know what for: the challenger reads the columns as they are, and grows as the spec says of trees.
        """
        trees = spec.of_trees if spec.model == "scorecard" else None
        return _scores_of_raw(
            "baseline", train, measured, spec.features, trees=trees, regularisation=_BASELINE_REGULARISATION
        )

    def compared(
        self,
        train: "pa.Table",
        measured: "pa.Table",
        spec: TabularTrainingSpec,
        *,
        trained_with: Mapping[str, JsonValue],
    ) -> "Mapping[str, NDArray[np.float64]]":
        """See `Comparing.compared`: the same model on the raw columns, where it reads what transformers make.

        It has the settings that the model was trained with, which a run may have given. A scorecard cannot be trained so.
        """
        fields = TabularParameters.model_fields
        said = {name: value for name, value in trained_with.items() if name in fields}
        # What is no single value, such as directions by column, stands in the spec alone.
        parameters = TabularParameters.model_validate(spec.model_dump(include=set(fields)) | said)
        if not spec.transformers or parameters.model == "scorecard":
            return {}
        # As the model itself reads its columns.
        features = dict(sorted(spec.features.items()))
        trees = parameters if parameters.model == "gradient_boosting" else None
        return {
            SCORE_WITHOUT_TRANSFORMERS: _scores_of_raw(
                "without transformers",
                train,
                measured,
                features,
                trees=trees,
                regularisation=parameters.regularisation,
            )
        }

    def measures(
        self, scored: "pa.Table", spec: TabularTrainingSpec, *, reference: "pa.Table", threshold: float
    ) -> Mapping[str, JsonValue]:
        """See `Evaluator.measures`: those of any score, and `challenger`, `without_transformers` and `fairness` where they apply."""
        labels, scores = scored["label"].to_numpy(), scored["score"].to_numpy()
        clusters = clusters_of(scored, self.cluster_unit(spec))
        found: dict[str, JsonValue] = scorecard(labels, scores, reference["score"].to_numpy(), clusters)
        if spec.model == "scorecard":
            trees = scored["baseline_score"].to_numpy()
            ahead, low, high = paired_auc_difference(
                labels, trees, scores, clusters=clusters, seed=_BOOTSTRAP_SEED
            )
            found["challenger"] = Challenger(
                name=self.baseline_name(spec),
                auc=roc_auc(labels, trees),
                ahead=Interval(value=ahead, low=low, high=high),
            ).model_dump(mode="json")
        if SCORE_WITHOUT_TRANSFORMERS in scored.column_names:
            without = scored[SCORE_WITHOUT_TRANSFORMERS].to_numpy()
            gain, low, high = paired_auc_difference(
                labels, scores, without, clusters=clusters, seed=_BOOTSTRAP_SEED
            )
            found["without_transformers"] = WithoutTransformers(
                auc=roc_auc(labels, without), gain=Interval(value=gain, low=low, high=high)
            ).model_dump(mode="json")
        if spec.fairness is not None:
            found["fairness"] = fairness(
                labels,
                scores,
                {name: groups_of(scored, groups) for name, groups in spec.fairness.groups.items()},
                threshold=threshold,
                favourable=spec.fairness.favourable,
                min_rows=spec.fairness.min_rows,
                clusters=clusters,
            ).model_dump(mode="json")
        return found

    def of_model(self, read: Callable[[str], bytes], spec: TabularTrainingSpec) -> Mapping[str, JsonValue]:  # noqa: ARG002
        """See `Evaluator.of_model`: of a scorecard its `scale`, `coefficients` and `points`."""
        # By the files, as a run may have trained another kind of model than the spec's.
        if Classifier.from_bytes(read(CLASSIFIER_FILE)).model != "scorecard":
            return {}
        return PointsTable.from_bytes(read(POINTS_FILE)).measures()

    def pictures(
        self, scored: "pa.Table", measures: Mapping[str, JsonValue], spec: TabularTrainingSpec
    ) -> Mapping[str, bytes]:
        """See `Evaluator.pictures`: gains; of a scorecard its points; and where it was measured, fairness."""
        from platform_assets.validation.scorecard_pictures import (
            fairness_picture,
            gains_picture,
            points_picture,
        )

        scores = {
            "model": scored["score"].to_numpy(),
            self.baseline_name(spec): scored["baseline_score"].to_numpy(),
        }
        drawn = {"gains": gains_picture(scored["label"].to_numpy(), scores)}
        if isinstance(points := measures.get("points"), list):
            drawn["points-by-characteristic"] = points_picture(
                [row for row in points if isinstance(row, dict)]
            )
        if "fairness" in measures:
            drawn["fairness"] = fairness_picture(Fairness.model_validate(measures["fairness"]))
        return drawn


def _scores_of_raw(
    what: str,
    train: "pa.Table",
    measured: "pa.Table",
    features: Mapping[str, ColumnSpec],
    *,
    trees: TabularParameters | None,
    regularisation: float,
) -> "NDArray[np.float64]":
    """Probability of label 1 of each measured row by a model of the columns as they are.

    Args:
        what: The model is called, in messages.
        train: Rows of the dataset, of split `train`.
        measured: Rows of the dataset.
        features: What it reads, in order.
        trees: How trees are grown; None for a logistic regression.
        regularisation: L2 penalty of that.

    Raises:
        ValidationError: it cannot be fitted.
    """
    from scipy.special import expit

    kinds = [KINDS[column.role] for column in features.values()]
    try:
        encoding = Encoding.fit(train, features)
        rows, labels, names = encoding.rows(train), train["label"].to_numpy(), encoding.names
        model = (
            fit_logistic(rows, labels, kinds, names, regularisation=regularisation)
            if trees is None
            else grow(rows, labels, kinds, names, trees)
        )
    except PlatformError as problem:
        raise ValidationError(f"{what}: {problem}") from None
    except ValueError as problem:
        raise ValidationError(f"{what}: cannot be fitted to these rows ({unread(problem)})") from None
    scores: NDArray[np.float64] = expit(model.log_odds(encoding.rows(measured)))
    return scores


def groups_of(scored: "pa.Table", groups: GroupsSpec) -> "NDArray[np.object_]":
    """Name of each row's group, shape (rows,)."""
    import numpy as np

    values = scored[groups.column]
    if groups.bands is not None:
        return banded(values.to_numpy(), groups.bands)
    return np.array([MISSING if value is None else value for value in values.to_pylist()], dtype=object)

"""What of judging a model of X-rays is its own: operating points, slices, shortcuts, and what its errors rest on."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from platform_assets.fingerprint import code_version
from platform_assets.models.scorer import THRESHOLD, Scorer
from platform_assets.sheets import Sheet
from platform_assets.tasks.image_classification.baseline import classical_scores
from platform_assets.tasks.image_classification.image_form import formed_rows
from platform_assets.tasks.image_classification.judging_spec import ImageJudgingSpec, JudgedSpec
from platform_assets.tasks.image_classification.metadata import metadata_scores
from platform_assets.tasks.image_classification.saliency import BOX_COLUMNS
from platform_assets.tasks.image_classification.sheet import errors_sheet
from platform_assets.tasks.image_classification.sources import SYNTHETIC
from platform_assets.validation.clusters import clusters_of, codes_of
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.gate import Rule
from platform_assets.validation.metrics import binary_metrics, paired_auc_difference
from platform_assets.validation.operating_points import operating_points, threshold_at_specificity
from platform_assets.validation.rates import rate
from platform_assets.validation.scorecard import Interval, calibration
from platform_assets.validation.slices import UNKNOWN, Part, independent, named, parts
from platform_assets.validation.task_rules import (
    OPERATING_RULES,
    SHORTCUT_RULES,
    SLICE_RULES,
    MetadataAlone,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from platform_assets.validation.clusters import Clusters

PATIENT: Final = "patient"
SCORE_OF_METADATA: Final = "metadata_score"
"""Of scored rows: what metadata alone say."""
_FOLDER: Final = "platform_assets.tasks.image_classification"
_SCORING: Final = (
    *(f"{_FOLDER}.{name}" for name in ("evaluator", "scorer", "baseline", "metadata", "image_form")),
    "platform_assets.models.inference",
    "platform_assets.validation.clusters",
)
_OF_DATASET: Final = (
    *("image_id", "site", "finding", "grade", *BOX_COLUMNS),
    *("view_position", "sex", "age_band", "detector", "image_rows", "image_columns", "released"),
)
_BOOTSTRAP_SEED: Final = 20_260
_FEWEST_TOLD: Final = 10
"""People with findings of one grade: a rate of fewer would tell of single ones."""


class ImageEvaluator:
    """Judges models of X-rays."""

    fields: Final = tuple(ImageJudgingSpec.model_fields)
    headline: Final = "auc"
    rules: Final[Mapping[str, Rule]] = MappingProxyType({**OPERATING_RULES, **SLICE_RULES, **SHORTCUT_RULES})

    @cached_property
    def code(self) -> str:
        """See `Evaluator.code`."""
        # What is shown of errors has a measure in the report, so that a report is of its code, too.
        shown = (f"{_FOLDER}.{name}" for name in ("sheet", "saliency", "saliency_tile"))
        domain = (
            *("operating_points", "slices", "rates", "scorecard", "task_rules"),
            *("operating_pictures", "fairness"),
        )
        return code_version(
            "image evaluation", *_SCORING, *shown, *(f"platform_assets.validation.{name}" for name in domain)
        )

    @cached_property
    def scoring_code(self) -> str:
        """See `Evaluator.scoring_code`."""
        return code_version("image scoring", "platform_assets.validation.scoring", *_SCORING)

    @cached_property
    def examining_code(self) -> str:
        """See `Examining.examining_code`."""
        mine = (f"{_FOLDER}.{name}" for name in ("sheet", "saliency", "saliency_tile"))
        return code_version("image examination", *mine, "platform_assets.validation.rates")

    def baseline_name(self, spec: JudgedSpec) -> str:  # noqa: ARG002 - the same for every line
        """See `Evaluator.baseline_name`."""
        return "HOG and logistic regression"

    def threshold(self, spec: JudgedSpec) -> float:  # noqa: ARG002 - the same for every line
        """See `Evaluator.threshold`."""
        return THRESHOLD

    def profiled(self, spec: JudgedSpec) -> tuple[str, ...]:  # noqa: ARG002 - the same for every line
        """See `Evaluator.profiled`."""
        return ("brightness", "contrast")

    def columns(self, features: "pa.Table", rows: "pa.Table", spec: JudgedSpec) -> "pa.Table":
        """See `Evaluator.columns`: what drift watches, what slices and boxes need, and which image each row is."""
        found = features.select(list(self.profiled(spec)))
        for name in _OF_DATASET:
            found = found.append_column(rows.schema.field(name), rows[name])
        return found

    def cluster_unit(self, spec: JudgedSpec) -> str | None:  # noqa: ARG002 - the same for every line
        """See `Evaluator.cluster_unit`."""
        return "patients"

    def clusters(self, rows: "pa.Table", spec: JudgedSpec) -> "NDArray[np.integer[Any]]":  # noqa: ARG002
        """See `Evaluator.clusters`: images of one patient."""
        return codes_of(rows[PATIENT])

    def baseline(self, train: "pa.Table", measured: "pa.Table", spec: JudgedSpec) -> "NDArray[np.float64]":
        """See `Evaluator.baseline`: edges and coarse brightness of the images in the form that the model reads."""
        return classical_scores(
            formed_rows(train, spec), train["label"].to_numpy(), formed_rows(measured, spec)
        )

    def compared(
        self,
        train: "pa.Table",
        measured: "pa.Table",
        spec: JudgedSpec,
        *,
        trained_with: Mapping[str, JsonValue],  # noqa: ARG002 - metadata know no settings
    ) -> "Mapping[str, NDArray[np.float64]]":
        """See `Comparing.compared`: a model of metadata alone, which is what a shortcut is worth."""
        return {SCORE_OF_METADATA: metadata_scores(train, measured, spec.metadata)}

    def measures(
        self, scored: "pa.Table", spec: JudgedSpec, *, reference: "pa.Table", threshold: float
    ) -> Mapping[str, JsonValue]:
        """See `Evaluator.measures`: operating points, calibration, slices, views, metadata alone, and by finding."""
        labels, scores = scored["label"].to_numpy(), scored["score"].to_numpy()
        clusters = clusters_of(scored, self.cluster_unit(spec))
        alone = _metadata_alone(scored, spec, clusters)
        calibrated = None
        with suppress(ValidationError):
            calibrated = calibration(labels, scores, clusters).model_dump(mode="json")
        tested, validated = (SYNTHETIC in rows["source"].to_pylist() for rows in (scored, reference))
        return {
            "synthetic": [SYNTHETIC] if tested else [],
            # Validation rows are cut from what was trained on.
            "synthetic_training": [SYNTHETIC] if validated and not tested else [],
            **operating_points(
                labels,
                scores,
                threshold=threshold,
                fixed=_fixed(reference),
                clusters=clusters,
                seed=_BOOTSTRAP_SEED,
            ),
            "auc_of_metadata": alone.auc.value,
            "metadata_alone": alone.model_dump(mode="json"),
            "calibration": calibrated,
            "slices": _sliced(scored, spec.slices, spec, threshold, clusters),
            "views": _views(scored, spec, threshold, clusters),
            "sensitivity_by_finding": _by_finding(scored, threshold, clusters),
        }

    def examined(
        self,
        scorer: Scorer,
        features: "pa.Table",
        scored: "pa.Table",
        spec: JudgedSpec,
        *,
        threshold: float,
    ) -> Sheet:
        """See `Examining.examined`: the most certain errors, and whether what is shown of them can be believed."""
        clusters = clusters_of(scored, self.cluster_unit(spec))
        return errors_sheet(scorer, features, scored, spec, threshold=threshold, clusters=clusters)

    def of_model(
        self,
        read: Callable[[str], bytes],  # noqa: ARG002
        spec: JudgedSpec,  # noqa: ARG002
    ) -> Mapping[str, JsonValue]:
        """See `Evaluator.of_model`: nothing."""
        return {}

    def pictures(
        self,
        scored: "pa.Table",
        measures: Mapping[str, JsonValue],
        spec: JudgedSpec,  # noqa: ARG002
    ) -> Mapping[str, bytes]:
        """See `Evaluator.pictures`: operating points, and slices; images of patients stand in the sheet alone."""
        from platform_assets.validation.operating_pictures import operating_points_picture, slices_picture

        drawn = {
            "roc-operating-points": operating_points_picture(
                scored["label"].to_numpy(), scored["score"].to_numpy(), _rows(measures["operating_points"])
            )
        }
        if slices := _rows(measures["slices"]):
            drawn["slices-with-intervals"] = slices_picture(slices)
        return drawn


def _rows(measure: JsonValue) -> list[dict[str, Any]]:
    return [each for each in measure if isinstance(each, dict)] if isinstance(measure, list) else []


def _fixed(reference: "pa.Table") -> float | None:
    """The threshold that keeps the specificity on other rows, where they can tell."""
    with suppress(ValidationError):
        return threshold_at_specificity(reference["label"].to_numpy(), reference["score"].to_numpy())
    return None


def _metadata_alone(scored: "pa.Table", spec: JudgedSpec, clusters: "Clusters | None") -> MetadataAlone:
    labels, scores = scored["label"].to_numpy(), scored["score"].to_numpy()
    by_metadata = scored[SCORE_OF_METADATA].to_numpy()
    alone = binary_metrics(labels, by_metadata, clusters=clusters, seed=_BOOTSTRAP_SEED)
    ahead, low, high = paired_auc_difference(
        labels, scores, by_metadata, clusters=clusters, seed=_BOOTSTRAP_SEED
    )
    return MetadataAlone(
        auc=Interval(value=alone.auc, low=alone.auc_low, high=alone.auc_high),
        ahead=Interval(value=ahead, low=low, high=high),
        read=", ".join(spec.metadata),
    )


def _views(
    scored: "pa.Table", spec: JudgedSpec, threshold: float, clusters: "Clusters | None"
) -> list[JsonValue]:
    """Parts by view; without rows that do not say theirs, among which the view may tell as much as among all."""
    says = scored["view_position"].is_valid().to_numpy()
    return _sliced(
        scored.filter(says), ("view_position",), spec, threshold, clusters.of(says) if clusters else None
    )


def _sliced(
    scored: "pa.Table",
    columns: "tuple[str, ...]",
    spec: JudgedSpec,
    threshold: float,
    clusters: "Clusters | None",
) -> list[JsonValue]:
    """Parts by each of these columns that has any value."""
    names = {column: named(scored[column].to_pylist()) for column in columns}
    found: tuple[Part, ...] = parts(
        scored["label"].to_numpy(),
        scored["score"].to_numpy(),
        {column: each for column, each in names.items() if (each != UNKNOWN).any()},
        threshold=threshold,
        min_rows=spec.slice_min_rows,
        min_of_label=spec.slice_min_of_label,
        clusters=clusters,
        seed=_BOOTSTRAP_SEED,
    )
    return [each.model_dump(mode="json") for each in found]


def _by_finding(scored: "pa.Table", threshold: float, clusters: "Clusters | None") -> list[JsonValue]:
    """Share of the rows of label 1 that are found, by what the finding is and by how plain it is, where there are some."""
    positive, predicted = scored["label"].to_numpy() == 1, scored["score"].to_numpy() >= threshold
    told: list[JsonValue] = []
    for column in ("finding", "grade"):
        names = named(scored[column].to_pylist())
        for name in sorted({*names[positive].tolist()} - {UNKNOWN}):
            of = positive & (names == name)
            if independent(of, clusters) < _FEWEST_TOLD:
                continue
            found = rate(predicted[of], clusters.of(of) if clusters else None)
            assert found is not None
            told.append(
                {
                    "finding": f"{column}: {name}",
                    "n": int(of.sum()),
                    "sensitivity": found.value,
                    "sensitivity_low": found.low,
                    "sensitivity_high": found.high,
                }
            )
    return told

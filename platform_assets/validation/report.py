"""The validation report: everything measured about a model, and what the gates make of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue

from platform_assets.references import ModelVersion
from platform_assets.validation.clusters import Clusters, clusters_of
from platform_assets.validation.drift import (
    Batches,
    DriftFinding,
    MissingFinding,
    ks_drift,
    missing_findings,
)
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.evaluator import Evaluator
from platform_assets.validation.gate import (
    GateInputs,
    GateResult,
    SourceComparison,
    evaluate,
    rules_with,
)
from platform_assets.validation.metrics import (
    BinaryMetrics,
    Slice,
    binary_metrics,
    measure_slice,
    paired_auc_difference,
    roc_auc,
)
from platform_assets.validation.production import ProductionScores

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

SCHEMA_VERSION = 2
_BOOTSTRAP_SEED = 20_260


class Baseline(BaseModel):
    """Another classifier on the same test rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    not_measured_because: str | None = None


class ValidationReport(BaseModel):
    """One immutable report; stored as JSON. `schema_version` rises when a field changes its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    line: str
    model_fingerprint: str
    dataset_version: str
    features_version: str
    rows: dict[str, int]
    """By split, of all sources."""
    measured_sources: tuple[str, ...]
    """The sources whose test rows `metrics`, `baselines` and gates are about: the line's own."""
    metrics: BinaryMetrics
    """On the test rows of the measured sources. Version 1: on the whole test split."""
    slices: tuple[Slice, ...]
    """Per source and split."""
    other_sources: tuple[SourceComparison, ...]
    """Every other source in training, compared with the version in production."""
    baselines: tuple[Baseline, ...]
    drift: tuple[DriftFinding, ...]
    not_compared: dict[str, str] = {}
    """By watched column, why there is no finding on it where there should be one."""
    missing_values: tuple[MissingFinding, ...] = ()
    """What watched columns lack, where they lack anything; a change of its share is drift too."""
    gates: tuple[GateResult, ...]
    measures: dict[str, JsonValue] = {}
    """What the task has measured besides, on the rows of `metrics`, and what the model's own files tell of it."""
    created_at: str
    """ISO 8601, UTC."""


def assess(
    scored: "pa.Table",
    model: ModelVersion,
    gates: Mapping[str, str | bool],
    evaluator: Evaluator[Any],
    spec: BaseModel,
    *,
    training_sources: Sequence[str],
    production: ProductionScores | None,
    now: datetime,
    of_model: Mapping[str, JsonValue] = MappingProxyType({}),
) -> ValidationReport:
    """Measure, compare, and let the gates decide.

    Args:
        scored: what `scoring.scored_rows` yields.
        model: the candidate.
        gates: condition by gate name, as the spec has them.
        evaluator: the task's part.
        spec: the line's spec.
        training_sources: the sources of the rows that the candidate was trained on.
        production: what the active release makes of the test rows; None where the line has none.
        now: written into the report.
        of_model: what the model's own files tell of it, see `Evaluator.of_model`.

    Raises:
        ValidationError: the test rows of the line's own sources cannot be measured.
    """
    columns = {
        name: scored[name].to_numpy() for name in ("label", "source", "split", "score", "baseline_score")
    }
    clusters = clusters_of(scored, evaluator.cluster_unit(spec))
    tested = columns["split"] == "test"
    test = {name: values[tested] for name, values in columns.items()}
    own = own_rows(test["source"], model)
    of_test = clusters.of(tested) if clusters else None
    of_own = of_test.of(own) if of_test else None
    own_sources = sorted(set(test["source"][own].tolist()))
    labels, scores, threshold = test["label"][own], test["score"][own], threshold_of(model, evaluator, spec)
    measured = partial(binary_metrics, labels, clusters=of_own, seed=_BOOTSTRAP_SEED)
    metrics = measured(scores, threshold=threshold)
    simple = measured(test["baseline_score"][own])
    baseline_name = evaluator.baseline_name(spec)
    baselines = [_baseline(baseline_name, simple)]
    in_production = None
    if production is not None and (problem := production.problem(own_sources)):
        baselines.append(Baseline(name="version in production", not_measured_because=problem))
    elif production is not None:
        in_production = measured(production.scores[own])
        baselines.append(_baseline("version in production", in_production))
    watched = {name: scored[name].to_numpy() for name in evaluator.profiled(spec)}
    drift, not_compared, missing_values = _drift_findings(
        columns, watched, own_rows(columns["source"], model)
    )
    slices = _slices(columns, clusters, training_sources, threshold)
    first = model.features.dataset.first_sources
    others = [source for source in training_sources if first and source not in first]
    other_sources = tuple(
        _compared(source, slices[source, "test"], test, of_test, production) for source in others
    )
    measures = {
        **evaluator.measures(
            own_test_rows(scored, model),
            spec,
            reference=own_rows_of_split(scored, model, "validation"),
            threshold=threshold,
        ),
        **of_model,
    }
    results = evaluate(
        gates,
        GateInputs(
            test_metrics=metrics,
            baseline_name=baseline_name,
            baseline_auc=simple.auc,
            has_production=production is not None,
            production_auc=in_production.auc if in_production else None,
            score_drift=next((finding for finding in drift if finding.gated), None),
            # Of an older dataset of several sources nobody knows which are the others.
            other_sources=other_sources
            if model.features.dataset.first_sources or len(training_sources) == 1
            else None,
            measures=measures,
        ),
        rules_with(evaluator.rules),
        spec,
    )
    return ValidationReport(
        line=model.features.dataset.line,
        model_fingerprint=model.fingerprint,
        dataset_version=model.features.dataset.version,
        features_version=model.features.version,
        rows=model.features.dataset.rows_by_split,
        measured_sources=tuple(own_sources),
        metrics=metrics,
        slices=tuple(slices.values()),
        other_sources=other_sources,
        baselines=tuple(baselines),
        drift=tuple(drift),
        not_compared=not_compared,
        missing_values=missing_values,
        gates=tuple(results),
        measures=measures,
        created_at=now.isoformat(),
    )


def threshold_of(model: ModelVersion, evaluator: Evaluator[Any], spec: BaseModel) -> float:
    """The one that the model answers by: a run may have trained it with another than the spec's."""
    trained_with = model.training.get("threshold")
    return trained_with if isinstance(trained_with, float) else evaluator.threshold(spec)


def own_rows(sources: "NDArray[np.object_]", model: ModelVersion) -> "NDArray[np.bool_]":
    """Which rows are of the line's own sources, those that gates measure on; shape as `sources`."""
    first = model.features.dataset.first_sources
    if not first:
        return np.ones(sources.shape, dtype=bool)
    return np.fromiter((source in first for source in sources.tolist()), np.bool_, sources.size)


def own_test_rows(scored: "pa.Table", model: ModelVersion) -> "pa.Table":
    """The scored rows that gates measure on."""
    return own_rows_of_split(scored, model, "test")


def own_rows_of_split(scored: "pa.Table", model: ModelVersion, split: str) -> "pa.Table":
    """The scored rows of a split that are of the line's own sources."""
    own = own_rows(scored["source"].to_numpy(), model)
    return scored.filter(own & (scored["split"].to_numpy() == split))


def _baseline(name: str, metrics: BinaryMetrics) -> Baseline:
    return Baseline(name=name, auc=metrics.auc, auc_low=metrics.auc_low, auc_high=metrics.auc_high)


def _slices(
    columns: "Mapping[str, NDArray[np.generic]]",
    clusters: Clusters | None,
    training_sources: Sequence[str],
    threshold: float,
) -> dict[tuple[str, str], Slice]:
    """Slice by source and split; a source in training has one of the test split, were it empty."""
    found = {}
    for split in ("test", "shift"):
        sources = set(columns["source"][columns["split"] == split].tolist())
        for source in sorted(sources.union(training_sources if split == "test" else ())):
            chosen = (columns["split"] == split) & (columns["source"] == source)
            found[source, split] = measure_slice(
                f"{source} ({split})",
                columns["label"][chosen],
                columns["score"][chosen],
                threshold=threshold,
                clusters=clusters.of(chosen) if clusters else None,
                seed=_BOOTSTRAP_SEED,
            )
    return found


def _compared(
    source: str,
    tested: Slice,
    test: "Mapping[str, NDArray[np.generic]]",
    clusters: Clusters | None,
    production: ProductionScores | None,
) -> SourceComparison:
    """The candidate beside production on the test rows of one source."""
    auc = tested.metrics.auc if tested.metrics else None
    because = tested.not_measured_because or (production.problem([source]) if production else None)
    if because or production is None:
        return SourceComparison(source=source, n=tested.n, auc=auc, not_compared_because=because)
    rows = test["source"] == source
    labels, before = test["label"][rows], production.scores[rows]
    _, low, high = paired_auc_difference(
        labels,
        before,
        test["score"][rows],
        clusters=clusters.of(rows) if clusters else None,
        seed=_BOOTSTRAP_SEED,
    )
    return SourceComparison(
        source=source,
        n=tested.n,
        auc=auc,
        production_auc=roc_auc(labels, before),
        drop_low=low,
        drop_high=high,
    )


def _drift_findings(
    columns: "Mapping[str, NDArray[np.generic]]",
    watched: "Mapping[str, NDArray[np.generic]]",
    own: "NDArray[np.bool_]",
) -> tuple[list[DriftFinding], dict[str, str], tuple[MissingFinding, ...]]:
    """The findings, by column why there are none on it, and what columns lack.

    Validation against test is gated on the score; a shifted source is expected to drift and only shown. Of the watched
    columns those of numbers are compared, each by its values that are there; one that has too few is told, and so is one
    of other values.

    Raises:
        ValidationError: The scores cannot be compared.
    """
    of_split = {
        split: (columns["split"] == split) & (own if split != "shift" else True)
        for split in ("validation", "test", "shift")
    }
    pairs = [("validation", "test")] + ([("test", "shift")] if of_split["shift"].any() else [])
    compared = {"score": columns["score"]} | {
        name: values for name, values in watched.items() if np.issubdtype(values.dtype, np.number)
    }
    found: list[DriftFinding] = []
    problems: dict[str, list[str]] = {}
    for reference, current in pairs:
        for name, values in compared.items():
            try:
                finding = ks_drift(
                    *(_present(name, values[of_split[split]]) for split in (reference, current)),
                    column=name,
                    reference_name=reference,
                    current_name=current,
                    gated=(name, current) == ("score", "test"),
                )
            except ValidationError as problem:
                if name == "score":
                    raise
                problems.setdefault(name, []).append(str(problem))
            else:
                found.append(finding)
    for name in [each for each in watched if each not in compared]:
        problems[name] = ["its values are no numbers: they are compared where the answers are watched"]
    lacking = missing_findings(
        [
            Batches(name, reference, current, *(values[of_split[split]] for split in (reference, current)))
            for reference, current in pairs
            for name, values in watched.items()
        ]
    )
    return found, {name: "; ".join(reasons) for name, reasons in problems.items()}, lacking


def _present(name: str, values: "NDArray[np.generic]") -> "NDArray[np.float64]":
    """The values that are there; a score that is not is for the comparison to refuse."""
    numbers = values.astype(np.float64)
    return numbers if name == "score" else numbers[np.isfinite(numbers)]

"""The validation report: everything measured about a model, and what the gates make of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from platform_assets.references import ModelVersion
from platform_assets.validation.drift import DriftFinding, ks_drift
from platform_assets.validation.gate import GateInputs, GateResult, evaluate
from platform_assets.validation.metrics import BinaryMetrics, Slice, binary_metrics, measure_slice

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

SCHEMA_VERSION = 1
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
    metrics: BinaryMetrics
    """On the test split."""
    slices: tuple[Slice, ...]
    """Per source and split."""
    baselines: tuple[Baseline, ...]
    drift: tuple[DriftFinding, ...]
    gates: tuple[GateResult, ...]
    created_at: str
    """ISO 8601, UTC."""


def assess(
    scored: "pa.Table",
    model: ModelVersion,
    gates: Mapping[str, str | bool],
    *,
    has_production: bool,
    production: "NDArray[np.float64] | None",
    production_problem: str | None,
    now: datetime,
) -> ValidationReport:
    """Measure, compare, and let the gates decide.

    Args:
        scored: what `scoring.scored_rows` yields.
        model: the candidate.
        gates: condition by gate name, as the spec has them.
        has_production: whether the line has an active release.
        production: its scores on the test rows, in their order; None where they could not be had.
        production_problem: why they could not be had.
        now: written into the report.
    """
    columns = {
        name: scored[name].to_numpy()
        for name in ("label", "source", "split", "words", "score", "baseline_score")
    }
    test = columns["split"] == "test"
    labels, scores = columns["label"][test], columns["score"][test]
    metrics = binary_metrics(labels, scores, seed=_BOOTSTRAP_SEED)
    tfidf = binary_metrics(labels, columns["baseline_score"][test], seed=_BOOTSTRAP_SEED)
    baselines = [_baseline("TF-IDF + logistic regression", tfidf)]
    in_production = None
    if production is not None:
        in_production = binary_metrics(labels, production, seed=_BOOTSTRAP_SEED)
        baselines.append(_baseline("version in production", in_production))
    elif has_production:
        baselines.append(Baseline(name="version in production", not_measured_because=production_problem))
    drift = _drift_findings(columns)
    results = evaluate(
        gates,
        GateInputs(
            test_metrics=metrics,
            baseline_auc=tfidf.auc,
            has_production=has_production,
            production_auc=in_production.auc if in_production else None,
            score_drift=next((finding for finding in drift if finding.gated), None),
        ),
    )
    return ValidationReport(
        line=model.features.dataset.line,
        model_fingerprint=model.fingerprint,
        dataset_version=model.features.dataset.version,
        features_version=model.features.version,
        rows=model.features.dataset.rows_by_split,
        metrics=metrics,
        slices=tuple(_slices(columns)),
        baselines=tuple(baselines),
        drift=tuple(drift),
        gates=tuple(results),
        created_at=now.isoformat(),
    )


def _baseline(name: str, metrics: BinaryMetrics) -> Baseline:
    return Baseline(name=name, auc=metrics.auc, auc_low=metrics.auc_low, auc_high=metrics.auc_high)


def _slices(columns: "Mapping[str, NDArray[np.generic]]") -> list[Slice]:
    found = []
    for split in ("test", "shift"):
        for source in sorted(set(columns["source"][columns["split"] == split].tolist())):
            chosen = (columns["split"] == split) & (columns["source"] == source)
            found.append(
                measure_slice(
                    f"{source} ({split})",
                    columns["label"][chosen],
                    columns["score"][chosen],
                    seed=_BOOTSTRAP_SEED,
                )
            )
    return found


def _drift_findings(columns: "Mapping[str, NDArray[np.generic]]") -> list[DriftFinding]:
    """Validation against test is gated on the score; a shifted source is expected to drift and only shown."""
    present = set(columns["split"].tolist())
    pairs = [("validation", "test")] + ([("test", "shift")] if "shift" in present else [])
    return [
        ks_drift(
            columns[column][columns["split"] == reference].astype(np.float64),
            columns[column][columns["split"] == current].astype(np.float64),
            column=column,
            reference_name=reference,
            current_name=current,
            gated=(column, current) == ("score", "test"),
        )
        for reference, current in pairs
        for column in ("score", "words")
    ]

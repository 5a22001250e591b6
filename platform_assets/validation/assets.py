"""The validation asset: score, measure, gate; every gate leaves a verdict and shows as a check."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

import dagster as dg
from pydantic import BaseModel, JsonValue

from platform_assets.fingerprint import canonical_sha256, code_version, fingerprint
from platform_assets.governance import release as releases
from platform_assets.governance.suppression import put_unless_erased
from platform_assets.governance.verdict import Verdict, record
from platform_assets.ledger.ledger import Ledger
from platform_assets.manifest import identity_of
from platform_assets.models.scorer import Scorer
from platform_assets.models.trainer import AnyTrainer
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import ModelVersion, ReportVersion
from platform_assets.sheets import Sheet
from platform_assets.shown import shown_table
from platform_assets.step import (
    evaluation_of,
    foreseen_failures,
    judged_alone,
    line_asset,
    materialized,
    override_config,
    published_reference,
    with_overrides,
)
from platform_assets.validation.evaluator import Evaluator, Examining
from platform_assets.validation.examining import made_sheet, sheet_name
from platform_assets.validation.gate import Gate, GateResult, rules_with
from platform_assets.validation.production import ProductionScores, production_scores
from platform_assets.validation.reference import reference_profile
from platform_assets.validation.report import (
    ValidationReport,
    assess,
    own_rows,
    own_test_rows,
    threshold_of,
)
from platform_assets.validation.scoring import scored_rows, training_sources
from platform_assets.validation.spec import OVERRIDABLE, ReferenceSpec
from resources.object_store import ObjectStore
from resources.provenance import code_commit

if TYPE_CHECKING:
    import pyarrow as pa

_CODE = code_version(
    "validation",
    *(
        f"platform_assets.validation.{name}"
        for name in ("metrics", "drift", "gate", "report", "scoring", "production", "pictures", "reference")
    ),
    *(f"platform_assets.sketch.{name}" for name in ("sketch", "binning", "packed")),
)
_RETENTION_DAYS = 3650
_TOLD_METRICS = ("auc", "auc_low", "auc_high", "pr_auc", "accuracy", "f1", "ece", "brier")


def validation_fingerprint(
    line: str,
    gates: Mapping[str, str | bool],
    reference: ReferenceSpec,
    evaluator: Evaluator[Any],
    spec: BaseModel,
    *,
    model_version: str,
) -> str:
    """Identity of the report on a model under these gates, and of its reference profile.

    Args:
        line: The line.
        gates: Condition by name.
        reference: What answers are compared with.
        evaluator: Of the line's task.
        spec: The line's spec.
        model_version: Data version of the model.
    """
    config: dict[str, Any] = {"gates": dict(gates), "reference_mix": reference.reference_mix}
    config |= identity_of(reference, ("reference_splits",))
    return fingerprint(
        f"{line}_validation",
        code=f"{_CODE}|{evaluator.code}",
        config=config | identity_of(spec, evaluator.fields),
        upstream={"model": model_version},
    )


def scores_name(evaluator: Evaluator[Any], spec: BaseModel) -> str:
    """Name of the stored scores of a model, by the code that computes them and what the spec says is measured.

    Scores whose columns would be others have another name: those of before stay as they are, for the releases that
    name them.
    """
    identity = canonical_sha256([evaluator.scoring_code, identity_of(spec, evaluator.fields)])
    return f"scores-{identity[:16]}.parquet"


def validation_asset(
    line: str,
    gates: Mapping[str, str | bool],
    reference: ReferenceSpec,
    evaluator: Evaluator[Any],
    trainer: AnyTrainer,
    spec: BaseModel,
) -> dg.AssetsDefinition:
    """`<line>_validation` with one check per gate.

    Args:
        line: The line.
        gates: Condition by name.
        reference: What answers are compared with.
        evaluator: Of the line's task.
        trainer: Loads its models.
        spec: The line's spec.
    """
    name, rules = f"{line}_validation", rules_with(evaluator.rules)
    overridden = override_config(reference, OVERRIDABLE)

    @line_asset(
        line,
        "validation",
        description="Metrics with intervals, slices, baselines, drift; and the verdict of every gate.",
        kinds=("scikitlearn",),
        code=f"{_CODE}|{evaluator.code}",
        made_from={"model": "model"},
        # Not blocking: the deployment asks the ledger, and names the verdict that is missing or failed.
        checks=[
            dg.AssetCheckSpec(
                Gate.parse(gate, condition, rules, spec).rule_set.replace(".", "_"),
                asset=name,
                description=f"{gate}: {condition}",
            )
            for gate, condition in gates.items()
        ],
    )
    def validation(
        context: dg.AssetExecutionContext,
        model: ModelVersion,
        outside: dg.ResourceParam[OutsideSystems],
        config: overridden,  # type: ignore[valid-type]
    ) -> Iterator[Any]:
        with foreseen_failures():
            resolved, store = with_overrides(reference, config), outside.object_store
            if checks := judged_alone(context):
                # The newest model may not be the one that was reported on.
                model = published_reference(context, name, ReportVersion).model
                again = _assessed(outside, model, gates, evaluator, trainer, spec)
                yield from _judged(
                    context,
                    outside.ledger,
                    model,
                    (g for g in again.report.gates if _check_name(g) in checks),
                )
                return
            found = _assessed(outside, model, gates, evaluator, trainer, spec)
            folder, scored, report = found.folder, found.scored, found.report
            # Before any verdict: without a profile there is no model version that could be watched.
            profile = reference_profile(
                scored,
                evaluator.profiled(spec),
                mix=resolved.reference_mix,
                salt=outside.salt,
                splits=resolved.reference_splits,
            )
            yield from _judged(context, outside.ledger, model, report.gates)
            report_key, digest = _kept(store, folder, "report", "json", _json(report), model)
            profile_key, _ = _kept(store, folder, "reference-profile", "bin", profile.to_bytes(), model)
            pictures = report_pictures(scored, model, evaluator.baseline_name(spec), found.production)
            pictures |= evaluator.pictures(own_test_rows(scored, model), report.measures, spec)
            for picture, png in pictures.items():
                _put(store, f"{folder}/{picture}.png", png, model)
            version = ReportVersion(
                model=model,
                report_key=report_key,
                scores_key=found.scores_key,
                report_sha256=digest,
                metrics={metric: getattr(report.metrics, metric) for metric in _TOLD_METRICS}
                | _figures(report.measures),
                gate_rule_sets={result.rule_set: result.rule_set_hash for result in report.gates},
                profile_key=profile_key,
                pictures=tuple(pictures),
                sheet_key=found.sheet_key,
            )
            yield materialized(
                version,
                fingerprint=validation_fingerprint(
                    line, gates, resolved, evaluator, spec, model_version=model.version
                ),
                metadata={
                    **version.metrics,
                    "measured_sources": list(report.measured_sources),
                    "report": dg.MetadataValue.url(outside.report_url(report_key)),
                    "report_object": store.uri(report_key),
                    "dagster/uri": store.uri(report_key),
                    "reference_profile": store.uri(profile_key),
                    "reference_columns": list(profile.columns),
                    "reference_rows": profile.columns["score"].rows,
                    **(
                        {"sheet": dg.MetadataValue.url(outside.report_url(found.sheet_key))}
                        if found.sheet_key
                        else {}
                    ),
                    **_shown(report, pictures),
                },
            )

    return validation


@dataclass(frozen=True, slots=True)
class _Assessed:
    """A model as it was measured, before anything of it is kept or recorded."""

    folder: str
    """Of the keys of its reports."""
    scores_key: str
    sheet_key: str | None
    """None where the task shows no single rows."""
    scored: "pa.Table"
    production: ProductionScores | None
    report: ValidationReport


def _assessed(
    outside: OutsideSystems,
    model: ModelVersion,
    gates: Mapping[str, str | bool],
    evaluator: Evaluator[Any],
    trainer: AnyTrainer,
    spec: BaseModel,
) -> _Assessed:
    store, line = outside.object_store, model.features.dataset.line
    folder = f"reports/{outside.env}/{line}/{model.version[:16]}"
    scores_key = f"{folder}/{scores_name(evaluator, spec)}"
    loaded = _Loaded(store, model, trainer)
    scored = _scores(outside, loaded, scores_key, evaluator, spec)
    sheet = _sheet(outside, loaded, scores_key, evaluator, scored, spec)
    active = releases.active(outside.ledger, line)
    production = (
        None
        if active is None
        else production_scores(
            active, model, scored, warehouse=outside.warehouse, store=store, load=trainer.load
        )
    )
    report = assess(
        scored,
        model,
        gates,
        evaluator,
        spec,
        training_sources=training_sources(model, outside.warehouse),
        production=production,
        now=datetime.now(UTC),
        of_model={
            **evaluator.of_model(lambda file: store.get(f"{model.object_prefix}/{file}"), spec),
            **(sheet[1].measures if sheet else {}),
        },
    )
    return _Assessed(folder, scores_key, sheet[0] if sheet else None, scored, production, report)


def _judged(
    context: dg.AssetExecutionContext, ledger: Ledger, model: ModelVersion, results: Iterable[GateResult]
) -> Iterator[dg.AssetCheckResult]:
    """Each verdict in the ledger, then as a check."""
    subject = f"{model.features.dataset.line}_model@{model.version}"
    for result in results:
        record(ledger, gate_verdict(subject, result), evaluation_id=evaluation_of(context))
        yield _check(result)


def _check_name(result: GateResult) -> str:
    return result.rule_set.replace(".", "_")


def _check(result: GateResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=_check_name(result),
        passed=result.outcome == "pass",
        severity=dg.AssetCheckSeverity.ERROR,
        description=result.reason,
        metadata={"condition": result.condition, "outcome": result.outcome}
        | ({} if result.observed is None else {"observed": result.observed}),
    )


def _json(report: ValidationReport) -> bytes:
    return report.model_dump_json(indent=2).encode()


def _figures(measures: Mapping[str, Any]) -> dict[str, float]:
    """The task's measures that are single numbers."""
    return {name: float(value) for name, value in measures.items() if isinstance(value, int | float)}


def _kept(
    store: ObjectStore, folder: str, name: str, suffix: str, content: bytes, model: ModelVersion
) -> tuple[str, str]:
    """Key and hash of a file of the report, stored under a name that its content decides."""
    digest = hashlib.sha256(content).hexdigest()
    key = f"{folder}/{name}-{digest[:16]}.{suffix}"
    _put(store, key, content, model)
    return key, digest


def gate_verdict(subject: str, result: GateResult) -> Verdict:
    """The verdict of one gate on one model."""
    return Verdict(
        subject=subject,
        rule_set=result.rule_set,
        rule_set_hash=result.rule_set_hash,
        outcome=result.outcome,
        evidence={
            "demanded": result.condition,
            "reason": result.reason,
            **({} if result.observed is None else {"observed": result.observed}),
        },
        producer={"code_commit": code_commit()},
    )


def report_pictures(
    scored: "pa.Table", model: ModelVersion, baseline_name: str, production: ProductionScores | None
) -> dict[str, bytes]:
    """PNG by name: roc, calibration, score-distribution; of the rows that the gates measure on.

    Another source in training has its own curve of the distribution.
    """
    from platform_assets.validation.pictures import (
        calibration_picture,
        roc_picture,
        score_distribution_picture,
    )

    columns = {
        name: scored[name].to_numpy() for name in ("label", "source", "split", "score", "baseline_score")
    }
    own, tested = own_rows(columns["source"], model), columns["split"] == "test"
    chosen = tested & own
    scores = {"model": columns["score"][chosen], baseline_name: columns["baseline_score"][chosen]}
    if production is not None and production.problem(set(columns["source"][chosen].tolist())) is None:
        scores["in production"] = production.scores[own[tested]]
    labels = dict.fromkeys(scores, columns["label"][chosen])
    distributions = {
        split: columns["score"][(columns["split"] == split) & (own | (split == "shift"))]
        for split in dict.fromkeys(columns["split"].tolist())
    }
    for source in sorted(set(columns["source"][tested & ~own].tolist())):
        distributions[f"test, {source}"] = columns["score"][tested & (columns["source"] == source)]
    return {
        "roc": roc_picture(labels, scores),
        "calibration": calibration_picture({"model": labels["model"]}, {"model": scores["model"]}),
        "score-distribution": score_distribution_picture(distributions),
    }


@dataclass(frozen=True)
class _Loaded:
    """A model whose files are read when it is first asked."""

    store: ObjectStore
    model: ModelVersion
    trainer: AnyTrainer

    @cached_property
    def scorer(self) -> Scorer:
        """The model as it was trained: on a GPU, or in mixed precision, where it was."""
        training = self.model.training
        return self.trainer.load(
            self.store.folder(self.model.object_prefix),
            gpu=int(training["device"] == "cuda"),
            mixed_precision=training["precision"] in {"bfloat16", "float16"},
        )


def _scores(
    outside: OutsideSystems, loaded: _Loaded, key: str, evaluator: Evaluator[Any], spec: BaseModel
) -> "pa.Table":
    """The model's and the baseline's scores, computed once for a model and what `scores_name` tells apart."""
    import pyarrow.parquet as pq

    if outside.object_store.exists(key):
        return pq.read_table(io.BytesIO(outside.object_store.get(key)))
    scored = scored_rows(loaded.model, loaded.scorer, evaluator, spec, outside.warehouse)
    _put_about_subjects(outside, key, scored, loaded.model)
    return scored


def _sheet(
    outside: OutsideSystems,
    loaded: _Loaded,
    scores_key: str,
    evaluator: Evaluator[Any],
    scored: "pa.Table",
    spec: BaseModel,
) -> tuple[str, Sheet] | None:
    """What the model shows of single rows and where it lies, made once for its scores; None where the task shows none."""
    if not isinstance(evaluator, Examining):
        return None
    key, store, model = sheet_name(scores_key, evaluator.examining_code), outside.object_store, loaded.model
    if store.exists(key):
        return key, Sheet.of_bytes(store.get(key))
    threshold = threshold_of(model, evaluator, spec)
    sheet = made_sheet(
        model,
        loaded.scorer,
        evaluator,
        own_test_rows(scored, model),
        spec,
        outside.warehouse,
        threshold=threshold,
    )
    _put_about_subjects(outside, key, sheet.as_table(), model)
    return key, sheet


def _put_about_subjects(outside: OutsideSystems, key: str, rows: "pa.Table", model: ModelVersion) -> None:
    dataset = model.features.dataset
    put_unless_erased(
        outside.object_store,
        key,
        rows,
        namespace=dataset.subject_namespace,
        column=dataset.subject_column,
        gdpr_class=dataset.gdpr_class,
        retention_days=dataset.retention_days,
        source_commit=model.source_commit,
        ledger=outside.ledger,
        salt=outside.salt,
        locks=outside.locks,
    )


def _put(store: ObjectStore, key: str, content: bytes, model: ModelVersion) -> None:
    store.put(
        key, content, gdpr_class="internal", retention_days=_RETENTION_DAYS, source_commit=model.source_commit
    )


def _is_table(measure: JsonValue) -> TypeGuard[list[dict[str, str | int | float | bool | None]]]:
    return (
        isinstance(measure, list)
        and bool(measure)
        and all(
            isinstance(row, dict) and not any(isinstance(cell, dict | list) for cell in row.values())
            for row in measure
        )
    )


def _shown(report: ValidationReport, pictures: Mapping[str, bytes]) -> dict[str, dg.MetadataValue]:
    from platform_assets.pictures import as_markdown_image

    gates = [
        {"gate": result.rule_set, "outcome": result.outcome, "reason": result.reason}
        for result in report.gates
    ]
    return {
        "gates": dg.MetadataValue.table([dg.TableRecord(row) for row in gates]),
        "not_compared": dg.MetadataValue.json(report.not_compared),
        "missing_values": dg.MetadataValue.json([each.model_dump() for each in report.missing_values]),
        **{
            shown: table
            for name, value in report.measures.items()
            if _is_table(value)
            for shown, table in shown_table(name, value).items()
        },
        **{
            picture.replace("-", "_"): dg.MetadataValue.md(as_markdown_image(png, picture))
            for picture, png in pictures.items()
        },
    }

"""The validation asset: score, measure, gate; every gate leaves a verdict and shows as a check."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.drift.spec import DriftSpec
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance import release as releases
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.subjects import REVIEW
from platform_assets.governance.suppression import put_unless_erased
from platform_assets.governance.verdict import Verdict, record
from platform_assets.models.scorer import SavedClassifier
from platform_assets.references import ModelVersion, ReportVersion
from platform_assets.step import (
    evaluation_of,
    foreseen_failures,
    launchpad,
    materialized,
    with_overrides,
)
from platform_assets.systems import open_locks
from platform_assets.validation.gate import Gate, GateResult
from platform_assets.validation.reference import reference_profile
from platform_assets.validation.report import ValidationReport, assess, own_rows
from platform_assets.validation.scoring import (
    ProductionScores,
    production_scores,
    scored_rows,
    training_sources,
)
from resources.object_store import ObjectStore
from resources.provenance import code_commit
from resources.row_salt import row_salt
from resources.settings import PlatformSettings
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

CODE = code_version(
    *(
        f"platform_assets.validation.{name}"
        for name in ("metrics", "drift", "baseline", "gate", "report", "scoring", "pictures", "reference")
    ),
    *(f"platform_assets.sketch.{name}" for name in ("sketch", "binning", "packed")),
)
SCORING_CODE = code_version("platform_assets.validation.scoring", "platform_assets.validation.baseline")
_RETENTION_DAYS = 3650
_LAUNCHPAD = ("reference_mix",)
_TOLD_METRICS = ("auc", "auc_low", "auc_high", "pr_auc", "accuracy", "f1", "ece", "brier")


def validation_fingerprint(
    line: str, gates: Mapping[str, str | bool], drift: DriftSpec, *, model_version: str
) -> str:
    """Identity of the report on a model under these gates, and of its reference profile."""
    return fingerprint(
        f"{line}_validation",
        code=CODE,
        config={"gates": dict(gates), "reference_mix": drift.reference_mix},
        upstream={"model": model_version},
    )


def validation_asset(line: str, gates: Mapping[str, str | bool], drift: DriftSpec) -> dg.AssetsDefinition:
    """`<line>_validation` with one check per gate."""
    name = f"{line}_validation"
    launched = launchpad(drift, _LAUNCHPAD)

    @dg.asset(
        name=name,
        group_name=line,
        description="Metrics with intervals, slices, baselines, drift; and the verdict of every gate.",
        kinds={"scikitlearn"},
        code_version=CODE,
        ins={"model": dg.AssetIn(f"{line}_model")},
        # Not blocking: the deployment asks the ledger, and names the verdict that is missing or failed.
        check_specs=[
            dg.AssetCheckSpec(
                Gate.parse(gate, condition).rule_set.replace(".", "_"),
                asset=name,
                description=f"{gate}: {condition}",
            )
            for gate, condition in gates.items()
        ],
    )
    def validation(
        context: dg.AssetExecutionContext,
        model: ModelVersion,
        warehouse: dg.ResourceParam[Warehouse],
        object_store: dg.ResourceParam[ObjectStore],
        ledger: dg.ResourceParam[Ledger],
        settings: dg.ResourceParam[PlatformSettings],
        config: launched,  # type: ignore[valid-type]
    ) -> Iterator[Any]:
        with foreseen_failures():
            resolved = with_overrides(drift, config)
            folder = f"reports/{settings.env}/{line}/{model.version[:16]}"
            scores_key = f"{folder}/scores-{SCORING_CODE}.parquet"
            scored = _scores(model, scores_key, warehouse, object_store, ledger, settings)
            # Before any gate: without a profile there is no model version that could be watched.
            profile = reference_profile(scored, mix=resolved.reference_mix)
            active = releases.active(ledger, line)
            production = (
                None
                if active is None
                else production_scores(active, model, scored, warehouse=warehouse, store=object_store)
            )
            report = assess(
                scored,
                model,
                gates,
                training_sources=training_sources(model, warehouse),
                production=production,
                now=datetime.now(UTC),
            )
            subject = f"{line}_model@{model.version}"
            for result in report.gates:
                record(ledger, gate_verdict(subject, result), evaluation_id=evaluation_of(context))
                yield dg.AssetCheckResult(
                    check_name=result.rule_set.replace(".", "_"),
                    passed=result.outcome == "pass",
                    severity=dg.AssetCheckSeverity.ERROR,
                    description=result.reason,
                    metadata={"condition": result.condition, "outcome": result.outcome}
                    | ({} if result.observed is None else {"observed": result.observed}),
                )
            content = report.model_dump_json(indent=2).encode()
            digest = hashlib.sha256(content).hexdigest()
            report_key = f"{folder}/report-{digest[:16]}.json"
            _put(object_store, report_key, content, model)
            profile_content = profile.to_bytes()
            profile_digest = hashlib.sha256(profile_content).hexdigest()
            profile_key = f"{folder}/reference-profile-{profile_digest[:16]}.bin"
            _put(object_store, profile_key, profile_content, model)
            pictures = report_pictures(scored, model, production)
            for picture, png in pictures.items():
                _put(object_store, f"{folder}/{picture}.png", png, model)
            reference = ReportVersion(
                model=model,
                report_key=report_key,
                scores_key=scores_key,
                report_sha256=digest,
                metrics={metric: getattr(report.metrics, metric) for metric in _TOLD_METRICS},
                gate_rule_sets={result.rule_set: result.rule_set_hash for result in report.gates},
                profile_key=profile_key,
            )
            yield materialized(
                reference,
                fingerprint=validation_fingerprint(line, gates, resolved, model_version=model.version),
                metadata={
                    **reference.metrics,
                    "measured_sources": list(report.measured_sources),
                    "report": object_store.uri(report_key),
                    "reference_profile": object_store.uri(profile_key),
                    "reference_columns": list(profile.columns),
                    "reference_rows": profile.columns["score"].rows,
                    **_shown(report, pictures),
                },
            )

    return validation


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
    scored: "pa.Table", model: ModelVersion, production: ProductionScores | None
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
    scores = {"model": columns["score"][chosen], "TF-IDF baseline": columns["baseline_score"][chosen]}
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


def _scores(
    model: ModelVersion,
    key: str,
    warehouse: Warehouse,
    store: ObjectStore,
    ledger: Ledger,
    settings: PlatformSettings,
) -> "pa.Table":
    """The model's and the baseline's scores, computed once for a model and the code that scores."""
    import pyarrow.parquet as pq

    if store.exists(key):
        return pq.read_table(io.BytesIO(store.get(key)))
    classifier = SavedClassifier.load(
        store.folder(model.object_prefix),
        gpu=int(model.training["device"] == "cuda"),
        mixed_precision=model.training["precision"] != "float32",
    )
    scored = scored_rows(model, classifier, warehouse)
    dataset = model.features.dataset
    put_unless_erased(
        store,
        key,
        scored,
        namespace=REVIEW,
        column="review_id",
        gdpr_class=dataset.gdpr_class,
        retention_days=dataset.retention_days,
        source_commit=model.source_commit,
        ledger=ledger,
        salt=row_salt(settings.home),
        locks=open_locks(settings),
    )
    return scored


def _put(store: ObjectStore, key: str, content: bytes, model: ModelVersion) -> None:
    store.put(
        key, content, gdpr_class="internal", retention_days=_RETENTION_DAYS, source_commit=model.source_commit
    )


def _shown(report: ValidationReport, pictures: Mapping[str, bytes]) -> dict[str, dg.MetadataValue]:
    from platform_assets.validation.pictures import as_markdown_image

    gates = [
        {"gate": result.rule_set, "outcome": result.outcome, "reason": result.reason}
        for result in report.gates
    ]
    return {
        "gates": dg.MetadataValue.table([dg.TableRecord(row) for row in gates]),
        **{
            picture.replace("-", "_"): dg.MetadataValue.md(as_markdown_image(png, picture))
            for picture, png in pictures.items()
        },
    }

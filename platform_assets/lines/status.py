"""The state of a line in one JSON-like record: what `status` prints and the summary of a run shows."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.drift.record import states as drift_states
from platform_assets.governance import release as releases
from platform_assets.governance.lineage import fitted_on
from platform_assets.governance.verdict import latest_verdict, unmet
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.assets import asset_key
from platform_assets.lines.line import Line
from platform_assets.lines.promotion_status import promotion_status
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    TUNING,
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TuningVersion,
)
from platform_assets.step import recorded_reference


def line_status(
    line: Line, instance: dg.DagsterInstance, outside: OutsideSystems, *, now: datetime | None = None
) -> dict[str, Any]:
    """Data version, model version, metrics, verdicts, drift and deployed version of a line; None where there is none yet."""
    now, ledger = now or datetime.now(UTC), outside.ledger
    recorded = {
        stage: recorded_reference(instance, asset_key(line, stage), kind)
        for stage, kind in line.stages.items()
    }
    dataset, features = recorded["dataset"], recorded["features"]
    model, report = recorded["model"], recorded["validation"]
    version, card, tuning = recorded["version"], recorded["card"], recorded.get(TUNING)
    active, pin = releases.active(ledger, line.name), releases.pin_state(ledger, line.name)
    return {
        "line": line.name,
        "task": line.task.name,
        "headline": line.task.evaluator.headline,
        "data_version": dataset.version if isinstance(dataset, DatasetVersion) else None,
        "rows_by_split": dataset.rows_by_split if isinstance(dataset, DatasetVersion) else None,
        "data_freshness_seconds": _age_seconds(dataset.published_at, now)
        if isinstance(dataset, DatasetVersion)
        else None,
        "transformers": [fitted_on(each) for each in features.transformers]
        if isinstance(features, FeaturesVersion)
        else [],
        "schema_breaker": breaker_state(ledger, f"{line.name}_dataset").state,
        "tuning": _tuning(tuning) if isinstance(tuning, TuningVersion) else None,
        "model_fingerprint": model.version if isinstance(model, ModelVersion) else None,
        "tuned_by": model.tuned_by.model_dump()
        if isinstance(model, ModelVersion) and model.tuned_by
        else None,
        "model_version": version.number if isinstance(version, RegisteredVersion) else None,
        "metrics": report.metrics if isinstance(report, ReportVersion) else None,
        "verdicts": _verdicts(line, ledger, model) if isinstance(model, ModelVersion) else [],
        "blocked_by": [str(each) for each in unmet(ledger, line.demands.of(model), now=now)]
        if isinstance(model, ModelVersion)
        else ["no model yet"],
        "card": outside.object_store.uri(card.html_key) if isinstance(card, CardVersion) else None,
        "deployed_version": _deployed(active) if active else None,
        "promotion": promotion_status(line.adapted(ledger), outside, now=now),
        "drift": drift_states(ledger, line.name),
        "retrained_by": line.adapted(ledger).retraining,
        "pinned": {"release_id": pin.release_id, "by": pin.by, "reason": pin.reason} if pin else None,
    }


def _verdicts(line: Line, ledger: Ledger, model: ModelVersion) -> list[dict[str, Any]]:
    found = []
    for each in line.demands.of(model):
        newest = latest_verdict(ledger, each.subject, each.requirement.rule_set)
        entry, verdict = newest or (None, None)
        found.append(
            {
                "rule_set": each.requirement.rule_set,
                "subject": each.subject,
                "outcome": verdict.outcome if verdict else "missing",
                "reason": (verdict.evidence.get("reason") or verdict.evidence.get("observed"))
                if verdict
                else None,
                "time": entry.time.isoformat() if entry else None,
                "entry": entry.hash if entry else None,
            }
        )
    return found


def _tuning(tuning: TuningVersion) -> dict[str, Any]:
    told = {"experiment", "trial", "objective", "value", "default_value", "assignment"}
    return tuning.model_dump(include=told) | {"version": tuning.version}


def _deployed(active: releases.Release) -> dict[str, Any]:
    registered = active.card.registered
    return {
        "release_id": active.release_id,
        "model_version": registered.number,
        "model_fingerprint": registered.report.model.fingerprint,
        "data_version": registered.report.model.features.dataset.version,
        "source_commit": registered.report.model.source_commit,
        "code_commit": registered.report.model.code_commit,
    }


def _age_seconds(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)).total_seconds()

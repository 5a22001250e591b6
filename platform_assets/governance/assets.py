"""The registry asset: every candidate is registered, and stays `blocked` until its verdicts allow it."""

from datetime import UTC, datetime

import dagster as dg

from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.lineage import LINEAGE, REGISTRATION
from platform_assets.governance.requirements import Demands, verdict_ids
from platform_assets.governance.verdict import unmet
from platform_assets.ledger.ledger import Ledger, fingerprint_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import ModelVersion, RegisteredVersion, ReportVersion
from platform_assets.step import foreseen_failures, line_asset, materialized
from resources.model_registry import ModelRegistry, RegistryError

CODE = code_version("version", "platform_assets.governance.verdict")


def version_fingerprint(line: str, *, report_version: str) -> str:
    """Identity of the registration of a reported model."""
    return fingerprint(f"{line}_version", code=CODE, config={}, upstream={"validation": report_version})


def version_asset(line: str, demands: Demands) -> dg.AssetsDefinition:
    """`<line>_version`."""

    @line_asset(
        line,
        "version",
        description="The model in the registry, with its provenance; one version per fingerprint.",
        kinds=("mlflow",),
        code=CODE,
        made_from={"report": "validation"},
    )
    def version(
        context: dg.AssetExecutionContext,
        report: ReportVersion,
        outside: dg.ResourceParam[OutsideSystems],
    ) -> dg.MaterializeResult[RegisteredVersion]:
        with foreseen_failures():
            model, ledger = report.model, outside.ledger
            dataset = model.features.dataset
            # The card is made of what is registered here.
            resolved = [each for each in demands.of(model) if each.requirement.subject_kind != "card"]
            blocking = unmet(ledger, resolved, now=datetime.now(UTC))
            tags = {
                "source_commit": model.source_commit,
                "code_commit": model.code_commit,
                "data_version": dataset.version,
                "data_snapshot": dataset.snapshot.snapshot_id,
                "ge_run_id": dataset.ge_run_id,
                "dagster_run_id": context.run.run_id,
                "verdict_ids": ",".join(sorted(verdict_ids(ledger, resolved))),
                "gate_status": "blocked" if blocking else "passed",
            }
            require_not_gone(outside.model_registry, ledger, line, model)
            number = outside.model_registry.register(
                line,
                fingerprint=model.fingerprint,
                source=outside.object_store.uri(model.object_prefix),
                run_id=model.tracking_run_id,
                tags=tags,
            )
            ledger.append(
                REGISTRATION,
                f"{line}_model@{model.version}",
                fingerprint=model.fingerprint,
                body={"name": line, "number": number, "weights_sha256": model.weights_sha256},
            )
            reference = RegisteredVersion(report=report, name=line, number=number)
            lineage = reference.model_dump(mode="json")
            # Keyed by its content: the same model may be registered on tables that were written anew.
            ledger.append(
                LINEAGE,
                f"{line}_model@{model.version}",
                fingerprint=fingerprint_of(**lineage),
                body=lineage,
            )
            return materialized(
                reference,
                fingerprint=version_fingerprint(line, report_version=report.version),
                metadata={**tags, "blocked_by": [str(each) for each in blocking]},
            )

    return version


def require_not_gone(registry: ModelRegistry, ledger: Ledger, line: str, model: ModelVersion) -> None:
    """Nothing, where the registry still has a model that was registered.

    Raises:
        RegistryError: It was deleted there: under another number it would be another version.
    """
    entry = ledger.find(REGISTRATION, f"{line}_model@{model.version}", model.fingerprint)
    if entry is None:
        return
    was, found = entry.body["number"], registry.find(line, model.fingerprint)
    if found != was:
        what = "has it no more" if found is None else f"has it as version {found}"
        raise RegistryError(
            f"this very model was registered as version {was} of {line} (entry {entry.seq}), and the registry {what}; it gives "
            "no number twice: restore the version there, or train another model"
        )

"""The deployment asset: demand the verdicts, record a release, make it the active one."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import dagster as dg

from platform_assets.datasets.schema_breaker import require_closed
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance import release as releases
from platform_assets.governance.registry_moves import VersionGoneError, reconcile
from platform_assets.governance.release import Release, Stage
from platform_assets.governance.requirements import Demands
from platform_assets.governance.retraining import requested
from platform_assets.governance.verdict import demand
from platform_assets.manifest import identity_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import CardVersion, DeploymentVersion
from platform_assets.serving.inference_service import inference_service
from platform_assets.serving.spec import DeploymentSpec
from platform_assets.step import foreseen_failures, line_asset, materialized
from platform_assets.tags import RETRAINING_TAG
from platform_assets.yaml_writer import to_yaml
from resources.provenance import UNVERSIONED

CODE = code_version(
    "deployment", "platform_assets.serving.inference_service", "platform_assets.governance.release"
)
_DESCRIPTIONS: Mapping[Stage, str] = {
    "production": "The active release. Activated only when the ledger holds every verdict that the spec requires.",
    "staging": (
        "The release in staging. It gets there only when the ledger holds every verdict that the spec requires, and on "
        "to production by `platform-assets promote` alone."
    ),
}
_RETENTION_DAYS = 3650


def deployment_fingerprint(
    line: str, deployment: DeploymentSpec, demands: Demands, model_format: str, *, card_version: str
) -> str:
    """Identity of the deployment of a carded model, under what deploying demands now."""
    return fingerprint(
        f"{line}_deployment",
        code=CODE,
        config={
            "deployment": identity_of(deployment),
            "model_format": model_format,
            "requires": [each.model_dump(mode="json") for each in demands.requirements],
        },
        upstream={"card": card_version, **demands.rule_set_hashes},
    )


def deployment_asset(
    line: str,
    deployment: DeploymentSpec,
    demands: Demands,
    model_format: str,
    retraining: str | None = None,
    *,
    stage: Stage = "production",
    spec_commit: Callable[[], str] = lambda: UNVERSIONED,
) -> dg.AssetsDefinition:
    """`<line>_deployment`.

    Args:
        line: The line.
        deployment: Section `deployment` of its spec.
        demands: What deploying demands.
        model_format: KServe's name of the models' format.
        retraining: Ledger entry of the request that the line follows; a run that follows another says so.
        stage: Where the release goes; to staging where production moves by promotion alone.
        spec_commit: Gives the commit of the spec that says all this, as `source_commit` tells it.
    """

    @line_asset(
        line,
        "deployment",
        description=_DESCRIPTIONS[stage],
        kinds=("kserve",),
        code=CODE,
        made_from={"card": "card"},
    )
    def deploy(
        context: dg.AssetExecutionContext,
        card: CardVersion,
        outside: dg.ResourceParam[OutsideSystems],
    ) -> dg.MaterializeResult[DeploymentVersion]:
        with foreseen_failures():
            now, ledger, store = datetime.now(UTC), outside.ledger, outside.object_store
            releases.require_committed(ledger, line, stage, spec_commit)
            followed = context.run.tags.get(RETRAINING_TAG, retraining)
            if followed is not None:
                # Anybody may tag a run, and what an activation names is what later runs go on from.
                requested(ledger, line, followed)
            registered, model = card.registered, card.registered.report.model
            resolved = demands.of(model, card)
            verdicts = demand(ledger, f"deploy of {line}", resolved, now=now)
            key = f"models/{outside.env}/{line}/{model.version[:16]}/inference-service.yaml"
            release = Release(
                line=line,
                card=card,
                deployment={"manifest_key": key, **deployment.model_dump(mode="json")},
                verdicts=tuple(sorted(entry.hash for entry in verdicts)),
            )
            manifest = to_yaml(
                inference_service(
                    line=line,
                    release_id=release.release_id,
                    model_version=registered.version,
                    source_commit=model.source_commit,
                    data_version=model.features.dataset.version,
                    model_uri=store.uri(model.object_prefix),
                    deployment=deployment.model_dump(mode="json"),
                    model_format=model_format,
                )
            )
            store.put(
                key,
                manifest.encode(),
                gdpr_class="internal",
                retention_days=_RETENTION_DAYS,
                source_commit=model.source_commit,
            )
            releases.record(ledger, release)
            # It was closed when the card was handed over; a run beside this one may have found otherwise since.
            require_closed(ledger, f"{line}_dataset")
            activation = releases.activate(
                ledger,
                line,
                release.release_id,
                reason=f"materialized in run {context.run.run_id}",
                requirements=resolved,
                stage=stage,
                retraining=followed,
                now=now,
            )
            try:
                reconcile(outside.model_registry, ledger, line)
            except VersionGoneError as problem:
                # Of the version beside this one, perhaps; nothing that is done here would bring it back.
                context.log.warning("%s", problem)
            reference = DeploymentVersion(card=card, release_id=release.release_id, manifest_key=key)
            return materialized(
                reference,
                fingerprint=deployment_fingerprint(
                    line, deployment, demands, model_format, card_version=card.version
                ),
                metadata={
                    "release_id": release.release_id,
                    "dagster/uri": store.uri(key),
                    "line_page": dg.MetadataValue.url(outside.line_url(line)),
                    **({"stage": stage} if stage != "production" else {}),
                    "model_version": registered.number,
                    "verdicts": list(release.verdicts),
                    "activation": activation.hash,
                    "inference_service": dg.MetadataValue.md(f"```yaml\n{manifest}```"),
                },
            )

    return deploy

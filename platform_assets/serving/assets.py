"""The deployment asset: demand the verdicts, record a release, make it the active one."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from platform_assets.datasets.schema_breaker import require_closed
from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance import release as releases
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.release import Release
from platform_assets.governance.requirements import resolve
from platform_assets.governance.retraining import requested
from platform_assets.governance.verdict import Requirement, demand
from platform_assets.manifest import Section, identity_of
from platform_assets.references import CardVersion, DeploymentVersion
from platform_assets.serving.inference_service import inference_service, to_yaml
from platform_assets.step import foreseen_failures, materialized
from platform_assets.tags import RETRAINING_TAG
from resources.model_registry import ModelRegistry
from resources.object_store import ObjectStore
from resources.settings import PlatformSettings

CODE = code_version(
    "deployment", "platform_assets.serving.inference_service", "platform_assets.governance.release"
)
DEPLOYED_ALIAS = "deployed"
_RETENTION_DAYS = 3650


def deployment_fingerprint(
    line: str,
    deployment: Section,
    requirements: Sequence[Requirement],
    rule_set_hashes: Mapping[str, str],
    *,
    card_version: str,
) -> str:
    """Identity of the deployment of a carded model, under what deploying demands now."""
    return fingerprint(
        f"{line}_deployment",
        code=CODE,
        config={
            "deployment": identity_of(deployment),
            "requires": [identity_of(each) for each in requirements],
        },
        upstream={"card": card_version, **rule_set_hashes},
    )


def point_at(registry: ModelRegistry, release: Release) -> None:
    """Lets the registry say what the ledger has decided; repeating it changes nothing."""
    number = release.card.registered.number
    registry.tag(release.line, number, {"gate_status": "passed", "release_id": release.release_id})
    registry.point(release.line, DEPLOYED_ALIAS, number)


def deployment_asset(
    line: str,
    deployment: Section,
    requirements: Sequence[Requirement],
    rule_set_hashes: Mapping[str, str],
    retraining: str | None = None,
) -> dg.AssetsDefinition:
    """`<line>_deployment`.

    Args:
        line: The line.
        deployment: Section `deployment` of its spec.
        requirements: The verdicts that deploying demands.
        rule_set_hashes: The rules as they are now.
        retraining: Ledger entry of the request that the line follows; a run that follows another says so.
    """

    @dg.asset(
        name=f"{line}_deployment",
        group_name=line,
        description="The active release. Activated only when the ledger holds every verdict that the spec requires.",
        kinds={"kserve"},
        code_version=CODE,
        ins={"card": dg.AssetIn(f"{line}_card")},
    )
    def deploy(
        context: dg.AssetExecutionContext,
        card: CardVersion,
        object_store: dg.ResourceParam[ObjectStore],
        model_registry: dg.ResourceParam[ModelRegistry],
        ledger: dg.ResourceParam[Ledger],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.MaterializeResult[DeploymentVersion]:
        with foreseen_failures():
            now = datetime.now(UTC)
            followed = context.run.tags.get(RETRAINING_TAG, retraining)
            if followed is not None:
                # Anybody may tag a run, and what an activation names is what later runs go on from.
                requested(ledger, line, followed)
            registered, model = card.registered, card.registered.report.model
            resolved = resolve(requirements, model, rule_set_hashes)
            verdicts = demand(ledger, f"deploy of {line}", resolved, now=now)
            key = f"models/{settings.env}/{line}/{model.version[:16]}/inference-service.yaml"
            described = deployment.model_dump(mode="json")
            release = Release(
                line=line,
                card=card,
                deployment={"manifest_key": key, **described},
                verdicts=tuple(sorted(entry.hash for entry in verdicts)),
            )
            manifest = to_yaml(
                inference_service(
                    line=line,
                    release_id=release.release_id,
                    model_version=registered.version,
                    source_commit=model.source_commit,
                    data_version=model.features.dataset.version,
                    model_uri=object_store.uri(model.object_prefix),
                    deployment=described,
                )
            )
            object_store.put(
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
                retraining=followed,
                now=now,
            )
            point_at(model_registry, release)
            reference = DeploymentVersion(card=card, release_id=release.release_id, manifest_key=key)
            return materialized(
                reference,
                fingerprint=deployment_fingerprint(
                    line, deployment, requirements, rule_set_hashes, card_version=card.version
                ),
                metadata={
                    "release_id": release.release_id,
                    "model_version": registered.number,
                    "verdicts": list(release.verdicts),
                    "activation": activation.hash,
                    "inference_service": dg.MetadataValue.md(f"```yaml\n{manifest}```"),
                },
            )

    return deploy

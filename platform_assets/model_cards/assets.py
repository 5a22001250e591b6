"""The model card asset: JSON-LD and HTML, made from the lineage."""

import json
from collections.abc import Mapping, Sequence

import dagster as dg

from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.ledger import Ledger
from platform_assets.governance.requirements import resolve, verdict_ids
from platform_assets.governance.verdict import Requirement
from platform_assets.manifest import Section, identity_of
from platform_assets.model_cards.card import CardInputs, ModelCard, build_card, render_html
from platform_assets.model_cards.errors import CardError
from platform_assets.references import CardVersion, RegisteredVersion
from platform_assets.step import foreseen_failures, materialized
from resources.object_store import ObjectStore
from resources.settings import PlatformSettings

CODE = code_version("card", "platform_assets.model_cards.card")
_RETENTION_DAYS = 3650
_PICTURES = ("roc", "calibration", "score-distribution")


def card_fingerprint(line: str, card_texts: Section, *, registered_version: str, report_version: str) -> str:
    """Identity of the card of a registered and reported model."""
    return fingerprint(
        f"{line}_card",
        code=CODE,
        config=identity_of(card_texts),
        upstream={"version": registered_version, "validation": report_version},
    )


def card_asset(
    line: str,
    card_texts: Section,
    requirements: Sequence[Requirement],
    rule_set_hashes: Mapping[str, str],
) -> dg.AssetsDefinition:
    """`<line>_card`."""

    @dg.asset(
        name=f"{line}_card",
        group_name=line,
        description="What the model is for, how it was made, what was measured, who judged it.",
        kinds={"jsonld"},
        code_version=CODE,
        ins={"registered": dg.AssetIn(f"{line}_version")},
    )
    def card(
        context: dg.AssetExecutionContext,
        registered: RegisteredVersion,
        object_store: dg.ResourceParam[ObjectStore],
        ledger: dg.ResourceParam[Ledger],
        settings: dg.ResourceParam[PlatformSettings],
    ) -> dg.MaterializeResult[CardVersion]:
        with foreseen_failures():
            report = registered.report
            stored = object_store.get(report.report_key)
            if object_store.info(report.report_key).sha256 != report.report_sha256:
                raise CardError(
                    f"{report.report_key} is not the report that was registered; materialize {line}_validation again"
                )
            made = build_card(
                CardInputs(
                    registered=registered,
                    report=json.loads(stored),
                    dagster_run_id=context.run.run_id,
                    verdict_hashes=tuple(
                        verdict_ids(ledger, resolve(requirements, report.model, rule_set_hashes))
                    ),
                    card_texts=card_texts.model_dump(),
                )
            )
            reference = _store(made, registered, object_store, settings.env)
            document = made.document
            return materialized(
                reference,
                fingerprint=card_fingerprint(
                    line, card_texts, registered_version=registered.version, report_version=report.version
                ),
                metadata={
                    "model_id": document["model_id"],
                    "card": dg.MetadataValue.json(document),
                    "html": dg.MetadataValue.url(object_store.uri(reference.html_key)),
                    "json_ld": object_store.uri(reference.json_ld_key),
                },
            )

    return card


def _store(made: ModelCard, registered: RegisteredVersion, store: ObjectStore, env: str) -> CardVersion:
    report_folder = registered.report.report_key.rpartition("/")[0]
    pictures = {picture: store.get(f"{report_folder}/{picture}.png") for picture in _PICTURES}
    folder = f"cards/{env}/{registered.name}/{registered.number}"
    reference = CardVersion(
        registered=registered,
        json_ld_key=f"{folder}/card-{made.sha256[:16]}.jsonld",
        html_key=f"{folder}/card-{made.sha256[:16]}.html",
        card_sha256=made.sha256,
    )
    contents = {
        reference.json_ld_key: made.json_ld,
        reference.html_key: render_html(made, pictures=pictures).encode(),
    }
    for key, content in contents.items():
        store.put(
            key,
            content,
            gdpr_class="public",
            retention_days=_RETENTION_DAYS,
            source_commit=registered.report.model.source_commit,
        )
    return reference

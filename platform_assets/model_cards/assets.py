"""The model card asset: JSON-LD and HTML, made from the lineage."""

import json
from pathlib import Path

import dagster as dg

from platform_assets.fingerprint import code_version, fingerprint
from platform_assets.governance.requirements import Demands, verdict_ids
from platform_assets.manifest import identity_of
from platform_assets.model_cards.card import CardInputs, ModelCard, build_card, layout_sha256, render_html
from platform_assets.model_cards.errors import CardError
from platform_assets.model_cards.spec import CardSpec
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import CardVersion, RegisteredVersion
from platform_assets.step import foreseen_failures, line_asset, materialized
from resources.object_store import ObjectStore

CODE = code_version("card", "platform_assets.model_cards.card")
_RETENTION_DAYS = 3650


def card_fingerprint(
    line: str,
    texts: CardSpec,
    task_sections: Path | None,
    *,
    registered_version: str,
    report_version: str,
) -> str:
    """Identity of the card of a registered and reported model, laid out as the files say now."""
    return fingerprint(
        f"{line}_card",
        code=CODE,
        config=identity_of(texts) | {"layout": layout_sha256(task_sections)},
        upstream={"version": registered_version, "validation": report_version},
    )


def card_asset(
    line: str,
    texts: CardSpec,
    demands: Demands,
    task_sections: Path | None = None,
) -> dg.AssetsDefinition:
    """`<line>_card`."""

    @line_asset(
        line,
        "card",
        description="What the model is for, how it was made, what was measured, who judged it.",
        kinds=("jsonld",),
        code=CODE,
        made_from={"registered": "version"},
    )
    def card(
        context: dg.AssetExecutionContext,
        registered: RegisteredVersion,
        outside: dg.ResourceParam[OutsideSystems],
    ) -> dg.MaterializeResult[CardVersion]:
        with foreseen_failures():
            report, store = registered.report, outside.object_store
            stored = store.get(report.report_key)
            if store.info(report.report_key).sha256 != report.report_sha256:
                raise CardError(
                    f"{report.report_key} is not the report that was registered; materialize {line}_validation again"
                )
            made = build_card(
                CardInputs(
                    registered=registered,
                    report=json.loads(stored),
                    dagster_run_id=context.run.run_id,
                    verdict_hashes=tuple(verdict_ids(outside.ledger, demands.of(report.model))),
                    card_texts=texts.model_dump(),
                ),
                task_sections,
            )
            reference = _store(made, task_sections, registered, store, outside.env)
            document = made.document
            return materialized(
                reference,
                fingerprint=card_fingerprint(
                    line,
                    texts,
                    task_sections,
                    registered_version=registered.version,
                    report_version=report.version,
                ),
                metadata={
                    "model_id": document["model_id"],
                    "card": dg.MetadataValue.json(document),
                    "html": dg.MetadataValue.url(outside.report_url(reference.html_key)),
                    "html_object": store.uri(reference.html_key),
                    "dagster/uri": store.uri(reference.json_ld_key),
                    "json_ld": dg.MetadataValue.url(outside.report_url(reference.json_ld_key)),
                    "json_ld_object": store.uri(reference.json_ld_key),
                },
            )

    return card


def _store(
    made: ModelCard,
    task_sections: Path | None,
    registered: RegisteredVersion,
    store: ObjectStore,
    env: str,
) -> CardVersion:
    report_folder = registered.report.report_key.rpartition("/")[0]
    pictures = {
        picture: store.get(f"{report_folder}/{picture}.png") for picture in registered.report.pictures
    }
    folder = f"cards/{env}/{registered.name}/{registered.number}"
    reference = CardVersion(
        registered=registered,
        json_ld_key=f"{folder}/card-{made.sha256[:16]}.jsonld",
        html_key=f"{folder}/card-{made.sha256[:16]}.html",
        card_sha256=made.sha256,
    )
    contents = {
        reference.json_ld_key: made.json_ld,
        reference.html_key: render_html(made, pictures=pictures, task_sections=task_sections).encode(),
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

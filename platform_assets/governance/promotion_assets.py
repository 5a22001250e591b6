"""The promotions of a line in the UI: a table of what stood in which stage when, with a picture of it.

Nothing is made here: the asset shows what the ledger says, and whoever moves a pointer tells the UI so at once.
"""

from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg

from platform_assets.fingerprint import code_version
from platform_assets.governance.history import Stay, history
from platform_assets.governance.history_picture import history_picture
from platform_assets.governance.review_requests import newest_requests
from platform_assets.ledger.ledger import Entry
from platform_assets.outside_systems import OutsideSystems
from platform_assets.pictures import as_markdown_image
from platform_assets.shown import shown_table
from platform_assets.step import foreseen_failures

GROUP: Final = "promotions"
CODE: Final = code_version("promotions", "platform_assets.governance.history")
_SHOWN_DIGITS: Final = 12
_SHOWN_REQUESTS: Final = 20


def asset_name(line: str) -> str:
    """The asset's key."""
    return f"{line}_promotions"


def promotions_asset(line: str) -> dg.AssetsDefinition:
    """`<line>_promotions`."""

    @dg.asset(
        name=asset_name(line),
        group_name=GROUP,
        description=(
            "Which version stood in staging and in production, from when to when: by whose act, and on which verdicts and "
            "reviews. As the ledger says it."
        ),
        kinds={"table"},
        code_version=CODE,
        deps=[dg.AssetDep(f"{line}_deployment")],
    )
    def promotions(outside: dg.ResourceParam[OutsideSystems]) -> dg.MaterializeResult[None]:
        with foreseen_failures():
            made = promotions_materialization(outside, line)
            return dg.MaterializeResult(metadata=made.metadata)

    return promotions


def promotions_materialization(
    outside: OutsideSystems, line: str, *, now: datetime | None = None
) -> dg.AssetMaterialization:
    """What to tell the UI about the history of a line as it is now, for whoever has changed it.

    Raises:
        LedgerError: The ledger cannot be read.
        ReleaseError: It names a release that it does not have.
    """
    stays = history(outside.ledger, line)
    shown: dict[str, Any] = {"page": dg.MetadataValue.url(outside.line_url(line))}
    for stage in ("production", "staging"):
        there = next((each for each in stays if each.stage == stage and each.until is None), None)
        shown[stage] = dg.MetadataValue.text(f"version {there.number}" if there else "nothing")
    if stays:
        picture = as_markdown_image(history_picture(stays, now or datetime.now(UTC)), "stages over time")
        shown |= shown_table("promotions", [_row(each) for each in reversed(stays)])
        shown |= {"stages over time": dg.MetadataValue.md(picture)}
        if requests := newest_requests(outside.ledger, line, most=_SHOWN_REQUESTS):
            shown |= shown_table("review_requests", [_request_row(each) for each in requests])
    else:
        shown["note"] = f"Nothing of {line} was ever deployed: materialize {line}_deployment."
    return dg.AssetMaterialization(asset_key=asset_name(line), metadata=shown)


def _row(stay: Stay) -> dict[str, str | int]:
    model = stay.release.card.registered.report.model
    return {
        "entry": stay.entry.seq,
        "stage": stay.stage,
        "version": stay.number,
        "since": _time(stay.since),
        "until": _time(stay.until) if stay.until else "now",
        "act": stay.act,
        "by": stay.by,
        "reason": stay.reason,
        "verdicts": len(stay.verdicts),
        "reviews": len(stay.reviews),
        "spec": model.source_commit[:_SHOWN_DIGITS],
        "author": model.source_author or "unknown",
        "started by": model.started_by or "unknown",
        "data snapshot": model.features.dataset.snapshot.snapshot_id,
        "release": stay.release.release_id,
    }


def _request_row(entry: Entry) -> dict[str, str | int]:
    body = entry.body
    return {
        "entry": entry.seq,
        "time": _time(entry.time),
        "version": body["number"],
        "asked of": " and ".join(body["roles"]),
        "why": body["why"],
    }


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"

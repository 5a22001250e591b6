"""How a promoted line stands: what is in its stages, what is missing for the next step, which reviews are asked for."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from platform_assets.governance import release as releases
from platform_assets.governance.history import Stay, history
from platform_assets.governance.promotion import promotion_problems, sha256_of_stored
from platform_assets.governance.promotion_assets import promotions_materialization
from platform_assets.governance.requirements import PromotionDemands
from platform_assets.governance.review_requests import open_requests
from platform_assets.governance.reviewers import read_reviewers
from platform_assets.ledger.ledger import Entry
from platform_assets.lines.line import Line
from platform_assets.outside_systems import OutsideSystems


def promotion_status(line: Line, outside: OutsideSystems, *, now: datetime) -> dict[str, Any] | None:
    """Staging with what is missing, production, and open requests; None of a line whose deployments go to production.

    Raises:
        LedgerError: The ledger cannot be read.
        ObjectStoreError: The card in staging cannot be read.
    """
    demands, ledger = line.promotion, outside.ledger
    if demands is None:
        return None
    reviewers = read_reviewers(outside.settings.reviewers)
    there = {each.stage: each for each in history(ledger, line.name) if each.until is None}
    missing: list[str] = []
    if staged := releases.active(ledger, line.name, "staging"):
        stored = sha256_of_stored(outside.object_store, staged.card)
        missing = promotion_problems(ledger, staged, demands, reviewers, stored_card=stored, now=now)
    asked = open_requests(
        ledger,
        line.name,
        demands,
        reviewers,
        notice=timedelta(days=outside.settings.review_notice_days),
        now=now,
    )
    return {
        "staging": _told(there["staging"]) | {"missing": missing} if "staging" in there else None,
        "production": _told(there["production"]) if "production" in there else None,
        "reviews": _demanded(demands),
        "review_requests": [request_told(each) for each in asked],
    }


def _told(stay: Stay) -> dict[str, Any]:
    return {
        "version": stay.number,
        "release_id": stay.release.release_id,
        "model_fingerprint": stay.release.card.registered.report.model.fingerprint,
        "since": stay.since,
        "act": stay.act,
        "by": stay.by,
    }


def _demanded(demands: PromotionDemands) -> list[dict[str, Any]]:
    return [
        {"role": rule.role, "approvals": rule.approvals, "signature": rule.signature}
        for rule in demands.reviews
    ]


def request_told(entry: Entry) -> dict[str, Any]:
    """A request for a review, for people."""
    body = entry.body
    return {
        "version": body["number"],
        "roles": body["roles"],
        "why": body["why"],
        "time": entry.time,
        "entry": entry.seq,
    }


def next_commands(line: str, status: Mapping[str, Any], further: Sequence[str] = ()) -> list[list[str]]:
    """The commands, each as its arguments, that come next for the version in staging; none where nothing is in it.

    Args:
        line: Its name.
        status: As `promotion_status` has it.
        further: Options that name the line's spec.
    """
    staged = status["staging"]
    if staged is None:
        return []
    version = ["--version", str(staged["version"])]
    said = ["--decision", "approve", "--comment", "TEXT"]
    signed = [bool(rule["signature"]) for rule in status["reviews"]]
    found: list[list[str]] = []
    if any(signed):
        found += [
            ["review", "request", line, "request.json", *version, "--by", "NAME", *further],
            ["review", "sign", "request.json", "--key", "FILE", *said],
            ["review", "add", "request.signed.json", *further],
        ]
    if not all(signed):
        found.append(["review", line, *version, "--by", "NAME", *said, *further])
    return [*found, ["promote", line, *version, "--by", "NAME", "--reason", "TEXT", *further]]


def show_promotions(line: str, outside: OutsideSystems, instance: dg.DagsterInstance) -> None:
    """Tells the UI how the stages of a promoted line stand now.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    instance.report_runless_asset_event(promotions_materialization(outside, line))

"""Waivers: a named person takes responsibility for going on without a pass, for a while.

A waiver is a verdict, so whatever demands one meets it where it looks, and the next judgement of the same rules takes its
place. It says what it sets aside. It counts for what the spec lists under `requires.waivable`, and until it ends; what
objects to a subject is beyond it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from pydantic import JsonValue

from platform_assets.governance import verdict as verdicts
from platform_assets.governance.errors import LineageError, WaiverError
from platform_assets.governance.lineage import registered_versions
from platform_assets.governance.release import newest_releases
from platform_assets.governance.requirements import Demands
from platform_assets.governance.verdict import (
    OBJECTIONS,
    ResolvedRequirement,
    Verdict,
    Waiver,
    latest_verdict,
)
from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of
from platform_assets.references import CardVersion, RegisteredVersion
from platform_assets.tags import AUTOMATION

LONGEST_DAYS: Final = 366
"""A waiver that shall last longer is a rule to be changed."""
_SHOWN: Final = ("observed", "demanded", "reason")


def registered_version(ledger: Ledger, line: str, number: int | None) -> RegisteredVersion:
    """A registered model of a line, by its number; the one that was registered last where none is given.

    Raises:
        LineageError: There is none.
    """
    for each in registered_versions(ledger, line):
        if number in (None, each.number):
            return each
    raise LineageError(
        f"{line} has no registered version{'' if number is None else f' {number}'}; `platform-assets history {line}` "
        "and `platform-assets releases` list what there is"
    )


def waive(
    ledger: Ledger,
    demands: Demands,
    registered: RegisteredVersion,
    rule_set: str,
    *,
    by: str,
    reason: str,
    days: float,
    now: datetime,
) -> list[Entry]:
    """The verdicts by which a person sets a rule set aside, one for each subject on which it is demanded and not passed.

    Args:
        ledger: Where they are recorded, once it is known what they set aside.
        demands: What the line demands, under the rules as they are now.
        registered: The model, with its data.
        rule_set: What is waived, e.g. `gate.auc`.
        by: Who takes responsibility.
        reason: Why it may be.
        days: For how long, at most a year.
        now: The current time, with its time zone.

    Raises:
        WaiverError: It is not to be waived, passes anyway, nobody is named, or it would last too long.
    """
    line = registered.name
    by, reason = by.strip(), reason.strip()
    if not (by and reason):
        raise WaiverError(f"{rule_set} of {line}: a waiver names who takes responsibility, and why")
    if by.startswith(AUTOMATION):
        raise WaiverError(f"{rule_set} of {line}: {by} is no person, and nobody else takes responsibility")
    if not 0 < days <= LONGEST_DAYS:
        raise WaiverError(
            f"{rule_set} of {line}: a waiver lasts more than no time and at most {LONGEST_DAYS} days; what is to be waived "
            "for longer is a rule to be changed"
        )
    if rule_set in OBJECTIONS:
        raise WaiverError(f"{rule_set} objects to a subject, and nobody can waive that")
    with ledger.exclusive() as writer:
        concerned = [
            each
            for each in demands.of(registered.report.model, _card_of(ledger, registered))
            if each.requirement.rule_set == rule_set
        ]
        _require_waivable(line, rule_set, demands, concerned)
        set_aside = list(_set_aside(ledger, concerned, now))
        if not set_aside:
            raise WaiverError(
                f"{rule_set} of {line} version {registered.number} stands, so there is nothing to waive"
            )
        waiver = Waiver(by=by, reason=reason, expires_at=now + timedelta(days=days))
        made = []
        for resolved, evidence in set_aside:
            judged = Verdict(
                subject=resolved.subject,
                rule_set=rule_set,
                rule_set_hash=resolved.rule_set_hash,
                outcome="waived",
                evidence=evidence,
                producer={"act": "waive"},
                waiver=waiver,
            )
            evaluation = fingerprint_of(waiver=waiver.model_dump(mode="json"), evidence=evidence)
            made.append(verdicts.record(writer, judged, evaluation_id=f"waiver:{evaluation}"))
        return made


def _require_waivable(
    line: str, rule_set: str, demands: Demands, concerned: list[ResolvedRequirement]
) -> None:
    if not concerned:
        known = ", ".join(sorted({each.rule_set for each in demands.requirements}))
        raise WaiverError(
            f"{line} does not demand {rule_set}, so there is nothing to waive; demanded are {known}"
        )
    if rule_set not in demands.waivable:
        listed = ", ".join(sorted(demands.waivable)) or "nothing"
        raise WaiverError(
            f"{line} does not let {rule_set} be waived; its spec lists {listed} under requires.waivable"
        )
    if lacks := [each.lack for each in concerned if each.lack]:
        raise WaiverError(f"{rule_set} of {line}: {lacks[0]}; there is nothing that a waiver could be about")


def _set_aside(
    ledger: Ledger, concerned: list[ResolvedRequirement], now: datetime
) -> Iterator[tuple[ResolvedRequirement, dict[str, JsonValue]]]:
    """The requirements that are not met by a pass, each with what the newest verdict on it says."""
    for resolved in concerned:
        newest = latest_verdict(ledger, resolved.subject, resolved.requirement.rule_set)
        if newest is None:
            yield resolved, {"sets_aside": "missing"}
            continue
        entry, found = newest
        problem = verdicts.problem_with(entry, resolved, now=now)
        if found.outcome == "pass" and not problem:
            continue
        evidence: dict[str, JsonValue] = {"sets_aside": found.outcome, "sets_aside_entry": entry.hash}
        evidence |= {key: found.evidence[key] for key in _SHOWN if key in found.evidence}
        yield resolved, evidence | ({"problem": problem} if problem else {})


def _card_of(ledger: Ledger, registered: RegisteredVersion) -> CardVersion | None:
    """The card of the newest release of a model; None where it was never released."""
    for release in newest_releases(ledger, registered.name):
        if release.card.registered.number == registered.number:
            return release.card
    return None

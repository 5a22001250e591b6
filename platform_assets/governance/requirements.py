"""From what a spec demands to what one concrete model must have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from platform_assets.governance.errors import ReleaseError
from platform_assets.governance.release import subject_versions
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.verdict import (
    Requirement,
    ResolvedRequirement,
    SubjectKind,
    latest_verdict,
    verdict_of,
)
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.references import CardVersion, ModelVersion
from resources.provenance import UNVERSIONED

_LACKS: Mapping[SubjectKind, str] = {
    "tuning": "its model was not tuned: train it with the line's Experiment",
    "card": "its model has no card yet: materialize it",
}
_NOTHING = "none"
"""Stands for the version of what there is not."""


def resolve(
    requirements: Sequence[Requirement],
    model: ModelVersion,
    rule_set_hashes: Mapping[str, str],
    *,
    card: CardVersion | None = None,
    waivable: frozenset[str] = frozenset(),
) -> list[ResolvedRequirement]:
    """Requirements of one concrete model, its data and its card, under the rules as the files state them now.

    A rule set that no file states any more gets no hash, so no verdict can satisfy it. Nor can one on what the model
    does not have, as a tuning where it was not tuned.
    """
    line = model.features.dataset.line
    versions = subject_versions(model, card=card)
    return [
        ResolvedRequirement(
            requirement=requirement,
            subject=f"{line}_{requirement.subject_kind}@{versions.get(requirement.subject_kind, _NOTHING)}",
            rule_set_hash=rule_set_hashes.get(requirement.rule_set, ""),
            lack="" if requirement.subject_kind in versions else _LACKS[requirement.subject_kind],
            waivable=requirement.rule_set in waivable,
        )
        for requirement in requirements
    ]


@dataclass(frozen=True, slots=True)
class Demands:
    """What an act demands of any model of a line, under the rules as they are now."""

    requirements: tuple[Requirement, ...]
    rule_set_hashes: Mapping[str, str]
    """By rule set, as the files state it."""
    waivable: frozenset[str] = frozenset()
    """Rule sets that a waiver meets."""

    def of(self, model: ModelVersion, card: CardVersion | None = None) -> list[ResolvedRequirement]:
        """What is demanded of one model, its data, and its card where it has one."""
        return resolve(self.requirements, model, self.rule_set_hashes, card=card, waivable=self.waivable)


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold beside verdicts and reviews, as the newest entry of a kind and subject tells it."""

    key: Key
    problem: Callable[[Entry | None], str]
    """What is wrong by that entry, or without any; empty where nothing is."""


@dataclass(frozen=True, slots=True)
class PromotionDemands:
    """What promoting any model of a line demands, under the rules as they are now."""

    verdicts: Demands
    """Those of the promotion, and of the deployment before it."""
    reviews: tuple[ReviewRule, ...] = ()
    waivable: frozenset[str] = frozenset()
    """Rule sets that a waiver meets."""
    conditions: tuple[Condition, ...] = field(default=())
    """What else must hold, as that the schema breaker is closed."""
    spec_commit: str = UNVERSIONED
    """Of the spec that demands all this, as `source_commit` tells it."""
    spec_author: str | None = None
    """Who made that commit, as `Name <address>`; None where nobody can tell."""


def verdict_ids(ledger: Ledger, resolved: Sequence[ResolvedRequirement]) -> list[str]:
    """Ledger entry hashes of the newest verdict on each requirement, whatever its outcome."""
    found = (latest_verdict(ledger, each.subject, each.requirement.rule_set) for each in resolved)
    return [entry.hash for entry, _ in filter(None, found)]


def let_through_by(
    ledger: Ledger,
    entries: Sequence[str],
    rules_now: Mapping[str, str],
    *,
    demands: Demands | None = None,
) -> list[ResolvedRequirement]:
    """What a release was let through by, each to be judged by its newest verdict.

    A verdict counts under the rules of then or under those of now: a release may return as it was judged.

    Args:
        ledger: Holds the verdicts.
        entries: Hashes of those that let it through.
        rules_now: Hash by rule set, as the files state the rules now.
        demands: What is demanded now: of the same verdicts, how old they may be and whether they may be waived. None:
            neither is asked.

    Raises:
        ReleaseError: The ledger lacks one of them.
    """
    ages: dict[tuple[str, str], float | None] = {
        (each.subject_kind, each.rule_set): each.max_age_days
        for each in (demands.requirements if demands else ())
    }
    found = []
    for entry_hash in entries:
        entry = ledger.get(entry_hash)
        if entry is None:
            raise ReleaseError(f"verdict {entry_hash}, which let a release through, is not in the ledger")
        then = verdict_of(entry)
        newest = latest_verdict(ledger, then.subject, then.rule_set)
        counted = {then.rule_set_hash, rules_now.get(then.rule_set)}
        under = (
            newest[1].rule_set_hash if newest and newest[1].rule_set_hash in counted else then.rule_set_hash
        )
        kind = then.subject.partition("@")[0].rpartition("_")[2]
        found.append(
            ResolvedRequirement(
                requirement=Requirement.model_validate(
                    {
                        "subject": kind,
                        "rule_set": then.rule_set,
                        "max_age_days": ages.get((kind, then.rule_set)),
                    }
                ),
                subject=then.subject,
                rule_set_hash=under,
                waivable=demands is None or then.rule_set in demands.waivable,
            )
        )
    return found

"""From what a spec demands to what one concrete model must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from platform_assets.governance.verdict import Requirement, ResolvedRequirement, latest_verdict
from platform_assets.ledger.ledger import Ledger
from platform_assets.references import ModelVersion


def resolve(
    requirements: Sequence[Requirement], model: ModelVersion, rule_set_hashes: Mapping[str, str]
) -> list[ResolvedRequirement]:
    """Requirements of one concrete model and its data, under the rules as the files state them now.

    A rule set that no file states any more gets no hash, so no verdict can satisfy it.
    """
    line = model.features.dataset.line
    versions = {
        "dataset": model.features.dataset.version,
        "features": model.features.version,
        "model": model.version,
    }
    return [
        ResolvedRequirement(
            requirement=requirement,
            subject=f"{line}_{requirement.subject_kind}@{versions[requirement.subject_kind]}",
            rule_set_hash=rule_set_hashes.get(requirement.rule_set, ""),
        )
        for requirement in requirements
    ]


@dataclass(frozen=True, slots=True)
class Demands:
    """What deploying demands of any model of a line, under the rules as they are now."""

    requirements: tuple[Requirement, ...]
    rule_set_hashes: Mapping[str, str]
    """By rule set, as the files state it."""

    def of(self, model: ModelVersion) -> list[ResolvedRequirement]:
        """What is demanded of one model and its data."""
        return resolve(self.requirements, model, self.rule_set_hashes)


def verdict_ids(ledger: Ledger, resolved: Sequence[ResolvedRequirement]) -> list[str]:
    """Ledger entry hashes of the newest verdict on each requirement, whatever its outcome."""
    found = (latest_verdict(ledger, each.subject, each.requirement.rule_set) for each in resolved)
    return [entry.hash for entry, _ in filter(None, found)]

"""A line whose production people move: versions, what is demanded of them, and who reviews and promotes, for tests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from platform_assets.datasets.schema_breaker import BREAKER, problem_of
from platform_assets.governance import promotion, verdict
from platform_assets.governance import release as releases
from platform_assets.governance.release import Release, activate, record
from platform_assets.governance.requirements import Condition, Demands, PromotionDemands
from platform_assets.governance.review import record_review
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.review_statement import Decision, decided, requested
from platform_assets.governance.reviewers import Reviewer, Reviewers, normalised
from platform_assets.governance.verdict import Requirement, Verdict, Waiver
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
    TunedBy,
)
from tests.governance.conftest import example

LINE = "chest"
REQUIREMENTS = (
    Requirement(subject_kind="model", rule_set="gate.auc"),
    Requirement(subject_kind="dataset", rule_set="contract.dicom", max_age_days=30),
    Requirement(subject_kind="tuning", rule_set="tuning.completed"),
    Requirement(subject_kind="card", rule_set="card.valid"),
)
DEMANDS = PromotionDemands(
    verdicts=Demands(REQUIREMENTS, {each.rule_set: "rules-1" for each in REQUIREMENTS}),
    reviews=(ReviewRule(role="radiologist"),),
    conditions=(Condition(Key(BREAKER, f"{LINE}_dataset"), partial(problem_of, f"{LINE}_dataset")),),
    spec_commit="c0ffee",
)


def reviewer(each: str, name: str, *roles: str, **given: Any) -> Reviewer:
    """Somebody whom the file names."""
    validity = {"valid_from": datetime(2020, 1, 1, tzinfo=UTC), "valid_until": None, "revoked_at": None}
    address = f"{each}@hospital.example"
    return Reviewer(
        **{
            "id": each,
            "name": name,
            "roles": roles,
            "emails": (address,),
            "principals": (each,),
            "public_key": None,
        }
        | validity
        | given
    )


def reviewers_of(*people: Reviewer) -> Reviewers:
    """What the file says at a commit, where it names these people."""
    return Reviewers(
        commit="c0ffee" * 6,
        people={each.id: each for each in people},
        known_as={
            each.id: frozenset(map(normalised, (each.id, each.name, *each.emails, *each.principals)))
            for each in people
        },
        persons={each.id: each.id for each in people},
    )


LEE, KAY = reviewer("lee", "Dr. Lee", "radiologist"), reviewer("kay", "Dr. Kay", "radiologist")
ADA, GRACE = reviewer("ada", "Ada"), reviewer("grace", "Grace")
PEOPLE = reviewers_of(LEE, KAY, ADA, GRACE)
"""Ada writes specs and starts trainings; Grace promotes."""


def version(number: int, *, tuned: bool = True, **given: Any) -> CardVersion:
    """The card of a registered version of the line, with all that it goes back to."""
    rows = example(
        TableSnapshot, content_hash=f"{number:04x}" * 16, snapshot_id=str(number), table=f"datasets.{LINE}"
    )
    features = example(
        FeaturesVersion, dataset=example(DatasetVersion, line=LINE, snapshot=rows), snapshot=rows
    )
    model = example(
        ModelVersion,
        features=features,
        **{
            "fingerprint": f"feed{number:04x}" * 8,
            "source_commit": "c0ffee",
            "source_author": "Ada <ada@hospital.example>",
            "started_by": "ada",
            "tuned_by": example(TunedBy, tuning=f"70{number:04x}") if tuned else None,
        }
        | given,
    )
    registered = example(
        RegisteredVersion, report=example(ReportVersion, model=model), name=LINE, number=number
    )
    return CardVersion(
        html_key="h",
        registered=registered,
        json_ld_key=f"card-{number}.jsonld",
        card_sha256=f"ca{number:04x}",
    )


@dataclass(frozen=True)
class Desk:
    """Where versions are staged, reviewed and promoted."""

    ledger: Ledger
    clock: Callable[[], datetime]
    demands: PromotionDemands = DEMANDS
    reviewers: Reviewers = PEOPLE

    def stage(self, number: int, *, judged: bool = True, **given: Any) -> Release:
        """A recorded release of a version in staging, and every verdict that is demanded of it."""
        card = version(number, **given)
        found = self.demands.verdicts.of(card.registered.report.model, card)
        gate = self.judge(found[0].subject, "gate.auc", run=f"run-{number}")
        if judged:
            for each in found[1:]:
                if not each.lack:
                    self.judge(each.subject, each.requirement.rule_set, run=f"run-{number}")
        made = Release(line=LINE, card=card, deployment={"manifest_key": "m"}, verdicts=(gate.hash,))
        record(self.ledger, made)
        self.deploy(made, stage="staging")
        return made

    def deploy(self, made: Release, **given: Any) -> Entry:
        """What the deployment does, which demands the gate."""
        gate = replace(self.demands.verdicts, requirements=REQUIREMENTS[:1])
        needed = gate.of(made.card.registered.report.model, made.card)
        return activate(
            self.ledger,
            LINE,
            made.release_id,
            reason="routine",
            requirements=needed,
            now=self.clock(),
            **given,
        )

    def judge(
        self, subject: str, rule_set: str, outcome: str = "pass", *, run: str, rules: str = "rules-1"
    ) -> Entry:
        """A verdict."""
        found = Verdict(
            subject=subject,
            rule_set=rule_set,
            rule_set_hash=rules,
            outcome=outcome,
            evidence={},
            producer={},
            waiver=Waiver(by="grace", reason="known") if outcome == "waived" else None,
        )
        return verdict.record(self.ledger, found, evaluation_id=run)

    def review(
        self, made: Release, by: Reviewer = LEE, decision: Decision = "approve", **given: Any
    ) -> Entry:
        """A review, by the clock."""
        asked = requested(
            made, reviewer=by, role="radiologist", intended_use="A demonstration.", valid_days=365
        )
        said = decided(asked, decision, comment="looked at all of it", at=self.clock(), **given)
        return record_review(
            Ledger(self.ledger._store, principal=by.principals[0], clock=self.clock),
            said,
            made,
            self.demands.reviews,
            self.reviewers,
            principal=by.principals[0],
            now=self.clock(),
        )

    def asked(self, made: Release) -> dict[str, Any]:
        """What an act is asked with."""
        return {
            "ledger": self.ledger,
            "release": made,
            "demands": self.demands,
            "reviewers": self.reviewers,
            "stored_card": made.card.card_sha256,
            "now": self.clock(),
        }

    @property
    def seen(self) -> str | None:
        """Hash of the activation in production."""
        current = self.ledger.latest(releases.ACTIVATION, LINE)
        return current.hash if current else None

    @property
    def production(self) -> int | None:
        """Number of the version in production."""
        found = releases.active(self.ledger, LINE)
        return found.card.registered.number if found else None

    @property
    def staged(self) -> int | None:
        """Number of the version in staging."""
        found = releases.active(self.ledger, LINE, "staging")
        return found.card.registered.number if found else None

    def promote(self, made: Release, by: str = "Grace", **given: Any) -> Entry:
        """Promotes it."""
        asked = self.asked(made) | {"by": by, "reason": "reviewed", "expected": self.seen} | given
        return promotion.promote(**asked)

    def bring_back(self, made: Release, act: str = "demote", by: str = "Grace", **given: Any) -> Entry:
        """Goes back to it."""
        asked = self.asked(made) | {"act": act, "by": by, "reason": "misses nodules", "expected": self.seen}
        return promotion.bring_back(**asked | given)

    def promoted(self, number: int) -> Release:
        """A version that is staged, reviewed and promoted."""
        made = self.stage(number)
        self.review(made)
        self.promote(made)
        return made

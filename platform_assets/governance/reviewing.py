"""How people come to review: what they are asked, and what becomes of their answer.

The command line and the job in the UI are both a few lines over this.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from platform_assets.governance.access import viewed_by
from platform_assets.governance.errors import ReviewError
from platform_assets.governance.release import ACTIVATION, POINTERS, Release, active, release
from platform_assets.governance.requirements import PromotionDemands
from platform_assets.governance.review import REVIEW, keys_of_reviews, record_review, review_problems
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.review_signature import SignedStatement
from platform_assets.governance.review_statement import (
    Criterion,
    Decision,
    Request,
    criteria_of,
    decided,
    requested,
)
from platform_assets.governance.reviewers import ADVICE, Reviewer, Reviewers, read_reviewers
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.outside_systems import OutsideSystems


class ReviewDesk:
    """Where a version of a line that is in a stage is reviewed."""

    def __init__(
        self, outside: OutsideSystems, line: str, demands: PromotionDemands | None, number: int | None
    ) -> None:
        """Looks up the version.

        Args:
            outside: The systems.
            line: The line.
            demands: What promoting any of its models demands; None where nothing is promoted.
            number: Of the version; None for the one in staging, or else in production.

        Raises:
            ReviewError: No such version is in a stage, or the line asks for no reviews.
        """
        if demands is None or not demands.reviews:
            raise ReviewError(
                f"{line} asks for no reviews: list some under `requires.promote` of its training spec"
            )
        self.outside, self.demands = outside, demands
        self.release = in_a_stage(outside.ledger, line, number)
        self.reviewers = read_reviewers(outside.settings.reviewers)

    @property
    def rules(self) -> tuple[ReviewRule, ...]:
        """What is demanded of reviews."""
        return self.demands.reviews

    def reviewer(self, name: str) -> Reviewer:
        """The person of a name.

        Raises:
            ReviewError: The name means nobody, or nobody can be looked up.
        """
        return found_reviewer(self.reviewers, name)

    def criteria(self) -> tuple[Criterion, ...]:
        """What a promotion of the version demands, with what was found."""
        model = self.release.card.registered.report.model
        return criteria_of(self.outside.ledger, self.demands.verdicts.of(model, self.release.card))

    def intended_use(self) -> str:
        """As the card states it."""
        return str(card_of(self.outside, self.release).get("intended_use", "not stated"))

    def request(self, name: str, role: str | None = None) -> Request:
        """What a person is asked to review.

        Args:
            name: Any of the person's.
            role: In which role; None for the one that is asked for and that the person has.

        Raises:
            ReviewError: The name means nobody, or the person has none of the roles.
        """
        reviewer = self.reviewer(name)
        rule = self._rule(reviewer, role)
        model = self.release.card.registered.report.model
        viewed = viewed_by(self.outside.ledger, self.release.line, model.fingerprint, reviewer.id)
        return requested(
            self.release,
            reviewer=reviewer,
            role=rule.role,
            intended_use=self.intended_use(),
            valid_days=rule.max_age_days,
            criteria=self.criteria(),
            cases_viewed=len(viewed.cases),
            accesses=viewed.entries,
        )

    def give(
        self,
        name: str,
        decision: Decision,
        *,
        comment: str,
        role: str | None = None,
        residual_anomalies: Sequence[str] = (),
        supersedes: str | None = None,
    ) -> Entry:
        """The entry of a review that is given here and now, by somebody whom the process acts as.

        Raises:
            ReviewError: It could not count; everything that is wrong is named.
        """
        now = datetime.now(UTC)
        statement = decided(
            self.request(name, role),
            decision,
            comment=comment,
            at=now,
            residual_anomalies=residual_anomalies,
            supersedes=supersedes,
        )
        return record_review(
            self.outside.ledger,
            statement,
            self.release,
            self.rules,
            self.reviewers,
            principal=self.outside.principal,
            now=now,
        )

    def add(self, signed: SignedStatement) -> Entry:
        """The entry of a review that was signed elsewhere.

        Raises:
            ReviewError: It could not count; everything that is wrong is named. Or it is of another request than the platform
                would export: it leaves a criterion out, shows one of something else, or states another use.
        """
        said = signed.statement
        due, shown = (
            {(each.rule_set, each.subject) for each in criteria}
            for criteria in (self.criteria(), said.criteria)
        )
        wrong = [
            *(f"does not show {rule_set} of {subject}" for rule_set, subject in sorted(due - shown)),
            *(
                f"shows {rule_set} of {subject}, which nobody demands"
                for rule_set, subject in sorted(shown - due)
            ),
            *(["states another intended use"] if said.intended_use != self.intended_use() else []),
        ]
        if wrong:
            raise ReviewError(
                f"this review is not recorded: what was signed {'; '.join(wrong)}; export the request again"
            )
        return record_review(
            self.outside.ledger,
            signed,
            self.release,
            self.rules,
            self.reviewers,
            principal=self.outside.principal,
            now=datetime.now(UTC),
        )

    def history(self) -> list[Entry]:
        """All reviews of the model, oldest first."""
        subjects = {key.subject for key in keys_of_reviews(self.outside.ledger, self.release, self.reviewers)}
        return [each for each in self.outside.ledger.entries(kind=REVIEW) if each.subject in subjects]

    def problems(self) -> list[str]:
        """What is missing of reviews, all at once; the verdicts are another matter."""
        ledger, now = self.outside.ledger, datetime.now(UTC)
        known = ledger.established(keys_of_reviews(ledger, self.release, self.reviewers))
        found = (
            problem
            for rule in self.rules
            for problem in review_problems(rule, self.release, known=known, reviewers=self.reviewers, now=now)
        )
        return list(dict.fromkeys(found))

    def _rule(self, reviewer: Reviewer, role: str | None) -> ReviewRule:
        asked = {rule.role: rule for rule in self.rules}
        fitting = [each for each in asked if each in reviewer.roles] if role is None else [role]
        if len(fitting) > 1:
            raise ReviewError(f"{reviewer.name} can review as {' or '.join(fitting)}: say in which role")
        # Without any it is for the one that is asked for first, so that the refusal names what is missing.
        chosen = fitting[0] if fitting else next(iter(asked))
        if chosen not in asked:
            raise ReviewError(
                f"{self.release.line} asks for reviews by {', '.join(asked)}, and for none by a {chosen}"
            )
        return asked[chosen]


def found_reviewer(reviewers: Reviewers, name: str) -> Reviewer:
    """The person of a name.

    Raises:
        ReviewError: The name means nobody, or nobody can be looked up.
    """
    found = reviewers.find(name)
    if found is None:
        known = ", ".join(sorted(each.name for each in reviewers.people.values())) or "none"
        file = reviewers.history.file if reviewers.history else "reviewers.yaml"
        raise ReviewError(
            reviewers.problem
            or f"{name} names nobody of {file} as it is committed (there are: {known}); {ADVICE}"
        )
    return found


def in_a_stage(ledger: Ledger, line: str, number: int | None) -> Release:
    """The release of a version that is in staging, or is or was in production; without a number, of either in this order.

    What was in production can be reviewed again, since a way back to it asks for reviews as young as any.

    Raises:
        ReviewError: There is none.
    """
    found = [each for stage in POINTERS if (each := active(ledger, line, stage)) is not None]
    for each in found:
        if number in (None, each.card.registered.number):
            return each
    served = ledger.entries(kind=ACTIVATION, subject=line, newest_first=True)
    for entry in served if number is not None else ():
        former = release(ledger, line, entry.body["release_id"])
        if former.card.registered.number == number:
            return former
    there = ", ".join(sorted({str(each.card.registered.number) for each in found})) or "none"
    what = "a version" if number is None else f"version {number}"
    raise ReviewError(
        f"{what} of {line} is neither in staging nor was it ever in production (in a stage: {there}); nothing else is "
        f"reviewed: platform-assets run {line}"
    )


def card_of(outside: OutsideSystems, release: Release) -> dict[str, object]:
    """The card of a release, as it was judged.

    Raises:
        ReviewError: What lies there is another one.
    """
    key, store = release.card.json_ld_key, outside.object_store
    content = store.get(key)
    if store.info(key).sha256 != release.card.card_sha256:
        raise ReviewError(f"{key} is not the card that was released; materialize {release.line}_card again")
    document: dict[str, object] = json.loads(content)
    return document

"""Reviews: what people decided about a version, and whether that is what a promotion demands.

A review is one ledger entry. Its subject names the model's fingerprint and the person, so the newest entry on a subject is
what that person says now, and the entries before it are what they said before. It counts for the very model and the very
card that it was given on.

Everything that is doubtful does not count:

- Validity is asked twice: at the time of the review, and now. Once a person is revoked, none of their reviews counts, those
  from before included; what was promoted on them stays recorded as it was.
- A signature is checked whenever the review is counted, by the key that counts now. Who has got a new key signs anew.
- A rejection is an objection. It blocks whatever becomes of who gave it: it neither grows old, nor ends with a role, nor
  needs to be of the card of today. It ends with a newer review by the same person, or with one by another reviewer of the
  role, which counts itself and names it as superseded.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as PydanticValidationError

from platform_assets.governance.errors import ReviewError
from platform_assets.governance.release import ACTIVATION, Release
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.review_signature import SignedStatement, is_signed_by
from platform_assets.governance.review_statement import Request, Statement
from platform_assets.governance.reviewers import Reviewers, normalised
from platform_assets.governance.verdict import CLOCK_SKEW
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger
from platform_assets.manifest import first_problem

REVIEW: Final = "review"
"""The kind of the entries."""
POINTERS: Final = ("staging", ACTIVATION)
"""Kinds of the entries that say which release is in a stage: what is in one can be reviewed."""
Authentication = Literal["ed25519 signature", "principal claim"]
_SHOWN_DIGITS: Final = 12
_PLATFORMS_OWN: Final = frozenset(Request.model_fields) - {
    "format", "by", "printed_name", "role", "public_key", "cases_viewed", "accesses", "intended_use", "criteria",
}  # fmt: skip
"""Fields of a statement that follow from the release."""


class Review(BaseModel):
    """A recorded review: the statement, and how the platform knows that it is the person's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statement: Statement
    authenticated: Authentication
    signature: str | None = None
    """Base64, Ed25519, over the statement."""
    reviewers_commit: str
    """Commit of `reviewers.yaml` at which the person was a reviewer."""
    previous: str | None = None
    """Hash of the entry of the person's review of this model before it."""


@dataclass(frozen=True, slots=True)
class _Given:
    """The newest review of a person, with what keeps it from counting."""

    entry: Entry
    review: Review
    faults: tuple[str, ...]

    @property
    def objects(self) -> bool:
        return self.review.statement.decision == "reject"

    @property
    def told(self) -> str:
        statement = self.review.statement
        return f"the review by {statement.printed_name} of {self.entry.time:%Y-%m-%d} (entry {self.entry.seq})"


@dataclass(frozen=True, slots=True)
class _Judged:
    """How the reviews of a release stand to a rule."""

    counted: tuple[_Given, ...]
    problems: tuple[str, ...]


def subject_of(line: str, model_fingerprint: str, reviewer_id: str) -> str:
    """Subject of the entries of a person's reviews of a model."""
    return f"{line}_model@{model_fingerprint}/{reviewer_id}"


def keys_of_reviews(release: Release, reviewers: Reviewers) -> set[Key]:
    """What has to be known of the ledger to judge by the reviews of a release: the newest of everybody ever named."""
    model = release.card.registered.report.model
    return {Key(REVIEW, subject_of(release.line, model.fingerprint, each)) for each in reviewers.ids}


def review_of(entry: Entry) -> Review:
    """The review that an entry records.

    Raises:
        LedgerError: The entry holds no valid review on its subject.
    """
    try:
        review = Review.model_validate(entry.body)
    except PydanticValidationError as problem:
        raise LedgerError(f"entry {entry.seq} holds no valid review: {first_problem(problem)}") from None
    said = review.statement
    if (entry.kind, entry.subject) != (REVIEW, subject_of(said.line, said.model_fingerprint, said.by)):
        raise LedgerError(f"entry {entry.seq} holds no valid review: it is one of {said.by} on another model")
    return review


def record_review(
    ledger: Ledger,
    said: Statement | SignedStatement,
    release: Release,
    rules: Sequence[ReviewRule],
    reviewers: Reviewers,
    *,
    principal: str,
    now: datetime,
) -> Entry:
    """The entry of a review: appended now, or there already where the person's newest one is this very statement.

    Args:
        ledger: Where it is kept for good.
        said: What the person says; signed, where they sign.
        release: What it is about; it is in staging or in production.
        rules: What the line demands of reviews.
        reviewers: Who may review.
        principal: In whose name this process acts; without a signature, it has to be one of the person's.
        now: The current time, with its time zone.

    Raises:
        ReviewError: The review could not count; everything that is wrong is named.
        LedgerError: The ledger cannot be written.
    """
    statement, signature = (
        (said.statement, said.signature) if isinstance(said, SignedStatement) else (said, None)
    )
    subject = subject_of(release.line, statement.model_fingerprint, statement.by)
    with ledger.exclusive() as writer:
        previous = ledger.latest(REVIEW, subject)
        review = Review(
            statement=statement,
            authenticated="ed25519 signature" if signature else "principal claim",
            signature=signature,
            reviewers_commit=reviewers.commit or "none",
            previous=previous.hash if previous else None,
        )
        if previous is not None:
            earlier = review_of(previous)
            if (earlier.statement, earlier.signature) == (statement, signature):
                return previous
        problems = [
            *_not_recordable(ledger, review, previous, release, rules, reviewers),
            *_not_authentic(review, rules, reviewers, principal),
            *_not_in_time(statement, previous, now),
        ]
        if problems:
            raise ReviewError("\n".join(f"this review is not recorded: {each}" for each in problems))
        # Keyed by the entry that it succeeds: what was signed once cannot be brought again after the contrary.
        return writer.append(
            REVIEW,
            subject,
            fingerprint=previous.hash if previous else GENESIS,
            body=review.model_dump(mode="json", exclude_none=True),
        )


def review_problems(
    rule: ReviewRule,
    release: Release,
    *,
    known: Mapping[Key, Entry],
    reviewers: Reviewers,
    now: datetime,
    verdicts: Iterable[Entry] = (),
) -> list[str]:
    """Why a rule is not met by the reviews of a release, all at once; empty where it is met.

    Args:
        rule: What is demanded.
        release: What is to be promoted.
        known: Of the ledger: the answers to `keys_of_reviews`.
        reviewers: Who may review.
        now: The current time, with its time zone.
        verdicts: Entries of the verdicts that the promotion relies on: reviewers must have seen each waiver among them.
    """
    return list(_judged(rule, release, known, reviewers, now, verdicts).problems)


def accepted_reviews(
    rule: ReviewRule,
    release: Release,
    *,
    known: Mapping[Key, Entry],
    reviewers: Reviewers,
    now: datetime,
    verdicts: Iterable[Entry] = (),
) -> list[Entry]:
    """The approvals that count for a rule, one for each person, oldest first. Arguments as in `review_problems`."""
    counted = _judged(rule, release, known, reviewers, now, verdicts).counted
    return sorted((each.entry for each in counted), key=lambda entry: entry.seq)


def approvals_needed(rule: ReviewRule, release: Release) -> tuple[int, str]:
    """How many people must approve, and why that is more than the rule says; empty where it is not."""
    unknown = unknown_involved(release, rule.excluded)
    if not unknown:
        return rule.approvals, ""
    return rule.approvals + 1, f"one more than otherwise, since nobody knows {' nor '.join(unknown)}"


def unknown_involved(release: Release, involved: Collection[str]) -> list[str]:
    """Those of the people involved whom nobody can tell."""
    model = release.card.registered.report.model
    # Of a changed file, or one that was never committed, nobody knows who wrote it.
    committed = model.source_commit.isalnum() and model.source_commit != "unversioned"
    found = []
    if "author" in involved and not (committed and model.source_author):
        found.append("who wrote its spec")
    if "trainer" in involved and not model.started_by:
        found.append("who started its training")
    return found


def involved_as(release: Release, involved: Collection[str], reviewers: Reviewers, reviewer_id: str) -> list[str]:
    """What a person has to do with a release that they may not approve alone."""
    model = release.card.registered.report.model
    roles = {"author": ("wrote its spec", model.source_author), "trainer": ("started its training", model.started_by)}
    return [
        told
        for role, (told, name) in roles.items()
        if role in involved and name and reviewers.is_named(reviewer_id, name)
    ]


# --- Recording -------------------------------------------------------------------------------------


def _not_recordable(
    ledger: Ledger,
    review: Review,
    previous: Entry | None,
    release: Release,
    rules: Sequence[ReviewRule],
    reviewers: Reviewers,
) -> list[str]:
    statement = review.statement
    found = _of_another(statement, release)
    staged = {entry.body["release_id"] for kind in POINTERS if (entry := ledger.latest(kind, release.line))}
    if release.release_id not in staged:
        found.append(f"version {statement.number} of {release.line} is neither in staging nor in production")
    if reviewers.problem:
        return [*found, reviewers.problem]
    reviewer = reviewers.people.get(statement.by)
    demanding = [rule for rule in rules if rule.role == statement.role]
    if not demanding:
        asked = ", ".join(sorted({rule.role for rule in rules})) or "nobody"
        found.append(f"{release.line} asks for reviews by {asked}, and for none by a {statement.role}")
    if reviewer is None:
        return [*found, f"{statement.by} is no reviewer at commit {reviewers.commit[:_SHOWN_DIGITS]}"]
    if statement.role not in reviewer.roles:
        found.append(_lacks_role(reviewers, statement.by, statement.role))
    if statement.printed_name != reviewer.name:
        found.append(f"{statement.by} is printed as {reviewer.name}; export the request again")
    if statement.decision == "approve" and demanding:
        for told in involved_as(
            release, set.intersection(*(set(rule.excluded) for rule in demanding)), reviewers, statement.by
        ):
            found.append(f"{reviewer.name} {told}, and nobody approves their own work")
    waived = [each.rule_set for each in statement.criteria if each.outcome == "waived"]
    if not statement.comment and (waived or statement.decision == "reject"):
        why = f"{', '.join(waived)} was waived" if waived else "an objection says what is wrong"
        found.append(f"give a comment: {why}")
    if statement.supersedes is not None and not _is_objection(ledger, statement, statement.supersedes):
        found.append(f"{statement.supersedes[:_SHOWN_DIGITS]} is no objection to this model: `review show` lists them")
    return found


def _not_authentic(
    review: Review, rules: Sequence[ReviewRule], reviewers: Reviewers, principal: str
) -> list[str]:
    statement, reviewer = review.statement, reviewers.people.get(review.statement.by)
    if reviewer is None:
        return []
    if review.signature is not None:
        wrong = _signature_problem(review, reviewers)
        return [wrong] if wrong else []
    if any(rule.signature for rule in rules if rule.role == statement.role):
        return [
            f"reviews by a {statement.role} have to be signed: `review request`, `review sign`, `review add`"
        ]
    if normalised(principal) not in map(normalised, reviewer.principals):
        return [
            f"this process acts as {principal}, which is no principal of {reviewer.name} in reviewers.yaml: review as one of "
            "theirs (PLATFORM_PRINCIPAL__USER), or sign"
        ]
    return []


def _not_in_time(statement: Statement, previous: Entry | None, now: datetime) -> list[str]:
    found = []
    if statement.signed_at > now + CLOCK_SKEW:
        found.append(f"it is dated {statement.signed_at:%Y-%m-%d %H:%M} UTC, in the future: check the clocks")
    if statement.expires_at <= now:
        found.append(f"it expired at {statement.expires_at:%Y-%m-%d %H:%M} UTC: review again")
    if previous is not None and statement.signed_at <= review_of(previous).statement.signed_at:
        found.append(
            f"{statement.printed_name} has reviewed this model again since (entry {previous.seq}); export a new request"
        )
    return found


def _of_another(statement: Statement, release: Release) -> list[str]:
    """What a statement says of the release that is not so."""
    card = release.card
    registered = card.registered
    model = registered.report.model
    if statement.model_fingerprint != model.fingerprint:
        return [f"it is of another model than version {registered.number} of {release.line}; export a new request"]
    if statement.card_sha256 != card.card_sha256:
        return [f"it is of another card of version {registered.number} of {release.line}; export a new request"]
    return []

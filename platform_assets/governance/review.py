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

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as PydanticValidationError

from platform_assets.governance.access import ACCESS, viewed
from platform_assets.governance.errors import ReviewError
from platform_assets.governance.release import ACTIVATION, Release, pointer
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.review_signature import SignedStatement, is_signed_by
from platform_assets.governance.review_statement import MEANINGS, Statement, about, criterion_of, missing
from platform_assets.governance.reviewers import Reviewer, Reviewers, normalised
from platform_assets.governance.verdict import CLOCK_SKEW, latest_verdict, verdict_of
from platform_assets.governance.verdict import KIND as VERDICT
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import GENESIS, Entry, Ledger
from platform_assets.manifest import first_problem

REVIEW: Final = "review"
"""The kind of the entries."""
Authentication = Literal["ed25519 signature", "principal claim"]
_SHOWN_DIGITS: Final = 12
_TOLD: Final = {
    "model_fingerprint": "another model",
    "number": "another version",
    "card_sha256": "another card",
    "report_sha256": "another report",
}
"""How it is told that a field of a statement differs, what matters most first."""


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
        return (
            f"the review by {statement.printed_name} of {self.entry.time:%Y-%m-%d} (entry {self.entry.seq})"
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """How the reviews of a release stand to a rule."""

    counted: tuple[_Given, ...]
    problems: tuple[str, ...]


def subject_of(line: str, model_fingerprint: str, reviewer_id: str) -> str:
    """Subject of the entries of a person's reviews of a model."""
    return f"{line}_model@{model_fingerprint}/{reviewer_id}"


def keys_of_reviews(ledger: Ledger, release: Release, reviewers: Reviewers) -> set[Key]:
    """What has to be known of the ledger to judge by the reviews of a release: the newest of everybody ever named.

    Also of whom only the ledger names: in another repository's file, an objection would be forgotten with its maker.
    """
    prefix = _subjects(release)
    given = {each.subject for each in ledger.entries(kind=REVIEW) if each.subject.startswith(prefix)}
    return {Key(REVIEW, each) for each in given | {f"{prefix}{each}" for each in reviewers.ids}}


def _subjects(release: Release) -> str:
    """What the subjects of all reviews of a release's model begin with."""
    return subject_of(release.line, release.card.registered.report.model.fingerprint, "")


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
            *_not_recordable(ledger, review, release, rules, reviewers),
            *_not_authentic(review, rules, reviewers, principal),
            *_not_in_time(statement, _newest_of_person(ledger, statement, reviewers), reviewers, now),
            *_not_as_recorded(ledger, statement),
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


def involved_as(
    release: Release, involved: Collection[str], reviewers: Reviewers, reviewer_id: str
) -> list[str]:
    """What a person has to do with a release that they may not approve alone."""
    model = release.card.registered.report.model
    roles = {
        "author": ("wrote its spec", model.source_author),
        "trainer": ("started its training", model.started_by),
    }
    return [
        told
        for role, (told, name) in roles.items()
        if role in involved and name and reviewers.is_named(reviewer_id, name)
    ]


# --- Recording -------------------------------------------------------------------------------------


def _not_recordable(
    ledger: Ledger,
    review: Review,
    release: Release,
    rules: Sequence[ReviewRule],
    reviewers: Reviewers,
) -> list[str]:
    statement = review.statement
    found = _of_another(statement, release)
    # Also what was in production: a way back to it asks for reviews as young as any.
    served = ledger.entries(kind=ACTIVATION, subject=release.line)
    staged = pointer(ledger, release.line, "staging")
    reviewable = {entry.body["release_id"] for entry in (*served, staged) if entry}
    if release.release_id not in reviewable:
        found.append(
            f"version {statement.number} of {release.line} is not in staging, and was never in production"
        )
    if reviewers.problem:
        return [*found, reviewers.problem]
    reviewer = reviewers.people.get(statement.by)
    demanding = [rule for rule in rules if rule.role == statement.role]
    if not demanding:
        asked = ", ".join(sorted({rule.role for rule in rules})) or "nobody"
        found.append(f"{release.line} asks for reviews by {asked}, and for none by a {statement.role}")
    if reviewer is None:
        return [*found, f"{statement.by} is no reviewer at commit {reviewers.commit[:_SHOWN_DIGITS]}"]
    if lack := _lack(reviewer, statement.role):
        found.append(lack)
    if statement.printed_name != reviewer.name:
        found.append(f"{statement.by} is printed as {reviewer.name}; export the request again")
    if statement.meaning != MEANINGS[statement.decision]:
        found.append(f"its meaning is not what {statement.decision} means here; sign the request again")
    if statement.decision == "approve" and demanding:
        excluded = set[str].intersection(*(set[str](rule.excluded) for rule in demanding))
        found += [
            f"{reviewer.name} {told}, and nobody approves their own work"
            for told in involved_as(release, excluded, reviewers, statement.by)
        ]
    waived = [each.rule_set for each in statement.criteria if each.outcome == "waived"]
    if not statement.comment and (waived or statement.decision == "reject"):
        why = f"{', '.join(waived)} was waived" if waived else "an objection says what is wrong"
        found.append(f"give a comment: {why}")
    if statement.supersedes is not None and not _is_objection(ledger, statement, statement.supersedes):
        found.append(
            f"{statement.supersedes[:_SHOWN_DIGITS]} is no objection to this model: `review show` lists them"
        )
    return found


def _not_authentic(
    review: Review, rules: Sequence[ReviewRule], reviewers: Reviewers, principal: str
) -> list[str]:
    statement, reviewer = review.statement, reviewers.people.get(review.statement.by)
    if reviewer is None:
        return []
    if review.signature is not None:
        wrong = _signature_problem(review, reviewer)
        return [wrong] if wrong else []
    if any(rule.signature for rule in rules if rule.role == statement.role):
        return [
            f"reviews by a {statement.role} have to be signed: `review request`, `review sign`, `review add`"
        ]
    if not _is_principal(reviewer, principal):
        return [
            f"this process acts as {principal}, which is no principal of {reviewer.name} (PLATFORM_PRINCIPAL__USER): sign instead"
        ]
    return []


def _newest_of_person(ledger: Ledger, statement: Statement, reviewers: Reviewers) -> Entry | None:
    """The newest review of a model by a person, under whichever of their ids."""
    line, model, person = statement.line, statement.model_fingerprint, reviewers.person(statement.by)
    theirs = {each for each in reviewers.ids if reviewers.person(each) == person} | {statement.by}
    found = (ledger.latest(REVIEW, subject_of(line, model, each)) for each in theirs)
    return max(filter(None, found), key=lambda entry: entry.seq, default=None)


def _not_in_time(
    statement: Statement, previous: Entry | None, reviewers: Reviewers, now: datetime
) -> list[str]:
    reviewer = reviewers.people.get(statement.by)
    found = _outside_validity(reviewer, statement, now, now) if reviewer else []
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
    said = statement.model_dump()
    wrong = [name for name, value in about(release).items() if said[name] != value]
    if not wrong:
        return []
    for name, told in _TOLD.items():
        if name in wrong:
            return [f"it is of {told} than version {release.card.registered.number} of {release.line} has"]
    return [
        f"it is of another release than {release.release_id} of {release.line} ({', '.join(wrong)} differ)"
    ]


def _not_as_recorded(ledger: Ledger, statement: Statement) -> list[str]:
    """Criteria and cases that the ledger does not know as the statement has them."""
    found = []
    for criterion in statement.criteria:
        entry = ledger.get(criterion.entry) if criterion.entry else None
        newest = latest_verdict(ledger, criterion.subject, criterion.rule_set)
        if entry is None and criterion == missing(criterion.rule_set, criterion.subject) and newest is None:
            continue
        if entry is None or entry.kind != VERDICT or criterion_of(entry) != criterion:
            found.append(f"the ledger has no such verdict of {criterion.rule_set}; export the request again")
        elif newest and criterion_of(newest[0]).model_copy(update={"entry": criterion.entry}) != criterion:
            found.append(
                f"{criterion.rule_set} was judged again since, with another outcome (entry {newest[0].seq}); export the "
                "request again"
            )
    model = f"{statement.line}_model@{statement.model_fingerprint}"
    entries = [entry for each in statement.accesses if (entry := ledger.get(each))]
    shown = [
        each
        for each in entries
        if (each.kind, each.subject, each.body.get("by")) == (ACCESS, model, statement.by)
    ]
    if len(shown) != len(statement.accesses) or len(viewed(shown).cases) != statement.cases_viewed:
        found.append(
            f"the ledger does not say that {statement.printed_name} was shown cases of these {statement.cases_viewed} subjects; "
            "export the request again"
        )
    return found


def _lack(reviewer: Reviewer, role: str) -> str:
    """Why a person does not have a role; empty where they have."""
    if role in reviewer.roles:
        return ""
    if f"role {role}" in reviewer.withheld:
        return (
            f"{reviewer.name} made the commit that names them a {role}, which does not count for them: somebody else takes the "
            "role out of reviewers.yaml in one commit, and puts it back in another"
        )
    return f"{reviewer.name} is no {role} ({', '.join(reviewer.roles) or 'no role'})"


def _signature_problem(review: Review, reviewer: Reviewer) -> str:
    """What is wrong with a signature; empty where it is by the key that counts."""
    if review.signature is None:
        return "it is not signed"
    if reviewer.public_key is None:
        why = " (they changed it themselves)" if "the public key" in reviewer.withheld else ""
        return f"no public key of {reviewer.name} counts{why}, so no signature of theirs does"
    statement = review.statement
    if statement.public_key != reviewer.public_key:
        return f"it is signed by another key than {reviewer.name} has now; sign a new one"
    if not is_signed_by(reviewer.public_key, statement, review.signature):
        return "its signature is wrong: what it says was altered, or another key signed it"
    return ""


def _is_objection(ledger: Ledger, statement: Statement, entry_hash: str) -> bool:
    """Whether a hash is of an objection to the model of a statement."""
    entry = ledger.get(entry_hash)
    if entry is None or entry.kind != REVIEW:
        return False
    objection = review_of(entry).statement
    return (objection.model_fingerprint, objection.decision) == (statement.model_fingerprint, "reject")


# --- Counting --------------------------------------------------------------------------------------


def _judged(
    rule: ReviewRule,
    release: Release,
    known: Mapping[Key, Entry],
    reviewers: Reviewers,
    now: datetime,
    verdicts: Iterable[Entry],
) -> _Judged:
    waivers = {entry.hash for entry in verdicts if verdict_of(entry).outcome == "waived"}
    problems = [reviewers.problem] if reviewers.problem else []
    newest: dict[str, _Given] = {}
    prefix = _subjects(release)
    given = (each for key, each in known.items() if key.kind == REVIEW and key.subject.startswith(prefix))
    for entry in sorted(given, key=lambda each: each.seq):
        try:
            review = review_of(entry)
        except LedgerError as problem:
            # It may be an objection.
            problems.append(str(problem))
            continue
        newest[reviewers.person(review.statement.by)] = _Given(
            entry, review, tuple(_faults(rule, release, entry, review, reviewers, now, waivers))
        )
    approvals = [each for each in newest.values() if not each.objects]
    sound = [each for each in approvals if not each.faults]
    counted = [each for each in sound if each.review.statement.role == rule.role]
    needed, why = approvals_needed(rule, release)
    if len(counted) < needed:
        # Where nobody can be looked up, each is told to be gone, and is not.
        problems += _shortfall(rule, release, needed, why, counted, () if reviewers.problem else approvals)
    for each in newest.values():
        if each.objects and not _is_withdrawn(each, sound):
            said = each.review.statement
            problems.append(
                f"{said.printed_name} ({said.role}) objects to version {said.number} (entry {each.entry.seq}): "
                f"{said.comment}; it takes a newer review by the same person, or one by another {said.role} that supersedes "
                f"{each.entry.hash[:_SHOWN_DIGITS]}"
            )
    return _Judged(tuple(counted), tuple(problems))


def _shortfall(
    rule: ReviewRule,
    release: Release,
    needed: int,
    why: str,
    counted: Sequence[_Given],
    approvals: Sequence[_Given],
) -> list[str]:
    people = (
        f"{needed} {rule.role} must approve" if needed == 1 else f"{needed} people ({rule.role}) must approve"
    )
    of_version = f"version {release.card.registered.number} of {release.line}"
    found = [f"{people} of {of_version}{f' ({why})' if why else ''}, and {len(counted) or 'nobody'} has"]
    for each in approvals:
        faults = list(each.faults)
        if each.review.statement.role != rule.role:
            faults.insert(0, f"it is by a {each.review.statement.role}, and no {rule.role}")
        if faults:
            found.append(f"{each.told} does not count: {'; '.join(faults)}")
    return found


def _is_withdrawn(objection: _Given, sound: Iterable[_Given]) -> bool:
    """Whether an approval that counts, by somebody else of the role, supersedes an objection."""
    return any(
        each.review.statement.supersedes == objection.entry.hash
        and each.review.statement.role == objection.review.statement.role
        and each.entry.seq > objection.entry.seq
        for each in sound
    )


def _faults(
    rule: ReviewRule,
    release: Release,
    entry: Entry,
    review: Review,
    reviewers: Reviewers,
    now: datetime,
    waivers: Collection[str],
) -> Iterator[str]:
    """What keeps an approval from counting, whatever its role."""
    statement = review.statement
    yield from _of_another(statement, release)
    reviewer = reviewers.people.get(statement.by)
    if reviewer is None:
        yield f"{statement.printed_name} is in reviewers.yaml no more"
        return
    if lack := _lack(reviewer, statement.role):
        yield lack
    if not reviewers.stand_on(review.reviewers_commit):
        yield (
            f"it was recorded by reviewers.yaml at commit {review.reviewers_commit[:_SHOWN_DIGITS]}, which is not in the history "
            f"of the one that is read now ({reviewers.commit[:_SHOWN_DIGITS]}): read the one of then, or review again"
        )
    yield from _outside_validity(reviewer, statement, entry.time, now)
    if statement.signed_at > now + CLOCK_SKEW or entry.time > now + CLOCK_SKEW:
        yield "it is dated in the future: check the clocks"
    if now - statement.signed_at > timedelta(days=rule.max_age_days):
        yield f"it is of {statement.signed_at:%Y-%m-%d}, older than {rule.max_age_days:g} days"
    if now >= statement.expires_at:
        yield f"it expired at {statement.expires_at:%Y-%m-%d %H:%M} UTC"
    if (rule.signature or review.signature is not None) and (wrong := _signature_problem(review, reviewer)):
        yield wrong
    if review.signature is None and not _is_principal(reviewer, entry.principal):
        yield f"it was given as {entry.principal}, which is no principal of {reviewer.name}"
    for told in involved_as(release, rule.excluded, reviewers, statement.by):
        yield f"{reviewer.name} {told}, and nobody approves their own work"
    seen = {each.entry for each in statement.criteria if each.outcome == "waived"}
    if not seen.issuperset(waivers):
        yield "a verdict was waived since"
    elif waivers and not statement.comment:
        yield "a verdict was waived, and it gives no reason"


def _outside_validity(
    reviewer: Reviewer, statement: Statement, recorded_at: datetime, now: datetime
) -> list[str]:
    """Why a person was no reviewer when they signed, when it was recorded, or is none now; each reason once."""
    times = (now, recorded_at, statement.signed_at)
    return list(dict.fromkeys(filter(None, map(reviewer.problem, times))))


def _is_principal(reviewer: Reviewer, principal: str) -> bool:
    return normalised(principal) in map(normalised, reviewer.principals)

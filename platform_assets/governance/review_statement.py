"""What a reviewer says about one version of a model, and all that it is said about.

A *request* holds what the platform states: which model, data, code, report and card, the criteria with what was found, the
cases that were looked at, and who is asked. A *statement* is a request with the person's decision. Its RFC 8785 form is what
a signature is over, so not a word of it can be another one afterwards.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from pydantic import ValidationError as PydanticValidationError

from platform_assets.governance.errors import ReviewError
from platform_assets.governance.release import Release
from platform_assets.governance.review_rule import LONGEST_DAYS
from platform_assets.governance.reviewers import Reviewer
from platform_assets.governance.verdict import ResolvedRequirement, latest_verdict, verdict_of
from platform_assets.ledger.entry import canonical, fingerprint_of
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.manifest import first_problem

Decision = Literal["approve", "reject"]
MEANINGS: Final[dict[str, str]] = {
    "approve": "I have reviewed this version, the criteria with what was found, and the limits that its card states, and I "
    "approve of its use for the intended use that is stated here.",
    "reject": "I have reviewed this version, and I object to its use.",
}
"""What putting one's name to a decision means, by decision."""
MOST_CHARACTERS: Final = 4_000
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARACTERS)]
S = TypeVar("S", bound="Request")


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Criterion(_Said):
    """A verdict that a promotion demands, as it stood."""

    rule_set: str
    subject: str
    """Asset and data version."""
    outcome: Literal["pass", "fail", "error", "waived", "missing"]
    observed: JsonValue = None
    demanded: JsonValue = None
    waived_by: str | None = None
    entry: str | None = None
    """Hash of the verdict's entry; None where there is none."""


class Request(_Said):
    """What somebody is asked to review. The platform states all of it."""

    format: Literal["review-request-1"] = "review-request-1"
    line: str
    number: int
    """Of the version, in the registry."""
    release_id: str
    model_fingerprint: str
    weights_sha256: str
    environment_sha256: str
    """Of the circumstances of the training: device, precision, threads and the like."""
    dataset_version: str
    features_version: str
    label_version: str
    """SHA-256 over the sources, which the labels came with."""
    source_commit: str
    code_commit: str
    report_sha256: str
    card_sha256: str
    """Of the card's judged part, which holds no reviews."""
    intended_use: str
    by: str
    """Id of the person who is asked."""
    printed_name: str
    role: str
    public_key: str | None = None
    """The key that signs, base64; None where nobody does."""
    valid_days: float = Field(gt=0, le=LONGEST_DAYS)
    """For how long an answer is to count."""
    criteria: tuple[Criterion, ...] = ()
    cases_viewed: int = Field(default=0, ge=0)
    """Of how many subjects the person was shown cases: all images of one patient are one."""
    accesses: tuple[str, ...] = ()
    """Hashes of the ledger entries that name them."""

    def to_json(self) -> bytes:
        """The RFC 8785 form."""
        return canonical(self.model_dump(mode="json", exclude_none=True), "review")


class Statement(Request):
    """A request with what the person says to it: what a signature is over."""

    format: Literal["review-1"] = "review-1"  # type: ignore[assignment]  # another document
    decision: Decision
    meaning: Sentence
    comment: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MOST_CHARACTERS)] = ""
    """Why. It stays for good."""
    residual_anomalies: tuple[Sentence, ...] = ()
    """What is known to be wrong, and is lived with."""
    signed_at: AwareDatetime
    expires_at: AwareDatetime
    """From then on it counts no more."""
    supersedes: str | None = None
    """Hash of the entry of an objection that this review withdraws."""


def about(release: Release) -> dict[str, JsonValue]:
    """The fields of a request that follow from the release alone."""
    registered = release.card.registered
    report, model = registered.report, registered.report.model
    dataset = model.features.dataset
    return {
        "line": release.line,
        "number": registered.number,
        "release_id": release.release_id,
        "model_fingerprint": model.fingerprint,
        "weights_sha256": model.weights_sha256,
        "environment_sha256": fingerprint_of(**model.training),
        "dataset_version": dataset.version,
        "features_version": model.features.version,
        "label_version": dataset.source_hash,
        "source_commit": model.source_commit,
        "code_commit": model.code_commit,
        "report_sha256": report.report_sha256,
        "card_sha256": release.card.card_sha256,
    }


def requested(
    release: Release,
    *,
    reviewer: Reviewer,
    role: str,
    intended_use: str,
    valid_days: float,
    criteria: Sequence[Criterion] = (),
    cases_viewed: int = 0,
    accesses: Sequence[str] = (),
) -> Request:
    """What a person is asked to review.

    Args:
        release: The version.
        reviewer: Who is asked.
        role: In which role.
        intended_use: As the card says it.
        valid_days: For how long an answer is to count.
        criteria: What a promotion demands, with what was found.
        cases_viewed: Of how many subjects the person was shown cases.
        accesses: Hashes of the entries that name them.
    """
    return Request.model_validate(
        {
            **about(release),
            "intended_use": intended_use,
            "valid_days": valid_days,
            "by": reviewer.id,
            "printed_name": reviewer.name,
            "role": role,
            "public_key": reviewer.public_key,
            "criteria": tuple(criteria),
            "cases_viewed": cases_viewed,
            "accesses": tuple(accesses),
        }
    )


def decided(
    request: Request,
    decision: Decision,
    *,
    comment: str,
    at: datetime,
    residual_anomalies: Sequence[str] = (),
    supersedes: str | None = None,
) -> Statement:
    """The statement of a person who was asked.

    Args:
        request: What it is about.
        decision: `reject` is an objection: it blocks until it is withdrawn.
        comment: Why.
        at: The current time, with its time zone.
        residual_anomalies: What is known to be wrong, and is lived with.
        supersedes: Hash of the entry of somebody's objection that it withdraws.

    Raises:
        ReviewError: A text is blank or too long, or the decision is none.
    """
    content = {
        **request.model_dump(exclude={"format"}),
        "decision": decision,
        "meaning": MEANINGS.get(decision, ""),
        "comment": comment,
        "residual_anomalies": tuple(residual_anomalies),
        "signed_at": at,
        "expires_at": at + timedelta(days=request.valid_days),
        "supersedes": supersedes,
    }
    try:
        return Statement.model_validate(content)
    except PydanticValidationError as problem:
        raise ReviewError(f"nothing is reviewed: {first_problem(problem)}") from None


def read_said(raw: bytes, model: type[S], *, name: str) -> S:
    """The request, or the statement, that a file holds.

    Raises:
        ReviewError: It holds none; the message names the field.
    """
    try:
        return model.model_validate_json(raw)
    except PydanticValidationError as problem:
        raise ReviewError(
            f"{name} is no {model.__name__.lower()} of a review: {first_problem(problem)}"
        ) from None


def criteria_of(ledger: Ledger, resolved: Sequence[ResolvedRequirement]) -> tuple[Criterion, ...]:
    """The newest verdict on each requirement, as reviewers are shown it."""
    return tuple(_criterion(ledger, each) for each in resolved)


def _criterion(ledger: Ledger, resolved: ResolvedRequirement) -> Criterion:
    found = latest_verdict(ledger, resolved.subject, resolved.requirement.rule_set)
    if found is None:
        return missing(resolved.requirement.rule_set, resolved.subject)
    return criterion_of(found[0])


def missing(rule_set: str, subject: str) -> Criterion:
    """What reviewers are shown of a verdict that was never recorded."""
    return Criterion(rule_set=rule_set, subject=subject, outcome="missing")


def criterion_of(entry: Entry) -> Criterion:
    """A recorded verdict, as reviewers are shown it.

    Raises:
        LedgerError: The entry holds no valid verdict.
    """
    verdict = verdict_of(entry)
    return Criterion(
        rule_set=verdict.rule_set,
        subject=verdict.subject,
        outcome=verdict.outcome,
        observed=verdict.evidence.get("observed"),
        demanded=verdict.evidence.get("demanded"),
        waived_by=verdict.waiver.by if verdict.waiver else None,
        entry=entry.hash,
    )

"""Verdicts: what was judged, by which rules, how it came out. And the demand for them before an act.

Everything that decides records a verdict; everything that acts demands verdicts. The demand fails
closed: it is met by a pass, or by a waiver with a named person and a reason, under the rules of
today, young enough, in a ledger that is whole; a waiver only of what the spec lets be waived. Nothing else will do.

A verdict may also be an *objection*: it blocks every act that demands anything of its subject.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from platform_assets.governance.errors import GovernanceError, VerdictMissingError
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger, Writer, fingerprint_of

KIND = "verdict"
OBJECTIONS = frozenset({"erasure"})
"""Rule sets whose newest verdict on a demanded subject, where there is one, must not be a fail or an error."""
CLOCK_SKEW = timedelta(minutes=5)
"""How far in the future a verdict may lie: machines disagree about the time by less."""

Outcome = Literal["pass", "fail", "error", "waived"]
SubjectKind = Literal["dataset", "features", "tuning", "model", "card"]
NonBlank = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Waiver(_Record):
    """A person takes responsibility for going on without a pass."""

    by: NonBlank
    reason: NonBlank
    expires_at: AwareDatetime | None = None
    """It counts up to this moment; None, as in older records: it never ends."""


class Verdict(_Record):
    """One rule set's judgement of one subject."""

    subject: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    """Asset key and data version: `reviews_sentiment_model@<fingerprint>`."""
    rule_set: NonBlank
    """`gate.auc`, `contract.core_text`, …"""
    rule_set_hash: NonBlank
    outcome: Outcome
    evidence: dict[str, JsonValue]
    """Metric values, counts, the GE run id, the reviewer; never cell values. `observed` and
    `demanded`, where given, are shown to whoever is blocked."""
    producer: dict[str, JsonValue]
    """What judged: `code_commit` and the like."""
    waiver: Waiver | None = None
    """Present exactly when the outcome is `waived`."""

    @model_validator(mode="after")
    def _waived_by_somebody(self) -> Self:
        if (self.outcome == "waived") != (self.waiver is not None):
            raise ValueError(
                "a waiver names who waived and why; it stands with the outcome `waived`, and only there"
            )
        return self


class Requirement(_Record):
    """What an act demands, as `requires:` in a training spec says it."""

    model_config = ConfigDict(populate_by_name=True, strict=True)

    subject_kind: SubjectKind = Field(alias="subject")
    """What was judged."""
    rule_set: NonBlank
    """Which verdict of it, such as `contract.schema` or `gate.auc`."""
    max_age_days: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """None: a verdict never grows too old."""


@dataclass(frozen=True)
class ResolvedRequirement:
    """A requirement of one concrete subject, under the rules as they are now."""

    requirement: Requirement
    subject: str
    """As `Verdict.subject`."""
    rule_set_hash: str
    lack: str = ""
    """Why there is nothing that could be judged; blocks, whatever the ledger says."""
    waivable: bool = True
    """Whether a waiver meets it."""


@dataclass(frozen=True)
class Unmet:
    """A requirement that blocks, and why."""

    resolved: ResolvedRequirement
    problem: str

    def __str__(self) -> str:
        return f"{self.resolved.requirement.rule_set} on {_shortened(self.resolved.subject)}: {self.problem}"


def record(ledger: Ledger | Writer, verdict: Verdict, *, evaluation_id: str) -> Entry:
    """The ledger entry of a verdict.

    Args:
        ledger: Where it is kept for good, or who holds it.
        verdict: What was found.
        evaluation_id: The run that found it. Recording again within one evaluation changes nothing;
            another evaluation is another entry.

    Raises:
        LedgerConflictError: This evaluation has recorded this outcome with other evidence.
        LedgerError: The evidence cannot be recorded exactly, e.g. NaN: an evaluation that yields no
            number has the outcome `error`.
    """
    fingerprint = fingerprint_of(
        subject=verdict.subject,
        rule_set=verdict.rule_set,
        rule_set_hash=verdict.rule_set_hash,
        outcome=verdict.outcome,
        evaluation_id=evaluation_id,
    )
    # As older records have it: a waiver without an end says nothing of one.
    waiver = verdict.waiver and verdict.waiver.model_dump(mode="json", exclude_none=True)
    body = verdict.model_dump() | {"waiver": waiver, "evaluation_id": evaluation_id}
    return ledger.append(KIND, verdict.subject, fingerprint=fingerprint, body=body)


def verdict_of(entry: Entry) -> Verdict:
    """The verdict that an entry records.

    Raises:
        LedgerError: The entry holds no valid verdict on its subject, e.g. a waiver without a reason.
    """
    content = {field: value for field, value in entry.body.items() if field != "evaluation_id"}
    try:
        verdict = Verdict.model_validate(content)
    except ValidationError as error:
        raise LedgerError(f"entry {entry.seq} holds no valid verdict: {error.errors()[0]['msg']}") from error
    if (entry.kind, entry.subject) != (KIND, verdict.subject):
        raise LedgerError(f"entry {entry.seq} holds no valid verdict: it speaks of {verdict.subject}")
    return verdict


def latest_verdict(ledger: Ledger, subject: str, rule_set: str) -> tuple[Entry, Verdict] | None:
    """The newest verdict of a rule set on a subject, whatever its outcome."""
    entries = ledger.entries(kind=KIND, subject=subject, newest_first=True)
    newest = next((entry for entry in entries if entry.body.get("rule_set") == rule_set), None)
    return None if newest is None else (newest, verdict_of(newest))


def demand(
    ledger: Ledger, act: str, requirements: Sequence[ResolvedRequirement], *, now: datetime
) -> list[Entry]:
    """The verdicts that allow the act: one entry for each requirement, in their order.

    Args:
        ledger: Verified before any verdict in it counts, as `Ledger.established` says.
        act: What is about to happen, for people: `deploy of reviews_sentiment`.
        requirements: What must have been found. At least one.
        now: The current time, with its time zone.

    Raises:
        VerdictMissingError: Some are unmet; all of them are named.
        LedgerError: The ledger is damaged.
        GovernanceError: Nothing is demanded.
    """
    return allowing(act, requirements, ledger.established(keys_of_demand(requirements)), now=now)


def keys_of_demand(requirements: Sequence[ResolvedRequirement]) -> set[Key]:
    """What has to be known of the ledger to judge by these requirements.

    Raises:
        GovernanceError: Nothing is demanded.
    """
    if not requirements:
        raise GovernanceError("no verdict is demanded, so anything would pass: list some under `requires:`")
    return {
        _key(each.subject, rule_set)
        for each in requirements
        for rule_set in (each.requirement.rule_set, *OBJECTIONS)
    }


def allowing(
    act: str, requirements: Sequence[ResolvedRequirement], known: Mapping[Key, Entry], *, now: datetime
) -> list[Entry]:
    """As `demand`, by what is known of the ledger: the answers to `keys_of_demand`.

    Raises:
        VerdictMissingError: Some are unmet; all of them are named.
    """
    found = judged(requirements, known, now=now)
    if blocking := [each for each in found if isinstance(each, Unmet)]:
        raise VerdictMissingError(act, blocking)
    return [each for each in found if isinstance(each, Entry)]


def unmet(ledger: Ledger, requirements: Sequence[ResolvedRequirement], *, now: datetime) -> list[Unmet]:
    """What blocks, as `demand` would find it; empty where nothing does.

    Raises:
        LedgerError: The ledger is damaged.
        GovernanceError: Nothing is demanded.
    """
    known = ledger.established(keys_of_demand(requirements))
    return [each for each in judged(requirements, known, now=now) if isinstance(each, Unmet)]


def _key(subject: str, rule_set: str) -> Key:
    return Key(KIND, subject, "rule_set", rule_set)


def judged(
    requirements: Sequence[ResolvedRequirement], known: Mapping[Key, Entry], *, now: datetime
) -> list[Entry | Unmet]:
    """For each requirement the verdict that meets it, or why none does, by the answers to `keys_of_demand`."""
    found_for: list[Entry | Unmet] = []
    for resolved in requirements:
        found = known.get(_key(resolved.subject, resolved.requirement.rule_set))
        problem = resolved.lack or ("no verdict" if found is None else problem_with(found, resolved, now=now))
        for rule_set in sorted(OBJECTIONS):
            if objection := known.get(_key(resolved.subject, rule_set)):
                problem = _objection(objection) or problem
        found_for.append(Unmet(resolved, problem) if found is None or problem else found)
    return found_for


def problem_with(entry: Entry, resolved: ResolvedRequirement, *, now: datetime) -> str:
    """Why this verdict does not meet the requirement; empty where it does."""
    try:
        verdict = verdict_of(entry)
    except LedgerError as error:
        return str(error)
    if verdict.rule_set_hash != resolved.rule_set_hash:
        return f"judged under other rules ({verdict.rule_set_hash[:8]}…, now {resolved.rule_set_hash[:8]}…); judge again"
    if verdict.outcome not in ("pass", "waived"):
        said = ", ".join(
            f"{key} {_as_text(verdict.evidence[key])}"
            for key in ("observed", "demanded")
            if key in verdict.evidence
        )
        outcome = "failed" if verdict.outcome == "fail" else "ended in an error"
        return f"{outcome} ({said})" if said else outcome
    if verdict.outcome == "waived" and not resolved.waivable:
        return "was waived, and the spec does not let it be: judge it, or list it under requires.waivable"
    if (ended := verdict.waiver and verdict.waiver.expires_at) and now > ended:
        assert verdict.waiver is not None
        return (
            f"was waived by {verdict.waiver.by} until {ended:%Y-%m-%d %H:%M} UTC, which is over; judge again, or waive it "
            "again"
        )
    age = now - entry.time
    if age < -CLOCK_SKEW:
        return f"dated {entry.time:%Y-%m-%d %H:%M} UTC, which is in the future: check the clocks"
    max_age_days = resolved.requirement.max_age_days
    if max_age_days is not None and age > timedelta(days=max_age_days):
        return f"{age / timedelta(days=1):.1f} days old, at most {max_age_days:g} are allowed; judge again"
    return ""


def _objection(entry: Entry) -> str:
    """What an objection says; empty where it stands no more."""
    try:
        verdict = verdict_of(entry)
    except LedgerError as error:
        return str(error)
    if verdict.outcome in ("pass", "waived"):
        return ""
    return (
        f"{verdict.rule_set} objects: {verdict.evidence.get('reason', verdict.outcome)} (entry {entry.seq})"
    )


def _as_text(value: JsonValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shortened(subject: str) -> str:
    """`model@3f2a91c04b7e…`: enough of a data version to recognise it."""
    name, _, version = subject.partition("@")
    return f"{name}@{version[:12]}…" if len(version) > 12 else subject  # noqa: PLR2004

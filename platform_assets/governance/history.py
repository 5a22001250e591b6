"""Which version of a line was in which stage, from when to when, by whose act, and on what.

The ledger's entries that move a pointer are the history; here they are only read as stays. Times are those of the entries.
Where the clock of one machine was behind that of another, an entry counts as no earlier than the entries before it, so that
the stays of a stage follow one another without a gap and without meeting.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from typing import Any, Final

from platform_assets.governance import release as releases
from platform_assets.governance.errors import LineageError
from platform_assets.governance.release import ACTIVATION, POINTERS, STAGED, Release, Stage
from platform_assets.governance.review import REVIEW, review_of
from platform_assets.governance.verdict import verdict_of
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import Entry, Ledger

_JUDGED_BY: Final = ("spec_commit", "reviewers_commit", "rules")
"""What an act of a person says of its demands, beside the verdicts and reviews that met them."""
_STAGES: Final[Mapping[str, Stage]] = {kind: stage for stage, kind in POINTERS.items()}


@dataclass(frozen=True, slots=True)
class Stay:
    """A release in a stage: from `since` on, and before `until`."""

    stage: Stage
    release: Release
    since: datetime
    until: datetime | None
    """None: it is there now."""
    act: str
    """How it got there: `promote`, `demote` or `rollback` by a person, `deploy` by a run, `pin`."""
    by: str
    """Whose act it was; of a deployment, the principal of the run's process."""
    reason: str
    verdicts: tuple[str, ...]
    """Hashes of the entries of the verdicts that allowed it."""
    reviews: tuple[str, ...]
    """Hashes of the entries of the reviews that counted."""
    entry: Entry
    """The entry that says all this."""
    ended_by: str | None
    """What ended it, where something has: the act, and whose."""

    @property
    def number(self) -> int:
        """Of the version in the registry."""
        return self.release.card.registered.number

    def at(self, moment: datetime) -> bool:
        """Whether it was in the stage then."""
        return self.since <= moment and (self.until is None or moment < self.until)


@dataclass(frozen=True, slots=True)
class Standing:
    """What stood in the stages of a line at one moment."""

    moment: datetime
    production: Stay | None
    staging: Stay | None

    @property
    def stays(self) -> tuple[Stay, ...]:
        """Those there were."""
        return tuple(each for each in (self.production, self.staging) if each)


def history(ledger: Ledger, line: str) -> list[Stay]:
    """Every stay of a release of a line in a stage, by the time at which it began.

    Raises:
        LedgerError: An entry is not what was written.
        ReleaseError: An entry names a release that the ledger does not have.
    """
    return [stay for _, stay in sorted(_stays(ledger, line), key=lambda found: found[0])]


def at(ledger: Ledger, line: str, moment: datetime, *, now: datetime) -> Standing:
    """What stood in the stages of a line at a moment.

    Args:
        ledger: Holds what happened.
        line: The line.
        moment: With its time zone.
        now: The current time; of later ones nobody knows.

    Raises:
        LineageError: The moment is to come, or lies before the first entry of the line.
    """
    if moment > now:
        raise LineageError(
            f"{moment:%Y-%m-%d %H:%M:%S} UTC is to come, and nobody knows what will stand then"
        )
    found = history(ledger, line)
    if not found or moment < found[0].since:
        first = (
            f"its first entry is of {found[0].since:%Y-%m-%d %H:%M:%S} UTC"
            if found
            else "it has no entry at all"
        )
        raise LineageError(f"what stood for {line} at {moment:%Y-%m-%d %H:%M:%S} UTC is not known: {first}")
    standing = {each.stage: each for each in found if each.at(moment)}
    return Standing(moment, standing.get("production"), standing.get("staging"))


def _stays(ledger: Ledger, line: str) -> Iterator[tuple[int, Stay]]:
    """The stays as they end, each with the number of its entry."""
    known: dict[str, Release] = {}
    begun: dict[Stage, tuple[Entry, datetime]] = {}
    last: datetime | None = None

    def ended(stage: Stage, until: datetime | None, by: Entry | None) -> Iterator[tuple[int, Stay]]:
        if stage in begun:
            entry, since = begun.pop(stage)
            release_id = entry.body["release_id"]
            if release_id not in known:
                known[release_id] = releases.release(ledger, line, release_id)
            yield entry.seq, _stay(entry, known[release_id], since, until, by)

    moves = (ledger.entries(kind=kind, subject=line) for kind in (ACTIVATION, STAGED))
    for entry in merge(*moves, key=lambda each: each.seq):
        time = last = entry.time if last is None else max(entry.time, last)
        stage = _STAGES[entry.kind]
        yield from ended(stage, time, entry)
        if (
            stage == "production"
            and "staging" in begun
            and releases.leaves_staging(entry, begun["staging"][0])
        ):
            yield from ended("staging", time, entry)
        begun[stage] = (entry, time)
    for stage in POINTERS:
        yield from ended(stage, None, None)


def _stay(entry: Entry, release: Release, since: datetime, until: datetime | None, by: Entry | None) -> Stay:
    body = entry.body
    act, person = _act_of(entry)
    return Stay(
        stage=_STAGES[entry.kind],
        release=release,
        since=since,
        until=until,
        act=act,
        by=person,
        reason=body["reason"],
        verdicts=tuple(body["verdicts"]),
        reviews=tuple((body.get("promotion") or {}).get("reviews", ())),
        entry=entry,
        ended_by=None if by is None else "{} by {}".format(*_act_of(by)),
    )


def _act_of(entry: Entry) -> tuple[str, str]:
    """What was done, and by whom."""
    promotion = entry.body.get("promotion")
    if promotion:
        return promotion["act"], promotion["by"]
    return "pin" if entry.body.get("pinned") else "deploy", entry.principal


def told(ledger: Ledger, stay: Stay) -> dict[str, Any]:
    """A stay as a JSON-like record, with what its verdicts and reviews said and where its model comes from."""
    model = stay.release.card.registered.report.model
    snapshot = model.features.dataset.snapshot
    promotion = stay.entry.body.get("promotion") or {}
    return {
        "stage": stay.stage,
        "version": stay.number,
        "release_id": stay.release.release_id,
        "model_fingerprint": model.fingerprint,
        "since": stay.since,
        "until": stay.until,
        "act": stay.act,
        "by": stay.by,
        "reason": stay.reason,
        "ended_by": stay.ended_by,
        "entry": {"seq": stay.entry.seq, "hash": stay.entry.hash, "principal": stay.entry.principal},
        "verdicts": [_verdict_told(ledger, each) for each in stay.verdicts],
        "reviews": [_review_told(ledger, each) for each in stay.reviews],
        "judged_by": {name: promotion[name] for name in _JUDGED_BY if name in promotion},
        "source_commit": model.source_commit,
        "source_author": model.source_author,
        "started_by": model.started_by,
        "code_commit": model.code_commit,
        "data_version": model.features.dataset.version,
        "data_snapshot": {"table": snapshot.table, "snapshot_id": snapshot.snapshot_id},
    }


def _verdict_told(ledger: Ledger, entry_hash: str) -> dict[str, Any]:
    entry = _entry(ledger, entry_hash)
    found = verdict_of(entry)
    waiver = found.waiver
    return {
        "entry": entry.seq,
        "time": entry.time,
        "rule_set": found.rule_set,
        "subject": found.subject,
        "outcome": found.outcome,
        **({"waived_by": waiver.by, "waived_until": waiver.expires_at} if waiver else {}),
    }


def _review_told(ledger: Ledger, entry_hash: str) -> dict[str, Any]:
    entry = _entry(ledger, entry_hash)
    if entry.kind != REVIEW:
        raise LedgerError(f"entry {entry.seq} is no review")
    review = review_of(entry)
    said = review.statement
    return {
        "entry": entry.seq,
        "time": entry.time,
        "reviewer": said.printed_name,
        "role": said.role,
        "decision": said.decision,
        "authenticated": review.authenticated,
        "reviewers_commit": review.reviewers_commit,
        "signed_at": said.signed_at,
    }


def _entry(ledger: Ledger, entry_hash: str) -> Entry:
    found = ledger.get(entry_hash)
    if found is None:
        raise LedgerError(f"the ledger has no entry {entry_hash[:12]}…, which another one names")
    return found

"""Requests for reviews: that somebody should look at a version, why, and whether it has been done.

A request is one ledger entry on the model, keyed by what called for it, so asking again changes nothing. Nobody closes it: it
is open for as long as what it asks for is missing, and the version is where it was asked about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Literal

from platform_assets.governance import release as releases
from platform_assets.governance.promotion import promotion_problems
from platform_assets.governance.release import Release, Stage
from platform_assets.governance.requirements import PromotionDemands
from platform_assets.governance.review import keys_of_reviews, review_of, review_problems
from platform_assets.governance.reviewers import Reviewers
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger, fingerprint_of

REVIEW_REQUEST: Final = "review.requested"
"""Kind of the entries."""
Cause = Literal["staging", "drift", "expiry"]
_STAGE_OF: Final[Mapping[Cause, Stage]] = {
    "staging": "staging",
    "drift": "production",
    "expiry": "production",
}
_LARGEST_NOTICE: Final = 0.25
"""Of the days that a review counts: who has just reviewed is not asked again."""


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """That a version should be reviewed."""

    release: Release
    cause: Cause
    key: str
    """What called for it: of a cause, a model and a card, there is one request for each."""
    why: str
    """In a sentence."""
    roles: tuple[str, ...]
    """Whose review is asked for."""

    @property
    def subject(self) -> str:
        """Of its entry."""
        return _subject(self.release)

    @property
    def fingerprint(self) -> str:
        """Of its entry."""
        return fingerprint_of(card=self.release.card.card_sha256, cause=self.cause, key=self.key)


def was_asked(ledger: Ledger, wanted: ReviewRequest) -> bool:
    """Whether there is an entry of this request."""
    return ledger.find(REVIEW_REQUEST, wanted.subject, wanted.fingerprint) is not None


def ask(ledger: Ledger, wanted: ReviewRequest) -> Entry | None:
    """The entry of a request, appended now; None where it was asked before."""
    with ledger.exclusive() as writer:
        if was_asked(ledger, wanted):
            return None
        release = wanted.release
        return writer.append(
            REVIEW_REQUEST,
            wanted.subject,
            fingerprint=wanted.fingerprint,
            body={
                "line": release.line,
                "number": release.card.registered.number,
                "release_id": release.release_id,
                "card_sha256": release.card.card_sha256,
                "cause": wanted.cause,
                "key": wanted.key,
                "why": wanted.why,
                "roles": list(wanted.roles),
            },
        )


def newest_requests(ledger: Ledger, line: str, *, most: int) -> list[Entry]:
    """The newest requests of a line, whether or not they are open still, newest first."""
    entries = ledger.entries(kind=REVIEW_REQUEST, newest_first=True)
    return list(islice((each for each in entries if each.body["line"] == line), most))


def open_requests(
    ledger: Ledger,
    line: str,
    demands: PromotionDemands,
    reviewers: Reviewers,
    *,
    notice: timedelta,
    now: datetime,
) -> list[Entry]:
    """The requests that are open, oldest first.

    Args:
        ledger: Holds requests, reviews and pointers.
        line: The line.
        demands: What promoting demands.
        reviewers: Who may review.
        notice: How long before a review ends another one is asked for.
        now: The current time, with its time zone.
    """
    found = []
    for stage in releases.POINTERS:
        release = releases.active(ledger, line, stage)
        if release is None:
            continue
        for entry in ledger.entries(kind=REVIEW_REQUEST, subject=_subject(release)):
            body = entry.body
            if body["card_sha256"] != release.card.card_sha256 or _STAGE_OF[body["cause"]] != stage:
                continue
            if body["cause"] == "drift":
                is_open = bool(gaps_since(ledger, release, demands, reviewers, entry.seq, now=now))
            else:
                ahead = noticed(demands, notice) if body["cause"] == "expiry" else timedelta(0)
                is_open = bool(gaps(ledger, release, demands, reviewers, now=now + ahead))
            if is_open:
                found.append(entry)
    return sorted(found, key=lambda entry: entry.seq)


def gaps(
    ledger: Ledger, release: Release, demands: PromotionDemands, reviewers: Reviewers, *, now: datetime
) -> list[str]:
    """What is missing of the reviews of a release, as promoting it would find it; empty where nothing is."""
    # Of the card as it is stored nothing need be known here.
    stored_card = release.card.card_sha256
    missing = promotion_problems(ledger, release, demands, reviewers, stored_card=stored_card, now=now)
    others = promotion_problems(
        ledger, release, demands, reviewers, stored_card=stored_card, now=now, reviewed=False
    )
    return [each for each in missing if each not in others]


def gaps_since(
    ledger: Ledger,
    release: Release,
    demands: PromotionDemands,
    reviewers: Reviewers,
    seq: int,
    *,
    now: datetime,
) -> list[str]:
    """What would be missing of the reviews of a release if those up to an entry did not count."""
    known = newest_reviews(ledger, release, reviewers)
    later = {key: entry for key, entry in known.items() if entry.seq > seq}
    return [
        problem
        for rule in demands.reviews
        for problem in review_problems(rule, release, known=later, reviewers=reviewers, now=now)
    ]


def newest_reviews(ledger: Ledger, release: Release, reviewers: Reviewers) -> dict[Key, Entry]:
    """What each person has said last about a release's model, for who shows it and decides nothing."""
    found = {key: ledger.latest(key.kind, key.subject) for key in keys_of_reviews(ledger, release, reviewers)}
    return {key: entry for key, entry in found.items() if entry is not None}


def is_objected_to(known: Mapping[Key, Entry]) -> bool:
    """Whether one of these reviews is a rejection."""
    return any(review_of(entry).statement.decision == "reject" for entry in known.values())


def noticed(demands: PromotionDemands, notice: timedelta) -> timedelta:
    """How long before a review ends another one is asked for: as said, or a quarter of the time that reviews count."""
    days = [rule.max_age_days for rule in demands.reviews]
    return min(notice, *(timedelta(days=_LARGEST_NOTICE * each) for each in days)) if days else notice


def _subject(release: Release) -> str:
    return f"{release.line}_model@{release.card.registered.report.model.fingerprint}"

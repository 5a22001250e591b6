"""Promotion: how a release gets from staging to production, and a former one back, in the name of a person.

An act demands everything at once: the verdicts of the promotion and of the deployment as they stand now, the reviews, the
card as it was released, data that nobody erased, a line that nobody holds elsewhere, a ledger that is whole. It is decided
while the ledger is held, and only where production is still what the person saw: of two acts at once one wins, and the
other is told who did.

A way back (`demote`, `rollback`) leads to a release that was in production. It is judged by the verdicts that let it in then,
each by its newest, and by the reviews that it has now. It does not ask for what only concerns new data.

Nobody acts alone on what they made: whoever wrote the spec or started the training needs the review of somebody who did
neither.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parseaddr
from typing import Final

from platform_assets.governance import release as releases
from platform_assets.governance import verdict
from platform_assets.governance.errors import PromotionConflictError, PromotionRefusedError
from platform_assets.governance.release import ACTIVATION, STAGED, Act, Promotion, Release
from platform_assets.governance.requirements import PromotionDemands, let_through_by
from platform_assets.governance.review import (
    REVIEW,
    accepted_reviews,
    involved_as,
    keys_of_reviews,
    review_of,
    review_problems,
)
from platform_assets.governance.reviewers import Reviewers
from platform_assets.governance.verdict import ResolvedRequirement, Unmet
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.keys import Key
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.references import CardVersion
from resources.object_store import ObjectDamagedError, ObjectMissingError, ObjectStore

_BACK: Final = frozenset({"demote", "rollback"})
_INVOLVED: Final = ("author", "trainer")


def promotion_problems(
    ledger: Ledger,
    release: Release,
    demands: PromotionDemands,
    reviewers: Reviewers,
    *,
    stored_card: str | None,
    now: datetime,
    by: str | None = None,
    reviewed: bool = True,
) -> list[str]:
    """Everything that keeps a release from being promoted, at once; empty where nothing does.

    Args:
        ledger: Holds releases, verdicts, reviews and pointers.
        release: What is to be promoted.
        demands: What the line demands.
        reviewers: Who may review.
        stored_card: As `sha256_of_stored` gives it.
        now: The current time, with its time zone.
        by: Who would promote; None: whoever may.
        reviewed: Whether reviews are asked for. Without, the answer says what has to be there before anybody reviews.
    """
    if not reviewed:
        demands = replace(demands, reviews=())
    return _Case(ledger, release, demands, reviewers, "promote", stored_card, now).problems(by)


def promote(
    ledger: Ledger,
    release: Release,
    demands: PromotionDemands,
    reviewers: Reviewers,
    *,
    by: str,
    reason: str,
    expected: str | None,
    stored_card: str | None,
    now: datetime,
) -> Entry:
    """The activation by which the release in staging becomes the one in production.

    Promoting what is in production already changes nothing.

    Args:
        ledger: Holds releases, verdicts, reviews and pointers.
        release: The release.
        demands: What the line demands.
        reviewers: Who may review, and whom `by` has to name where the line asks for reviews.
        by: Who promotes.
        reason: Why, for whoever reads the history.
        expected: Hash of the activation that the person saw in production; None where there was none.
        stored_card: As `sha256_of_stored` gives it.
        now: The current time, with its time zone.

    Raises:
        PromotionRefusedError: Something is missing; everything is named.
        PromotionConflictError: Production has moved since.
        LedgerError: The ledger is damaged.
    """
    case = _Case(ledger, release, demands, reviewers, "promote", stored_card, now)
    return case.move(by=by, reason=reason, expected=expected)


def return_problems(
    ledger: Ledger,
    release: Release,
    demands: PromotionDemands,
    reviewers: Reviewers,
    *,
    act: Act,
    stored_card: str | None,
    now: datetime,
    by: str | None = None,
) -> list[str]:
    """Everything that keeps a former release from production, at once. Arguments as in `promotion_problems`."""
    return _Case(ledger, release, demands, reviewers, act, stored_card, now).problems(by)


def bring_back(
    ledger: Ledger,
    release: Release,
    demands: PromotionDemands,
    reviewers: Reviewers,
    *,
    act: Act,
    by: str,
    reason: str,
    expected: str | None,
    stored_card: str | None,
    now: datetime,
) -> Entry:
    """The activation by which a former release is in production again. Arguments and errors as in `promote`.

    The act `demote` leads to the release before the present one (see `former`). `rollback` leads to any that was in
    production, overrides a pin, and pins the line there.
    """
    case = _Case(ledger, release, demands, reviewers, act, stored_card, now)
    return case.move(by=by, reason=reason, expected=expected)


def sha256_of_stored(store: ObjectStore, card: CardVersion) -> str | None:
    """SHA-256 of a card as it lies in the object store; None where it does not, empty where it is damaged."""
    try:
        return hashlib.sha256(store.get(card.json_ld_key)).hexdigest()
    except ObjectMissingError:
        return None
    except ObjectDamagedError:
        return ""


def version_to_promote(ledger: Ledger, line: str, number: int) -> Release:
    """The release in staging that has this version of the registry, or the one in production.

    Raises:
        PromotionRefusedError: There is none.
    """
    for stage in ("staging", "production"):
        found = releases.active(ledger, line, stage)
        if found is not None and found.card.registered.number == number:
            return found
    raise PromotionRefusedError(
        _told("promote", line, number), [_not_staged(number, releases.active(ledger, line, "staging"))]
    )


def former(ledger: Ledger, line: str) -> Release | None:
    """The release that was in production before the present one, and that a demotion leads back to.

    What was gone back from does not count: after a demotion, the next one leads further back.
    """
    past: list[str] = []
    for entry in ledger.entries(kind=ACTIVATION, subject=line):
        release_id = entry.body["release_id"]
        if (entry.body["pinned"] or _goes_back(entry)) and release_id in past:
            del past[past.index(release_id) + 1 :]
        else:
            past = [*(each for each in past if each != release_id), release_id]
    return releases.release(ledger, line, past[-2]) if len(past) > 1 else None


def _goes_back(activation: Entry) -> bool:
    return (activation.body.get("promotion") or {}).get("act") in _BACK


def _told(act: Act, line: str, number: int) -> str:
    return {
        "promote": f"promotion of {line} version {number}",
        "demote": f"demotion of {line} to version {number}",
        "rollback": f"rollback of {line} to version {number}",
    }[act]


def _not_staged(number: int, staged: Release | None) -> str:
    what = f"version {staged.card.registered.number} is" if staged else "nothing is"
    return f"version {number} is not in staging: {what}"


# --- Deciding --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Judged:
    """How a release stands to what an act demands."""

    problems: tuple[str, ...]
    verdicts: tuple[Entry, ...]
    """Those that meet what is demanded."""
    reviews: tuple[Entry, ...]
    """Those that count."""


@dataclass(frozen=True, slots=True)
class _Case:
    """An act that somebody asks for."""

    ledger: Ledger
    target: Release
    demands: PromotionDemands
    reviewers: Reviewers
    act: Act
    stored_card: str | None
    now: datetime

    def problems(self, by: str | None) -> list[str]:
        """Everything that is missing, also where the ledger is damaged."""
        try:
            requirements = self._requirements()
            return list(self._judged(requirements, self._known(requirements), by).problems)
        except LedgerError as problem:
            return [f"the ledger is damaged: {problem}"]

    def move(self, *, by: str, reason: str, expected: str | None) -> Entry:
        """The activation, appended where nothing is missing."""
        line = self.target.line
        with suppress(LedgerError):  # told below, to whoever relies on what is damaged
            # Not while the others wait.
            self.ledger.renew_checkpoint(only_if_needed=True)
        with self.ledger.exclusive() as writer:
            requirements = self._requirements()
            known = self._known(requirements)
            current = known.get(Key(ACTIVATION, line))
            if current is not None and current.body["release_id"] == self.target.release_id:
                if self.act != "rollback" or releases.pin_state(self.ledger, line) is not None:
                    return current
            elif (current.hash if current else None) != expected:
                raise PromotionConflictError(self._conflict(current))
            found = self._judged(requirements, known, by)
            problems = [*found.problems, *([] if reason.strip() else ["nobody says why: give a reason"])]
            if problems:
                number = self.target.card.registered.number
                raise PromotionRefusedError(_told(self.act, line, number), problems)
            person = self.reviewers.find(by)
            return releases.move(
                writer,
                self.target,
                "production",
                current,
                reason=reason,
                verdicts=found.verdicts,
                pin=self.act == "rollback",
                retraining=releases.retraining_of(self.ledger, line, self.target.release_id),
                promotion=Promotion(
                    self.act,
                    person.name if person else by,
                    spec_commit=self.demands.spec_commit,
                    reviewers_commit=self.reviewers.commit,
                    rules=self.demands.reviews,
                    reviews=tuple(each.hash for each in found.reviews),
                ),
            )

    def _requirements(self) -> list[ResolvedRequirement]:
        verdicts = self.demands.verdicts
        if self.act == "promote":
            return verdicts.of(self.target.card.registered.report.model, self.target.card)
        served = self._last_served()
        entries = served.body["verdicts"] if served else self.target.verdicts
        return let_through_by(self.ledger, entries, verdicts.rule_set_hashes, demands=verdicts)

    def _last_served(self) -> Entry | None:
        """The newest activation of the release."""
        entries = self.ledger.entries(kind=ACTIVATION, subject=self.target.line, newest_first=True)
        return next((each for each in entries if each.body["release_id"] == self.target.release_id), None)

    def _known(self, requirements: Sequence[ResolvedRequirement]) -> dict[Key, Entry]:
        return releases.established(
            self.ledger,
            self.target,
            {
                *verdict.keys_of_demand(requirements),
                *(each.key for each in self.demands.conditions),
                *(keys_of_reviews(self.ledger, self.target, self.reviewers) if self.demands.reviews else ()),
            },
        )

    def _judged(
        self, requirements: Sequence[ResolvedRequirement], known: Mapping[Key, Entry], by: str | None
    ) -> _Judged:
        judged = verdict.judged(requirements, known, now=self.now)
        verdicts = tuple(each for each in judged if isinstance(each, Entry))
        unreviewed, reviews = self._reviews(known, verdicts)
        # What concerns new data is no reason to stay with the newest model.
        conditions = self.demands.conditions if self.act == "promote" else ()
        problems = [
            self._misplaced(known),
            self._uncommitted(),
            "" if self.act == "rollback" else releases.pin_problem(self.target, known),
            releases.erasure_problem(self.target, known),
            *(str(each) for each in judged if isinstance(each, Unmet)),
            *(each.problem(known.get(each.key)) for each in conditions),
            self._card_problem(),
            *unreviewed,
            *(self._person_problems(by, reviews) if by is not None else ()),
        ]
        return _Judged(tuple(dict.fromkeys(filter(None, problems))), verdicts, reviews)

    def _misplaced(self, known: Mapping[Key, Entry]) -> str:
        """Why the release is not where the act would take it from."""
        line, number = self.target.line, self.target.card.registered.number
        if self.act == "promote":
            staged = releases.pointer(self.ledger, line, "staging")
            if staged is not None and staged != known.get(Key(STAGED, line)):
                raise LedgerError(f"entry {staged.seq} is not the newest of staging that the chain holds")
            if staged is None or staged.body["release_id"] != self.target.release_id:
                return _not_staged(number, releases.active(self.ledger, line, "staging"))
        elif self.act == "rollback" and self._last_served() is None:
            return f"version {number} was never in production, so there is no way back to it: promote it"
        elif self.act == "demote":
            before = former(self.ledger, line)
            if before is None or before.release_id != self.target.release_id:
                return f"version {number} is not the one that was in production before"
        return ""

    def _uncommitted(self) -> str:
        commit, _, changed = self.demands.spec_commit.partition("+")
        if not changed:
            return ""
        return (
            f"the spec of {self.target.line}, or its contract or Experiment, differs from what was committed ({commit[:12]}), so "
            "nobody answers for what it demands: commit it, or take the change back"
        )

    def _card_problem(self) -> str:
        card = self.target.card
        if self.stored_card is None:
            return f"its card {card.json_ld_key} is not in the object store: materialize {self.target.line}_card again"
        if self.stored_card != card.card_sha256:
            return f"its card {card.json_ld_key} is not what was released (SHA-256 {card.card_sha256[:12]}…)"
        return ""

    def _reviews(
        self, known: Mapping[Key, Entry], verdicts: Sequence[Entry]
    ) -> tuple[list[str], tuple[Entry, ...]]:
        """What is missing of reviews, and those that count."""
        if not self.demands.reviews:
            return [], ()
        problems: list[str] = []
        accepted: dict[str, Entry] = {}
        left = self._left_production()
        if left is not None:
            # Whoever approved before that did not know what led to it.
            known = {
                key: each for key, each in known.items() if not _is_approval(each) or each.seq > left.seq
            }
        for rule in self.demands.reviews:
            problems += review_problems(
                rule, self.target, known=known, reviewers=self.reviewers, now=self.now, verdicts=verdicts
            )
            counted = accepted_reviews(
                rule, self.target, known=known, reviewers=self.reviewers, now=self.now, verdicts=verdicts
            )
            accepted |= {each.hash: each for each in counted}
        if problems and left is not None:
            problems.append(
                f"approvals of before {left.time:%Y-%m-%d %H:%M} UTC count no more: entry {left.seq} went back from this "
                f"version ({left.body['reason']})"
            )
        return problems, tuple(sorted(accepted.values(), key=lambda each: each.seq))

    def _left_production(self) -> Entry | None:
        """The newest act that went back from the release's version."""
        line, number = self.target.line, self.target.card.registered.number
        for entry in self.ledger.entries(kind=ACTIVATION, subject=line, newest_first=True):
            previous = entry.body["previous"]
            if _goes_back(entry) and previous is not None and previous != entry.body["release_id"]:
                left = releases.release(self.ledger, line, previous)
                if left.card.registered.number == number:
                    return entry
        return None

    def _person_problems(self, by: str, reviews: Iterable[Entry]) -> list[str]:
        """Why this person may not act, or not without somebody else."""
        if not by.strip():
            return ["nobody says who does it: give a name"]
        person = self.reviewers.find(by)
        problems = []
        if self.demands.reviews and not self.reviewers.problem:
            if person is None:
                commit = self.reviewers.commit[:12]
                problems.append(f"{by} is nobody whom the file of reviewers names at commit {commit}")
            elif problem := person.problem(self.now):
                problems.append(problem)
        names = {person.id} if person else {by, *parseaddr(by)} - {""}
        did = dict.fromkeys(told for name in names for told in self._involved_as(name))
        if did and not any(self._is_independent(each) for each in reviews):
            who = person.name if person else by
            problems.append(
                f"{who} {' and '.join(did)}, and nobody does it alone: let somebody else "
                f"{'review or ' if self.demands.reviews else ''}{self.act} it"
            )
        return problems

    def _involved_as(self, reviewer_id: str) -> list[str]:
        found = involved_as(self.target, _INVOLVED, self.reviewers, reviewer_id)
        author, is_another = (
            self.demands.spec_author,
            self.demands.spec_commit != self.target.card.registered.report.model.source_commit,
        )
        if author and is_another and self.reviewers.is_named(reviewer_id, author):
            found.append("wrote the spec that says what it takes")
        return found

    def _is_independent(self, review: Entry) -> bool:
        return not self._involved_as(review_of(review).statement.by)

    def _conflict(self, current: Entry | None) -> str:
        line = self.target.line
        if current is None:
            return f"{line} has nothing in production any more that was seen there; look again"
        now_there = releases.release(self.ledger, line, current.body["release_id"])
        who = (current.body.get("promotion") or {}).get("by", current.principal)
        return (
            f"{_told(self.act, line, self.target.card.registered.number)} comes too late: {who} brought version "
            f"{now_there.card.registered.number} to production meanwhile (entry {current.seq}: {current.body['reason']}); "
            "look at what is there now, and ask again"
        )


def _is_approval(entry: Entry) -> bool:
    return entry.kind == REVIEW and review_of(entry).statement.decision == "approve"

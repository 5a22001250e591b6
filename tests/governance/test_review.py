"""Reviews: each thing that keeps one from being recorded, or from counting, seen to do so."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from platform_assets.governance import release as releases
from platform_assets.governance.access import ACCESS
from platform_assets.governance.errors import ReviewError
from platform_assets.governance.release import Release
from platform_assets.governance.review import (
    REVIEW,
    accepted_reviews,
    keys_of_reviews,
    record_review,
    review_of,
    review_problems,
)
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.governance.review_signature import SignedStatement, new_review_key, read_signed, sign
from platform_assets.governance.review_statement import criterion_of
from platform_assets.governance.reviewers import Reviewers
from platform_assets.ledger.ledger import Entry, Ledger
from tests.git_factory import run_git
from tests.governance.conftest import NOON, Clock
from tests.reviewing import ReviewersRepository, person, said

LEE = person()
KAY = person(id="kay", name="Dr. Kay", emails=["kay@hospital.example"], principals=["kay"])
TIM = person(id="tim", name="Tim", roles=["technician"], emails=["tim@hospital.example"], principals=["tim"])
RULE = ReviewRule(role="radiologist")
SIGNED = ReviewRule(role="radiologist", signature="required")


@pytest.fixture
def repository(tmp_path: Path) -> ReviewersRepository:
    """An empty one."""
    return ReviewersRepository(tmp_path / "people")


@pytest.fixture
def reviewers(repository: ReviewersRepository) -> Reviewers:
    """Two radiologists and a technician."""
    return repository.commit(LEE, KAY, TIM)


class Desk:
    """A release in staging, and whoever reviews it."""

    def __init__(self, ledger: Ledger, clock: Clock, release: Release) -> None:
        self.ledger, self.clock, self.release = ledger, clock, release

    def review(
        self,
        reviewers: Reviewers,
        by: str = "lee",
        decision: str = "approve",
        *,
        key: Any = None,
        principal: str | None = None,
        release: Release | None = None,
        rules: tuple[ReviewRule, ...] = (RULE,),
        **given: Any,
    ) -> Entry:
        """Records one, by the clock."""
        reviewer = reviewers.people[by]
        given = {"at": self.clock()} | given
        statement: Any = said(release or self.release, reviewer, decision, **given)
        ledger = Ledger(self.ledger._store, principal=principal or reviewer.principals[0], clock=self.clock)
        return record_review(
            ledger,
            sign(statement, key) if key else statement,
            self.release,
            rules,
            reviewers,
            principal=principal or reviewer.principals[0],
            now=self.clock(),
        )

    def problems(
        self,
        reviewers: Reviewers,
        rule: ReviewRule = RULE,
        *,
        release: Release | None = None,
        verdicts: tuple[Entry, ...] = (),
    ) -> list[str]:
        """What is missing by the clock."""
        release = release or self.release
        known = self.ledger.established(keys_of_reviews(self.ledger, release, reviewers))
        given = {"known": known, "reviewers": reviewers, "now": self.clock(), "verdicts": verdicts}
        problems = review_problems(rule, release, **given)
        accepted = accepted_reviews(rule, release, **given)
        if not problems:
            assert accepted
        return problems


Make = Callable[..., Release]


@pytest.fixture
def make(make_release: Make, judge: Callable[..., Entry]) -> Make:
    """A release of a model of a known author and starter."""

    def make(**given: Any) -> Release:
        release = make_release(judge().hash, line="chest", made_for="chest")
        registered = release.card.registered
        training = {
            "source_commit": "c0ffee",
            "source_author": "Ada <ada@example.org>",
            "started_by": "ada",
            "fingerprint": "f" * 8,
        }
        model = registered.report.model.model_copy(
            update=training
            | {
                name: value
                for name, value in given.items()
                if name in type(registered.report.model).model_fields
            }
        )
        report = registered.report.model_copy(update={"model": model})
        card = release.card.model_copy(
            update={
                "registered": registered.model_copy(
                    update={"report": report, "number": given.get("number", 12)}
                ),
                "card_sha256": given.get("card_sha256", "card"),
            }
        )
        return Release(line="chest", card=card, deployment={}, verdicts=release.verdicts)

    return make


@pytest.fixture
def desk(ledger: Ledger, clock: Clock, make: Make) -> Desk:
    """With version 12 in staging."""
    return desk_of(ledger, clock, make())


def desk_of(ledger: Ledger, clock: Clock, release: Release) -> Desk:
    """With a release in staging."""
    releases.record(ledger, release)
    ledger.append(
        "staging", release.line, fingerprint=release.release_id, body={"release_id": release.release_id}
    )
    return Desk(ledger, clock, release)


def key_pair() -> tuple[Any, str]:
    """A private key and its public one."""
    import base64

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = new_review_key()
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(private)), public


def test_a_radiologists_approval_meets_the_rule(desk, reviewers):
    """One approval will do; the entry holds who, in which role, how authenticated, on what, and what it means."""
    assert desk.problems(reviewers) == [
        "1 radiologist must approve of version 12 of chest, and nobody has",
    ]
    entry = desk.review(reviewers)

    assert desk.problems(reviewers) == []
    review = review_of(entry)
    assert (entry.kind, entry.subject) == (REVIEW, "chest_model@ffffffff/lee")
    assert review.authenticated == "principal claim"
    assert review.reviewers_commit == reviewers.commit
    statement = review.statement
    assert (statement.printed_name, statement.role, statement.decision) == (
        "Dr. Amira Lee",
        "radiologist",
        "approve",
    )
    assert "approve of its use" in statement.meaning
    assert (statement.card_sha256, statement.number, statement.release_id) == (
        "card",
        12,
        desk.release.release_id,
    )


def test_the_same_statement_again_adds_nothing(desk, reviewers):
    """A retry finds the entry that is there; a later review is another one that names the one before."""
    first = desk.review(reviewers)
    assert desk.review(reviewers) == first
    desk.clock.advance(hours=1)

    assert review_of(desk.review(reviewers)).previous == first.hash


def test_an_old_approval_counts_no_more(desk, reviewers):
    """From max_age_days on it is told as too old; and from the time on that it expires by itself."""
    desk.review(reviewers)
    desk.clock.advance(days=30, seconds=1)
    assert "older than 30 days" in desk.problems(reviewers)[1]
    desk.clock.advance(days=-29)
    desk.review(reviewers, valid_days=2)
    desk.clock.advance(days=3)

    assert "it expired at" in desk.problems(reviewers)[1]


def test_an_approval_of_another_card_or_version_does_not_count(desk, reviewers, make):
    """It is refused when it is given, and does not count for a release that has another card."""
    with pytest.raises(ReviewError, match="it is of another card than version 12 of chest has"):
        desk.review(reviewers, release=make(card_sha256="other"))
    with pytest.raises(ReviewError, match="it is of another model"):
        desk.review(reviewers, release=make(fingerprint="e" * 8, number=11))
    desk.review(reviewers)
    changed = desk.problems(reviewers, release=make(card_sha256="other"))
    another = desk.problems(reviewers, release=make(fingerprint="e" * 8))

    assert "it is of another card" in changed[1]
    assert another == ["1 radiologist must approve of version 12 of chest, and nobody has"]


@pytest.mark.parametrize(
    ("field", "name", "told"),
    [
        ("source_author", "X Y <LEE@hospital.example>", "Dr. Amira Lee wrote its spec"),
        ("source_author", "Dr. Amira Lee <private@example.org>", "Dr. Amira Lee wrote its spec"),
        ("started_by", "alee", "Dr. Amira Lee started its training"),
    ],
)
def test_nobody_approves_their_own_work(ledger, clock, make, reviewers, field, name, told):
    """Neither who wrote the spec nor who started the training, whichever of their names was used."""
    desk = desk_of(ledger, clock, make(**{field: name}))
    with pytest.raises(ReviewError, match=told):
        desk.review(reviewers)
    lax = ReviewRule(role="radiologist", excluded=())
    desk.review(reviewers, rules=(lax,))

    assert desk.problems(reviewers, lax) == []
    assert told in desk.problems(reviewers)[1]


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        ({"source_author": None}, "nobody knows who wrote its spec"),
        ({"source_commit": "c0ffee+dirty"}, "nobody knows who wrote its spec"),
        ({"source_commit": "unversioned"}, "nobody knows who wrote its spec"),
        ({"started_by": None}, "nobody knows who started its training"),
    ],
)
def test_an_unknown_author_or_starter_takes_one_approval_more(ledger, clock, make, reviewers, unknown, told):
    """One approval will not do, two of different people will."""
    desk = desk_of(ledger, clock, make(**unknown))
    desk.review(reviewers)
    (problem,) = desk.problems(reviewers)
    assert problem.startswith("2 people (radiologist) must approve")
    assert told in problem
    desk.review(reviewers, "kay")

    assert desk.problems(reviewers) == []


def test_one_person_under_two_names_counts_once(ledger, clock, make, repository):
    """Two entries that have ever shared a name, an address or a key are one person."""
    repository.commit(LEE)
    desk = desk_of(ledger, clock, make(started_by=None))
    desk.review(repository.read())
    clock.advance(hours=1)
    twice = repository.commit(
        person(emails=["new@hospital.example"]),
        person(id="amira", name="A. Lee", emails=["lee@hospital.example"], principals=["amira"]),
    )
    desk.review(twice, "amira")

    assert "and 1 has" in desk.problems(twice)[0]


def test_an_approval_of_before_does_not_withdraw_an_objection_under_another_id(desk, reviewers, repository):
    """What somebody signed once, and said the contrary of since, is not brought by whoever kept the file."""
    kept = desk.clock()
    twice = repository.commit(
        person(emails=["new@hospital.example"]),
        person(id="amira", name="A. Lee", emails=["lee@hospital.example"], principals=["amira"]),
    )
    desk.clock.advance(hours=1)
    desk.review(twice, "amira", "reject")
    desk.clock.advance(hours=1)

    with pytest.raises(ReviewError, match="has reviewed this model again since"):
        desk.review(twice, "lee", at=kept)
    assert "objects to version 12" in desk.problems(twice)[-1]


def test_who_is_no_radiologist_does_not_count(desk, reviewers, repository):
    """Neither somebody of another role, nor who has lost it since, nor a role that the line does not ask for."""
    with pytest.raises(ReviewError, match=r"Tim is no radiologist \(technician\)"):
        desk.review(reviewers, "tim")
    with pytest.raises(ReviewError, match="asks for reviews by radiologist, and for none by a technician"):
        desk.review(reviewers, "tim", role="technician")
    both = (RULE, ReviewRule(role="technician"))
    desk.review(reviewers, "tim", role="technician", rules=both)
    assert "it is by a technician, and no radiologist" in desk.problems(reviewers)[1]
    desk.review(reviewers)
    later = repository.commit(person(roles=["technician"]), KAY, TIM)

    assert any("Dr. Amira Lee is no radiologist (technician)" in each for each in desk.problems(later))


def test_a_role_of_ones_own_commit_cannot_review(desk, repository):
    """It is told that the grant was the person's own, and what to do."""
    own = repository.commit(LEE, author="Lee <lee@hospital.example>")

    with pytest.raises(ReviewError, match="made the commit that names them a radiologist"):
        desk.review(own, principal="alee")


def test_a_revoked_reviewer_counts_no_more_and_never_did(desk, reviewers, repository):
    """From the revocation on also the review from before it is out; who is out of the file is out, too."""
    desk.review(reviewers)
    revoked = repository.commit(person(revoked_at="2026-11-25T09:30:00Z"), KAY)
    assert desk.problems(revoked) == []
    desk.clock.time = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
    assert "was revoked as a reviewer at 2026-11-25 09:30 UTC" in desk.problems(revoked)[1]
    with pytest.raises(ReviewError, match="was revoked"):
        desk.review(revoked)

    assert "is in reviewers.yaml no more" in desk.problems(repository.commit(KAY))[1]


def test_a_review_counts_by_the_history_that_it_was_recorded_by(desk, reviewers, repository, tmp_path):
    """Not where the checkout is brought back to a commit of before, nor by another repository that says the same."""
    later = repository.commit(LEE, KAY, author="Head <head@example.org>")
    desk.review(later)
    assert desk.problems(repository.commit(LEE, TIM)) == []
    run_git(repository.folder, "update-ref", "refs/heads/main", reviewers.commit)
    back = repository.read()
    elsewhere = ReviewersRepository(tmp_path / "elsewhere").commit(LEE)

    for other in (back, elsewhere):
        assert "is not in the history of the one that is read now" in desk.problems(other)[1]
    desk.review(back, at=desk.clock() + timedelta(seconds=1))
    assert desk.problems(back) == []


def test_an_objection_is_not_forgotten_by_a_file_that_never_named_its_maker(desk, reviewers, tmp_path):
    """Another repository without them, or one whose history was written anew."""
    desk.review(reviewers, "kay", "reject")
    elsewhere = ReviewersRepository(tmp_path / "elsewhere").commit(LEE)
    desk.review(elsewhere)

    (problem,) = desk.problems(elsewhere)
    assert "Dr. Kay (radiologist) objects" in problem


def test_validity_is_asked_for_the_time_of_the_review_and_for_now(desk, reviewers, repository):
    """A review from before one was a reviewer, and one from before one was a reviewer no more, do not count."""
    desk.review(reviewers)
    later = repository.commit(person(valid_from="2026-11-23"))
    desk.clock.advance(days=3)
    assert "is a reviewer from 2026-11-23" in desk.problems(later)[1]
    ended = repository.commit(person(valid_until="2026-11-23"))

    assert "was a reviewer until 2026-11-24" in desk.problems(ended)[1]


def test_another_principal_cannot_speak_for_a_reviewer(desk, reviewers, repository):
    """Without a signature the process has to act as a principal of the person, who still has that principal."""
    with pytest.raises(ReviewError, match=r"acts as mallory, which is no principal of Dr\. Amira Lee"):
        desk.review(reviewers, principal="mallory")
    desk.review(reviewers)

    later = repository.commit(person(principals=["amira"]))
    assert "it was given as alee, which is no principal of Dr. Amira Lee" in desk.problems(later)[1]


def test_an_objection_blocks_until_it_is_withdrawn(desk, reviewers):
    """Others' approvals do not help; the same person's newer approval does."""
    desk.review(reviewers, "kay")
    with pytest.raises(ReviewError, match="an objection says what is wrong"):
        desk.review(reviewers, decision="reject", comment="")
    desk.review(reviewers, decision="reject", comment="misses effusions")
    (problem,) = desk.problems(reviewers)
    assert "Dr. Amira Lee (radiologist) objects to version 12" in problem
    assert "misses effusions" in problem
    desk.clock.advance(days=365)
    desk.review(reviewers, "kay")
    assert len(desk.problems(reviewers)) == 1
    desk.review(reviewers)

    assert desk.problems(reviewers) == []


def test_an_objection_outlives_its_reviewer_and_its_card(desk, reviewers, repository, make):
    """It blocks though who gave it was revoked or is gone, and though the card is another one now."""
    desk.review(reviewers, decision="reject")
    for later in (repository.commit(person(revoked_at="2026-11-22T12:00:00Z"), KAY), repository.commit(KAY)):
        desk.clock.advance(hours=1)
        desk.review(later, "kay")
        (problem,) = desk.problems(later)
        assert "objects" in problem

    assert any("objects" in each for each in desk.problems(later, release=make(card_sha256="other")))


def test_another_of_the_role_withdraws_an_objection_by_naming_it(desk, reviewers):
    """Only by an approval that counts itself, and that names this very objection."""
    objection = desk.review(reviewers, decision="reject")
    with pytest.raises(ReviewError, match="is no objection to this model"):
        desk.review(reviewers, "kay", supersedes="0" * 64)
    desk.review(reviewers, "kay", supersedes=objection.hash, valid_days=10)
    assert desk.problems(reviewers) == []
    desk.clock.advance(days=11)

    assert any("objects" in each for each in desk.problems(reviewers))


def test_a_waived_verdict_takes_a_reason_and_reviewers_who_saw_it(desk, reviewers, judge):
    """Without a comment nothing is recorded; a waiver of later is one that nobody has reviewed."""
    waived = judge("waived")
    criteria = [criterion_of(waived)]
    with pytest.raises(ReviewError, match=r"give a comment: gate\.auc was waived"):
        desk.review(reviewers, criteria=criteria, comment="  ")
    desk.review(reviewers, comment="")
    assert "a verdict was waived since" in desk.problems(reviewers, verdicts=(waived,))[1]
    desk.clock.advance(hours=1)
    desk.review(reviewers, criteria=criteria)

    assert desk.problems(reviewers, verdicts=(waived,)) == []


def test_criteria_must_be_those_of_the_ledger(desk, reviewers, judge):
    """A value that the ledger does not have is not recorded as one that somebody saw."""
    better = criterion_of(judge()).model_copy(update={"observed": 0.99})

    with pytest.raises(ReviewError, match=r"no such verdict of gate\.auc"):
        desk.review(reviewers, criteria=[better])


def test_what_a_signature_means_is_not_for_the_signer_to_say(desk, reviewers):
    """A statement with another meaning is not recorded."""
    statement = said(desk.release, reviewers.people["lee"], at=NOON).model_copy(
        update={"meaning": "I was here."}
    )

    with pytest.raises(ReviewError, match="its meaning is not what approve means here"):
        record_review(desk.ledger, statement, desk.release, (RULE,), reviewers, principal="alee", now=NOON)


def test_cases_must_be_those_that_the_ledger_knows_as_shown(desk, reviewers):
    """Neither more of them than there were, nor those that somebody else was shown."""
    model = f"chest_model@{desk.release.card.registered.report.model.fingerprint}"
    shown = [
        desk.ledger.append(ACCESS, model, fingerprint=by, body={"by": by, "objects": ["a", "b"]}).hash
        for by in ("lee", "kay")
    ]
    for accesses, cases in ((shown[:1], 3), (shown[1:], 2), (["0" * 64], 0)):
        with pytest.raises(ReviewError, match="the ledger does not say that"):
            desk.review(reviewers, accesses=tuple(accesses), cases_viewed=cases)

    assert review_of(desk.review(reviewers, accesses=(shown[0],), cases_viewed=2)).statement.cases_viewed == 2


def test_what_is_in_no_stage_is_not_reviewed(ledger, clock, make, reviewers):
    """A release that was recorded and never deployed."""
    desk = Desk(ledger, clock, make())

    with pytest.raises(
        ReviewError, match="version 12 of chest is not in staging, and was never in production"
    ):
        desk.review(reviewers)


def test_everything_that_is_wrong_is_told_at_once(desk, repository):
    """A refusal names all."""
    reviewers = repository.commit(person(roles=[], valid_until="2026-11-02"))

    with pytest.raises(ReviewError) as refused:
        desk.review(reviewers, decision="reject", comment="", principal="mallory")

    told = str(refused.value)
    for each in ("is no radiologist", "was a reviewer until", "objection says", "no principal"):
        assert each in told


def test_nobody_is_a_reviewer_without_history(desk, reviewers):
    """The reason is told with the refusal, and nothing counts."""
    desk.review(reviewers)
    nobody = Reviewers(commit="", problem="nobody is a reviewer: no Git")

    assert desk.problems(nobody)[0] == "nobody is a reviewer: no Git"


class TestSignature:
    """A line that asks for signatures."""

    def test_an_unsigned_review_is_refused(self, desk, reviewers):
        """It is when it is given, and when it is counted."""
        with pytest.raises(ReviewError, match="have to be signed"):
            desk.review(reviewers, rules=(SIGNED,))
        desk.review(reviewers)

        assert "it is not signed" in desk.problems(reviewers, SIGNED)[1]

    def test_a_signature_counts_whoever_brings_it(self, desk, repository):
        """The person need not be who runs the command."""
        key, public = key_pair()
        reviewers = repository.commit(person(public_key=public))
        entry = desk.review(reviewers, key=key, rules=(SIGNED,), principal="mallory")

        assert desk.problems(reviewers, SIGNED) == []
        assert review_of(entry).authenticated == "ed25519 signature"

    def test_another_key_does_not_sign(self, desk, repository):
        """Who signs with a key that is not theirs is told; so it is after the key was exchanged."""
        key, public = key_pair()
        other, other_public = key_pair()
        reviewers = repository.commit(person(public_key=public))
        with pytest.raises(ReviewError, match="this key's public key is"):
            desk.review(reviewers, key=other, rules=(SIGNED,))
        desk.review(reviewers, key=key, rules=(SIGNED,))
        exchanged = repository.commit(person(public_key=other_public))

        assert "signed by another key" in desk.problems(exchanged, SIGNED)[1]

    def test_a_key_of_ones_own_commit_does_not_count(self, desk, repository):
        """Somebody who can commit cannot give a reviewer their own key by the reviewer's name."""
        _, public = key_pair()
        other, other_public = key_pair()
        repository.commit(person(public_key=public))
        forged = repository.commit(person(public_key=other_public), author="Dr. Amira Lee <x@y>")
        statement = said(desk.release, forged.people["lee"], at=NOON, public_key=other_public)
        with pytest.raises(ReviewError, match=r"no public key of Dr\. Amira Lee counts"):
            record_review(
                desk.ledger,
                sign(statement, other),
                desk.release,
                (SIGNED,),
                forged,
                principal="alee",
                now=NOON,
            )

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (b'"decision":"approve"', b'"decision":"reject"'),
            (b'"comment":"looked at all of it"', b'"comment":"looked at some of it"'),
            (b'"card_sha256":"card"', b'"card_sha256":"cord"'),
            (b'"number":12', b'"number":13'),
        ],
    )
    def test_an_altered_file_is_refused(self, desk, repository, before, after):
        """Whatever word of a signed file is another one."""
        key, public = key_pair()
        reviewers = repository.commit(person(public_key=public))
        raw = sign(said(desk.release, reviewers.people["lee"]), key).to_json()
        assert read_signed(raw, name="f").to_json() == raw
        assert before in raw

        with pytest.raises(ReviewError, match="the signature is wrong"):
            read_signed(raw.replace(before, after), name="f")

    def test_an_altered_statement_is_not_recorded_and_does_not_count(self, desk, repository):
        """The signature is checked when it is recorded, too, and again whenever it is counted."""
        key, public = key_pair()
        reviewers = repository.commit(person(public_key=public))
        signed = sign(said(desk.release, reviewers.people["lee"], "reject", at=NOON), key)
        altered = SignedStatement(
            statement=signed.statement.model_copy(update={"decision": "approve"}), signature=signed.signature
        )
        with pytest.raises(ReviewError, match="its signature is wrong"):
            record_review(desk.ledger, altered, desk.release, (SIGNED,), reviewers, principal="x", now=NOON)
        entry = desk.review(reviewers, key=key, rules=(SIGNED,))
        body = entry.body | {"signature": signed.signature}
        forged = desk.ledger.append(REVIEW, entry.subject, fingerprint="forged", body=body)

        assert forged.seq > entry.seq
        assert "its signature is wrong" in desk.problems(reviewers, SIGNED)[1]

    def test_what_was_withdrawn_cannot_be_brought_again(self, desk, repository):
        """An approval that was followed by an objection is not recorded a second time."""
        key, public = key_pair()
        reviewers = repository.commit(person(public_key=public))
        old = sign(said(desk.release, reviewers.people["lee"], at=NOON), key)
        desk.clock.advance(hours=1)
        desk.review(reviewers, key=key, decision="reject", rules=(SIGNED,))

        with pytest.raises(ReviewError, match="has reviewed this model again since"):
            record_review(
                desk.ledger,
                old,
                desk.release,
                (SIGNED,),
                reviewers,
                principal="x",
                now=NOON + timedelta(hours=2),
            )

"""Production of a promoted line moves by people alone, and only where everything is there at once."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from platform_assets.datasets.schema_breaker import BREAKER
from platform_assets.governance import release as releases
from platform_assets.governance import retraining
from platform_assets.governance.errors import PinnedError, PromotionConflictError, PromotionRefusedError
from platform_assets.governance.promotion import (
    former,
    promotion_problems,
    return_problems,
    version_to_promote,
)
from platform_assets.governance.release import ACTIVATION, STAGED, pin_state, unpin
from platform_assets.governance.review_rule import ReviewRule
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import GENESIS
from tests.promoting import ADA, DEMANDS, GRACE, KAY, LEE, LINE, Desk, reviewers_of


@pytest.fixture
def desk(ledger, clock):
    """Where nothing was staged yet."""
    return Desk(ledger, clock)


def refusals(desk, made, **given):
    """Why it is not promoted; what is in production has not moved."""
    before = desk.production
    with pytest.raises(PromotionRefusedError) as refused:
        desk.promote(made, **given)
    assert desk.production == before
    return refused.value.problems


# --- Two pointers ------------------------------------------------------------------------------------


def test_a_deployment_to_staging_leaves_production_alone(desk):
    """Readers of production see what they saw before; staging has the newest that was deployed."""
    desk.promoted(1)
    second = desk.stage(2)

    assert (desk.production, desk.staged) == (1, 2)
    (_, entry) = desk.ledger.entries(kind=STAGED, subject=LINE)
    assert set(entry.body) == {"release_id", "previous", "reason", "verdicts"}
    assert entry.body["release_id"] == second.release_id
    assert desk.deploy(second, stage="staging") == entry
    assert desk.stage(3).release_id != second.release_id
    assert (desk.production, desk.staged) == (1, 3)


def test_a_release_leaves_staging_when_it_gets_to_production(desk):
    """It is in one stage at a time; staging what is in production changes nothing."""
    first = desk.promoted(1)

    assert (desk.production, desk.staged) == (1, None)
    assert desk.deploy(first, stage="staging").kind == ACTIVATION
    assert desk.staged is None


def test_a_pinned_line_is_staged_no_further(desk):
    """Automation leaves it alone, in staging too."""
    first, _ = desk.promoted(1), desk.promoted(2)
    desk.bring_back(first, "rollback")

    with pytest.raises(PinnedError, match="pinned to release"):
        desk.stage(3)


def test_a_line_that_gains_promotion_keeps_what_it_has_in_production(desk):
    """What was deployed to production stays there; what is deployed next goes to staging."""
    first = desk.stage(1)
    desk.deploy(first)
    desk.stage(2)

    assert (desk.production, desk.staged) == (1, 2)
    assert "promotion" not in desk.ledger.latest(ACTIVATION, LINE).body


@pytest.mark.parametrize("deployed", [2, 3])
def test_a_line_that_loses_promotion_has_no_staging_any_more(desk, deployed):
    """Its next deployment goes to production, be it of what was staged or of another version."""
    desk.promoted(1)
    made = {number: desk.stage(number) for number in (3, 2)}
    desk.deploy(made[deployed])

    assert (desk.production, desk.staged) == (deployed, None)


def test_a_run_goes_on_from_what_was_staged_last(desk, ledger):
    """A line that was retrained into staging stays with those values, there and in production, until it goes back."""
    first = desk.promoted(1)
    asked = retraining.request(
        ledger,
        retraining.Retraining(
            key="drift:1", line=LINE, trigger="drift", config={}, basis="spec", evidence={}
        ),
    )
    second = desk.stage(2)
    desk.stage(3)
    desk.deploy(second, stage="staging", retraining=asked.hash)

    staged = retraining.followed(ledger, LINE, basis="spec")
    desk.review(second)
    promoted = desk.promote(second)

    assert staged == (asked.hash, retraining.Retraining.of(asked))
    assert promoted.body["retraining"] == asked.hash
    assert retraining.followed(ledger, LINE, basis="spec") == staged
    desk.bring_back(first)
    assert retraining.followed(ledger, LINE, basis="spec") is None


# --- Promotion ---------------------------------------------------------------------------------------


def test_a_reviewed_version_gets_to_production(desk):
    """The activation says who, why, on which verdicts and on which reviews."""
    made = desk.stage(1)
    review = desk.review(made)
    entry = desk.promote(made, by="grace@hospital.example")

    assert (desk.production, desk.staged) == (1, None)
    assert entry.body["promotion"] == {
        "act": "promote",
        "by": "Grace",
        "spec_commit": "c0ffee",
        "reviewers_commit": desk.reviewers.commit,
        "rules": [
            {"role": "radiologist", "approvals": 1, "max_age_days": 30.0, "not": ["author", "trainer"]}
        ],
        "reviews": [review.hash],
    }
    assert entry.body["reason"] == "reviewed"
    rule_sets = [desk.ledger.get(each).body["rule_set"] for each in entry.body["verdicts"]]
    assert rule_sets == ["gate.auc", "contract.dicom", "tuning.completed", "card.valid"]
    assert desk.ledger.verify().ok


def test_promoting_what_is_in_production_changes_nothing(desk):
    """Whoever repeats it, and whatever they saw before."""
    made = desk.promoted(1)
    entry = desk.ledger.latest(ACTIVATION, LINE)

    assert desk.promote(made, by="Dr. Kay", expected=None) == entry
    assert len(list(desk.ledger.entries(kind=ACTIVATION))) == 1


def test_a_version_is_named_by_its_number(desk):
    """In staging, or in production already; of any other, what is in staging is told."""
    first, second = desk.promoted(1), desk.stage(2)

    assert version_to_promote(desk.ledger, LINE, 1).release_id == first.release_id
    assert version_to_promote(desk.ledger, LINE, 2).release_id == second.release_id
    with pytest.raises(PromotionRefusedError, match="version 7 is not in staging: version 2 is"):
        version_to_promote(desk.ledger, LINE, 7)


def judged(rule_set, outcome, **given):
    """Another judgement of what a rule set is about."""

    def change(desk, made):
        found = desk.demands.verdicts.of(made.card.registered.report.model, made.card)
        subject = next(each.subject for each in found if each.requirement.rule_set == rule_set)
        desk.judge(subject, rule_set, outcome, run="again", **given)

    return change


def break_schema(desk, made):
    """A source of another shape."""
    body = {"state": "open", "by": "run", "reason": "column age was dropped", "via": "violation"}
    desk.ledger.append(BREAKER, f"{LINE}_dataset", fingerprint=GENESIS, body=body)


def erase(desk, made):
    """Rows of its data are gone."""
    snapshot = made.card.registered.report.model.features.dataset.snapshot
    body = {
        "versions": [{"table": snapshot.table, "content_hash": snapshot.content_hash, "snapshot_id": "1"}]
    }
    desk.ledger.append("erasure", "subject", fingerprint="1", body=body)


REFUSALS = {
    "DICOM verdict failed": (judged("contract.dicom", "fail"), "contract.dicom on chest_dataset@.*: failed"),
    "validation errored": (judged("gate.auc", "error"), "gate.auc on chest_model@.*: ended in an error"),
    "judged under other rules": (
        judged("gate.auc", "pass", rules="rules-2"),
        "gate.auc .* under other rules",
    ),
    "waiver not allowed": (
        judged("gate.auc", "waived"),
        "gate.auc .* was waived, and the spec does not let it",
    ),
    "card not valid": (judged("card.valid", "fail"), "card.valid on chest_card@ca0002: failed"),
    "tuning failed": (judged("tuning.completed", "fail"), "tuning.completed on chest_tuning@700002: failed"),
    "schema breaker open": (break_schema, "schema breaker of chest_dataset is open"),
    "erased": (erase, "is erased: entry"),
    "rejected": (lambda desk, made: desk.review(made, KAY, "reject"), r"Dr\. Kay \(radiologist\) objects"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_has_fallen_since_blocks_a_promotion(desk, case):
    """All else is there, and the former version stays in production."""
    desk.promoted(1)
    made = desk.stage(2)
    desk.review(made)
    asked = desk.asked(made)
    assert promotion_problems(**asked, by="Grace") == []
    change, told = REFUSALS[case]
    change(desk, made)

    (problem,) = refusals(desk, made)

    assert re.search(told, problem)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"by": "Mallory"}, "Mallory is nobody whom the file of reviewers names at commit c0ffeec0ffee"),
        ({"by": " "}, "nobody says who does it"),
        ({"reason": " "}, "nobody says why"),
        ({"stored_card": None}, "card card-2.jsonld is not in the object store"),
        ({"stored_card": "0" * 64}, "card card-2.jsonld is not what was released"),
    ],
)
def test_what_is_said_amiss_blocks_a_promotion(desk, given, told):
    """A person whom nobody knows, no reason, or a card that is not there as it was released."""
    desk.promoted(1)
    made = desk.stage(2)
    desk.review(made)

    (problem,) = refusals(desk, made, **given)

    assert told in problem


def test_a_promoter_who_was_revoked_promotes_no_more(desk, clock):
    """The file's validity holds for who promotes, too."""
    desk = replace(desk, reviewers=reviewers_of(LEE, replace(GRACE, revoked_at=clock.time)))
    made = desk.stage(1)
    desk.review(made)

    (problem,) = refusals(desk, made)

    assert problem.startswith("Grace was revoked as a reviewer")


def test_a_verdict_that_has_grown_old_blocks_a_promotion(desk, clock):
    """At once with a review that has."""
    made = desk.stage(1)
    desk.review(made)
    clock.advance(days=31)

    verdict, missing, review = refusals(desk, made)

    assert "contract.dicom" in verdict
    assert "31.0 days old, at most 30 are allowed" in verdict
    assert "1 radiologist must approve" in missing
    assert "Dr. Lee" in review


def test_a_model_that_was_not_tuned_lacks_the_verdict_on_its_tuning(desk):
    """And is told why there can be none."""
    made = desk.stage(1, tuned=False)
    desk.review(made)

    (problem,) = refusals(desk, made)

    assert problem == (
        "tuning.completed on chest_tuning@none: its model was not tuned: train it with the line's Experiment"
    )


def test_a_waiver_counts_for_what_the_spec_lists(desk):
    """Once a reviewer has seen it."""
    verdicts = replace(DEMANDS.verdicts, waivable=frozenset({"contract.dicom"}))
    desk = replace(desk, demands=replace(DEMANDS, verdicts=verdicts, reviews=()))
    made = desk.stage(1)
    judged("contract.dicom", "waived")(desk, made)

    desk.promote(made)

    assert desk.production == 1


def test_only_what_is_in_staging_is_promoted(desk):
    """Not what another version has taken the place of, and not what people have gone back from."""
    first = desk.promoted(1)
    second = desk.stage(2)
    desk.review(second)
    third = desk.promoted(3)

    assert refusals(desk, second) == ("version 2 is not in staging: nothing is",)
    desk.bring_back(first)
    assert "version 3 is not in staging: nothing is" in refusals(desk, third)


def test_a_pinned_line_is_promoted_once_it_is_unpinned(desk, clock):
    """The pin of a rollback holds people's promotions too."""
    first, second = desk.promoted(1), desk.promoted(2)
    third = desk.stage(3)
    desk.review(third)
    desk.bring_back(first, "rollback")

    (problem,) = refusals(desk, third)
    assert f"pinned to release {first.release_id}" in problem
    unpin(desk.ledger, LINE, by="grace", reason="mended")
    desk.promote(third)

    assert desk.production == 3
    assert former(desk.ledger, LINE).release_id == first.release_id
    assert second.release_id != first.release_id


def test_everything_that_is_missing_is_named_at_once(desk):
    """Nobody comes back ten times."""
    made = desk.stage(1, judged=False)
    desk.stage(2)
    break_schema(desk, made)
    erase(desk, made)

    found = refusals(desk, made, by="Mallory", reason="", stored_card=None)

    for told in (
        "version 1 is not in staging: version 2 is",
        "is erased",
        "contract.dicom",
        "tuning.completed",
        "card.valid",
        "schema breaker",
        "its card",
        "1 radiologist must approve",
        "Mallory",
        "give a reason",
    ):
        assert [each for each in found if told in each], told
    assert len(found) == 10


def test_a_damaged_ledger_promotes_nothing(desk, tamper):
    """Whatever it says; and whoever only asks is told."""
    made = desk.stage(1)
    desk.review(made)
    tamper.execute("DELETE FROM entries WHERE seq = 3")

    with pytest.raises(LedgerError):
        desk.promote(made)
    assert desk.production is None
    (problem,) = promotion_problems(**desk.asked(made))
    assert problem.startswith("the ledger is damaged")


def test_a_version_is_complete_before_anybody_reviews_it(desk):
    """What is missing beside reviews can be asked for, without them."""
    made = desk.stage(1)

    assert promotion_problems(**desk.asked(made), reviewed=False) == []
    (missing,) = promotion_problems(**desk.asked(made))
    assert "1 radiologist must approve" in missing


# --- Four eyes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["Ada", "ada", "Ada <ada@hospital.example>", "ada@hospital.example"])
def test_nobody_promotes_alone_what_they_made(desk, by):
    """Even where the spec lets their own approval count, somebody else has to have looked."""
    own = reviewers_of(LEE, replace(ADA, roles=("radiologist",)))
    rule = ReviewRule.model_validate({"role": "radiologist", "not": []})
    desk = replace(desk, reviewers=own, demands=replace(DEMANDS, reviews=(rule,)))
    made = desk.stage(1)
    desk.review(made, own.people["ada"])

    (problem,) = refusals(desk, made, by=by)
    assert problem.startswith("Ada wrote its spec and started its training, and nobody does it alone")
    desk.review(made, LEE)
    desk.promote(made, by=by)

    assert desk.production == 1


def test_a_spec_that_was_changed_and_not_committed_moves_nothing(desk):
    """It may demand less than anybody has agreed to; neither forward nor back."""
    first = desk.promoted(1)
    made = desk.promoted(2)
    third = desk.stage(3)
    desk.review(third)
    changed = replace(desk.demands, reviews=(), spec_commit="c0ffee+dirty")

    (problem,) = refusals(replace(desk, demands=changed), third)
    assert "differs from what was committed (c0ffee)" in problem
    (problem,) = return_problems(**desk.asked(first) | {"demands": changed}, act="demote", by="Grace")
    assert "differs from what was committed" in problem
    assert desk.production == made.card.registered.number


def test_whoever_wrote_what_it_takes_does_not_promote_alone(desk):
    """A commit that asks for no reviews any more is somebody's, who is not the only one to act by it."""
    lowered = replace(
        desk.demands, reviews=(), spec_commit="1ess", spec_author="Grace <grace@hospital.example>"
    )
    desk = replace(desk, demands=lowered)
    made = desk.stage(1)

    (problem,) = refusals(desk, made)
    assert problem.startswith("Grace wrote the spec that says what it takes, and nobody does it alone")
    desk.promote(made, by="Dr. Kay")

    assert desk.production == 1


@pytest.mark.parametrize("by", ["Ada", "ada", "Ada <ada@hospital.example>", "ada@hospital.example"])
def test_without_reviews_somebody_else_promotes(desk, by):
    """Names are compared as they stand, whether or not a file knows them."""
    desk = replace(desk, reviewers=reviewers_of(), demands=replace(DEMANDS, reviews=()))
    made = desk.stage(1, started_by="ada")

    (problem,) = refusals(desk, made, by=by)
    assert "nobody does it alone: let somebody else promote it" in problem
    desk.promote(made, by="Grace")

    assert desk.production == 1


# --- At once -----------------------------------------------------------------------------------------


def test_production_that_has_moved_meanwhile_is_a_conflict(desk):
    """The loser is told who moved it, to what and why; what is there stays."""
    first, second = desk.promoted(1), desk.stage(2)
    seen = desk.seen
    desk.review(second)
    desk.promote(second, by="Dr. Kay")
    third = desk.stage(3)
    desk.review(third)

    with pytest.raises(
        PromotionConflictError,
        match=r"promotion of chest version 3 comes too late: Dr\. Kay brought version 2 to production meanwhile "
        r"\(entry \d+: reviewed\)",
    ):
        desk.promote(third, expected=seen)
    with pytest.raises(PromotionConflictError, match="demotion of chest to version 1 comes too late"):
        desk.bring_back(first, expected=seen)
    assert desk.production == 2


# --- The way back ------------------------------------------------------------------------------------


def test_a_demotion_brings_the_former_version_back(desk):
    """In one act, with a reason; what it went back from is in no stage any more."""
    first, _ = desk.promoted(1), desk.promoted(2)

    target = former(desk.ledger, LINE)
    entry = desk.bring_back(target)

    assert target.release_id == first.release_id
    assert (desk.production, desk.staged) == (1, None)
    assert entry.body["promotion"]["act"] == "demote"
    assert entry.body["promotion"]["reviews"]
    assert entry.body["pinned"] is False
    assert entry.body["verdicts"] == next(desk.ledger.entries(kind=ACTIVATION)).body["verdicts"]
    assert desk.bring_back(target) == entry
    assert desk.ledger.verify().ok


def test_each_demotion_leads_further_back(desk):
    """And never to what was gone back from; at the first version there is nothing left to go back to."""
    desk.promoted(1), desk.promoted(2), desk.promoted(3)

    seen = []
    while (target := former(desk.ledger, LINE)) is not None:
        desk.bring_back(target)
        seen.append(desk.production)

    assert seen == [2, 1]


def test_without_a_former_version_there_is_no_way_back(desk):
    """Readers are never left without a version in production."""
    assert former(desk.ledger, LINE) is None
    first = desk.promoted(1)
    assert former(desk.ledger, LINE) is None
    second = desk.stage(2)

    with pytest.raises(PromotionRefusedError, match="version 2 is not the one that was in production before"):
        desk.bring_back(second)
    with pytest.raises(PromotionRefusedError, match="version 2 was never in production"):
        desk.bring_back(second, "rollback")
    assert releases.active(desk.ledger, LINE).release_id == first.release_id


@pytest.mark.parametrize("act", ["demote", "rollback"])
@pytest.mark.parametrize(
    "case", ["DICOM verdict failed", "validation errored", "waiver not allowed", "erased"]
)
def test_what_has_fallen_since_blocks_the_way_back(desk, case, act):
    """The former version's verdicts are read anew."""
    first, _ = desk.promoted(1), desk.promoted(2)
    change, told = REFUSALS[case]
    change(desk, first)

    with pytest.raises(PromotionRefusedError, match=told):
        desk.bring_back(first, act)
    assert desk.production == 2


@pytest.mark.parametrize("act", ["demote", "rollback"])
def test_a_review_that_has_expired_blocks_the_way_back(desk, clock, act):
    """It fails closed; a new review of the former version opens it."""
    first, _ = desk.promoted(1), desk.promoted(2)
    clock.advance(days=29)
    assert return_problems(**desk.asked(first), act=act) == []
    clock.advance(days=2)

    problems = return_problems(**desk.asked(first), act=act)

    assert "contract.dicom" in problems[0]
    assert "radiologist" in problems[1]


def test_a_former_version_can_be_reviewed_again(desk, clock):
    """What was in production is reviewed like what is, or nobody could go back to it after a month."""
    lasting = replace(DEMANDS.verdicts, requirements=DEMANDS.verdicts.requirements[:1])
    desk = replace(desk, demands=replace(DEMANDS, verdicts=lasting))
    first, _ = desk.promoted(1), desk.promoted(2)
    clock.advance(days=31)
    desk.review(first)

    desk.bring_back(first)

    assert desk.production == 1


def test_approvals_of_before_a_demotion_count_no_more(desk, clock):
    """Who approved did not know what led to it; the problem names the act."""
    first, second = desk.promoted(1), desk.promoted(2)
    demoted = desk.bring_back(first)
    clock.advance(minutes=1)
    desk.deploy(second, stage="staging")

    missing, why = refusals(desk, second)
    assert "1 radiologist must approve" in missing
    assert why.endswith(f"entry {demoted.seq} went back from this version (misses nodules)")
    desk.review(second)
    desk.promote(second)

    assert desk.production == 2
    assert former(desk.ledger, LINE).release_id == first.release_id


def test_a_former_version_returns_under_the_rules_of_then(desk):
    """A rule that was tightened since does not shut the way back; a judgement under it that failed does."""
    first, _ = desk.promoted(1), desk.promoted(2)
    verdicts = replace(
        DEMANDS.verdicts, rule_set_hashes=dict.fromkeys(DEMANDS.verdicts.rule_set_hashes, "rules-2")
    )
    desk = replace(desk, demands=replace(DEMANDS, verdicts=verdicts))

    assert return_problems(**desk.asked(first), act="demote") == []
    judged("gate.auc", "fail", rules="rules-2")(desk, first)
    (problem,) = return_problems(**desk.asked(first), act="demote")
    assert "gate.auc" in problem


def test_a_rollback_leads_to_any_version_that_was_in_production_and_pins_it(desk):
    """Over what came in between, and over a pin that stands; repeating it changes nothing."""
    first, second, _ = desk.promoted(1), desk.promoted(2), desk.promoted(3)

    entry = desk.bring_back(first, "rollback")
    assert (desk.production, pin_state(desk.ledger, LINE).release_id) == (1, first.release_id)
    assert desk.bring_back(first, "rollback") == entry
    desk.bring_back(second, "rollback")

    assert (desk.production, pin_state(desk.ledger, LINE).release_id) == (2, second.release_id)
    assert desk.ledger.latest(ACTIVATION, LINE).body["promotion"]["act"] == "rollback"


def test_what_concerns_new_data_does_not_shut_the_way_back(desk):
    """An open schema breaker keeps new versions out, and no former one."""
    first, _ = desk.promoted(1), desk.promoted(2)
    break_schema(desk, first)

    desk.bring_back(first)

    assert desk.production == 1


def test_the_review_of_a_promotion_is_as_young_as_the_rule_says(desk, clock):
    """A promotion of today does not make it younger."""
    made = desk.stage(1)
    desk.review(made)
    clock.time += timedelta(days=29)
    desk.judge(f"{LINE}_dataset@{made.versions['dataset']}", "contract.dicom", run="again")

    desk.promote(made)

    assert desk.production == 1

"""No verdict, no deploy: every way to lack a verdict is seen to block."""

import math
import pickle
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from platform_assets.governance import verdict
from platform_assets.governance.errors import GovernanceError, VerdictMissingError
from platform_assets.governance.verdict import (
    Requirement,
    Verdict,
    demand,
    latest_verdict,
    unmet,
    verdict_of,
)
from platform_assets.ledger.errors import LedgerConflictError, LedgerError

ACT = "deploy of reviews_sentiment"
BLOCKED = f"{ACT} is blocked: gate.auc on reviews_sentiment_model@3f2a91c04b7e…: "
MODEL = "reviews_sentiment_model@3f2a91c04b7e5d68"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def refusal(ledger, clock, require):
    """Why the act is blocked; fails where it is not, or where `unmet` disagrees."""

    def refusal(*requirements, **options):
        requirements = requirements or [require(**options)]
        with pytest.raises(VerdictMissingError) as blocked:
            demand(ledger, ACT, requirements, now=clock.time)
        assert list(blocked.value.unmet) == unmet(ledger, requirements, now=clock.time)
        return str(blocked.value)

    return refusal


# --- What is accepted -------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["pass", "waived"])
def test_a_pass_or_a_waiver_lets_the_act_go_on(ledger, clock, judge, require, outcome):
    """The demand returns the entries that it accepted, in the order of the requirements."""
    model, text = judge(outcome), judge(rule_set="contract.core_text")
    requirements = [require("contract.core_text"), require()]
    assert demand(ledger, ACT, requirements, now=clock.time) == [text, model]
    assert unmet(ledger, requirements, now=clock.time) == []


def test_the_latest_verdict_counts(ledger, clock, judge, require, refusal):
    """A later failure takes a pass back, and a later pass heals a failure."""
    judge("pass", evaluation_id="run-1")
    judge("fail", evaluation_id="run-2")
    assert refusal().startswith(BLOCKED + "failed")
    healed = judge("pass", evaluation_id="run-3")
    assert demand(ledger, ACT, [require()], now=clock.time) == [healed]


def test_a_verdict_is_accepted_up_to_its_last_moment(ledger, clock, judge, require, refusal):
    """The age limit itself is allowed, a microsecond more is not."""
    entry = judge()
    clock.advance(days=7)
    assert demand(ledger, ACT, [require(max_age_days=7)], now=clock.time) == [entry]
    clock.advance(microseconds=1)
    assert refusal(max_age_days=7) == BLOCKED + "7.0 days old, at most 7 are allowed; judge again"


def test_a_verdict_without_age_limit_stays_good(ledger, clock, judge, require):
    """Where no limit is set, time alone changes nothing."""
    entry = judge()
    clock.advance(days=10_000)
    assert demand(ledger, ACT, [require()], now=clock.time) == [entry]


def test_clocks_may_differ_a_little(ledger, clock, judge, require, refusal):
    """Five minutes ahead is another machine's clock; more is no time at which a verdict can have been made."""
    clock.advance(minutes=5)
    entry = judge()
    clock.advance(minutes=-5)
    assert demand(ledger, ACT, [require()], now=clock.time) == [entry]
    clock.advance(microseconds=-1)
    assert refusal() == BLOCKED + "dated 2026-11-22 12:05 UTC, which is in the future: check the clocks"


# --- What blocks ------------------------------------------------------------------------------------


def test_a_missing_verdict_blocks(refusal):
    """Nothing recorded means nothing allowed."""
    assert refusal() == BLOCKED + "no verdict"


@pytest.mark.parametrize(
    "other", [{"subject": "reviews_sentiment_model@b10b"}, {"rule_set": "gate.accuracy"}]
)
def test_a_verdict_on_something_else_does_not_help(judge, refusal, other):
    """Another version of the model, or another gate, is another matter."""
    judge(**other)
    assert refusal() == BLOCKED + "no verdict"


def test_a_failed_verdict_blocks_and_shows_the_numbers(judge, refusal):
    """Whoever is blocked reads what was observed and what was demanded."""
    judge("fail", observed=0.9012)
    assert refusal() == BLOCKED + "failed (observed 0.9012, demanded > 0.92)"


def test_an_evaluation_that_ended_in_an_error_blocks(judge, refusal):
    """A gate that could not be evaluated is not a gate that was passed."""
    judge("error")
    assert refusal().startswith(BLOCKED + "ended in an error")


@pytest.mark.parametrize("outcome", ["pass", "fail", "waived"])
def test_a_verdict_under_other_rules_blocks(judge, refusal, outcome):
    """When the threshold changes, what was judged under the old one must be judged again."""
    judge(outcome, rule_set_hash="aaaaaaaaaaaa")
    assert refusal(rule_set_hash="bbbbbbbbbbbb") == (
        BLOCKED + "judged under other rules (aaaaaaaa…, now bbbbbbbb…); judge again"
    )


@pytest.mark.parametrize(
    "waiver",
    [
        None,
        {},
        {"by": "grace"},
        {"by": "grace", "reason": ""},
        {"by": "grace", "reason": "   "},
        {"by": "", "reason": "small test set"},
    ],
)
def test_a_waiver_without_a_person_and_a_reason_blocks(ledger, judge, refusal, waiver):
    """It cannot be recorded, and would not be accepted if somebody wrote it into the ledger by hand."""
    content = judge().body | {"outcome": "waived", "waiver": waiver}
    content.pop("evaluation_id")
    with pytest.raises(ValidationError):
        Verdict.model_validate(content)
    ledger.append("verdict", MODEL, fingerprint="by hand", body=content)
    assert refusal().startswith(BLOCKED + "entry 2 holds no valid verdict: ")


@pytest.mark.parametrize(
    "change",
    [{"outcome": "passed"}, {"outcome": None}, {"subject": "reviews_sentiment_model@b10b"}, {"extra": 1}],
)
def test_an_entry_that_is_no_valid_verdict_blocks(ledger, judge, refusal, change):
    """Only what can be read as a verdict on this subject can allow anything."""
    ledger.append("verdict", MODEL, fingerprint="by hand", body=judge().body | change)
    assert refusal().startswith(BLOCKED + "entry 2 holds no valid verdict: ")


def test_a_note_that_looks_like_a_verdict_does_not_count(ledger, judge, refusal):
    """The kind of an entry decides what it is."""
    judge("fail")
    ledger.append("note", MODEL, fingerprint="f", body=judge("fail").body | {"outcome": "pass"})
    assert refusal().startswith(BLOCKED + "failed")


def test_all_that_blocks_is_named(judge, require, refusal):
    """One line for each unmet requirement, none for those that are met."""
    judge("fail", observed=0.5)
    judge(rule_set="gate.fairness")
    lines = refusal(
        require(), require("gate.fairness"), require("contract.core_text", subject="reviews@d5")
    ).splitlines()
    assert lines == [
        BLOCKED + "failed (observed 0.5, demanded > 0.92)",
        f"{ACT} is blocked: contract.core_text on reviews@d5: no verdict",
    ]


def test_demanding_nothing_is_an_error(ledger, clock, judge):
    """An empty list of requirements would let anything pass."""
    judge()
    for ask in (lambda: demand(ledger, ACT, [], now=clock.time), lambda: unmet(ledger, [], now=clock.time)):
        with pytest.raises(GovernanceError, match="no verdict is demanded"):
            ask()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET raw = CAST(replace(raw, '\"fail\"', '\"pass\"') AS BLOB) WHERE seq = 3",
        "UPDATE entries SET raw = CAST(replace(raw, '0.9412', '0.9512') AS BLOB) WHERE seq = 1",
        "UPDATE entries SET subject = 'elsewhere@b10b' WHERE seq = 3",
        "UPDATE entries SET kind = 'note' WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 2",
        "DELETE FROM head",
    ],
)
def test_a_damaged_ledger_blocks_everything(ledger, judge, require, tamper, damage):
    """Whoever alters, hides or removes any entry gets no act through, not even one it does not concern."""
    judge("pass")
    judge("pass", rule_set="gate.accuracy")
    judge("fail", evaluation_id="run-2")
    tamper.execute(damage)
    for requirement in (require(), require("gate.accuracy")):
        with pytest.raises(LedgerError):
            demand(ledger, ACT, [requirement], now=NOON)


# --- Recording --------------------------------------------------------------------------------------


def test_recording_again_within_one_evaluation_changes_nothing(ledger, clock, judge):
    """A retried step finds its verdict in place; the next evaluation makes a new one."""
    first = judge(evaluation_id="run-1")
    clock.advance(minutes=1)
    assert judge(evaluation_id="run-1") == first
    assert judge(evaluation_id="run-2") != first
    assert ledger.verify().entries == 2


def test_one_evaluation_cannot_record_two_numbers(judge):
    """A retry that observes something else contradicts what is recorded, and says so."""
    judge(observed=0.94)
    with pytest.raises(LedgerConflictError):
        judge(observed=0.95)


def test_a_recorded_verdict_is_read_back(ledger, judge):
    """The latest verdict of one rule set on one subject, whatever came of it."""
    judge(rule_set="gate.accuracy")
    judge("pass")
    entry = judge("fail", evaluation_id="run-2", observed=0.5)
    assert latest_verdict(ledger, MODEL, "gate.auc") == (entry, verdict_of(entry))
    assert verdict_of(entry).evidence == {"observed": 0.5, "demanded": "> 0.92"}
    assert latest_verdict(ledger, MODEL, "gate.fairness") is None


def test_a_metric_that_is_not_a_number_cannot_be_evidence(ledger, judge):
    """NaN is refused with its path; it never turns into null."""
    with pytest.raises(LedgerError, match=r"entry\.body\.evidence\.observed"):
        judge(observed=math.nan)
    assert ledger.verify().entries == 0


def test_only_a_waived_verdict_carries_a_waiver(judge):
    """A pass with a waiver would be neither the one nor the other."""
    waived = verdict_of(judge("waived"))
    with pytest.raises(ValidationError, match="only there"):
        Verdict.model_validate(waived.model_dump() | {"outcome": "pass"})


@pytest.mark.parametrize("subject", ["", "model", "@v", "model@", "a@b@c", "a b@c"])
def test_a_subject_names_an_asset_and_its_data_version(judge, subject):
    """A verdict on all versions of an asset would outlive what was judged."""
    with pytest.raises(ValidationError):
        judge(subject=subject)


@pytest.mark.parametrize("max_age_days", [0, -1, math.nan, math.inf])
def test_an_age_limit_is_a_positive_number_of_days(max_age_days):
    """NaN and infinity would compare as if there were no limit."""
    with pytest.raises(ValidationError):
        Requirement(subject_kind="model", rule_set="gate.auc", max_age_days=max_age_days)


def test_the_refusal_survives_a_process_border(ledger, clock, require):
    """The error can be pickled, and says the same afterwards."""
    with pytest.raises(VerdictMissingError) as blocked:
        demand(ledger, ACT, [require()], now=clock.time)
    assert str(pickle.loads(pickle.dumps(blocked.value))) == str(blocked.value)


def test_recording_uses_the_documented_key(ledger, judge):
    """The key is the SHA-256 over subject, rule set, its hash, outcome and evaluation, in canonical form."""
    entry = judge()
    assert entry.fingerprint == "a5336e23a556c509d90386e1615eeeface9e7374f98edb13b40914b7012e9052"
    assert entry.kind == verdict.KIND

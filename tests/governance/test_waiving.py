"""Waivers: what they set aside, for how long, and what nobody can waive."""

from collections.abc import Callable

import pytest

from platform_assets.governance.errors import LineageError, VerdictMissingError, WaiverError
from platform_assets.governance.lineage import LINEAGE
from platform_assets.governance.requirements import Demands
from platform_assets.governance.verdict import Requirement, demand, unmet, verdict_of
from platform_assets.governance.waiving import registered_version, waive
from platform_assets.ledger.ledger import Entry, Ledger
from platform_assets.references import (
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
)
from tests.governance.conftest import MODEL, example

LINE = "reviews_sentiment"
DEMANDS = Demands(
    (
        Requirement(subject_kind="model", rule_set="gate.auc"),
        Requirement(subject_kind="model", rule_set="gate.calibration"),
        Requirement(subject_kind="card", rule_set="card.valid"),
    ),
    {"gate.auc": "rules-1", "gate.calibration": "rules-1", "card.valid": "rules-1"},
    waivable=frozenset({"gate.auc", "card.valid"}),
)


def registered(fingerprint: str = MODEL.partition("@")[2], number: int = 1) -> RegisteredVersion:
    """A registered model of the line."""
    features = example(FeaturesVersion, dataset=example(DatasetVersion, line=LINE))
    model = example(ModelVersion, fingerprint=fingerprint, features=features)
    return RegisteredVersion(report=example(ReportVersion, model=model), name=LINE, number=number)


@pytest.fixture
def waived(ledger: Ledger, clock) -> Callable[..., list[Entry]]:
    """Waives in Dr. Lee's name."""

    def waived(rule_set: str = "gate.auc", *, days: float = 30, **given: object) -> list[Entry]:
        named = {"by": "Dr. Lee", "reason": "two cases", "days": days, "now": clock.time}
        return waive(ledger, DEMANDS, registered(), rule_set, **named | given)

    return waived


@pytest.fixture
def required() -> list:
    """What deploying the model demands of `gate.auc`."""
    return [each for each in DEMANDS.of(registered().report.model) if each.requirement.rule_set == "gate.auc"]


@pytest.mark.parametrize("before", ["fail", "error", None])
def test_a_waiver_meets_the_demand_and_says_what_it_sets_aside(
    ledger, clock, judge, waived, required, before
):
    """A verdict that failed, one that ended in an error, or none at all."""
    judged = judge(before) if before else None

    (entry,) = waived()

    assert demand(ledger, "promotion", required, now=clock.time) == [entry]
    evidence = verdict_of(entry).evidence
    assert evidence["sets_aside"] == (before or "missing")
    assert evidence.get("sets_aside_entry") == (judged.hash if judged else None)
    assert evidence.get("observed") == (0.9412 if before else None)


def test_a_waiver_counts_until_it_ends(ledger, clock, judge, waived, required):
    """At its last moment it does, and a microsecond later no more."""
    judge("fail")
    waived(days=30)

    clock.advance(days=30)
    assert unmet(ledger, required, now=clock.time) == []
    clock.advance(microseconds=1)
    with pytest.raises(VerdictMissingError, match=r"waived by Dr. Lee until 2026-.* UTC, which is over"):
        demand(ledger, "promotion", required, now=clock.time)


def test_a_waiver_can_be_given_again(ledger, clock, judge, waived, required):
    """One that is over, or before it is; each is an entry of its own."""
    judge("fail")
    waived(days=1)
    clock.advance(days=2)

    (second,) = waived(days=1)
    clock.advance(hours=1)
    (third,) = waived(days=20)

    clock.advance(days=10)
    assert unmet(ledger, required, now=clock.time) == []
    assert verdict_of(second).evidence["sets_aside"] == verdict_of(third).evidence["sets_aside"] == "waived"
    assert "is over" in verdict_of(second).evidence["problem"]


def test_a_newer_verdict_takes_the_place_of_a_waiver(ledger, clock, judge, waived, required):
    """A failure of the next run is not covered by what was waived before."""
    judge("fail")
    waived()
    judge("fail", evaluation_id="run-2")

    assert len(unmet(ledger, required, now=clock.time)) == 1


def test_a_pass_under_former_rules_can_be_waived(ledger, judge, waived):
    """It does not count, so there is something to set aside."""
    judge("pass", rule_set_hash="rules-0")

    (entry,) = waived()

    assert "other rules" in verdict_of(entry).evidence["problem"]


@pytest.mark.parametrize(
    ("rule_set", "given", "problem"),
    [
        (
            "gate.calibration",
            {},
            "does not let gate.calibration be waived; its spec lists card.valid, gate.auc",
        ),
        ("gate.none", {}, "does not demand gate.none"),
        ("erasure", {}, "objects to a subject, and nobody can waive that"),
        ("card.valid", {}, "has no card yet"),
        ("gate.auc", {"by": " "}, "names who takes responsibility"),
        ("gate.auc", {"reason": ""}, "names who takes responsibility"),
        ("gate.auc", {"by": "automation/drift_retraining"}, "is no person"),
        ("gate.auc", {"days": 0}, "more than no time"),
        ("gate.auc", {"days": 366.1}, "at most 366 days"),
        ("gate.auc", {"days": float("nan")}, "at most 366 days"),
        ("gate.auc", {"days": 1e300}, "at most 366 days"),
    ],
)
def test_what_cannot_be_waived(ledger, judge, waived, rule_set, given, problem):
    """Each refusal says why, and leaves the ledger as it was."""
    judge("fail")
    before = ledger.tail()

    with pytest.raises(WaiverError, match=problem):
        waived(rule_set, **given)

    assert ledger.tail() == before


def test_what_passes_needs_no_waiver(judge, waived):
    """A waiver beside a pass would take its place."""
    judge("pass")

    with pytest.raises(WaiverError, match="stands, so there is nothing to waive"):
        waived()


def test_a_waiver_does_not_silence_an_objection(ledger, clock, judge, waived, required):
    """What an erasure objects to stays blocked."""
    judge("fail")
    judge("fail", rule_set="erasure")
    waived()

    assert "erasure objects" in str(unmet(ledger, required, now=clock.time)[0])


def test_an_older_waiver_without_an_end_stays_a_valid_record(ledger, clock, judge, required):
    """It is read as it was written, counts as before, and is written as it was."""
    entry = judge("waived")

    clock.advance(days=10_000)
    assert entry.body["waiver"] == {"by": "grace", "reason": "small test set"}
    assert verdict_of(entry).waiver.expires_at is None
    assert demand(ledger, "promotion", required, now=clock.time) == [entry]


def test_a_version_is_found_by_its_number(ledger):
    """Without one, the one that was registered last."""
    for number in (1, 2):
        body = registered(f"f{number}", number).model_dump(mode="json")
        ledger.append(LINEAGE, f"{LINE}_model@f{number}", fingerprint=str(number), body=body)

    assert registered_version(ledger, LINE, 1).report.model.version == "f1"
    assert registered_version(ledger, LINE, None).number == 2
    with pytest.raises(LineageError, match="no registered version 3"):
        registered_version(ledger, LINE, 3)

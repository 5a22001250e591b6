"""From anything back to its commit, data and verdicts; and a line back to an older release."""

import pytest

from platform_assets.governance.errors import LineageError, PinnedError, VerdictMissingError
from platform_assets.governance.lineage import (
    LINEAGE,
    AssetVersion,
    plan_rollback,
    roll_back,
    trace,
    versions_by_stage,
)
from platform_assets.governance.release import Release, activate, active, pin_state, record, unpin
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
    TunedBy,
)
from tests.governance.conftest import example

LINE = "reviews_sentiment"


def registered(number: int, tuned_by: TunedBy | None = None) -> RegisteredVersion:
    """The registered model `number`, and all that it goes back to."""
    rows = example(
        TableSnapshot, content_hash=f"{number:x}" * 64, snapshot_id=str(number), table="datasets.x"
    )
    dataset = example(
        DatasetVersion, line=LINE, snapshot=rows, ge_run_id=f"ge-{number}", sources=(f"s{number}.csv",)
    )
    features = example(FeaturesVersion, dataset=dataset, snapshot=rows)
    model = example(
        ModelVersion,
        features=features,
        fingerprint=f"feed{number}" * 12,
        source_commit=f"source-{number}",
        code_commit=f"code-{number}",
        tuned_by=tuned_by,
    )
    report = example(ReportVersion, model=model, report_sha256=f"beef{number}" * 12, metrics={"auc": 0.94})
    return RegisteredVersion(report=report, name=LINE, number=number)


@pytest.fixture
def release_number(ledger, judge, clock, require):
    """Records and activates the release of the registered model `number`."""

    def release_number(
        number: int, retraining: str | None = None, tuned_by: TunedBy | None = None
    ) -> Release:
        candidate = registered(number, tuned_by)
        model = candidate.report.model
        passed = judge(subject=f"{LINE}_model@{model.version}", evaluation_id=f"run-{number}")
        card = CardVersion(
            registered=candidate, json_ld_key="k", html_key="h", card_sha256=f"ca{number}" * 12
        )
        made = Release(line=LINE, card=card, deployment={"manifest_key": "m"}, verdicts=(passed.hash,))
        record(ledger, made)
        activate(
            ledger,
            LINE,
            made.release_id,
            reason="routine",
            requirements=[require(subject=f"{LINE}_model@{model.version}")],
            retraining=retraining,
            now=clock.time,
        )
        clock.advance(hours=1)
        return made

    return release_number


def plan(ledger, clock, text, **rules_now):
    """The plan of a rollback to what `text` names."""
    return plan_rollback(ledger, AssetVersion.parse(text), rules_now=rules_now, now=clock.time)


# --- Rollback ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage", ["dataset", "features", "model", "validation", "version", "card", "deployment"]
)
def test_any_asset_of_a_release_leads_back_to_the_whole_of_it(ledger, clock, release_number, stage):
    """Whichever asset is named, tables, model, report, card and deployment go back together, and stay there."""
    old, new = release_number(1), release_number(2)
    version = versions_by_stage(old)[stage]

    planned = plan(ledger, clock, f"{LINE}_{stage}@{version}")
    before = active(ledger, LINE)
    activation = roll_back(ledger, planned, reason="wrong labels", now=clock.time)

    assert before.release_id == new.release_id
    assert planned.problems == []
    assert set(planned.changes) == set(versions_by_stage(old))
    assert active(ledger, LINE).release_id == old.release_id
    assert activation.body["reason"] == f"rollback to {LINE}_{stage}@{version}: wrong labels"
    assert pin_state(ledger, LINE).release_id == old.release_id
    assert ledger.verify().ok


def test_a_tuning_leads_back_to_the_release_of_its_model(ledger, clock, release_number):
    """And is told with it: which Experiment, which trial, which values."""
    tuned_by = TunedBy(
        tuning="70e1" * 16, experiment="search", trial="search-1", status_key="k", assignment={"rate": 0.1}
    )
    old, new = release_number(1, tuned_by=tuned_by), release_number(2)
    asked = f"{LINE}_tuning@{tuned_by.tuning[:12]}"

    planned = plan(ledger, clock, asked)
    found = trace(ledger, asked)

    assert planned.target.release_id == old.release_id
    assert planned.changes["tuning"] == (None, tuned_by.tuning)
    assert (found["release"]["release_id"], found["versions"]["tuning"]) == (old.release_id, tuned_by.tuning)
    assert found["tuned_by"] == tuned_by.model_dump()
    assert "tuned_by" not in trace(ledger, new.release_id)
    with pytest.raises(LineageError, match=f"holds {LINE}_tuning@0123456789ab; released were 70e170e170e1"):
        plan(ledger, clock, f"{LINE}_tuning@0123456789ab")


def test_there_is_no_way_back_to_a_tuning_that_no_release_is_of(ledger, clock, release_number):
    """A line that was never tuned has none."""
    release_number(1)
    with pytest.raises(LineageError, match="no tuning of it was ever released"):
        plan(ledger, clock, f"{LINE}_tuning@0123456789ab")


def test_a_rollback_names_the_retraining_that_made_its_target(ledger, clock, release_number):
    """Once it is unpinned, runs go on from the values of that release, and not from the file's."""
    release_number(1, retraining="hash of a request")
    release_number(2, retraining="hash of another")
    release_number(3)

    to_first, to_third = (
        roll_back(ledger, plan(ledger, clock, f"{LINE}_version@{number}"), reason="r", now=clock.time)
        for number in (1, 3)
    )

    assert to_first.body["retraining"] == "hash of a request"
    assert "retraining" not in to_third.body


def test_a_rollback_repeated_changes_nothing(ledger, clock, release_number):
    """After a kill the command is simply run again."""
    old, _ = release_number(1), release_number(2)
    first = roll_back(ledger, plan(ledger, clock, f"{LINE}_version@1"), reason="r", now=clock.time)

    again = roll_back(ledger, plan(ledger, clock, f"{LINE}_version@1"), reason="r", now=clock.time)

    assert again == first
    assert active(ledger, LINE).release_id == old.release_id


def test_the_pin_of_a_rollback_holds_until_it_is_lifted(ledger, clock, release_number, require):
    """Automation cannot bring the newer release back by itself."""
    release_number(1)
    new = release_number(2)
    roll_back(ledger, plan(ledger, clock, f"{LINE}_version@1"), reason="r", now=clock.time)
    forward = {
        "reason": "routine",
        "requirements": [require(subject=f"{LINE}_model@{new.versions['model']}")],
        "now": clock.time,
    }

    with pytest.raises(PinnedError):
        activate(ledger, LINE, new.release_id, **forward)
    unpin(ledger, LINE, by="grace", reason="repaired")
    activate(ledger, LINE, new.release_id, **forward)

    assert active(ledger, LINE).release_id == new.release_id


def test_a_verdict_that_fell_since_blocks_the_rollback(ledger, clock, judge, release_number):
    """The verdicts are read anew: what passed then and failed later is no way back."""
    old, new = release_number(1), release_number(2)
    judge("fail", subject=f"{LINE}_model@{old.versions['model']}", observed=0.5, evaluation_id="again")

    planned = plan(ledger, clock, f"{LINE}_version@1")

    assert "gate.auc" in planned.problems[0]
    with pytest.raises(VerdictMissingError, match="failed"):
        roll_back(ledger, planned, reason="r", now=clock.time)
    assert active(ledger, LINE).release_id == new.release_id


def test_rules_of_then_and_of_today_count_and_no_others(ledger, clock, judge, release_number):
    """A release may return under the rules that let it through, or judged again under those of today."""
    old, _ = release_number(1), release_number(2)
    subject = f"{LINE}_model@{old.versions['model']}"
    judge(subject=subject, rule_set_hash="rules-2", evaluation_id="again")

    foreign = plan(ledger, clock, f"{LINE}_version@1")
    todays = plan(ledger, clock, f"{LINE}_version@1", **{"gate.auc": "rules-2"})

    assert "other rules" in foreign.problems[0]
    assert todays.problems == []


def test_first_digits_name_a_version_unless_they_are_too_few(ledger, clock, release_number):
    """Eight digits of a hash are enough; fewer name nothing, and the message lists what there is."""
    old, _ = release_number(1), release_number(2)

    assert plan(ledger, clock, f"{LINE}_dataset@11111111").target.release_id == old.release_id
    with pytest.raises(LineageError, match="released were 111111111111, 222222222222"):
        plan(ledger, clock, f"{LINE}_dataset@1111111")


@pytest.mark.parametrize(
    "text", ["", "reviews", "@1", "reviews_sentiment_dataset", "reviews_weights@1", "dataset@1"]
)
def test_what_names_no_version_is_one_clear_error(text):
    """The message shows how a version is written."""
    with pytest.raises(LineageError, match="write <line>_<stage>@<version>"):
        AssetVersion.parse(text)


# --- Trace -------------------------------------------------------------------------------------------


def assert_leads_home(found, number):
    """The record holds commits, snapshots, GE run and verdicts of the model `number`."""
    assert found["chain"]["ok"]
    assert found["commits"] == {"source_commit": f"source-{number}", "code_commit": f"code-{number}"}
    assert found["tables"]["dataset"]["snapshot_id"] == str(number)
    assert found["ge_run_id"] == f"ge-{number}"
    assert [verdict["rule_set"] for verdict in found["verdicts"]] == ["gate.auc"]


def test_every_name_leads_to_the_same_origin(ledger, release_number):
    """A prediction, a release, any of its assets, a registered model and an entry all trace to one origin."""
    made, _ = release_number(1), release_number(2)
    ledger.append(LINEAGE, f"{LINE}_model@x", fingerprint="1", body=registered(1).model_dump(mode="json"))
    activation = next(ledger.entries(kind="activation"))
    verdict = next(ledger.entries(kind="verdict"))
    prediction = {"score": 0.9, "line": LINE, "model_version": 1, "release_id": made.release_id}

    for target in (
        prediction,
        made.release_id,
        f"{LINE}_dataset@{'1' * 64}",
        f"{LINE}_model@{made.versions['model'][:8]}",
        f"{LINE}/1",
        f"models:/{LINE}/1",
        f"#{activation.seq}",
        verdict.hash,
        verdict.hash[:12],
    ):
        assert_leads_home(trace(ledger, target), 1)


def test_a_model_that_was_never_released_is_traced_too(ledger, judge):
    """A blocked candidate leads to its commit, data and verdicts like any other."""
    candidate = registered(3)
    model = candidate.report.model
    judge("fail", subject=f"{LINE}_model@{model.version}")
    ledger.append(
        LINEAGE, f"{LINE}_model@{model.version}", fingerprint="1", body=candidate.model_dump(mode="json")
    )

    found = trace(ledger, f"{LINE}/3")

    assert_leads_home(found, 3)
    assert "release" not in found


def test_the_trace_shows_the_rollback(ledger, clock, release_number):
    """The act is part of the history of the release that it brought back."""
    old, _ = release_number(1), release_number(2)
    roll_back(ledger, plan(ledger, clock, f"{LINE}_version@1"), reason="wrong labels", now=clock.time)

    acts = trace(ledger, old.release_id)["release"]["activations"]

    assert [(act["pinned"], act["reason"]) for act in acts] == [
        (False, "routine"),
        (True, f"rollback to {LINE}_version@1: wrong labels"),
    ]


def test_a_prediction_that_was_altered_is_refused(ledger, release_number):
    """A claimed model version that its release does not serve is no origin."""
    made = release_number(1)

    with pytest.raises(LineageError, match="was altered"):
        trace(ledger, {"line": LINE, "model_version": 7, "release_id": made.release_id})
    with pytest.raises(LineageError, match="names no release"):
        trace(ledger, {"line": "other", "model_version": 1, "release_id": made.release_id})


@pytest.mark.parametrize("target", ["nothing", "#99", "0" * 64, f"{LINE}/9", f"{LINE}_model@{'0' * 64}"])
def test_what_the_ledger_does_not_know_is_one_clear_error(ledger, release_number, target):
    """No name leads to a wrong origin by accident."""
    release_number(1)

    with pytest.raises(LineageError):
        trace(ledger, target)


def test_the_trace_of_a_damaged_ledger_says_so(ledger, tamper, release_number):
    """An origin read from a chain that does not hold is marked as such."""
    made = release_number(1)
    tamper.execute("DELETE FROM entries WHERE seq = 3")

    assert trace(ledger, made.release_id)["chain"]["ok"] is False


def test_a_release_that_never_served_is_nothing_to_go_back_to(ledger, clock, judge, release_number):
    """A release whose activation was refused is recorded; a rollback does not find it."""
    served = release_number(1)
    release_number(2)
    card = served.card.model_copy(update={"card_sha256": "c0" * 32})
    passed = judge(subject=f"{LINE}_model@{served.versions['model']}", evaluation_id="again")
    record(
        ledger, Release(line=LINE, card=card, deployment={"manifest_key": "other"}, verdicts=(passed.hash,))
    )

    planned = plan(ledger, clock, f"{LINE}_dataset@{served.versions['dataset']}")

    assert planned.target.release_id == served.release_id

"""The schema breaker: a state machine in the ledger that no restart, race or kill can talk round."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.contract import load_contract
from platform_assets.datasets.errors import BreakerError, BreakerOpenError
from platform_assets.datasets.raw_schema import check_raw
from platform_assets.datasets.schema_breaker import (
    GATE,
    Circumstances,
    SeenSource,
    begin,
    breaker_state,
    half_open,
    pass_trial,
    require_closed,
    settle,
    trip,
    way_out,
)
from platform_assets.datasets.schema_changes import schema_changes, schema_changes_table
from platform_assets.ledger.ledger import Ledger

DATASET = "patients_dataset"
NOW = Circumstances(
    contract_hash="rules-1",
    contract_commit="c0ffee",
    dagster_run_id="run-1",
    is_later_than=lambda earlier: earlier == "c0ffee",
)
CONTRACT = """
name: patients
raw:
  columns: {id: integer, patient_id: string, created_at: timestamp}
  keys: [id, patient_id]
expectations:
  - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 1}, meta: {domain: volume}}
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger of its own."""
    return Ledger.open(tmp_path / "ledger.sqlite", principal="ada")


def patients(**changes: Any) -> pd.DataFrame:
    """A raw frame as a csv file gives it: every column text."""
    columns = {
        "id": ["1", "2"],
        "patient_id": ["p-1", "p-2"],
        "created_at": ["2026-11-22", "2026-11-23"],
    } | changes
    return pd.DataFrame(
        {name: values for name, values in columns.items() if values is not None}, dtype=object
    )


def seen(tmp_path: Path, frame: pd.DataFrame) -> list[SeenSource]:
    """The frame as a materialization would have judged it."""
    path = tmp_path / "patients.yaml"
    path.write_text(CONTRACT, encoding="utf-8")
    return [SeenSource("patients.csv", check_raw(load_contract(path), frame, suffix=".csv", run_name="test"))]


def materialize(
    ledger: Ledger, tmp_path: Path, frame: pd.DataFrame, circumstances: Circumstances = NOW
) -> None:
    """What the dataset asset does around its breaker."""
    begin(ledger, DATASET, circumstances)
    settle(ledger, DATASET, seen(tmp_path, frame), circumstances)
    require_or_trial = breaker_state(ledger, DATASET)
    if (
        require_or_trial.state != "closed"
        and require_or_trial.reason != "its one trial has begun and has not passed"
    ):
        raise BreakerOpenError(require_or_trial.reason)
    pass_trial(ledger, DATASET, circumstances)


VIOLATIONS = {
    "added": (patients(note=["", ""]), {"added": "note"}),
    "dropped": (patients(patient_id=None), {"dropped": "patient_id"}),
    "renamed": (
        patients().rename(columns={"patient_id": "patient"}),
        {"added": "patient", "dropped": "patient_id"},
    ),
    "retyped": (patients(id=["one", "two"]), {"retyped": "id: integer → string"}),
    "reordered": (patients()[["patient_id", "id", "created_at"]], {"reordered": True}),
    "key with nulls": (patients(patient_id=["p-1", None]), {"nullability": "patient_id: 1 nulls"}),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_kind_of_violation_opens_and_is_in_the_audit_table(
    ledger: Ledger, tmp_path: Path, name: str
) -> None:
    """Whatever is different about the source, nothing may be built on it, and the table says what, when and who."""
    frame, told = VIOLATIONS[name]
    materialize(ledger, tmp_path, patients())

    with pytest.raises(BreakerOpenError):
        materialize(ledger, tmp_path, frame, replace(NOW, dagster_run_id="run-2"))

    with pytest.raises(BreakerOpenError, match="breaker close patients_dataset --by NAME --reason TEXT"):
        require_closed(ledger, DATASET)
    first, refused = schema_changes(ledger)
    assert {key: refused[key] for key in told} == told
    assert (refused["accepted"], refused["breaker_state"], refused["principal"]) == (False, "open", "ada")
    assert (refused["git_commit"], refused["dagster_run_id"]) == ("c0ffee", "run-2")
    assert refused["ge_run_id"].startswith("test/")
    assert (first["added"], first["accepted"]) == ("id, patient_id, created_at", True)
    assert schema_changes_table(ledger).num_rows == 2


def test_a_dataset_that_never_broke_its_contract_is_closed(ledger: Ledger, tmp_path: Path) -> None:
    """A passing source changes nothing, however often it comes."""
    materialize(ledger, tmp_path, patients())
    materialize(ledger, tmp_path, patients(), replace(NOW, dagster_run_id="run-2"))

    require_closed(ledger, DATASET)
    assert [row["accepted"] for row in schema_changes(ledger)] == [True]


def opened(ledger: Ledger, tmp_path: Path) -> None:
    """Open the breaker by an added column."""
    with pytest.raises(BreakerOpenError):
        materialize(ledger, tmp_path, patients(note=["", ""]))


def test_open_refuses_until_a_person_takes_responsibility(ledger: Ledger, tmp_path: Path) -> None:
    """A repaired source alone does not close it; a named person does, and the next materialization is the trial."""
    opened(ledger, tmp_path)
    repaired = replace(NOW, dagster_run_id="run-2")
    with pytest.raises(BreakerOpenError):
        materialize(ledger, tmp_path, patients(), repaired)

    half_open(ledger, DATASET, by="grace", reason="the export was repaired")
    with pytest.raises(BreakerOpenError, match="that is its one trial"):
        require_closed(ledger, DATASET)
    materialize(ledger, tmp_path, patients(), repaired)

    require_closed(ledger, DATASET)
    (refused, accepted) = schema_changes(ledger)
    assert (refused["breaker_state"], refused["closed_by"]) == ("closed", "grace")
    assert refused["close_reason"] == "the export was repaired"
    assert accepted["accepted"] is True


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("grace", " "), ("", "")])
def test_closing_needs_a_name_and_a_reason(ledger: Ledger, tmp_path: Path, by: str, reason: str) -> None:
    """Nobody closes it anonymously or without saying why."""
    opened(ledger, tmp_path)

    with pytest.raises(BreakerError, match="name who closes it, and why"):
        half_open(ledger, DATASET, by=by, reason=reason)

    assert breaker_state(ledger, DATASET).state == "open"


def test_closing_what_is_not_open_is_an_error(ledger: Ledger, tmp_path: Path) -> None:
    """Neither a closed nor a half-open breaker can be closed by a person."""
    with pytest.raises(BreakerError, match="nothing to close"):
        half_open(ledger, DATASET, by="grace", reason="just so")
    opened(ledger, tmp_path)
    half_open(ledger, DATASET, by="grace", reason="try")
    with pytest.raises(BreakerError, match="nothing to close"):
        half_open(ledger, DATASET, by="grace", reason="try twice")


def test_a_trial_that_fails_opens_it_again(ledger: Ledger, tmp_path: Path) -> None:
    """The one trial is spent: the next materialization needs a person again."""
    opened(ledger, tmp_path)
    half_open(ledger, DATASET, by="grace", reason="try")
    with pytest.raises(BreakerOpenError):
        materialize(ledger, tmp_path, patients(note=["", ""]), replace(NOW, dagster_run_id="run-2"))

    with pytest.raises(BreakerOpenError):
        materialize(ledger, tmp_path, patients(), replace(NOW, dagster_run_id="run-3"))
    assert [row["breaker_state"] for row in schema_changes(ledger)] == ["open", "open"]


def test_a_trial_without_a_verdict_counts_as_failed(ledger: Ledger, tmp_path: Path) -> None:
    """A trial that dies after it began leaves the breaker open, for every later process."""
    opened(ledger, tmp_path)
    half_open(ledger, DATASET, by="grace", reason="try")
    begin(ledger, DATASET, replace(NOW, dagster_run_id="killed"))

    reopened = Ledger.open(tmp_path / "ledger.sqlite", principal="ada")

    assert breaker_state(reopened, DATASET).state == "open"
    with pytest.raises(BreakerOpenError):
        begin(reopened, DATASET, replace(NOW, dagster_run_id="next"))


def test_only_one_of_two_materializations_is_the_trial(ledger: Ledger, tmp_path: Path) -> None:
    """A second run that starts during the trial is refused, and cannot close what the first has opened."""
    opened(ledger, tmp_path)
    half_open(ledger, DATASET, by="grace", reason="try")
    begin(ledger, DATASET, replace(NOW, dagster_run_id="first"))

    with pytest.raises(BreakerOpenError):
        begin(ledger, DATASET, replace(NOW, dagster_run_id="second"))
    with pytest.raises(BreakerOpenError):
        pass_trial(ledger, DATASET, replace(NOW, dagster_run_id="second"))
    assert pass_trial(ledger, DATASET, replace(NOW, dagster_run_id="first"))
    require_closed(ledger, DATASET)


def test_a_commit_that_changes_the_contract_is_a_way_to_the_trial(ledger: Ledger, tmp_path: Path) -> None:
    """New rules in a new commit let the next materialization try, without a person."""
    opened(ledger, tmp_path)

    changed = replace(NOW, contract_hash="rules-2", contract_commit="decade", dagster_run_id="run-2")
    materialize(ledger, tmp_path, patients(), changed)

    require_closed(ledger, DATASET)
    assert schema_changes(ledger)[0]["closed_by"] == "decade"


@pytest.mark.parametrize(
    ("contract_hash", "commit"),
    [
        ("rules-1", "decade"),  # a commit that leaves the rules alone
        ("rules-2", "c0ffee"),  # other rules, no commit
        ("rules-2", "decade+dirty"),  # an edit that nobody has committed
        ("rules-2", "unversioned"),
    ],
)
def test_nothing_less_than_a_commit_of_new_rules_will_do(
    ledger: Ledger, tmp_path: Path, contract_hash: str, commit: str
) -> None:
    """An edited file that nobody has signed for keeps the breaker open."""
    opened(ledger, tmp_path)

    with pytest.raises(BreakerOpenError):
        begin(
            ledger,
            DATASET,
            replace(NOW, contract_hash=contract_hash, contract_commit=commit, dagster_run_id="run-2"),
        )


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[SeenSource]]:
    """A passing and a violating source, judged once."""
    folder = tmp_path_factory.mktemp("reports")
    return {"pass": seen(folder, patients()), "violate": seen(folder, patients(note=["", ""]))}


@settings(max_examples=40)
@given(acts=st.lists(st.sampled_from(["pass", "violate", "die", "close"]), max_size=12))
def test_it_is_closed_exactly_when_no_violation_is_unanswered(
    reports: dict[str, list[SeenSource]], acts: list[str]
) -> None:
    """Against a model in three lines: any order of passes, violations, deaths and closings."""
    with TemporaryDirectory() as folder:
        ledger = Ledger.open(Path(folder) / "ledger.sqlite", principal="ada")
        expected = "closed"
        for number, act in enumerate(acts):
            run = replace(NOW, dagster_run_id=f"run-{number}")
            if act == "close":
                if expected == "open":
                    half_open(ledger, DATASET, by="grace", reason="try")
                    expected = "half-open"
                continue
            if expected == "open":
                with pytest.raises(BreakerOpenError):
                    begin(ledger, DATASET, run)
                continue
            trial = expected == "half-open"
            begin(ledger, DATASET, run)
            if act == "die":
                expected = "open" if trial else "closed"
                continue
            settle(ledger, DATASET, reports[act], run)
            if act == "pass":
                pass_trial(ledger, DATASET, run)
            expected = "closed" if act == "pass" else "open"
            assert breaker_state(ledger, DATASET).state == expected
        assert breaker_state(ledger, DATASET).state == expected


def test_taking_back_an_edit_or_checking_out_an_older_commit_is_no_commit(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Only rules that were committed on top of those that were broken open the way."""
    edited = replace(NOW, contract_commit="c0ffee+dirty")
    with pytest.raises(BreakerOpenError):
        materialize(ledger, tmp_path, patients(note=["", ""]), edited)

    for other in (
        replace(NOW, contract_hash="rules-2"),
        replace(NOW, contract_hash="rules-0", contract_commit="older", is_later_than=lambda _: False),
    ):
        with pytest.raises(BreakerOpenError):
            begin(ledger, DATASET, other)


def test_a_source_that_nobody_can_read_opens_it(ledger: Ledger) -> None:
    """No shape is no better than a wrong one."""
    opened = trip(ledger, DATASET, "patients.csv: cannot be read as csv", NOW)

    assert opened.state == "open"
    with pytest.raises(BreakerOpenError, match="cannot be read as csv"):
        require_closed(ledger, DATASET)


def test_where_files_have_opened_it_no_commit_of_columns_lets_anybody_try(
    ledger: Ledger, tmp_path: Path
) -> None:
    """Of too many files that fail: a person says that they are mended, and the error does not advise anything else."""
    state = trip(ledger, DATASET, "half of the files name somebody", NOW, via=GATE)
    assert "`raw`" not in way_out(state)
    changed = replace(NOW, contract_hash="rules-2", contract_commit="decade", dagster_run_id="run-2")
    with pytest.raises(BreakerOpenError, match="breaker close patients_dataset"):
        begin(ledger, DATASET, changed)
    half_open(ledger, DATASET, by="ada", reason="mended")
    materialize(ledger, tmp_path, patients(), changed)
    require_closed(ledger, DATASET)

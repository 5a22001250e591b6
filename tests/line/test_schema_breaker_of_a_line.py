"""A source that changes shape shuts its line, until a named person lets it be tried again."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.datasets.schema_changes import TABLE
from platform_assets.governance import release
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import RunOutcome, open_instance
from platform_assets.outside_systems import OutsideSystems
from tests.line.changed_sources import CHANGES, changed
from tests.line_factory import materialize_alone, platform_assets, write_spec

LINE, DATASET = "reviews_small", "reviews_small_dataset"


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_opens_the_breaker_and_blocks_downstream(
    outside: OutsideSystems, ledger: Ledger, source: Path, tmp_path: Path, name: str
) -> None:
    """One clear error, an open breaker, a row in the audit table, and nothing is built on the dataset any more."""
    before = release.active(ledger, LINE)
    spec = write_spec(tmp_path, train_data_uri=str(source))
    change, told = CHANGES[name]

    with changed(source, change):
        made, failure = materialize_alone(outside.settings, spec, "dataset")
    _, downstream = materialize_alone(outside.settings, spec, "deployment")
    checks = {check.check_name: check for check in made.get_asset_check_evaluations()}

    assert failure is not None
    assert f"{source}: " in failure
    assert f"platform-assets breaker close {DATASET} --by NAME --reason TEXT" in failure
    assert not checks["contract_schema"].passed
    assert checks["schema_breaker"].metadata["state"].value == "open"
    assert downstream is not None
    assert f"the schema breaker of {DATASET} is open" in downstream
    assert release.active(ledger, LINE) == before
    warehouse = outside.warehouse
    row = warehouse.read(TABLE, warehouse.current(TABLE).snapshot_id).to_pylist()[-1]
    assert {key: row[key] for key in told} == told
    assert (row["dataset"], row["source"], row["accepted"], row["breaker_state"]) == (
        DATASET,
        str(source),
        False,
        "open",
    )
    assert row["ge_run_id"].startswith(f"dagster-{row['dagster_run_id']}/")
    assert len(row["git_commit"].removesuffix("+dirty")) == 40
    with open_instance(outside.settings) as instance:
        shown = instance.get_latest_materialization_event(dg.AssetKey("schema_changes"))
    assert shown.asset_materialization.metadata["dagster/row_count"].value >= 1


@pytest.mark.long
def test_from_violation_to_closed_again(
    home: Path,
    ledger: Ledger,
    source: Path,
    tmp_path: Path,
    run: Callable[[Path], RunOutcome],
) -> None:
    """The command refuses while the breaker is open, repaired source or not; a person's word makes one trial."""
    spec = write_spec(tmp_path, train_data_uri=str(source))
    with changed(source, CHANGES["added"][0]):
        assert not run(spec).success

    repaired = run(spec)
    nameless = platform_assets(home, "breaker", "close", DATASET, "--by", " ", "--reason", "repaired")
    assert breaker_state(ledger, DATASET).state == "open"
    closed = platform_assets(
        home, "breaker", "close", DATASET, "--by", "grace", "--reason", "export repaired"
    )
    tried = run(spec)

    assert not repaired.success
    assert "is open" in (repaired.failure or "")
    assert nameless.returncode == 1
    assert "name who closes it, and why" in nameless.stderr
    assert closed.returncode == 0, closed.stderr
    assert tried.success, tried.failure
    assert breaker_state(ledger, DATASET).state == "closed"
    told = json.loads(platform_assets(home, "breaker", "changes", "--json").stdout)
    assert (told[-1]["closed_by"], told[-1]["close_reason"], told[-1]["breaker_state"]) == (
        "grace",
        "export repaired",
        "closed",
    )


def test_a_line_without_a_stated_schema_is_refused(tmp_path: Path) -> None:
    """A contract that says nothing about raw columns can protect no dataset."""
    contract = tmp_path / "loose.yaml"
    contract.write_text(
        "name: loose\nexpectations:\n"
        "  - {type: expect_column_values_to_not_be_null, kwargs: {column: text}, meta: {domain: core_text}}\n",
        encoding="utf-8",
    )

    with pytest.raises(Exception, match="raw"):
        load_line(write_spec(tmp_path, contract="loose.yaml"))

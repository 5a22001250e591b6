"""The quarantine in Dagster and on the command line: what is shown, who decides there, and what the event log never gets."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.datasets.quarantine import decisions
from platform_assets.datasets.quarantine_assets import (
    asset_name,
    job_name,
    quarantine_materialization,
)
from platform_assets.definitions import build_definitions
from platform_assets.lines.line import Line, load_line
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.datasets.quarantine_factory import (
    LINE,
    PNG,
    READER,
    ROLE,
    decided,
    file_id,
    held,
    held_file,
    holding_task,
    publish,
)
from tests.line_factory import SMALL_SPEC
from tests.tasks.toys import write_line


@pytest.fixture(scope="module", autouse=True)
def _task() -> Iterator[None]:
    """A task that holds files back."""
    with holding_task():
        yield


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A line of it."""
    return load_line(write_line(tmp_path / "toy"))


@pytest.fixture
def outside(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OutsideSystems:
    """A platform in the name of a reader, which commands find, too."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(line.manifest.path)]))
    monkeypatch.setenv("PLATFORM_PRINCIPAL__USER", READER.user)
    monkeypatch.setenv("PLATFORM_PRINCIPAL__GROUPS", json.dumps(READER.groups))
    return OutsideSystems(PlatformSettings())


@pytest.fixture
def run(outside: OutsideSystems, line: Line) -> Iterator[Callable[..., dg.ExecuteInProcessResult]]:
    """Runs the job by which people decide."""
    with dg.DagsterInstance.ephemeral() as instance:

        def run(**config: str) -> dg.ExecuteInProcessResult:
            job = build_definitions(outside, [line]).resolve_job_def(job_name(LINE))
            asked = {"file": file_id("a")[:8], "decision": "release", "by": "Dr. Lee", "reason": "no text"}
            return job.execute_in_process(
                run_config={"ops": {"decide": {"config": asked | config}}},
                instance=instance,
                raise_on_error=False,
            )

        yield run


@pytest.fixture
def command(outside: OutsideSystems) -> Callable[..., Any]:
    """Runs `platform-assets quarantine …`."""
    return lambda *arguments: CliRunner().invoke(app, ["quarantine", *arguments])


def test_a_line_that_holds_files_back_has_an_asset_and_a_job(outside: OutsideSystems, line: Line) -> None:
    """Beside those of all lines; neither is part of the line's own run, and no sensor may start the job."""
    definitions = build_definitions(outside, [line])
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert asset_name(LINE) in keys
    [spec] = [each for each in definitions.resolve_all_asset_specs() if each.key.path == [asset_name(LINE)]]
    assert [dep.asset_key.path for dep in spec.deps] == [[f"{LINE}_dataset"]]
    selected = definitions.resolve_job_def(LINE).asset_layer.selected_asset_keys
    assert dg.AssetKey(asset_name(LINE)) not in selected
    assert definitions.resolve_job_def(job_name(LINE)).name == f"{LINE}_quarantine_decision"
    [sensor] = definitions.sensors or ()
    assert [job.name for job in sensor.jobs] == [LINE]


def test_the_asset_shows_counts_rules_and_decisions(outside: OutsideSystems, line: Line) -> None:
    """And the way to the page; of a file nothing but its id, as the event log keeps what it is told."""
    secret = PNG + b"who it is" * 9
    publish(
        outside,
        held_file("a", "shape.wrong", thumbnail=secret, name="who it is"),
        held_file("b", "shape.wrong", "size.small", thumbnail=secret),
    )
    decided(outside.ledger, held("a", "shape.wrong"))
    with dg.DagsterInstance.ephemeral() as instance:
        [asset] = [
            each
            for each in build_definitions(outside, [line]).assets or ()
            if each.key.path == [asset_name(LINE)]
        ]
        result = dg.materialize([asset], resources={"outside": outside}, instance=instance, selection=[asset])
        log = repr(instance.all_logs(result.run_id))
    [event] = result.get_asset_materialization_events()
    shown = event.materialization.metadata
    assert [shown[state].value for state in ("waiting", "released", "rejected")] == [1, 1, 0]
    assert shown["page"].value == f"http://127.0.0.1:3001/quarantine/{LINE}"
    assert shown["dagster/row_count"].value == 2
    assert [record.data for record in shown["by_rule"].records] == [
        {
            "rule": "shape.wrong",
            "verdict": "quarantine",
            "files": 2,
            "waiting": 1,
            "released": 1,
            "rejected": 0,
        },
        {
            "rule": "size.small",
            "verdict": "quarantine",
            "files": 1,
            "waiting": 1,
            "released": 0,
            "rejected": 0,
        },
    ]
    [record] = shown["decisions"].records
    assert (record.data["file"], record.data["by"]) == (file_id("a")[:12], "Dr. Lee")
    assert shown["files by rule"].value.startswith("![files by rule](data:image/png;base64,")
    for hidden in ("who it is", base64.b64encode(secret).decode()[:40]):
        assert hidden not in log


def test_a_table_that_is_not_there_yet_is_told(outside: OutsideSystems) -> None:
    """Before the first materialization there is nothing to show, which is no error."""
    shown = quarantine_materialization(outside, LINE).metadata
    assert shown["waiting"].value == 0
    assert f"{LINE}_dataset was not materialized" in shown["note"].value


def test_a_person_releases_a_file_in_the_ui(
    outside: OutsideSystems, run: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    """The job writes the decision, and shows the quarantine anew."""
    publish(outside, held_file("a"))
    result = run()
    assert result.success
    found = decisions(outside.ledger, LINE)[file_id("a")]
    assert (found.decision, found.by, found.principal) == ("release", "Dr. Lee", READER.user)
    [event] = [each for each in result.all_events if each.event_type_value == "ASSET_MATERIALIZATION"]
    assert event.asset_key.path == [asset_name(LINE)]
    assert event.step_materialization_data.materialization.metadata["released"].value == 1


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"file": "0" * 64}, "holds no file of this name or id"),
        ({"by": " "}, "name who decides it, and why"),
        ({"file": file_id("b")}, "nobody can release it"),
    ],
)
def test_wrong_input_fails_with_one_sentence(
    outside: OutsideSystems,
    run: Callable[..., dg.ExecuteInProcessResult],
    config: dict[str, str],
    told: str,
) -> None:
    """No stack trace, no entry, and no retry."""
    publish(outside, held_file("a"), held_file("b", verdict="reject"))
    result = run(**config)
    [failure] = [each for each in result.all_events if each.is_step_failure]
    assert told in failure.step_failure_data.user_failure_data.description
    assert decisions(outside.ledger, LINE) == {}


def test_commands_list_show_release_and_reject(
    outside: OutsideSystems, command: Callable[..., Any], tmp_path: Path
) -> None:
    """One after the other, as a person does it."""
    publish(outside, held_file("a", "shape.wrong"), held_file("b", "size.small", verdict="reject"))
    listed = command("list", LINE)
    assert listed.exit_code == 0, listed.output
    assert f"{LINE}: 2 files are held; 1 waiting, 0 released, 1 rejected" in listed.output
    assert f"waiting   {file_id('a')[:12]}  shape.wrong" in listed.output
    signed = ("--by", "Dr. Lee", "--reason", "no text")
    released = command("release", LINE, file_id("a")[:12], *signed)
    assert released.exit_code == 0, released.output
    assert f"platform-assets run {LINE}" in released.output
    file = tmp_path / "case.png"
    shown = json.loads(command("show", LINE, "a", "--json", "--thumbnail", str(file)).stdout)
    assert shown["state"] == "released"
    assert [each["by"] for each in shown["decisions"]] == ["Dr. Lee"]
    assert file.read_bytes() == PNG
    assert [entry.body["act"] for entry in outside.ledger.entries(kind="quarantine_access")] == ["case"]
    assert command("reject", LINE, "a", *signed).exit_code == 0
    told = json.loads(command("list", LINE, "--state", "rejected", "--json").stdout)
    assert told["by_state"] == {"waiting": 0, "released": 0, "rejected": 2}
    assert {each["file_id"] for each in told["files"]} == {file_id("a"), file_id("b")}
    text = command("show", LINE, file_id("a")[:6]).output
    assert "decided     release by Dr. Lee (lee, readers)" in text
    assert "quarantine  shape.wrong (1): Width" in text


def test_a_stranger_is_refused_by_the_command_and_counted(
    outside: OutsideSystems, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is not in the group of the line's spec."""
    publish(outside, held_file("a"))
    monkeypatch.setenv("PLATFORM_PRINCIPAL__GROUPS", '["ml-engineers"]')
    refused = command("release", LINE, "a", "--by", "Eve", "--reason", "please")
    assert refused.exit_code == 1
    assert f"decided on by group {ROLE}" in str(refused.exception)
    assert decisions(outside.ledger, LINE) == {}
    assert outside.denials.report(newest=1)["waiting"]["denials"] == 1


def test_a_line_that_lets_all_rows_in_has_no_quarantine(
    outside: OutsideSystems, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither asset nor job nor command."""
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(SMALL_SPEC)]))
    other = load_line(SMALL_SPEC)
    definitions = build_definitions(outside, [other])
    assert [job.name for job in definitions.jobs or ()] == [other.name]
    assert asset_name(other.name) not in {
        spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()
    }
    assert "holds no files back" in str(command("list", other.name).exception)

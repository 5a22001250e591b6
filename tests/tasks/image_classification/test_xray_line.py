"""A line of X-rays as a person runs it: what is held, what its contract says, and whom an erasure takes out of it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.datasets.quarantine import TABLE as QUARANTINE
from platform_assets.datasets.schema_breaker import breaker_state
from platform_assets.governance.subjects import hash_of
from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER, load_line
from platform_assets.lines.plan import plan
from platform_assets.lines.runner import open_instance
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TABLES
from resources.settings import PlatformSettings
from tests.line_factory import check_alone, materialize_alone
from tests.tasks.image_classification.dicom.builders import CONTRACT
from tests.tasks.image_classification.test_ingestion import named, of_foot
from tests.tasks.image_classification.xray_folders import xrays

pytestmark = pytest.mark.long
LINE = "chest_xray_detector"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlatformSettings:
    """A home of its own, which commands use as well."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    return PlatformSettings()


def line_on(folder: Path, *sources: Path, **changes: Any) -> Path:
    """The spec of the line that ships, on these sources; its contract takes few files, and half of them."""
    shipped = yaml.safe_load((SPECS_FOLDER / LINE / SPEC_FILE).read_text())
    contract = CONTRACT.read_text().replace("min_value: 100,", "min_value: 10,")
    (folder / "few.yaml").write_text(re.sub(r"mostly: 0\.[89]}", "mostly: 0.5}", contract))
    given = {
        "train_data_uri": [str(each) for each in sources],
        "contract": "few.yaml",
        "split": {"test": 0.3, "validation": 0.2, "seed": 5},
        "image_size": 64,
    }
    file = folder / SPEC_FILE
    file.write_text(yaml.safe_dump(shipped | given | changes))
    return file


def platform(*arguments: object) -> Result:
    """Run `platform-assets …` in this process."""
    return CliRunner().invoke(app, [*map(str, arguments)])


def of_whom(settings: PlatformSettings, table: str) -> set[str | None]:
    """The patients of a table's current version."""
    warehouse = OutsideSystems(settings).warehouse
    current = warehouse.current(table.format(line=LINE))
    assert current is not None
    return set(warehouse.read(current.table, current.snapshot_id, columns=["patient"])["patient"].to_pylist())


def runs(settings: PlatformSettings, spec: Path) -> str:
    """Why the dataset would run now; empty where it would not."""
    with open_instance(settings) as instance:
        [step] = [
            each
            for each in plan(load_line(spec), instance, OutsideSystems(settings))
            if each.stage == "dataset"
        ]
    return step.reason if step.runs else ""


def test_an_export_that_names_everybody_is_held_and_shuts_the_dataset(
    settings: PlatformSettings, tmp_path: Path
) -> None:
    """Nothing is left to split, and yet each file can be looked at. Once it is mended, a person opens the breaker."""
    folder = xrays(tmp_path / "xrays", patients=8, side=64, changes=dict.fromkeys(range(16), named))
    spec = line_on(tmp_path, folder)
    _, failure = materialize_alone(settings, spec, "dataset")
    assert failure is not None
    assert "contract.dicom_identity" in failure
    assert f"breaker close {LINE}_dataset" in failure
    assert "`raw`" not in failure
    assert "Krause" not in failure
    outside = OutsideSystems(settings)
    assert breaker_state(outside.ledger, f"{LINE}_dataset").state == "open"
    listed = json.loads(platform("quarantine", "list", LINE, "--spec", spec, "--json").stdout)
    assert listed["by_state"]["waiting"] == 16
    shutil.rmtree(folder)
    xrays(folder, patients=8, side=64)
    _, failure = materialize_alone(settings, spec, "dataset")
    assert failure is not None
    assert "the schema breaker" in failure
    assert platform("breaker", "close", f"{LINE}_dataset", "--by", "ada", "--reason", "mended").exit_code == 0
    _, failure = materialize_alone(settings, spec, "dataset")
    assert failure is None
    assert breaker_state(outside.ledger, f"{LINE}_dataset").state == "closed"
    assert json.loads(platform("quarantine", "list", LINE, "--spec", spec, "--json").stdout)["files"] == []


def test_what_the_contract_says_is_said_of_files_and_not_of_rows(
    settings: PlatformSettings, tmp_path: Path
) -> None:
    """By the commands and by a check that is executed alone: of the rows of the dataset all have passed."""
    folder = xrays(tmp_path / "xrays", patients=10, side=64, changes={0: of_foot, 1: of_foot, 2: of_foot})
    spec = line_on(tmp_path, folder)
    assert materialize_alone(settings, spec, "dataset")[1] is None
    checked = platform("contracts", "check", f"{LINE}_dataset", "--spec", spec)
    assert checked.exit_code == 0, checked.stdout
    assert "pass   contract.dicom_identity" in checked.stdout
    examples = json.loads(platform("contracts", "examples", LINE, "--spec", spec, "--json").stdout)
    assert {
        row["acquisition"]
        for each in examples
        if each["domain"] == "dicom_acquisition"
        for row in each["rows"]
    } == {"quarantine"}
    found, failure = check_alone(settings, load_line(spec), f"{LINE}_dataset:contract_dicom_acquisition")
    assert failure is None
    assert found["contract_dicom_acquisition"].passed


def test_a_patient_is_erased_from_dataset_quarantine_and_features_and_stays_out(
    settings: PlatformSettings, tmp_path: Path
) -> None:
    """By the id in the files, which no table holds; also one whose images are all held, and through another source."""
    folder = xrays(tmp_path / "xrays", patients=10, side=64, changes={0: of_foot, 1: of_foot, 2: of_foot})
    spec = line_on(tmp_path, folder)
    for stage in ("dataset", "features"):
        assert materialize_alone(settings, spec, stage)[1] is None
    salt = OutsideSystems(settings).salt
    held_only, both, rows_only = (hash_of("patient", f"P-{number:04d}", salt) for number in range(3))
    dataset, features = TABLES["dataset"], TABLES["features"]
    assert {held_only, both} == of_whom(settings, QUARANTINE)
    assert {both, rows_only} <= of_whom(settings, dataset) == of_whom(settings, features)
    assert runs(settings, spec) == ""

    for number in range(3):
        asked = ("--subject", f"patient:P-{number:04d}", "--by", "ada", "--reason", "request 7")
        erased = platform("erase", *asked)
        assert erased.exit_code == 0, erased.output
        assert "searched again: pass" in erased.stdout
    gone = {held_only, both, rows_only}
    for table in (dataset, features, QUARANTINE):
        assert not gone & of_whom(settings, table)

    assert "changed" in runs(settings, spec)
    again = xrays(tmp_path / "again", patients=3, side=64, seed=500)
    spec = line_on(tmp_path, folder, again)
    assert materialize_alone(settings, spec, "dataset")[1] is None
    for table in (dataset, QUARANTINE):
        assert not gone & of_whom(settings, table)
    ledger = "".join(str(entry.body) for entry in OutsideSystems(settings).ledger.entries())
    assert "P-0000" not in ledger

"""kill -9 while X-rays are read: the dataset is one that was made whole, and no file that it left out is unaccounted for."""

import hashlib
import random
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from platform_assets.datasets.quarantine import TABLE as QUARANTINE
from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TABLES
from resources.settings import PlatformSettings
from tests.line_factory import ROOT, command, environment
from tests.tasks.image_classification.xray_folders import xrays
from tests.test_kills import kill, unreferenced

LINE = "chest_xray_detector"


def write_spec(folder: Path, source: Path) -> Path:
    """The line that ships, on another source."""
    file = folder / SPEC_FILE
    shipped = yaml.safe_load((SPECS_FOLDER / LINE / SPEC_FILE).read_text())
    file.write_text(yaml.safe_dump(shipped | {"train_data_uri": str(source)}))
    return file


def start(home: Path, spec: Path) -> "subprocess.Popen[str]":
    """A materialization of the dataset in a process group of its own."""
    return subprocess.Popen(
        command("materialize", LINE, "dataset", "--spec", spec),
        env=environment(home),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(home: Path, spec: Path) -> float:
    """Seconds that a materialization takes to its end."""
    began = time.monotonic()
    process = start(home, spec)
    _, told = process.communicate()
    assert process.returncode == 0, told
    return time.monotonic() - began


def published(home: Path) -> tuple[frozenset[str], frozenset[str]]:
    """SHA-256 of the files in the dataset, and of those in the quarantine."""
    warehouse = OutsideSystems(PlatformSettings(home=home)).warehouse

    def ids(table: str, column: str) -> frozenset[str]:
        current = warehouse.current(table)
        assert current is not None
        return frozenset(warehouse.read(table, current.snapshot_id, columns=[column])[column].to_pylist())

    return ids(TABLES["dataset"].format(line=LINE), "image_id"), ids(QUARANTINE.format(line=LINE), "file_id")


def spoil(file: Path) -> tuple[str, str]:
    """Make a file no DICOM, so that it leaves the dataset and is held: its hash before and after."""
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(f"spoilt {file.name}".encode() * 50)
    return before, hashlib.sha256(file.read_bytes()).hexdigest()


def killed_at_random(tmp_path: Path, *, patients: int, kills: int, seed: int) -> None:
    """Spoil a file, start, kill, look; so many times. Then once to the end."""
    home, chance = tmp_path / "platform", random.Random(seed)
    folder = xrays(tmp_path / "xrays", patients=patients, each=2, side=64)
    spec = write_spec(tmp_path, folder)
    seconds = finished(home, spec)
    made, hit = [published(home)], 0
    for at in range(kills):
        before, after = spoil(folder / f"{at:04d}.dcm")
        made.append((made[-1][0] - {before}, made[-1][1] | {after}))
        process = start(home, spec)
        try:
            process.communicate(timeout=chance.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            hit += 1
        rows, held = published(home)
        assert rows in [each for each, _ in made], "half a dataset"
        assert held in [each for _, each in made], "half a quarantine"
        of_rows = [each for each, _ in made].index(rows)
        assert of_rows <= [each for _, each in made].index(held), "a dataset without its quarantine"
    finished(home, spec)
    assert published(home) == made[-1]
    assert hit > kills // 2
    settings = PlatformSettings(home=home)
    assert unreferenced(settings) == []
    assert Ledger.open(settings.ledger_path, principal="tests").verify().ok


@pytest.mark.long
def test_killed_at_a_random_moment(tmp_path: Path) -> None:
    """Of a small folder."""
    killed_at_random(tmp_path, patients=60, kills=1, seed=1)


@pytest.mark.long
def test_killed_at_twenty_random_moments_of_two_thousand_files(tmp_path: Path) -> None:
    """Of a large one."""
    killed_at_random(tmp_path, patients=1020, kills=20, seed=2)

"""A small line that was run once and is deployed; every test starts from that state."""

from collections.abc import Callable
from pathlib import Path

import pytest

from platform_assets.ledger.ledger import Ledger
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import RunOutcome, run_line
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.line.changed_sources import write_source
from tests.line_factory import SMALL_SPEC, FinishedHome, platform_assets


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedHome:
    """A home in which the small line was run once, by the command line, and is deployed."""
    home = tmp_path_factory.mktemp("finished") / "platform"
    done = platform_assets(home, "run", "--spec", SMALL_SPEC)
    assert done.returncode == 0, done.stderr
    prepared = FinishedHome(home)
    prepared.save()
    return prepared


@pytest.fixture
def home(finished: FinishedHome, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished home, as it was."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    path = finished.restore()
    monkeypatch.setenv("DAGSTER_HOME", str(path / "dagster"))
    return path


@pytest.fixture
def settings(home: Path) -> PlatformSettings:
    """Settings of the finished home."""
    return PlatformSettings(home=home)


@pytest.fixture
def outside(settings: PlatformSettings) -> OutsideSystems:
    """The finished home's systems."""
    return OutsideSystems(settings)


@pytest.fixture
def ledger(settings: PlatformSettings) -> Ledger:
    """Ledger of the finished home."""
    return Ledger.open(settings.ledger_path, principal="tests")


@pytest.fixture
def run(settings: PlatformSettings) -> Callable[[Path], RunOutcome]:
    """Run the line of a spec in this process."""
    return lambda spec: run_line(load_line(spec), OutsideSystems(settings))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The packaged reviews of the line's source as a file of its own."""
    path = tmp_path / "reviews.csv"
    write_source(path)
    return path

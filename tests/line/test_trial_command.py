"""The command of a trial, as a process beside a line that is deployed."""

import signal
import subprocess
from pathlib import Path

from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from tests.line_factory import ROOT, SMALL_SPEC, command, environment


def test_a_trial_tells_each_epoch_at_once_and_leaves_nothing(
    home: Path, outside: OutsideSystems, ledger: Ledger, tmp_path: Path
) -> None:
    """Its first metrics are there while it trains on; told to end it says so, and all is as it was."""

    def state() -> list[object]:
        versions = [
            each for table in outside.warehouse.tables() for each in outside.warehouse.versions(table)
        ]
        return [[entry.hash for entry in ledger.entries()], versions, sorted(outside.object_store.list(""))]

    before, scratch = state(), tmp_path / "scratch"
    scratch.mkdir()
    arguments = command("trial", "reviews_small", "--spec", SMALL_SPEC, "--set", "num_epochs=900")
    with subprocess.Popen(
        arguments,
        env=environment(home, TMPDIR=str(scratch)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = process.stdout.readline()
        assert " auc=0." in told, process.stderr.read()
        assert len([*scratch.glob("trial-*")]) == 1
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(60) == 143, said
    assert said.splitlines()[-1].startswith("error: ended by SIGTERM")
    assert [*scratch.glob("trial-*")] == []
    assert state() == before

"""kill -9 of `features run` and `features fit` at any moment: nothing is half written, and the next run leaves nothing."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.features.transformers import credit_rows, event_rows, write_rows, write_transformer
from tests.line_factory import ROOT, environment

LIMIT = "500MB"
"""Of which so little is left for rows that those of the tests are sorted on disk."""


class Nursery:
    """A process that forks one for each command."""

    def __init__(self, process):
        self._process = process

    def start(self, *arguments):
        """The id of a process that executes this command."""
        print(json.dumps([str(each) for each in arguments]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def run(self, *arguments):
        """The seconds that a command takes, which ends well."""
        began = time.monotonic()
        self.start(*arguments)
        assert int(self._process.stdout.readline()) == 0
        return time.monotonic() - began

    def kill(self, after_seconds, *arguments):
        """Whether a command was killed at this moment; it may have ended before."""
        return self.end(signal.SIGKILL, after_seconds, *arguments) == -signal.SIGKILL

    def end(self, how, after_seconds, *arguments):
        """The exit status of a command that is sent a signal after so long, if it has not ended before."""
        pid = self.start(*arguments)
        if not select.select([self._process.stdout], [], [], after_seconds)[0]:
            os.kill(pid, how)
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """One for all tests."""
    with started(tmp_path_factory.mktemp("home")) as process:
        yield Nursery(process)


@contextmanager
def started(home):
    """In the end nothing of it is left."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("nursery.py"))],
        env=environment(home),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        with process:
            pass


def again_and_again(nursery, folder, target, *arguments, kills, seed):
    """Kill the command at random moments, each time followed by another, and in the end let it be.

    How many were killed: the others were quicker.
    """
    seconds = nursery.run(*arguments)
    undisturbed = target.read_bytes()
    names = sorted(each.name for each in folder.iterdir())
    target.unlink()
    chance, killed, left = random.Random(seed), 0, 0
    for _ in range(kills):
        killed += nursery.kill(chance.uniform(0, seconds), *arguments)
        if target.exists():
            assert target.read_bytes() == undisturbed
            target.unlink()
        left += len(sorted(folder.iterdir())) > len(names) - 1
    nursery.run(*arguments)
    assert target.read_bytes() == undisturbed
    assert sorted(each.name for each in folder.iterdir()) == names
    return killed, left


def sort_and_kill(nursery, folder, *, rows, kills, seed):
    """Of `features run` over rows in no order."""
    write_rows(folder / "rows.parquet", event_rows(rows, entities=50), row_group_rows=50_000)
    spec = write_transformer(folder / "zscore.yaml", "zscore")
    target = folder / "features.parquet"
    arguments = ("run", spec, "--input", folder / "rows.parquet", "--output", target, "--memory-limit", LIMIT)
    return again_and_again(nursery, folder, target, *arguments, kills=kills, seed=seed)


def fit_and_kill(nursery, folder, *, rows, kills, seed):
    """Of `features fit`."""
    write_rows(folder / "rows.parquet", credit_rows(rows), row_group_rows=50_000)
    spec = write_transformer(folder / "woe.yaml", "woe")
    target = folder / "state.json"
    arguments = ("fit", spec, "--input", folder / "rows.parquet", "--output", target)
    return again_and_again(nursery, folder, target, *arguments, kills=kills, seed=seed)


def test_runs_killed_three_times(nursery, tmp_path):
    """One after the other, the next each time in the litter of the one before."""
    killed, left = sort_and_kill(nursery, tmp_path, rows=400_000, kills=3, seed=2)
    assert killed
    assert left


def test_fits_killed_three_times(nursery, tmp_path):
    """Likewise."""
    killed, _ = fit_and_kill(nursery, tmp_path, rows=300_000, kills=3, seed=2)
    assert killed


def test_a_run_that_is_told_to_end_leaves_nothing(nursery, tmp_path):
    """Neither output nor scratch, and the status that shells give."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(400_000, entities=50), row_group_rows=50_000)
    spec = write_transformer(tmp_path / "zscore.yaml", "zscore")
    arguments = ("run", spec, "--input", source, "--output", tmp_path / "f.parquet", "--memory-limit", LIMIT)
    assert nursery.end(signal.SIGTERM, 0.3, *arguments) == 128 + signal.SIGTERM
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rows.parquet", "zscore.yaml"]


@pytest.mark.long
def test_runs_killed_at_twenty_random_moments(nursery, tmp_path):
    """Of a run that sorts on disk."""
    killed, left = sort_and_kill(nursery, tmp_path, rows=1_000_000, kills=20, seed=20)
    assert killed >= 12
    assert left >= 8


@pytest.mark.long
def test_fits_killed_at_twenty_random_moments(nursery, tmp_path):
    """Of two passes over a million rows."""
    killed, _ = fit_and_kill(nursery, tmp_path, rows=1_000_000, kills=20, seed=20)
    assert killed >= 12

"""kill -9 of `features run`, `fit` and `join` at any moment: nothing is half written, and the next run leaves nothing."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.features.transformers import credit_rows, event_rows, write_rows, write_transformer
from tests.line_factory import ROOT, environment


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

    def end(self, how, moment, *arguments):
        """The exit status of a command that is sent a signal at a moment, if it has not ended before.

        A moment is a number of seconds, or what is true from then on.
        """
        pid = self.start(*arguments)
        begun = time.monotonic()
        passed = moment if callable(moment) else lambda: time.monotonic() - begun > moment
        while not passed():
            if select.select([self._process.stdout], [], [], 0.001)[0]:
                break
        else:
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


def again_and_again(nursery, folder, target, *arguments, moments):
    """Kill the command at each moment in turn, the next time in the litter of the one before, and in the end let it be.

    How many were killed, and how many of them had begun to write: others were quicker.
    """
    # The first one also reads from the disk what lies in memory afterwards.
    seconds = min(nursery.run(*arguments) for _ in range(2))
    undisturbed = target.read_bytes()
    names = sorted(each.name for each in folder.iterdir())
    target.unlink()
    killed = left = 0
    for moment in moments(seconds):
        killed += nursery.end(signal.SIGKILL, moment, *arguments) == -signal.SIGKILL
        if target.exists():
            assert target.read_bytes() == undisturbed
            target.unlink()
        left += len(list(folder.iterdir())) > len(names) - 1
    nursery.run(*arguments)
    assert target.read_bytes() == undisturbed
    assert sorted(each.name for each in folder.iterdir()) == names
    return killed, left


def at_random(count, seed):
    """Moments anywhere in a run."""
    chance = random.Random(seed)
    return lambda seconds: [chance.uniform(0, seconds) for _ in range(count)]


def when_there(folder, *patterns):
    """Moments when a file of each pattern has come and is not empty."""

    def moments(_):
        for pattern in patterns:
            yield partial(is_there, pattern, time.time_ns())

    def is_there(pattern, since_ns):
        found = []
        with suppress(FileNotFoundError):  # the next run removes what the one before has left
            found = [each.stat() for each in folder.glob(pattern)]
        return any(each.st_size and each.st_mtime_ns > since_ns for each in found)

    return moments


def when_locked(file, *parts):
    """Moments when this file has been made or emptied, and when a part of what a run takes has passed since."""

    def moments(seconds):
        for part in parts:
            yield partial(passed, time.time_ns(), [], part * seconds)

    def passed(begun_ns, since, seconds):
        if not since and file.exists() and file.stat().st_mtime_ns > begun_ns:
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= seconds

    return moments


def sort_and_kill(nursery, folder, *, rows, moments):
    """Of `features run` over rows in no order."""
    write_rows(folder / "rows.parquet", event_rows(rows, entities=50), row_group_rows=50_000)
    spec = write_transformer(folder / "zscore.yaml", "zscore")
    target = folder / "features.parquet"
    arguments = ("run", spec, "--input", folder / "rows.parquet", "--output", target)
    return again_and_again(nursery, folder, target, *arguments, moments=moments)


def fit_and_kill(nursery, folder, *, rows, moments):
    """Of `features fit`."""
    write_rows(folder / "rows.parquet", credit_rows(rows), row_group_rows=50_000)
    spec = write_transformer(folder / "woe.yaml", "woe")
    target = folder / "state.json"
    arguments = ("fit", spec, "--input", folder / "rows.parquet", "--output", target)
    return again_and_again(nursery, folder, target, *arguments, moments=moments)


def join_and_kill(nursery, folder, *, rows, moments):
    """Of `features join` over files on both sides."""
    labels = event_rows(rows, entities=50, seed=1).select(["entity", "time", "number"])
    write_rows(folder / "labels.parquet", labels, row_group_rows=50_000)
    features = event_rows(rows, entities=50).drop_columns(["number"])
    write_rows(folder / "events.parquet", features, row_group_rows=50_000)
    target = folder / "joined.parquet"
    arguments = ("join", folder / "labels.parquet", "--entity", "entity", "--time", "time")
    arguments += ("--features", folder / "events.parquet", "--out", target)
    return again_and_again(nursery, folder, target, *arguments, moments=moments)


def test_runs_killed_at_three_moments(nursery, tmp_path):
    """While the first run is sorted, while the second is, and when the output has begun."""
    moments = when_there(
        tmp_path, ".*.scratch/run-000000*", ".*.scratch/run-000001*", ".features.parquet.incoming"
    )
    assert sort_and_kill(nursery, tmp_path, rows=200_000, moments=moments) == (3, 3)


def test_fits_killed_at_three_moments(nursery, tmp_path):
    """Of one that writes nothing until its end: as soon as it has locked its target, and in the midst of its work."""
    killed = fit_and_kill(
        nursery, tmp_path, rows=200_000, moments=when_locked(tmp_path / ".state.json.incoming", 0, 0.2, 0.4)
    )
    assert killed == (3, 3)


def test_joins_killed_at_three_moments(nursery, tmp_path):
    """As soon as the target is locked, while features are looked through, and when the output has begun."""
    locked = when_locked(tmp_path / ".joined.parquet.incoming", 0, 0.1)
    begun = when_there(tmp_path, ".joined.parquet.incoming")
    killed = join_and_kill(
        nursery, tmp_path, rows=300_000, moments=lambda seconds: (*locked(seconds), *begun(seconds))
    )
    assert killed == (3, 3)


def test_an_explanation_that_is_killed_leaves_what_the_next_removes(nursery, tmp_path):
    """The folder in which it sorts, which no target has a part in."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(500_000, entities=50), row_group_rows=50_000)
    spec = write_transformer(tmp_path / "zscore.yaml", "zscore")
    (tmp_path / "scratch").mkdir()
    arguments = ("explain", spec, "--input", source, "--scratch", tmp_path / "scratch")
    (moment,) = when_there(tmp_path / "scratch", ".platform-assets-own-*/run-000001*")(0)
    assert nursery.end(signal.SIGKILL, moment, *arguments) == -signal.SIGKILL
    assert sum(each.is_dir() for each in (tmp_path / "scratch").iterdir()) == 1
    nursery.run(*arguments)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_run_that_is_told_to_end_leaves_nothing(nursery, tmp_path):
    """Neither output nor scratch, and the status that shells give."""
    source = write_rows(tmp_path / "rows.parquet", event_rows(300_000, entities=50), row_group_rows=50_000)
    spec = write_transformer(tmp_path / "zscore.yaml", "zscore")
    arguments = ("run", spec, "--input", source, "--output", tmp_path / "f.parquet")
    (moment,) = when_there(tmp_path, ".f.parquet.incoming")(0)
    assert nursery.end(signal.SIGTERM, moment, *arguments) == 128 + signal.SIGTERM
    assert sorted(each.name for each in tmp_path.iterdir()) == ["rows.parquet", "zscore.yaml"]


@pytest.mark.long
def test_runs_killed_at_twenty_random_moments(nursery, tmp_path):
    """Of a run that sorts on disk."""
    killed, left = sort_and_kill(nursery, tmp_path, rows=1_000_000, moments=at_random(20, seed=20))
    assert killed >= 10
    assert left >= 8


@pytest.mark.long
def test_fits_killed_at_twenty_random_moments(nursery, tmp_path):
    """Of two passes over a million rows."""
    killed, _ = fit_and_kill(nursery, tmp_path, rows=1_000_000, moments=at_random(20, seed=20))
    assert killed >= 10


@pytest.mark.long
def test_joins_killed_at_twenty_random_moments(nursery, tmp_path):
    """Of a million rows on either side."""
    killed, _ = join_and_kill(nursery, tmp_path, rows=1_000_000, moments=at_random(20, seed=20))
    assert killed >= 10

"""The ledger holds when processes compete for it and are killed."""

import multiprocessing
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from platform_assets.ledger import checkpoint
from platform_assets.ledger.ledger import Ledger
from tests.ledger.conftest import on_both_stores

pytestmark = on_both_stores


def appender(location, name, count, stdout):
    """A process that appends `count` entries and prints the hash of each when it is durable."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("appender.py"), str(location), name, str(count)],
        stdout=stdout,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.parametrize(("processes", "count"), [(4, 100), pytest.param(8, 10_000, marks=pytest.mark.long)])
def test_processes_that_create_and_fill_one_ledger_make_one_chain(location, tmp_path, processes, count):
    """They start at once, without a ledger, and end with all their entries in one chain."""
    names = [f"appender-{number}" for number in range(processes)]
    with ExitStack() as stack, ThreadPoolExecutor(processes) as pool:
        running = [stack.enter_context(appender(location, name, count, subprocess.PIPE)) for name in names]
        printed = [out.splitlines() for out, _ in pool.map(subprocess.Popen.communicate, running)]
    assert [process.returncode for process in running] == [0] * processes
    ledger = Ledger.open(location, principal="ada")
    report = ledger.verify()
    checkpoints = sum(1 for _ in ledger.entries(kind=checkpoint.KIND))
    assert (report.ok, report.entries - checkpoints, report.ahead_of_head) == (True, processes * count, 0)
    for name, hashes in zip(names, printed, strict=True):
        assert [entry.hash for entry in ledger.entries(subject=name)] == hashes
    if isinstance(location, Path):
        assert {file.name for file in tmp_path.iterdir()} == {location.name}


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.long)])
def test_killed_processes_lose_nothing_that_they_reported(location, kills):
    """Two processes append; whenever they are killed, the chain holds and has every reported entry."""
    reported = []
    for number in range(kills):
        read_end, write_end = os.pipe()  # shared: the kill comes at any point of either process
        with os.fdopen(read_end) as printed, ExitStack() as stack:
            processes = [
                stack.enter_context(appender(location, f"{name}{number}", 10**6, write_end)) for name in "ab"
            ]
            os.close(write_end)
            reported += [printed.readline().strip() for _ in range(random.randint(1, 40))]
            for process in processes:
                process.kill()
            reported += printed.read().split()
        ledger = Ledger.open(location, principal="ada")
        report = ledger.verify()
        assert report.ok, report.problem
        assert report.ahead_of_head <= 2  # one for each that died between its entry and the head
        assert {*reported} <= {entry.hash for entry in ledger.entries()}
    ledger.append("note", "after", fingerprint="1", body={})
    assert (ledger.verify().ok, ledger.verify().ahead_of_head) == (True, 0)


def test_a_ledger_survives_a_fork(ledger):
    """A forked child appends with the object it inherited, while its parent is in the middle of reading."""
    ledger.append("note", "line", fingerprint="1", body={})
    reading = ledger.entries()
    next(reading)
    child = multiprocessing.get_context("fork").Process(
        target=ledger.append, args=("note", "line"), kwargs={"fingerprint": "2", "body": {}}
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    assert list(reading) == []
    assert (ledger.verify().ok, ledger.verify().entries) == (True, 2)

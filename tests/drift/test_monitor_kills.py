"""kill -9 of the watch at any moment: states are restored, no change is told twice, segments are whole."""

import os
import random
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from platform_assets.drift.delivery import deliver
from platform_assets.drift.errors import DriftError
from platform_assets.drift.monitor import wall_clock_ms
from platform_assets.drift.record import KIND, states
from platform_assets.drift.segments import read_segments, segment_keys
from platform_assets.ledger.ledger import Ledger
from resources.object_store import LocalObjectStore
from tests.drift.watching import ENV, LINE, WINDOW, Stream
from tests.line_factory import ROOT, environment
from tests.servers import free_ports

_START_ATTEMPTS = 600
_STATES = ("clear", "alarm", "confirmed")
_PHASE_EVENTS = 4 * WINDOW
_EVENTS_PER_REQUEST = 50


class Watcher:
    """The service as a process of its own."""

    def __init__(self, nursery: subprocess.Popen[str]) -> None:
        (port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{port}"
        self._nursery = nursery
        print(port, file=nursery.stdin, flush=True)
        self._pid = int(nursery.stdout.readline())
        for _ in range(_START_ATTEMPTS):
            with suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{self.address}/health", timeout=30).close()
                return
            select.select([nursery.stdout], [], [], 0.05)
        pytest.fail("the watch does not answer")

    def states(self) -> dict[str, str]:
        """What its metrics say."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {
                sample.labels["column"]: _STATES[int(sample.value)]
                for family in families
                for sample in family.samples
                if family.name == "drift_alarm_state"
            }

    def end(self, how: signal.Signals) -> int:
        """The exit status that it has after this signal."""
        os.kill(self._pid, how)
        return int(self._nursery.stdout.readline())


class Sender:
    """Posts without end, a phase as the reference, a phase drifted."""

    def __init__(self) -> None:
        self.sent = 0
        self.lives = 0

    def send_until(self, watcher: Watcher, deadline: float) -> None:
        """Requests, one after the other, up to a moment."""
        self.lives += 1
        stream = Stream(seed=self.lives, start_ms=wall_clock_ms())
        while time.monotonic() < deadline:
            drifted = self.sent // _PHASE_EVENTS % 2 == 0
            # As fast as they are answered: event time is the time of sending.
            stream.now_ms = wall_clock_ms() - _EVENTS_PER_REQUEST * 5
            deliver(stream.events(_EVENTS_PER_REQUEST, drifted=drifted, labelled=True), watcher.address)
            self.sent += _EVENTS_PER_REQUEST


def kill_again_and_again(home: Path, *, kills: int, seed: int, longest_seconds: float = 1.0) -> int:
    """Start, post, kill at random; the last one is ended properly. How many changes were recorded."""
    rng, sender = random.Random(seed), Sender()
    ledger = Ledger.open(home / "ledger.db", principal="tests")
    nursery = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("watcher.py")), str(home)],
        env=environment(home),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with ended(nursery):
        for life in range(kills + 1):
            before = states(ledger, LINE)
            watcher = Watcher(nursery)
            restored = watcher.states()
            assert {column: restored[column] for column in before} == before
            sender.send_until(watcher, time.monotonic() + rng.uniform(0.2, longest_seconds))
            if life < kills:
                assert watcher.end(signal.SIGKILL) == -signal.SIGKILL
            else:
                assert watcher.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    return assert_whole(home)


@contextmanager
def ended(nursery: subprocess.Popen[str]) -> Iterator[None]:
    """In the end nothing of it is left, however a test goes out."""
    try:
        yield
    finally:
        os.killpg(nursery.pid, signal.SIGKILL)
        with nursery:
            pass


def assert_whole(home: Path) -> int:
    """The ledger holds, no change is there twice, every segment can be read; how many changes."""
    ledger, store = Ledger.open(home / "ledger.db", principal="tests"), LocalObjectStore(home / "objects")
    report = ledger.verify()
    assert report.ok, report.problem
    by_column: dict[str, list[str]] = {}
    for entry in ledger.entries(kind=KIND, subject=LINE):
        told = by_column.setdefault(entry.body["column"], ["clear"])
        assert entry.body["previous_state"] == told[-1]
        told.append(entry.body["state"])
    for told in by_column.values():
        assert all(before != after for before, after in pairwise(told))
    store.sweep()
    for kind in ("verdicts", "labels"):
        keys = [key for of_day in segment_keys(store, kind, env=ENV, line=LINE).values() for key in of_day]
        tables = list(read_segments(store, keys))
        assert len(tables) == len(keys) > 0
        assert all(table.num_rows for table in tables)
    assert not list((home / "objects" / "incoming").iterdir())
    return sum(len(told) - 1 for told in by_column.values())


def test_killed_twice(tmp_path):
    """Alarms came and went, and each is told once."""
    assert kill_again_and_again(tmp_path, kills=2, seed=1, longest_seconds=0.6) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_killed_often(tmp_path, seed):
    """The same over many lives."""
    assert kill_again_and_again(tmp_path, kills=9, seed=seed) > 9


def test_a_watch_that_is_gone_is_told(tmp_path):
    """Whoever posts to it learns that nothing arrived."""
    (port,) = free_ports(1)
    with pytest.raises(DriftError, match="cannot be reached"):
        deliver(Stream().events(1), f"http://127.0.0.1:{port}")

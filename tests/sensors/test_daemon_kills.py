"""kill -9 to the daemon while pushes arrive: each push has one run in the end, and none has two."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.governance import retraining
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from platform_assets.starters import starter_of
from platform_assets.tags import RETRAINING_TAG, STARTED_BY_TAG
from resources.settings import PlatformSettings, WatchedRepository
from sensors.push_queue import enqueue, push_of, queued
from sensors.push_review import DECISION
from tests.git_factory import Origin, spec_text
from tests.line_factory import ROOT, SMALL_SPEC, environment

SPEC = "models/reviews/training-spec.yaml"
STEPS = 4
"""Entries that one push leaves: itself, the request, the ruling on its spec, its end."""
PATIENCE_SECONDS = 120
KILLS = 17


class Daemon:
    """A real daemon on a home where runs stay queued, so that nothing is trained."""

    def __init__(self, home: Path, origin: Origin) -> None:
        self.settings = PlatformSettings(
            home=home, git_repositories=(WatchedRepository(url=str(origin.path)),)
        )
        self.ledger: Ledger = OutsideSystems(self.settings).ledger
        self.log = home / "daemon.log"
        self._dagster_home = home / "dagster"
        self._dagster_home.mkdir(parents=True)
        (self._dagster_home / "dagster.yaml").write_text(
            "telemetry: {enabled: false}\nconcurrency: {runs: {max_concurrent_runs: 0}}\n"
        )
        self._environment = environment(
            home,
            DAGSTER_HOME=str(self._dagster_home),
            PLATFORM_SPECS=json.dumps([str(SMALL_SPEC)]),
            PLATFORM_GIT_REPOSITORIES=json.dumps([{"url": str(origin.path)}]),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a process group of its own."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dagster._daemon",
                    "run",
                    "-m",
                    "tests.sensors.daemon_location",
                    "-d",
                    ROOT,
                ],
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to it and its code server."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def wait(self, until: Callable[[], bool]) -> None:
        """Look often, so that a kill that follows comes at once."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def runs(self) -> Counter[str]:
        """Number of runs by the request that they follow."""
        with dg.DagsterInstance.from_config(str(self._dagster_home)) as instance:
            return Counter(run.tags[RETRAINING_TAG] for run in instance.get_runs())

    def starters(self) -> Counter[str | None]:
        """Number of runs by who started them."""
        salt = OutsideSystems(self.settings).salt
        with dg.DagsterInstance.from_config(str(self._dagster_home)) as instance:
            runs = instance.get_runs(ascending=True)
        first = {run.tags[STARTED_BY_TAG]: run.run_id for run in reversed(runs)}
        return Counter(starter_of(run, salt, first.get) for run in runs)


@pytest.mark.long
def test_seventeen_kills_at_random_steps(tmp_path: Path) -> None:
    """Push, tell of it as a webhook would, kill the daemon within the steps that follow; then let it finish.

    What a death after each single step leaves, `test_git_push` tests without a daemon.
    """
    chance = random.Random(KILLS)
    origin = Origin(tmp_path)
    origin.push({"README.md": "models"})
    daemon = Daemon(tmp_path / "home", origin)
    repositories = daemon.settings.git_repositories
    try:
        daemon.start()
        daemon.wait(lambda: daemon.ledger.head().count == 1)  # the baseline
        for seed in range(KILLS):
            for part in range(chance.randint(1, 2)):
                sha = origin.push({SPEC: spec_text(seed=2 * seed + part)})
                push = push_of(str(origin.path), "refs/heads/main", sha, repositories)
                assert push is not None
                enqueue(daemon.ledger, push)
            goal = daemon.ledger.head().count + chance.randint(0, STEPS - 1)
            daemon.wait(lambda goal=goal: daemon.ledger.head().count >= goal)
            time.sleep(chance.choice((0, 0.01, 0.1, 1.0)))
            daemon.kill()
            daemon.start()
        pushes = [each.push for each in queued(daemon.ledger)]

        def is_done() -> bool:
            ended = {entry.fingerprint for entry in daemon.ledger.entries(kind=DECISION)}
            return all(push.key in ended for push in pushes) and len(daemon.runs()) == len(pushes)

        daemon.wait(is_done)
    finally:
        daemon.kill()
    requests = {entry.hash: entry.body for entry in daemon.ledger.entries(kind=retraining.KIND)}
    assert Counter(dict.fromkeys(requests, 1)) == daemon.runs()
    assert daemon.starters() == {"automation/git_pushes": len(pushes)}
    assert sorted(body["source_commit"] for body in requests.values()) == sorted(push.sha for push in pushes)
    assert daemon.ledger.verify().ok

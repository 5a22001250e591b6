"""kill -9 at any moment: no finished trial is lost or run again, and none stays behind as running."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.status import Status
from tests.tuning.toy import DEPTH, ToyRunner, experiment, run

# A fork has everything imported, so a kill falls into the study and not into Python's start.
_PROCESSES = multiprocessing.get_context("fork")
_MOST_KILLS = 8
STOP = {"algorithmName": "medianstop", "algorithmSettings": [{"name": "start_step", "value": "1"}]}


def by_rate(assignment: Mapping[str, str]) -> Sequence[float]:
    """A trial of three reports that grow to its rate."""
    rate = float(assignment["rate"])
    return [rate / 4, rate / 2, rate]


def study(tried: Experiment, folder: Path, storage: str, log: Path) -> Status:
    """The study, which notes each start of a trial and each end that it is told of."""

    def note(line: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    class Noting(ToyRunner):
        def start(self, trial: str, assignment: Mapping[str, str]) -> Any:
            note(f"start {trial} {sorted(assignment.items())}")
            return super().start(trial, assignment)

    class Told(list[Status]):
        def append(self, status: Status) -> None:
            for each in status.trials:
                if each.state != "Running":
                    note(f"end {each.name} {each.state}")

    status, _ = run(tried, by_rate, folder, storage=storage, runner=Noting(by_rate), told=Told())
    return status


def kill_at_random(tried: Experiment, folder: Path, storage: str, log: Path, within: float, seed: int) -> int:
    """Runs the study in processes that are killed, each a random time after its start, until one is not; how many were."""
    moments = random.Random(seed)
    for kills in range(_MOST_KILLS):
        process = _PROCESSES.Process(target=study, args=(tried, folder, storage, log))
        process.start()
        process.join(moments.uniform(0, within))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return _MOST_KILLS


def check(log: Path, status: Status, whole: Status) -> None:
    """What the log tells, and the end, against a study that was left in peace."""
    ended: dict[str, str] = {}
    started: dict[str, str] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        word, name, rest = line.split(" ", 2)
        if word == "start":
            assert name not in ended, f"{name} had ended, and was started again"
            assert started.setdefault(name, rest) == rest, f"{name} has got another assignment"
        else:
            assert ended.setdefault(name, rest) == rest, f"{name} has ended otherwise before"
    assert status.is_over
    assert status.count("Running") == 0
    assert [each.name for each in status.trials] == list(started)
    assert ended == {each.name: each.state for each in status.trials}
    assert [each.assignment for each in status.trials] == [each.assignment for each in whole.trials]


@pytest.mark.parametrize(
    ("algorithm", "parallel"),
    [
        ({"algorithmName": "random"}, 2),
        ({"algorithmName": "grid"}, 2),
        # What it suggests depends on which trials have ended, so one after the other.
        (
            {
                "algorithmName": "multivariate-tpe",
                "algorithmSettings": [{"name": "n_startup_trials", "value": "1"}],
            },
            1,
        ),
    ],
    ids=["random", "grid", "multivariate-tpe"],
)
def test_a_study_may_die_between_any_two_changes(
    tmp_path: Path, algorithm: dict[str, Any], parallel: int
) -> None:
    """Each line of a journal is one change: the study goes on from every beginning of it, and comes to the same."""
    tried = experiment(
        tmp_path,
        algorithm=algorithm,
        parameters=[DEPTH, {**DEPTH, "name": "rate"}],
        parallelTrialCount=parallel,
        maxTrialCount=3,
    )
    journal = tmp_path / "whole.journal"
    whole = study(tried, tmp_path, str(journal), tmp_path / "log")
    lines = journal.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        part = tmp_path / f"{count}.journal"
        part.write_bytes(b"".join(lines[:count]))
        status, runner = run(tried, by_rate, tmp_path, storage=str(part))
        # The trial of a line is told by its number, as long as there is only one study.
        kept = {
            whole.trials[json.loads(line)["trial_id"]].name for line in lines[:count] if b'"result"' in line
        }
        assert not kept & {name for name, _ in runner.started}
        assert [each.assignment for each in status.trials] == [each.assignment for each in whole.trials]
        assert [each.state for each in status.trials] == [each.state for each in whole.trials]
        assert status.optimal is not None
        assert whole.optimal is not None
        assert status.optimal.name == whole.optimal.name


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_study_goes_on_as_if_it_had_not_been(tmp_path: Path, kind: str, rounds: int) -> None:
    """Killed again and again at random moments, it comes to what it would have come to."""
    tried = experiment(tmp_path, parallelTrialCount=3, maxTrialCount=8, earlyStopping=STOP)
    addresses = {"sqlite": "sqlite:///{}/study.sqlite", "journal": "{}/study.journal"}
    peace = tmp_path / "peace"
    begun = time.monotonic()
    peace.mkdir()
    whole = study(tried, peace, addresses[kind].format(peace), peace / "log")
    lasted = time.monotonic() - begun
    killed = 0
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        storage, log = addresses[kind].format(folder), folder / "log"
        killed += kill_at_random(tried, folder, storage, log, lasted, seed=number)
        check(log, study(tried, folder, storage, log), whole)
    assert killed >= rounds // 2, "the kills came too late to hit anything"

"""Trials as processes: read while they run, side by side on their share of the CPUs, and ended with whoever began them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from platform_assets.processors import available_cpus
from platform_assets.tuning.trial_processes import ProcessTrials, reason_of
from tests.line_factory import ROOT
from tests.tuning.experiments import python, write_experiment
from tests.waiting import wait_for

TOLD = """
import sys, time
for step in range(int(sys.argv[1])):
    print(f"2026-11-30T12:00:0{step}.5Z auc=0.{step + 1} other=7")
    print("log_loss=0.25")
"""


@pytest.fixture
def trials(tmp_path):
    """Begins trials of a command."""
    begun = []

    def trials(command, *, parallel=2, job=None, **environment) -> ProcessTrials:
        experiment = write_experiment(tmp_path, command, parallel=parallel, job=job)
        runner = ProcessTrials(
            experiment, environment={**os.environ, **environment}, scratch=tmp_path / "scratch"
        )
        begun.append(runner)
        return runner.__enter__()

    yield trials
    for runner in begun:
        runner.__exit__(None, None, None)
    assert not (tmp_path / "scratch").exists()


def ended(runner, *running) -> None:
    """Return once all of them have ended."""
    while any(each.outcome() == "running" for each in running):
        runner.wait([each for each in running if each.outcome() == "running"], 60)


def test_a_trial_runs_the_templates_command_and_its_metrics_are_read(trials, tmp_path):
    """With the assignment in it; metrics that are not asked for are left out, and times are those that were printed."""
    runner = trials(python(tmp_path, TOLD, "2"))
    trial = runner.start("tests-1", {"rate": "0.05"})
    ended(runner, trial)
    assert (trial.name, trial.outcome(), trial.reason) == ("tests-1", "succeeded", "")
    found = [(each.metric, each.value) for each in trial.observations()]
    assert found == [("auc", "0.1"), ("log_loss", "0.25"), ("auc", "0.2"), ("log_loss", "0.25")]
    first = trial.observations()[0].time
    assert first.isoformat() == "2026-11-30T12:00:00.500000+00:00"


def test_what_it_is_called_with(trials, tmp_path):
    """The assignment's text, its share of the CPUs for every library, a folder for what it writes, this interpreter first."""
    told = tmp_path / "told.json"
    program = "import json, os, sys; json.dump([sys.argv[2:], dict(os.environ)], open(sys.argv[1], 'w')); print('auc=1')"
    runner = trials(python(tmp_path, program, str(told)), PLATFORM_HOME="/somewhere")
    trial = runner.start("tests-1", {"rate": "1e-05"})
    ended(runner, trial)
    arguments, environment = json.loads(told.read_text())
    share = str(max(1, available_cpus() // 2))
    assert arguments == ["1e-05"]
    assert environment["OMP_NUM_THREADS"] == environment["PLATFORM_TRIAL_THREADS"] == share
    assert environment["TMPDIR"] == str(tmp_path / "scratch" / "tests-1")
    assert environment["PLATFORM_HOME"] == "/somewhere"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_a_command_that_fails_has_failed_whatever_it_told(trials, tmp_path):
    """What it wrote beside the metrics is no metric, and no reason: it may quote the data."""
    runner = trials(python(tmp_path, "import sys; print('auc=1'); sys.exit('log_loss=1, Jane Doe')"))
    trial = runner.start("tests-1", {"rate": "0.05"})
    ended(runner, trial)
    assert [each.metric for each in trial.observations()] == ["auc"]
    assert (trial.outcome(), trial.reason) == ("failed", "its command has ended with 1")


def test_news_come_while_it_runs(trials, tmp_path):
    """A report wakes whoever waits, long before the end; without one he waits for as long as he said."""
    door = tmp_path / "door"
    os.mkfifo(door)
    runner = trials(python(tmp_path, f"print('auc=0.5'); open({str(door)!r}).read(); print('auc=0.75')"))
    trial = runner.start("tests-1", {"rate": "0.05"})
    runner.wait([trial], 60)
    assert ([each.value for each in trial.observations()], trial.outcome()) == (["0.5"], "running")
    began = time.monotonic()
    runner.wait([trial], 0.1)
    assert time.monotonic() - began >= 0.1
    door.write_text("")
    ended(runner, trial)
    assert [each.value for each in trial.observations()] == ["0.5", "0.75"]
    runner.wait([trial], 60)  # of one that has ended, at once


def test_two_run_side_by_side(trials, tmp_path):
    """Each waits for the other, so one after the other they would never end."""
    one, other = tmp_path / "a", tmp_path / "b"
    os.mkfifo(one)
    os.mkfifo(other)
    meet = "open(one, 'w').close(); open(other).close()"
    turned = "open(one).close(); open(other, 'w').close()"
    program = (
        f"import sys\none, other, rate = sys.argv[1:]\nif rate == '0.01':\n    {meet}\nelse:\n    {turned}"
    )
    runner = trials(python(tmp_path, program, str(one), str(other)))
    first, second = runner.start("tests-1", {"rate": "0.01"}), runner.start("tests-2", {"rate": "0.02"})
    ended(runner, first, second)
    assert first.outcome() == second.outcome()


SLEEPS = """
import os, subprocess, sys, tempfile
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(f"auc={os.getpid()}")
print(f"log_loss={child.pid}")
child.wait()
"""


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def pids(runner, trial) -> list[int]:
    """Those of a trial's process and of its child."""
    while len(trial.observations()) < 2:
        runner.wait([trial], 60)
    return [int(each.value) for each in trial.observations()]


def test_a_trial_that_is_stopped_uses_nothing_any_more(trials, tmp_path):
    """Nor does what it had started; one that has ended may be stopped again."""
    runner = trials(python(tmp_path, SLEEPS))
    trial = runner.start("tests-1", {"rate": "0.05"})
    seen = pids(runner, trial)
    trial.stop()
    assert not any(map(alive, seen))
    assert trial.outcome() == "failed"
    trial.stop()


BEGINS = """
import os, sys
from pathlib import Path
from platform_assets.tuning.trial_processes import ProcessTrials
from tests.tuning.experiments import python, write_experiment
from tests.tuning.test_trial_processes import SLEEPS, pids
from resources.signals import heeded

folder = Path(sys.argv[1])
experiment = write_experiment(folder, python(folder, SLEEPS))
with heeded(), ProcessTrials(experiment, environment=os.environ, scratch=folder / "scratch") as runner:
    running = [runner.start(f"tests-{number}", {"rate": "0.05"}) for number in (1, 2)]
    print(*[pid for each in running for pid in pids(runner, each)], flush=True)
    runner.wait(running, 600)
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_trials_end_with_whoever_began_them(tmp_path, number):
    """Asked to end or killed, nothing is left of them; asked to, neither of their files."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGINS, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        seen = [int(each) for each in process.stdout.readline().split()]
        assert len(seen) == 4
        assert all(map(alive, seen))
        process.send_signal(number)
        process.wait(60)
    wait_for(lambda: not any(map(alive, seen)), "all have ended", seconds=30, every=0.05)
    if number == signal.SIGTERM:
        assert not (tmp_path / "scratch").exists()
    else:
        left = ProcessTrials(
            write_experiment(tmp_path, python(tmp_path, "")), environment={}, scratch=tmp_path / "scratch"
        )
        with left:
            assert [*(tmp_path / "scratch").iterdir()] == []


@pytest.mark.parametrize(
    ("status", "told", "reason"),
    [
        (1, "a warning\nerror: train.csv has no rows;\nadd some", "train.csv has no rows;\nadd some"),
        (
            1,
            (
                'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\n    f()\n'
                '  File "b.py", line 7, in f\n    raise ValueError(cell)\nValueError: 4711 Jane Doe'
            ),
            'ValueError at File "b.py", line 7; its message is not kept, as it may quote the data',
        ),
        (137, "", "its command has ended with 137"),
        (2, "Jane Doe", "its command has ended with 2"),
    ],
)
def test_why_a_trial_has_failed(status, told, reason):
    """Its own sentence; else what is safe to be told."""
    assert reason_of(status, told) == reason


def test_the_platforms_own_command_is_this_interpreters(trials):
    """The one of an image would be another release; what it says of itself is the reason."""
    runner = trials(
        ["platform-assets", "trial", "no_such_line", "--set", "learning_rate=${trialParameters.rate}"],
        PLATFORM_SPECS="[]",
    )
    trial = runner.start("tests-1", {"rate": "0.05"})
    ended(runner, trial)
    assert trial.outcome() == "failed"
    assert trial.reason.startswith("there is no line no_such_line; known are ")


def test_a_trial_that_hangs_is_ended_at_the_deadline_of_its_job(trials, tmp_path):
    """As Kubernetes ends it; it has failed, and what it has told is kept."""
    hangs = "import time\nprint('auc=0.5')\ntime.sleep(600)\n"
    runner = trials(python(tmp_path, hangs), job={"activeDeadlineSeconds": 1})
    trial = runner.start("tests-1", {"rate": "0.05"})
    ended(runner, trial)
    assert (trial.outcome(), trial.reason) == (
        "failed",
        "it ran for longer than its activeDeadlineSeconds, 1 s",
    )

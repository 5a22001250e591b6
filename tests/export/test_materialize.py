"""One asset as a step of somebody else's workflow: how it takes its turn, and how it ends when it is told to."""

import os
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.execution.process_runs import PROCESS_TAG, process_identity
from platform_assets.lines import runner
from platform_assets.lines.line import load_line
from platform_assets.lines.runner import RunError, open_instance
from platform_assets.outside_systems import OutsideSystems
from resources.dagster_home import LINE_TAG
from resources.settings import PlatformSettings
from tests.export.factory import LINE
from tests.line_factory import SMALL_SPEC, command, environment, platform_assets


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def add_started_run(
    instance: dg.DagsterInstance, *, process: str | None = None, tag_of: str | None = None
) -> dg.DagsterRun:
    """A run of the line that has begun and not ended; with `process`, one that this process is.

    `tag_of` is the run whose tag it has, its own where that is not given.
    """
    run_id = str(uuid.uuid4())
    tags = {PROCESS_TAG: f"{process}/{tag_of or run_id}"} if process else {}
    return instance.add_run(
        dg.DagsterRun(LINE, run_id, status=dg.DagsterRunStatus.STARTED, tags={LINE_TAG: LINE, **tags})
    )


def systems(home: Path, *, profile: str = "cluster") -> OutsideSystems:
    """Those of a cluster, as far as the runner looks at them."""
    return OutsideSystems(PlatformSettings.model_construct(profile=profile, home=home))


def test_run_of_a_lost_pod_is_ended_by_who_holds_the_lines_lock(instance, tmp_path):
    """Its process would still hold the lock, which all machines of a cluster share."""
    lost = add_started_run(instance, process="another-pod:7:1234")

    runner._end_dead_runs(instance, load_line(SMALL_SPEC), systems(tmp_path))

    assert instance.get_run_by_id(lost.run_id).status == dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize(
    ("profile", "run"),
    [
        ("local", {"process": "another-machine:7:1234"}),
        ("local", {"process": process_identity(os.getpid())}),
        ("local", {"process": f"{socket.gethostname()}:1:gone", "tag_of": "the-run-it-repeats"}),
        ("cluster", {}),
        ("cluster", {"process": "another-pod:7:1234", "tag_of": "the-run-it-repeats"}),
    ],
)
def test_run_that_may_be_alive_is_left_alone(instance, tmp_path, profile, run):
    """One of a machine that does not share the lock, and those that Dagster has launched.

    Of these, one that repeats a process's run in the UI has its tags.
    """
    alive = add_started_run(instance, **run)
    with pytest.raises(RunError, match="is in progress"):
        runner._end_dead_runs(instance, load_line(SMALL_SPEC), systems(tmp_path, profile=profile))

    assert instance.get_run_by_id(alive.run_id).status == dg.DagsterRunStatus.STARTED


def test_step_waits_for_a_run_that_dagster_launched(instance, tmp_path, monkeypatch):
    """The run ends during the first wait, and the step goes on."""
    run = add_started_run(instance)
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        instance.report_run_failed(run, "ended")

    monkeypatch.setattr(runner.time, "sleep", sleep)
    deadline = runner.time.monotonic() + 60

    runner._wait_for_others(instance, load_line(SMALL_SPEC), systems(tmp_path), deadline)

    assert len(waits) == 1


def test_step_does_not_wait_beyond_its_time(instance, tmp_path):
    """What blocks it is named."""
    run = add_started_run(instance)

    with pytest.raises(RunError, match=run.run_id):
        runner._wait_for_others(instance, load_line(SMALL_SPEC), systems(tmp_path), deadline=0)


def test_two_steps_of_a_line_take_turns(tmp_path):
    """The second begins when the first is over, and one that may not wait is refused at once."""
    line, outside = load_line(SMALL_SPEC), OutsideSystems(PlatformSettings(home=tmp_path))
    order, entered = [], threading.Event()

    def second() -> None:
        entered.set()
        with runner._only_run(line, outside, wait_seconds=60):
            order.append("second")

    with runner._only_run(line, outside):
        waiting = threading.Thread(target=second)
        waiting.start()
        entered.wait()
        with pytest.raises(RunError, match="another run of reviews_small"), runner._only_run(line, outside):
            pytest.fail("two runs at once")
        order.append("first")
    waiting.join()

    assert order == ["first", "second"]


def test_step_that_is_told_to_end_says_so_by_its_status_and_can_be_run_again(tmp_path, monkeypatch):
    """143, as a shell tells SIGTERM: a runtime may try again what a failure would repeat. The run is no zombie."""
    home = tmp_path / "platform"
    step = command("materialize", LINE, "dataset", "--spec", SMALL_SPEC)
    with subprocess.Popen(step, env=environment(home), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if f"▶ {LINE}_dataset" in line:
                process.send_signal(signal.SIGTERM)
                break
        told = process.stderr.read()
        status = process.wait()

    assert status == 143
    assert f"was told to end by SIGTERM in the middle of {LINE}_dataset" in told
    assert "Traceback" not in told
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with open_instance(PlatformSettings(home=home)) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]
    assert platform_assets(home, "materialize", LINE, "dataset", "--spec", SMALL_SPEC).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("models",), "there is no asset reviews_small_models; a line has dataset, features, model"),
        (("dataset", "--from", "abc"), "a dataset is made from no other asset"),
        (("features", "--from", "abc"), "no materialization of reviews_small_dataset has version abc"),
        (("features",), "reviews_small_dataset was never materialized"),
        (("model", "--set", "epochs=0"), "--set epochs: Input should be greater than or equal to 1"),
        (("model", "--basis", "123"), "was exported from 123: export it again"),
    ],
)
def test_what_cannot_be_made_is_one_error(in_process, tmp_path, arguments, told):
    """Exit status 1 and the reason, without a traceback."""
    steps, run_step = in_process(tmp_path, SMALL_SPEC)

    assert run_step(["platform-assets", "materialize", LINE, *arguments]) == 1
    assert told in steps[0].stderr
    assert "Traceback" not in steps[0].stderr

"""Transformers on a Spark of which something is lost in the middle, or has too little memory; each has one of its own."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from platform_assets.features.engine import run_transformer
from platform_assets.features.spark_engine import SparkEngine
from resources.spark import SparkError
from tests.features.spark_cluster import (
    SMALL,
    WORKER,
    assert_as_local,
    cluster,
    need_spark,
    own_executors,
    own_workers,
    processes_below,
    skewed,
)
from tests.features.test_engine_kills import Nursery, again_and_again, at_random, started
from tests.features.transformers import event_rows, left_beside, transformer, write_rows, write_transformer
from tests.line_factory import ROOT, command, environment
from tests.waiting import wait_for

pytestmark = pytest.mark.long


def test_spark_spills_to_disk_what_its_memory_does_not_hold(tmp_path):
    """Executors whose share for sorting is a few megabytes, and blocks that are more together; their logs tell of it."""
    options = {
        "spark.memory.fraction": "0.02",
        "spark.memory.storageFraction": "0.0",
        "spark.log.level": "INFO",
    }
    source = write_rows(tmp_path / "rows.parquet", skewed(1_000_000), row_group_rows=100_000)
    folder = tmp_path / "spark"
    folder.mkdir()
    with cluster(folder, **options) as session:
        assert_as_local(transformer("zscore"), source, session, slice_rows=100_000, parts=2)
        told = "".join(each.read_text() for each in folder.rglob("stderr"))
    assert "spilling sort data" in told.lower()


def when_parts_appear(folder, act):
    """A thread that acts once a part is being written, and what it has done."""
    done = []

    def watch():
        wait_for(lambda: any(folder.glob(".*.scratch/*/*.arrows")), "a part that is written", every=0.005)
        done.append(act())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread, done


def end_one(found):
    """Kill one of these at once."""
    os.kill(found[0], signal.SIGKILL)
    return found[0]


@pytest.mark.parametrize("whose", [own_executors, own_workers])
def test_an_executor_that_is_lost_in_the_middle_changes_nothing(tmp_path, whose):
    """Its Java process, or the Python one, is killed as the first part is written."""
    source = write_rows(tmp_path / "rows.parquet", skewed(1_000_000), row_group_rows=50_000)
    folder = tmp_path / "spark"
    folder.mkdir()
    with cluster(folder) as session:
        thread, done = when_parts_appear(tmp_path, lambda: end_one(whose()))
        assert_as_local(transformer("zscore"), source, session, budget=SMALL, slice_rows=50_000, parts=8)
        thread.join()
        assert len(done) == 1


def test_a_driver_that_dies_is_told_in_one_sentence(tmp_path):
    """Java of this process is killed while executors compute; nothing is left."""
    source = write_rows(tmp_path / "rows.parquet", skewed(1_000_000), row_group_rows=50_000)
    folder = tmp_path / "spark"
    folder.mkdir()
    target = tmp_path / "features.parquet"
    with cluster(folder) as session:
        thread, _ = when_parts_appear(
            tmp_path, lambda: end_one(processes_below(os.getpid(), "org.apache.spark.deploy.SparkSubmit"))
        )
        with pytest.raises(SparkError, match=r"^Spark's driver process has ended, killed or out of memory"):
            run_transformer(
                transformer("zscore"),
                source,
                target,
                budget=SMALL,
                spark=SparkEngine(session, slice_rows=50_000, parts=8),
            )
        thread.join()
    assert not target.exists()
    assert left_beside(target) == []


def kill_and_run(tmp_path, moments):
    """Of the command, killed at each moment; how many were, and how many had begun to write."""
    need_spark()
    with started(tmp_path / "home") as process:
        folder = tmp_path / "files"
        folder.mkdir()
        write_rows(folder / "rows.parquet", event_rows(200_000, entities=50), row_group_rows=20_000)
        spec = write_transformer(folder / "zscore.yaml", "zscore")
        arguments = ("run", spec, "--input", folder / "rows.parquet", "--output", folder / "features.parquet")
        return again_and_again(
            Nursery(process),
            folder,
            folder / "features.parquet",
            *arguments,
            "--engine",
            "spark",
            "--scratch",
            folder,
            moments=moments,
        )


def test_runs_killed_at_twenty_moments_leave_nothing_half_done(tmp_path):
    """A kill -9 of the command, Java and executors left to themselves; the next run has the same bytes, and removes the rest."""
    killed, left = kill_and_run(tmp_path, at_random(20, seed=15))
    assert killed >= 15
    assert left >= 10


@pytest.mark.parametrize(
    ("number", "sign"),
    [(signal.SIGTERM, "bin/spark-submit"), (signal.SIGINT, WORKER)],
    ids=["as Java starts", "as rows are computed"],
)
def test_a_command_that_is_told_to_end_leaves_no_java_and_prints_no_traceback(tmp_path, number, sign):
    """Ctrl-C goes to all processes of the terminal. What was started is gone, and so are its folders."""
    need_spark()
    scratch, folder = tmp_path / "scratch", tmp_path / "files"
    scratch.mkdir()
    folder.mkdir()
    source = write_rows(folder / "rows.parquet", event_rows(200_000, entities=50), row_group_rows=20_000)
    spec = write_transformer(folder / "zscore.yaml", "zscore")
    arguments = ("--input", source, "--output", folder / "features.parquet", "--engine", "spark")
    with subprocess.Popen(
        command("features", "run", spec, *arguments),
        env=environment(tmp_path / "home", PLATFORM_SPARK_REMOTE="local[2]", TMPDIR=str(scratch)),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for(lambda: processes_below(process.pid, sign), sign, every=0.01)
        java = processes_below(process.pid, "SparkSubmit") or processes_below(process.pid, sign)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    wait_for(lambda: not any(is_running(each) for each in java), "Java's end", seconds=20)
    assert sorted(each.name for each in folder.iterdir()) == ["rows.parquet", "zscore.yaml"]
    assert list(scratch.iterdir()) == []


def is_running(pid):
    """Whether there is such a process, which has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

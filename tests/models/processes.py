"""What tests of training share: processes that can be killed, and models to compare."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from platform_assets.models.job_files import JobFiles, JobInputs
from platform_assets.models.trainer import TrainingConfig
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import DatasetVersion, TableSnapshot
from platform_assets.tasks.text_classification.task import TASK

JOB_PROCESS = "platform_assets.tasks.training_process"
PROCESS = "tests.models.training_process"
train = TASK.trainer.fit
DATASET = DatasetVersion(
    line="reviews_small",
    snapshot=TableSnapshot(table="datasets.reviews_small", snapshot_id="1", content_hash="0" * 64, rows=1),
    rows_by_split={"train": 1},
    sources=("train.csv",),
    source_hash="0" * 64,
    contract_rule_sets={},
    contract_quality=1.0,
    ge_run_id="run",
    published_at="2026-11-29T12:00:00+00:00",
)
"""That rows of a job go back to."""


def eager(module: str) -> str:
    """A program that saves after every step; otherwise only a run of minutes would leave a checkpoint behind."""
    return f"""
import platform_assets.models.checkpoints as checkpoints
from {module} import main

checkpoints._SAVING_COST = 0
main()
"""


def make_inputs(rows: pa.Table, config: TrainingConfig) -> JobInputs:
    """What a job of texts is made of."""
    ids = [f"{row:064x}" for row in range(rows.num_rows)]
    about = rows if "review_id" in rows.column_names else rows.append_column("review_id", pa.array(ids))
    return JobInputs(DATASET, about, config, "0c0ffee")


def put(inputs: JobInputs, outside: OutsideSystems, prefix: str) -> JobFiles:
    """The files of a job, its inputs among them."""
    files = JobFiles(outside.object_store, prefix)
    files.put_inputs(inputs, ledger=outside.ledger, salt=outside.salt, locks=outside.locks)
    return files


def start(*command: str, **variables: str) -> subprocess.Popen[str]:
    """A Python process that finds the package where this one does; its log and its result are one stream."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**variables),
    )


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds the package where this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables


def result_of(process: subprocess.Popen[str]) -> dict:
    """What a training process that ends well prints as its last line; with its log as `log`."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1]) | {"log": output}


def wait_until(process: subprocess.Popen[str], told: str) -> None:
    """Read a process's log until it tells this."""
    assert process.stdout is not None
    assert any(line.startswith(told) for line in process.stdout)


def kill_at(process: subprocess.Popen[str], told: str) -> None:
    """Kill the process once it has told this."""
    assert process.stdout is not None
    with process.stdout:
        wait_until(process, told)
        process.kill()
    assert process.wait() == -9


def torchrun(processes: int, *command: str) -> tuple[str, ...]:
    """The arguments of a Python that starts a command in several processes, as torchrun does."""
    return ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *command)


class Stopped(BaseException):
    """Ends a training from outside."""


def stop_at(step: int):
    """A listener that ends the training at this step."""

    def stop(now: int, metrics: dict[str, float]) -> None:
        if now == step:
            raise Stopped

    return stop


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a model folder."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors") | load_file(folder / "head.safetensors")


def assert_alike(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    """Two models are the same but for the order in which numbers were added up."""
    assert ours.keys() == theirs.keys()
    apart = {
        name: float(np.abs(ours[name] - theirs[name]).max())
        for name in ours
        if not np.allclose(ours[name], theirs[name], atol=5e-3)
    }
    assert apart == {}

"""Where a model is trained: here, in several processes, or by a Job whose pods are processes of this machine."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform_assets.models import training_site as module
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.distributed import JobRunner
from platform_assets.models.errors import TrainingError
from platform_assets.models.job_files import JobFiles
from platform_assets.models.training_site import TrainingSite, environment_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tasks.text_classification.task import TASK
from resources.settings import PlatformSettings, Principal
from tests.line_factory import SMALL_SPEC
from tests.models.processes import (
    JOB_PROCESS,
    assert_alike,
    environment,
    make_inputs,
    put,
    start,
    train,
    wait_until,
    weights,
)
from tests.servers import free_ports

PREFIX = "models/dev/reviews_small/0123456789abcdef"


@pytest.fixture(scope="module")
def inputs(make_tokens, training_config):
    """Few rows, and a configuration without chance."""
    settings = training_config.model_copy(update={"dropout": 0.0, "epochs": 3, "threads": 1})
    return make_inputs(make_tokens(22), settings)


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory):
    """What one process makes of them, and what it reported."""
    folder = tmp_path_factory.mktemp("alone")
    reported: dict[int, dict[str, float]] = {}
    result = train(
        inputs.rows,
        inputs.config,
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder),
        on_progress=lambda step, metrics: reported.update({step: metrics}),
    )
    return result, reported


@pytest.fixture
def make_spec():
    """Builds the small spec with other resources."""

    def make_spec(**resources: object):
        spec = read_training_spec(SMALL_SPEC)[1].content
        return spec.model_copy(update={"resources": type(spec.resources).model_validate(resources)})

    return make_spec


class Reports(dict[int, dict[str, float]]):
    """Collects what a training reports."""

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Take a report."""
        self[step] = metrics


def assert_same_training(result, reports: Reports, alone) -> None:
    """A training by other processes went as that of one, and its files are here."""
    assert list(reports) == list(alone[1])
    for step, metrics in alone[1].items():
        assert reports[step]["loss"] == pytest.approx(metrics["loss"], rel=1e-2, abs=1e-4)
    assert result.hardware.processes == 2
    assert (result.steps, result.rows) == (alone[0].steps, alone[0].rows)
    assert_alike(weights(alone[0].output), weights(result.output))


class WithJobs(OutsideSystems):
    """Outside systems whose cluster runs jobs in a way of its own."""

    def __init__(self, settings: PlatformSettings, jobs: JobRunner) -> None:
        """Touches nothing yet."""
        super().__init__(settings)
        self._jobs = jobs

    def job_runner(self) -> JobRunner:
        """That cluster."""
        return self._jobs


@pytest.fixture
def cluster(s3_bucket, s3_endpoint, postgres_database, tmp_path, monkeypatch):
    """A cluster that saves early, over a bucket; what training does not use leads nowhere."""
    monkeypatch.setenv("PLATFORM_ROW_SALT", "a salt of the tests only")
    return PlatformSettings(
        profile="cluster",
        home=tmp_path / "home",
        ledger_uri=postgres_database,
        catalog_uri="postgresql://platform@postgres.invalid/platform",
        warehouse_uri=f"s3://{s3_bucket}/warehouse",
        objects_uri=f"s3://{s3_bucket}/objects",
        tracking_uri="http://mlflow.invalid:5000",
        s3_endpoint=s3_endpoint,
        checkpoint_interval_seconds=1e-6,
    )


class ProcessesAsPods:
    """Runs the container of a Job as processes of this machine, one for each pod, each with a disk of its own."""

    image = "platform-assets:0.1.0"
    namespace = "platform-assets"

    def __init__(self, settings: PlatformSettings, disks: Path) -> None:
        self._settings = settings
        self._disks = disks

    def run(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Start all pods at once, and wait for all."""
        service, job = manifests
        (container,) = job["spec"]["template"]["spec"]["containers"]
        (port,) = free_ports(1)
        first = (
            f"{job['metadata']['name']}-0.{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
        )
        pods = []
        for index in range(job["spec"]["completions"]):
            disk = self._disks / str(index)
            disk.mkdir(parents=True)
            command = [
                part.replace("$(JOB_COMPLETION_INDEX)", str(index)).replace(first, f"127.0.0.1:{port}")
                for part in container["command"]
            ]
            assert command[0] == "python"
            given = environment_of(self._settings, environment())
            own = {each["name"]: str(disk) for each in container["env"]}
            pods.append(
                subprocess.Popen([sys.executable, *command[1:]], env=given | own, stdin=subprocess.DEVNULL)
            )
        assert [pod.wait() for pod in pods] == [0] * len(pods)


@pytest.mark.long
def test_a_job_of_two_nodes_trains_as_one_process(inputs, alone, make_spec, cluster, tmp_path):
    """The rendered Job's own command, run once for each pod over a bucket, ends with the model of one process."""
    outside = WithJobs(cluster, ProcessesAsPods(cluster, tmp_path / "disks"))
    store, reports = outside.object_store, Reports()
    site = TrainingSite(outside, prefix=PREFIX)
    result = site.train(inputs, TASK.trainer, make_spec(nodes=2), on_progress=reports)
    assert_same_training(result, reports, alone)
    left = {key.removeprefix(f"{PREFIX}.checkpoint/") for key in store.list(f"{PREFIX}.checkpoint")}
    assert {"rows.parquet", "job.json", "checkpoint.pt", "result.json", "model/config.json"} <= left
    site.clear()
    assert list(store.list(f"{PREFIX}.checkpoint")) == []
    assert not result.output.exists()


@pytest.mark.long
def test_several_gpus_train_in_a_process_each(inputs, alone, make_spec, tmp_path, monkeypatch):
    """Where this machine has several devices, torch's launcher starts a process for each, and the model is the same."""
    monkeypatch.setattr(module, "usable_gpus", lambda gpu: 2)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    reports = Reports()
    site = TrainingSite(WithJobs(PlatformSettings(home=tmp_path), NoJobs()), prefix=PREFIX)
    result = site.train(inputs, TASK.trainer, make_spec(), on_progress=reports)
    assert_same_training(result, reports, alone)


class NoJobs:
    """A cluster on which nothing more may be run."""

    image = namespace = "unused"

    def run(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Refuse."""
        raise AssertionError("the Job was run again")


class SilentJobs(NoJobs):
    """A cluster whose Jobs do nothing."""

    def run(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""


def test_a_finished_job_is_not_run_again(inputs, alone, make_spec, cluster):
    """A step that was lost while its Job went on finds the result."""
    outside = WithJobs(cluster, NoJobs())
    told = {
        "weights_sha256": "0" * 64,
        "steps": 12,
        "resumed_at_step": 3,
        "final_loss": 0.5,
        "train_seconds": 7.0,
        "rows": 22,
        "output": "elsewhere",
        "hardware": {"device": "cuda", "precision": "bfloat16", "threads": 8, "name": "H100", "processes": 8},
        "progress": [{"step": 1, "loss": 0.7}, {"step": 12, "loss": 0.5}],
    }
    files = JobFiles(outside.object_store, f"{PREFIX}.checkpoint")
    files.put_result(alone[0].output, told, source_commit="0c0ffee")
    reports = Reports()
    site = TrainingSite(outside, prefix=PREFIX)
    result = site.train(inputs, TASK.trainer, make_spec(nodes=2), on_progress=reports)
    assert reports == {1: {"loss": 0.7}, 12: {"loss": 0.5}}
    assert (result.resumed_at_step, result.hardware.processes) == (3, 8)
    assert weights(result.output).keys() == weights(alone[0].output).keys()


def test_a_job_without_a_result_is_an_error(inputs, make_spec, cluster):
    """A Job that ends well and leaves nothing has trained nothing."""
    site = TrainingSite(WithJobs(cluster, SilentJobs()), prefix=PREFIX)
    with pytest.raises(TrainingError, match="ended without a result"):
        site.train(inputs, TASK.trainer, make_spec(nodes=2), on_progress=Reports())


def test_several_nodes_are_one_on_a_laptop(inputs, alone, make_spec, tmp_path, caplog):
    """A spec for two nodes trains in this process where there is no cluster, with one warning."""
    site = TrainingSite(WithJobs(PlatformSettings(home=tmp_path), NoJobs()), prefix=PREFIX)
    with caplog.at_level(logging.WARNING, logger="platform_assets"):
        result = site.train(inputs, TASK.trainer, make_spec(nodes=2), on_progress=Reports())
    assert result.weights_sha256 == alone[0].weights_sha256
    (record,) = [record for record in caplog.records if record.name.startswith("platform_assets")]
    assert record.getMessage().startswith("the spec asks for 2 nodes and this is one machine")


@pytest.mark.parametrize("profile", ["local", "cluster"])
def test_a_pod_keeps_its_checkpoint_where_others_find_it(inputs, make_spec, cluster, profile):
    """On a cluster the checkpoint is an object, on a laptop a file; either goes when the model is whole."""
    settings = cluster.model_copy(update={"profile": profile})
    outside = WithJobs(settings, NoJobs())
    store, site = outside.object_store, TrainingSite(outside, prefix=PREFIX)
    site.train(inputs, TASK.trainer, make_spec(), on_progress=Reports())
    key, folder = f"{PREFIX}.checkpoint/checkpoint.pt", settings.checkpoints_path / "0123456789abcdef"
    assert store.exists(key) == (profile == "cluster")
    assert bool(list(folder.glob("*.checkpoint"))) == (profile == "local")
    site.clear()
    assert not store.exists(key)
    assert not folder.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_attached_processes_end_with_the_one_that_started_them(inputs, tmp_path, how):
    """Killed, it leaves no process behind; ended, it asks them to end, and they save first."""
    settings = PlatformSettings(home=tmp_path, checkpoint_interval_seconds=3600)
    long = replace(inputs, config=inputs.config.model_copy(update={"epochs": 1000}))
    files = put(long, OutsideSystems(settings), f"{PREFIX}.checkpoint")
    program = (
        "import os, signal, sys\n"
        "from platform_assets.models.training_site import run_attached\n"
        # As Dagster does: the signal becomes an exception.
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "run_attached([sys.executable, *sys.argv[1:]], os.environ)\n"
    )
    process = start(
        *("-c", program, "-m", JOB_PROCESS, "--attached", "--job", files.prefix),
        **environment_of(settings, environment()),
    )
    wait_until(process, "step 1 of 4000")
    process.send_signal(how)
    # The pipe ends when the last process that holds it has ended.
    process.communicate(timeout=120)
    assert (files.checkpoints("0c0ffee").load() is not None) == (how == signal.SIGTERM)


def test_processes_get_the_settings_of_this_one(tmp_path, monkeypatch):
    """Whatever was set, nested fields too, is read back; settings of the environment do not shine through."""
    settings = PlatformSettings(
        home=tmp_path,
        principal=Principal(user="ada", groups=("privacy",), labels={"env": "prod"}),
        checkpoint_interval_seconds=3.5,
        specs=(tmp_path / "training-spec.yaml",),
    )
    before = {
        "PLATFORM_PRINCIPAL__USER": "somebody",
        "PLATFORM_OBJECTS_URI": "s3://elsewhere",
        "PLATFORM_ROW_SALT": "salt",
        "PATH": os.environ["PATH"],
    }
    given = environment_of(settings, before)
    assert given["PLATFORM_ROW_SALT"] == "salt"
    assert given["PATH"] == os.environ["PATH"]
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert PlatformSettings() == settings

"""Lines as pods: the same results as on a laptop, whatever happens to its pods."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEventType as Kind

from platform_assets.governance import release
from platform_assets.ledger.ledger import Ledger
from platform_assets.references import ModelVersion, ReportVersion
from platform_assets.step import recorded_reference
from resources.locks import FileLocks
from resources.model_registry import MlflowRegistry
from tests.cluster.deployment import IMAGE, LINES, RUN_SECONDS
from tests.cluster.spark_volume import CLAIM, shared_folder
from tests.line_factory import platform_assets
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

OUTAGE_SECONDS = 60


def judgements(ledger: Ledger, line: str) -> list[tuple[str, ...]]:
    """What must not depend on where the line `line` runs, in order."""
    return [
        (entry.kind, entry.subject, str(entry.body.get("rule_set_hash")), str(entry.body.get("outcome")))
        for entry in ledger.entries()
        if entry.subject.startswith(line)
    ]


@contextmanager
def held_gpu(platform) -> Iterator[None]:
    """A pod outside Dagster has the GPU."""
    container = {"name": "holder", "image": IMAGE, "command": ["sleep", "3600"]}
    container["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    platform.apply({"kind": "Pod", "metadata": {"name": "gpu-holder"}, "spec": {"containers": [container]}})
    try:
        platform.kubectl("wait", "--for=condition=Ready", "pod/gpu-holder", "--timeout=120s")
        yield
    finally:
        platform.kubectl("delete", "pod", "gpu-holder", "--now")


@contextmanager
def silent_api_server() -> Iterator[None]:
    """The API server answers nobody."""
    found = subprocess.run(
        ["pgrep", "-x", "kube-apiserver"], capture_output=True, text=True, check=False
    ).stdout
    if not found:
        pytest.skip("NO API SERVER OF THIS MACHINE: its outage is not tested")
    subprocess.run(["kill", f"-{signal.SIGSTOP}", *found.split()], check=True)
    try:
        yield
    finally:
        subprocess.run(["kill", f"-{signal.SIGCONT}", *found.split()], check=True)


def kill_program(pattern: str) -> None:
    """Kill the one process of this machine with such a command line, as a lost node would."""
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False).stdout
    if not found:
        pytest.skip("PODS OF ANOTHER MACHINE: none of their processes can be killed")
    (pid,) = found.split()
    os.kill(int(pid), signal.SIGKILL)


def test_training_waits_for_its_gpu_and_the_line_ends_as_on_a_laptop(platform, tmp_path):
    """Run pod, light steps in it, training in a pod of its own with the GPU; ledger and AUC are those of a laptop."""
    line = "reviews_small"
    with held_gpu(platform):
        run_id = platform.launch(line)

        def unschedulable() -> list[dict]:
            pods = platform.pods(run_id, f"{line}_model")
            return [
                condition
                for pod in pods
                if pod["status"]["phase"] == "Pending"
                for condition in pod["status"].get("conditions", ())
                if condition.get("reason") == "Unschedulable"
            ]

        (condition,) = wait_for(unschedulable, "the training pod is Pending for want of a GPU", seconds=300)
        assert "Insufficient nvidia.com/gpu" in condition["message"]
        wait_for(
            lambda: [
                e for e in platform.events(run_id, Kind.ENGINE_EVENT) if condition["message"] in e.message
            ],
            "the run tells what it waits for",
        )
        assert not platform.events(run_id, Kind.STEP_FAILURE)

    run = platform.finished(run_id)
    assert run.is_success, platform.story(run_id)

    (training,) = platform.pods(run_id, f"{line}_model")
    spec = training["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"] == {"accelerator": "nvidia"}
    step_pods = [pod for pod in platform.pods(run_id) if "dagster/op" in pod["metadata"]["labels"]]
    assert len(step_pods) == 1
    assert release.active(platform.ledger, line) is not None

    pods, local = judged_as_on_a_laptop(platform, line, tmp_path / "laptop")
    assert pods.metrics["auc"] == pytest.approx(local.metrics["auc"], abs=0.005)


def test_a_line_of_tables_ends_as_on_a_laptop(platform, tmp_path):
    """Another task, as it ships: trained in a pod of its own without a GPU, with equal verdicts and equal figures.

    Its transformer is fitted on Spark, by executors that are pods, too.
    """
    line, before = "credit_scorecard", started_executors(platform)
    run_id = platform.launch(line)
    run = platform.finished(run_id)
    assert run.is_success, platform.story(run_id)
    if shared_folder():
        (fitting,) = platform.pods(run_id, "credit_woe")
        assert fitting["spec"]["serviceAccountName"] == CLAIM
        assert len(started_executors(platform) - before) == 2

    (training,) = platform.pods(run_id, f"{line}_model")
    assert training["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert release.active(platform.ledger, line) is not None
    pods, local = judged_as_on_a_laptop(platform, line, tmp_path / "laptop")
    assert pods.model.weights_sha256 == local.model.weights_sha256
    assert pods.metrics == local.metrics


def started_executors(platform) -> set[str]:
    """Names of Spark's executors that ever ran, by what the cluster remembers."""
    told = platform.kubectl(
        "get",
        "events",
        "--field-selector",
        "reason=Started",
        "-o",
        "jsonpath={.items[*].involvedObject.name}",
    )
    return {name for name in told.split() if "-exec-" in name}


def judged_as_on_a_laptop(platform, line: str, home: Path) -> tuple[ReportVersion, ReportVersion]:
    """The report of a line on the cluster and that of a run here, after equal data and equal verdicts were seen."""
    here = platform_assets(
        home,
        "run",
        "--spec",
        platform.specs / f"{line}.yaml",
        PLATFORM_PRINCIPAL__USER="tests",
        PLATFORM_ROW_SALT=platform.hidden["PLATFORM_ROW_SALT"],
    )
    assert here.returncode == 0, here.stderr
    laptop = Ledger.open(home / "ledger" / "ledger.sqlite", principal="tests")
    assert judgements(platform.ledger, line) == judgements(laptop, line)
    assert platform.ledger.verify().ok
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        local = recorded_reference(instance, dg.AssetKey(f"{line}_validation"), ReportVersion)
    pods = recorded_reference(platform.instance, dg.AssetKey(f"{line}_validation"), ReportVersion)
    assert (
        pods.model.features.dataset.snapshot.content_hash
        == local.model.features.dataset.snapshot.content_hash
    )
    return pods, local


@pytest.mark.long
def test_a_deleted_training_pod_goes_on_from_its_checkpoint(platform):
    """The run recovers by itself, repeats fewer steps than from the start, and registers one version."""
    line = "reviews_killed"
    # As the UI and a backfill do: a run of chosen assets, and not the line's own job.
    run_id = platform.launch(line, "dataset", "features", "model", "validation", "version")

    killed_after = wait_for(
        lambda: steps if (steps := platform.trained_steps(run_id)) > 60 else 0,
        "training is in the middle",
        seconds=400,
    )
    (pod,) = platform.pods(run_id, f"{line}_model")
    platform.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=5")
    run = platform.finished(run_id)

    assert run.is_success, platform.story(run_id)
    assert len(platform.events(run_id, Kind.STEP_UP_FOR_RETRY)) == 1
    assert platform.events(run_id, Kind.STEP_RESTARTED)
    told = "\n".join(entry.user_message for entry in platform.instance.all_logs(run_id))
    (resumed_at,) = [int(part.split()[0].rstrip(")")) for part in told.split("goes on after step ")[1:]]
    assert resumed_at > 0, f"all {killed_after} steps were repeated"
    registry = MlflowRegistry(
        platform.shown["PLATFORM_TRACKING_URI"], locks=FileLocks(platform.folder / "locks")
    )
    model = recorded_reference(platform.instance, dg.AssetKey(f"{line}_model"), ModelVersion)
    assert registry.find(line, model.fingerprint) == 1


@pytest.mark.long
def test_a_killed_run_pod_is_replaced_while_training_goes_on(platform):
    """The run goes on in another pod; the training pod is the same one all the time."""
    line = "reviews_killed"
    longer = {f"{line}_model": {"config": {"epochs": 20}}}
    run_id = platform.launch(line, "dataset", "features", "model", config={"ops": longer})
    wait_for(lambda: platform.trained_steps(run_id) > 20, "training has begun", seconds=RUN_SECONDS)
    kill_program(f"execute_run .*{run_id}")

    run = platform.finished(run_id)

    assert run.is_success, platform.story(run_id)
    assert platform.instance.count_resume_run_attempts(run_id) == 1
    assert not platform.events(run_id, Kind.STEP_UP_FOR_RETRY)
    assert len(platform.pods(run_id, f"{line}_model")) == 1
    begun = [event for event in platform.events(run_id, Kind.STEP_START) if event.step_key == f"{line}_model"]
    assert len(begun) == 1


def test_dagsters_own_executor_runs_the_line_too(platform):
    """One setting, and every step is a pod; a step that asks for a GPU has it there as well."""
    line = "reviews_other"
    setting = {"name": "PLATFORM_STEP_PODS", "value": "all"}
    tags = {"dagster-k8s/config": json.dumps({"container_config": {"env": [setting]}})}
    run_id = platform.launch(line, "dataset", "features", "model", tags=tags)
    run = platform.finished(run_id)

    assert run.is_success, platform.story(run_id)
    pods = {
        pod["metadata"]["labels"]["dagster/op"]: pod["spec"]["containers"][0]["resources"]
        for pod in platform.pods(run_id)
        if "dagster/op" in pod["metadata"]["labels"]
    }
    assert [*pods] == [f"{line}_dataset", f"{line}_features", f"{line}_model"]
    with_gpu = [op for op, resources in pods.items() if "nvidia.com/gpu" in resources.get("limits", {})]
    assert with_gpu == [f"{line}_model"]


def test_a_pod_over_its_memory_is_tried_with_more_and_then_reported(platform):
    """Out of memory is told apart from a failure of the code; the bound of the spec holds."""
    line = "reviews_hungry"
    run_id = platform.launch(line)
    run = platform.finished(run_id)

    assert run.status is dg.DagsterRunStatus.FAILURE
    limits = [
        pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for pod in platform.pods(run_id, f"{line}_model")
    ]
    assert limits == [LINES[line]["resources"]["memory"], LINES[line]["resources"]["max_memory"]]
    (again,) = platform.events(run_id, Kind.STEP_UP_FOR_RETRY)
    assert (
        "ran out of memory and was killed at its limit of 200Mi; the next attempt may have 300Mi"
        in again.event_specific_data.error.message
    )
    (failure,) = platform.events(run_id, Kind.STEP_FAILURE)
    assert (
        "ran out of memory and was killed at its limit of 300Mi; it may have no more"
        in failure.event_specific_data.error.message
    )


def test_two_trainings_take_turns_while_the_api_server_is_away(platform):
    """A pool of one GPU lets one of them train at a time; an outage of a minute harms neither."""
    longer = {"config": {"epochs": 6}}
    runs = {
        platform.launch(
            line, "dataset", "features", "model", config={"ops": {f"{line}_model": longer}}
        ): f"{line}_model"
        for line in ("reviews_other", "reviews_killed")
    }

    def trainings(kind: Kind) -> list[float]:
        return [
            entry.timestamp
            for run_id, step in runs.items()
            for entry in platform.entries(run_id, kind)
            if entry.step_key == step
        ]

    wait_for(lambda: trainings(Kind.STEP_START), "one of them trains", seconds=300)
    with silent_api_server():
        time.sleep(OUTAGE_SECONDS)  # which is what is tested
    ended = [platform.finished(run_id) for run_id in runs]

    assert all(run.is_success for run in ended), "\n\n".join(platform.story(run_id) for run_id in runs)
    (_, second), (first, _) = sorted(trainings(Kind.STEP_START)), sorted(trainings(Kind.STEP_SUCCESS))
    assert first <= second
    assert not [event for run_id in runs for event in platform.events(run_id, Kind.STEP_UP_FOR_RETRY)]


def test_a_run_that_is_ended_takes_its_training_pod_along(platform):
    """No pod holds a GPU for a run that is over, and no place in the pool is left to it."""
    line = "reviews_killed"
    longer = {f"{line}_model": {"config": {"epochs": 900}}}
    run_id = platform.launch(line, "dataset", "features", "model", config={"ops": longer})
    wait_for(
        lambda: [
            each for each in platform.events(run_id, Kind.STEP_START) if each.step_key == f"{line}_model"
        ],
        "training has begun",
        seconds=RUN_SECONDS,
    )

    platform.instance.run_launcher.terminate(run_id)

    run = platform.finished(run_id)
    assert run.status is dg.DagsterRunStatus.CANCELED
    wait_for(lambda: not platform.pods(run_id, f"{line}_model"), "its training pod is gone", seconds=120)
    assert run_id not in platform.instance.event_log_storage.get_concurrency_info("gpu").active_run_ids

"""Trials as Jobs of a real cluster: two at a time, one of them killed and tried again."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from platform_assets.models.spec import ResourcesSpec
from platform_assets.tuning.study import run_study
from platform_assets.tuning.trial_jobs import JobTrials
from resources.cluster import RUN_LABEL, Cluster, ClusterJobs
from resources.locks import FileLocks
from tests.cluster.deployment import IMAGE, NAMESPACE, SERVICE_ACCOUNT, reachable_host
from tests.cluster.spark_volume import pod_variables
from tests.line_factory import ROOT
from tests.tuning.experiments import write_experiment
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster
STEP = "tuning-step"


def kubectl(*arguments: str, given: dict | None = None) -> str:
    """Output of kubectl in the platform's namespace."""
    done = subprocess.run(
        ["kubectl", "-n", NAMESPACE, *arguments],
        input=json.dumps(given) if given else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def jobs() -> Iterator[ClusterJobs]:
    """Jobs beside a pod that stands for the step which executes an Experiment."""
    if reachable_host() is None:
        pytest.skip(
            "NO CLUSTER: set KUBECONFIG, and PLATFORM_TEST_HOST to this machine's address as pods see it"
        )
    import kubernetes

    kubernetes.config.load_kube_config()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": STEP, "labels": {RUN_LABEL: "run-of-trials"}},
        "spec": {
            "serviceAccountName": SERVICE_ACCOUNT,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "step",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "3600"],
                    "workingDir": str(ROOT),
                    "env": [{"name": name, "value": value} for name, value in pod_variables().items()],
                }
            ],
        },
    }
    kubectl("apply", "-f", "-", given=pod)
    yield ClusterJobs(Cluster(NAMESPACE), STEP)
    kubectl("delete", "pod", STEP, "--wait=false")


def pods_of(trial: str) -> list[dict]:
    """A trial's pods, oldest first."""
    found = json.loads(kubectl("get", "pods", "-l", f"job-name={trial}", "-o", "json"))["items"]
    return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])


def kill(trial: str) -> bool:
    """Kill what runs in a trial's pod, as a lost node would; whether there was anything."""
    found = subprocess.run(
        ["pgrep", "-f", f"trial_program.py {trial} "], capture_output=True, text=True, check=False
    ).stdout
    for pid in found.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return bool(found)


def test_trials_are_jobs_two_at_a_time_and_one_that_was_killed_is_retried(jobs, tmp_path):
    """The study comes to its end as Katib's would: the killed pod is no failed trial, and the Jobs end with the block."""
    experiment = write_experiment(
        tmp_path,
        [
            "python3",
            "-u",
            "tests/cluster/trial_program.py",
            "${trialParameters.name}",
            "${trialParameters.rate}",
        ],
        parallel=2,
        job={"backoffLimit": 2},
        trial_parameters=[{"name": "name", "reference": "${trialSpec.Name}"}],
    )
    side_by_side: list[int] = []
    killed: list[str] = []

    def changed(status) -> None:
        running = [each for each in status.trials if each.state == "Running"]
        side_by_side.append(len(running))
        if not killed and (
            reporting := [
                each.name for each in running if each.metrics and each.metrics[0].latest != "unavailable"
            ]
        ):
            if not kill(reporting[0]):
                pytest.skip("PODS OF ANOTHER MACHINE: none of their processes can be killed")
            killed.append(reporting[0])

    resources = ResourcesSpec(gpu=0, cpu="100m", memory="64Mi")
    with JobTrials(experiment, jobs, resources=resources, environment={"MARK": "trial"}) as runner:
        status = run_study(
            experiment,
            runner,
            storage=str(tmp_path / "study.journal"),
            seed=7,
            locks=FileLocks(tmp_path / "locks"),
            on_change=changed,
            identity="cluster",
        )
        first, second = pods_of(killed[0])
        labels = json.loads(kubectl("get", "job", killed[0], "-o", "json"))["metadata"]["labels"]
    assert status.condition.type == "Succeeded", status.condition.message
    assert [each.state for each in status.trials] == ["Succeeded"] * 4
    assert max(side_by_side) == 2
    assert first["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert second["status"]["phase"] == "Succeeded"
    container = second["spec"]["containers"][0]
    assert (container["image"], container["workingDir"]) == (IMAGE, str(ROOT))
    assert {"name": "MARK", "value": "trial"} in container["env"]
    assert labels[RUN_LABEL] == "run-of-trials"
    for each in status.trials:
        assert float(each.metrics[0].latest) == pytest.approx(float(each.assignment["rate"]) + 0.2)
    best = max(status.trials, key=lambda each: each.value)
    assert status.optimal is not None
    assert status.optimal.name == best.name
    own = ("get", "jobs", "-l", f"{RUN_LABEL}=run-of-trials", "-o", "name")
    wait_for(lambda: not kubectl(*own), "the Jobs are gone", seconds=60)

"""What a step costs on a cluster: in a process of the run's pod, in a pod of its own, and by dagster-k8s' executor.

Needs a cluster, as `tests/cluster` does:

    python -m tests.benchmarks pods
"""

import itertools
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType as Kind

from resources.dagster_home import prepare_dagster_home
from resources.settings import PlatformSettings
from tests.benchmarks import chains, stock_chain
from tests.benchmarks.measure import BenchmarkError
from tests.cluster.deployment import cluster_platform, reachable_host

SECONDS = 600
JOBS = {
    "local": "on one machine: processes, definitions imported before",
    "processes": "our executor, light steps: processes of the run's pod",
    "pods": "our executor, steps with resources of their own: a pod each",
    "stock": "dagster-k8s' executor: a pod each",
}


@dataclass(frozen=True, slots=True)
class StepCost:
    """Medians over the steps of a chain, in seconds."""

    to_user_code: float
    """From the executor's decision to start the step to the first line of the step's own code."""
    of_step: float
    """From the end of the step before to its own."""


@dataclass(frozen=True, slots=True)
class Pods:
    """Cost by executor."""

    steps: int
    run_pod_seconds: float
    """From the launch of a run to its first line of work."""
    costs: dict[str, StepCost]

    def __str__(self) -> str:
        lines = [
            f"pods: a chain of {self.steps} steps that do nothing; medians over its steps",
            f"  from launch to the run pod's first work {self.run_pod_seconds:.1f} s",
            f"  {'':62}  to user code s    a step s",
        ]
        lines += [
            f"  {title:62}  {self.costs[name].to_user_code:14.2f}  {self.costs[name].of_step:10.2f}"
            for name, title in JOBS.items()
        ]
        return "\n".join(lines)


def measure_pods(folder: Path) -> Pods:
    """Run a chain on each executor.

    Raises:
        BenchmarkError: there is no cluster, or a run fails.
    """
    host = reachable_host()
    if host is None:
        raise BenchmarkError(
            "no cluster: set KUBECONFIG, and PLATFORM_TEST_HOST to this machine's address as pods see it"
        )
    costs = {"local": _local_cost(folder / "laptop")}
    starts = []
    with cluster_platform(folder, host) as platform:
        for location, name in ((chains, "processes"), (chains, "pods"), (stock_chain, "stock")):
            with platform.code_server(location.__name__):
                run_id = platform.launch_job(name, module=location.__name__)
                if not platform.finished(run_id, seconds=SECONDS).is_success:
                    raise BenchmarkError(f"{name}: {platform.story(run_id)}")
            (launched,) = _times(platform.instance, run_id, Kind.RUN_STARTING)
            starts.append(_times(platform.instance, run_id, Kind.STEP_WORKER_STARTING)[0] - launched)
            costs[name] = _cost(platform.instance, run_id)
    return Pods(chains.STEPS, statistics.median(starts), costs)


def _local_cost(home: Path) -> StepCost:
    settings = PlatformSettings(home=home)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(prepare_dagster_home(settings)),
        "PLATFORM_HOME": str(home),
    }
    dagster = Path(sys.executable).with_name("dagster")
    done = subprocess.run(
        [dagster, "job", "execute", "-m", chains.__name__, "-j", "local"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"local: {done.stderr}")
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        (run,) = instance.get_runs()
        return _cost(instance, run.run_id)


def _cost(instance: dg.DagsterInstance, run_id: str) -> StepCost:
    asked, begun, ended = (
        _times(instance, run_id, kind)
        for kind in (Kind.STEP_WORKER_STARTING, Kind.STEP_START, Kind.STEP_SUCCESS)
    )
    return StepCost(
        to_user_code=statistics.median(start - ask for ask, start in zip(asked, begun, strict=True)),
        of_step=statistics.median(later - earlier for earlier, later in itertools.pairwise(ended)),
    )


def _times(instance: dg.DagsterInstance, run_id: str, kind: Kind) -> list[float]:
    return [entry.timestamp for entry in instance.all_logs(run_id, of_type=kind)]

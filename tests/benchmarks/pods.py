"""What a step costs on a cluster: in a process of the run's pod, in a pod of its own, and by dagster-k8s' executor.

Needs a cluster, as `tests/cluster` does:

    python -m tests.benchmarks pods
"""

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType as Kind

from platform_assets.definitions import step_executor
from platform_assets.step import POD_TAG
from resources.settings import PlatformSettings
from tests.benchmarks.measure import BenchmarkError
from tests.cluster.deployment import cluster_platform, reachable_host

STEPS = 6
SECONDS = 600
JOBS = {
    "processes": "our executor, light steps: processes of the run's pod",
    "pods": "our executor, steps with resources of their own: a pod each",
    "stock": "dagster-k8s' executor: a pod each",
}
_RESOURCES = {"container_config": {"resources": {"limits": {"memory": "1Gi"}}}}


def _chain(name: str, executor: dg.ExecutorDefinition, tags: dict[str, object]) -> dg.JobDefinition:
    @dg.op(name=f"link_of_{name}", ins={"before": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), tags=tags)
    def link() -> None:
        """Nothing: what is measured is all around it."""

    @dg.job(name=name, executor_def=executor)
    def chain() -> None:
        last = link.alias(f"{name}_0")()
        for at in range(1, STEPS):
            last = link.alias(f"{name}_{at}")(last)

    return chain


@dg.definitions
def defs() -> dg.Definitions:
    """A chain on each executor; the code location that run pods load."""
    settings = PlatformSettings()
    ours = step_executor(settings.model_copy(update={"step_pods": "resources"}))
    stock = step_executor(settings.model_copy(update={"step_pods": "all"}))
    tags: dict[str, object] = {POD_TAG: _RESOURCES}
    return dg.Definitions(
        jobs=[_chain("processes", ours, {}), _chain("pods", ours, tags), _chain("stock", stock, tags)]
    )


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
    costs, starts = {}, []
    with cluster_platform(folder, host) as platform, platform.code_server(__name__):
        for name in JOBS:
            run_id = platform.launch_job(name, module=__name__)
            if not platform.finished(run_id, seconds=SECONDS).is_success:
                raise BenchmarkError(f"{name}: {platform.story(run_id)}")
            when = {
                kind: [entry.timestamp for entry in platform.entries(run_id, kind)]
                for kind in (Kind.STEP_WORKER_STARTING, Kind.STEP_START, Kind.STEP_SUCCESS)
            }
            ends = when[Kind.STEP_SUCCESS]
            (launched,) = platform.entries(run_id, Kind.RUN_STARTING)
            starts.append(when[Kind.STEP_WORKER_STARTING][0] - launched.timestamp)
            costs[name] = StepCost(
                to_user_code=statistics.median(
                    begun - asked
                    for asked, begun in zip(
                        when[Kind.STEP_WORKER_STARTING], when[Kind.STEP_START], strict=True
                    )
                ),
                of_step=statistics.median(later - earlier for earlier, later in itertools.pairwise(ends)),
            )
    return Pods(STEPS, statistics.median(starts), costs)

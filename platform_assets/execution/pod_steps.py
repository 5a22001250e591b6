"""Steps as Kubernetes Jobs: dagster-k8s' own handler, that also knows why a pod was lost, and what then.

Imported when the first step wants a pod: the Kubernetes client takes longer to import than a light step runs.
"""

import os
import time
from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import dagster as dg
import kubernetes
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.executor.step_delegating.step_handler.base import CheckStepHealthResult, StepHandlerContext
from dagster_k8s.client import DagsterKubernetesClient, PatchedApiClient
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id

from platform_assets.execution.abandoned_jobs import end_jobs, remove_abandoned_jobs
from platform_assets.execution.step_health import judge, memory_of_next_attempt
from platform_assets.execution.step_process import step_arguments
from platform_assets.tags import MAX_MEMORY_TAG
from resources.cluster import Cluster, ClusterUnreachableError

if TYPE_CHECKING:
    from dagster_k8s import K8sRunLauncher

OUTAGE_PATIENCE_SECONDS: Final = 900.0
"""How long a Job may wait for an API server that does not answer, before the run gives up."""
_OUTAGE_RETRY_SECONDS: Final = 5.0
_NO_MORE_MEMORY: Final = "; it may have no more: raise resources.memory or resources.max_memory in the spec"

T = TypeVar("T")


class PodStepHandler(K8sStepHandler):
    """dagster-k8s' own handler, that also knows why a pod was lost, and gives more memory to what ran out of it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        launcher = cast("K8sRunLauncher", instance.run_launcher)
        super().__init__(
            image=None,
            container_context=K8sContainerContext(),
            load_incluster_config=launcher.load_incluster_config,
            kubeconfig_file=launcher.kubeconfig_file,
        )
        self._cluster = Cluster(launcher.job_namespace)
        self._api_client = _PatientClient(self._cluster)
        # They may hold the very GPU that this run is going to ask for.
        remove_abandoned_jobs(self._cluster, instance)
        self._memory: dict[str, str] = {}
        self._jobs: set[str] = set()
        self._ended: set[str] = set()
        self._messages: dict[str, str] = {}
        self._retriable: dict[str, bool] = {}
        self._unanswered: set[str] = set()

    @property
    def name(self) -> str:
        """As the event log calls it."""
        return "pods"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Make the step's Job; a later attempt gets what the one before lacked, and takes its place."""
        step_key = self._get_step_key(step_handler_context)
        self._memory.pop(step_key, None)
        if before := self._job_name_before(step_handler_context):
            previous = _patiently(lambda: self._cluster.job(before))
            if memory := memory_of_next_attempt(previous, most=self._max_memory(step_handler_context)):
                self._memory[step_key] = memory
            if previous is not None and not previous.failed:
                # Kubernetes has put another pod in the place of the one that was deleted: it would hold the GPU.
                _patiently(lambda: self._cluster.delete_job(before))
        self._jobs.add(self._get_k8s_step_job_name(step_handler_context))
        slim = copy(step_handler_context)
        slim._execute_step_args = step_arguments(slim.execute_step_args, verified=True)  # noqa: SLF001
        yield from super().launch_step(slim)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step's pod runs, or waits for a node; what it waits for is told once."""
        step_key = self._get_step_key(step_handler_context)
        job_name = self._get_k8s_step_job_name(step_handler_context)
        self._jobs.add(job_name)
        try:
            job = self._cluster.job(job_name)
        except ClusterUnreachableError as problem:
            if step_key not in self._unanswered:
                self._unanswered.add(step_key)
                _tell(step_handler_context, step_key, f"{problem}; the step is taken to run on")
            return CheckStepHealthResult.healthy()
        if step_key in self._unanswered:
            self._unanswered.discard(step_key)
            _tell(step_handler_context, step_key, "the Kubernetes API answers again")
        found = judge(job, name=job_name, ended_before=job_name in self._ended)
        if job is not None and (job.succeeded or job.failed):
            self._ended.add(job_name)
        if found.lost:
            more = memory_of_next_attempt(job, most=self._max_memory(step_handler_context))
            has_more = job is not None and more != job.memory_limit
            self._retriable[step_key] = found.kind == "preempted" or (
                found.kind == "out_of_memory" and has_more
            )
            message = found.message
            if found.kind == "out_of_memory":
                message += f"; the next attempt may have {more}" if has_more else _NO_MORE_MEMORY
            return CheckStepHealthResult.unhealthy(message)
        if found.message and self._messages.get(job_name) != found.message:
            self._messages[job_name] = found.message
            _tell(step_handler_context, step_key, found.message)
        return CheckStepHealthResult.healthy()

    def end_all(self, run_id: str) -> list[str]:
        """Remove the Jobs of a run that have not ended, with their pods; the names of those that stay.

        Its own worker is left out: that is this process, and whoever cancelled the run ends it.
        """
        own = get_job_name_from_run_id(run_id)
        return end_jobs(self._cluster, run_id, self._jobs - self._ended, keep=own)

    def may_retry(self, step_key: str) -> bool:
        """Whether another attempt of a lost step may end better."""
        return self._retriable.get(step_key, False)

    def _max_memory(self, context: StepHandlerContext) -> str | None:
        return context.step_tags[self._get_step_key(context)].get(MAX_MEMORY_TAG)

    def _job_name_before(self, context: StepHandlerContext) -> str | None:
        """Name of the Job of the attempt before this one."""
        name, step_key = self._get_k8s_step_job_name(context), self._get_step_key(context)
        known = context.execute_step_args.known_state
        attempt = known.get_retry_state().get_attempt_count(step_key) if known else 0
        if not attempt:
            return None
        first = name.removesuffix(f"-{attempt}")
        return first if attempt == 1 else f"{first}-{attempt - 1}"

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        context = super()._get_container_context(step_handler_context)
        extra: dict[str, Any] = {}
        if memory := self._memory.get(self._get_step_key(step_handler_context)):
            amounts = {"memory": memory}
            extra["container_config"] = {"resources": {"limits": amounts, "requests": amounts}}
        if owner := self._run_job:
            # Of the run's Job and not of its pod: training goes on while a lost run pod is replaced. Jobs of old
            # runs are removed with what belongs to them.
            extra["job_metadata"] = {
                "owner_references": [
                    {"api_version": "batch/v1", "kind": "Job", "name": owner[0], "uid": owner[1]}
                ]
            }
        return context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(extra)))

    @cached_property
    def _run_job(self) -> tuple[str, str] | None:
        pod = os.environ.get("HOSTNAME")
        return _patiently(lambda: self._cluster.owner_of(pod)) if pod else None


class _PatientClient(DagsterKubernetesClient):
    """Makes Jobs through an outage of the API server, each once."""

    def __init__(self, cluster: Cluster) -> None:
        client = PatchedApiClient()
        super().__init__(
            batch_api=kubernetes.client.BatchV1Api(api_client=client),
            core_api=kubernetes.client.CoreV1Api(api_client=client),
            logger=None,
            sleeper=time.sleep,
            timer=time.time,
        )
        self._cluster = cluster

    def create_namespaced_job_with_retries(
        self, body: Any, namespace: str, wait_time_between_attempts: float = _OUTAGE_RETRY_SECONDS
    ) -> None:
        """Make the Job; the namespace is the cluster's own, and the patience ours."""
        del namespace, wait_time_between_attempts
        _patiently(lambda: self._cluster.create_job(body))


def _patiently(act: Callable[[], T]) -> T:
    """What `act` returns, however long the API server takes to come back."""
    deadline = time.monotonic() + OUTAGE_PATIENCE_SECONDS
    while True:
        try:
            return act()
        except ClusterUnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_OUTAGE_RETRY_SECONDS)


def _tell(context: StepHandlerContext, step_key: str, message: str) -> None:
    """Write into the run's event log."""
    DagsterEvent.engine_event(context.get_step_context(step_key), message, EngineEventData())

"""A Kubernetes namespace, as far as steps need it: Jobs, their pods, and what became of them.

Reads are bounded in time, so that an API server that does not answer delays nobody for long.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from resources.errors import ResourceError

REQUEST_TIMEOUT_SECONDS: Final = 10
_NOT_YET, _NOT_FOUND, CONFLICT = 400, 404, 409
_KILLED, _TERMINATED = 137, 143
_TRANSIENT_STATUS: Final = frozenset({401, 429, 500, 502, 503, 504})
_POLL_SECONDS: Final = 5.0
_LOG_BYTES: Final = 4 << 20
_GONE_SECONDS: Final = 90.0
_GONE_POLL_SECONDS: Final = 0.5
_MEMORY: Final = re.compile(r"([1-9][0-9]*)(Mi|Gi)")
_MEBIBYTES: Final = {"Mi": 1, "Gi": 1024}
RUN_LABEL: Final = "dagster/run-id"
"""On every Job that works for a run, with the run's id: dagster-k8s puts it on those that it makes, we on ours."""

log = logging.getLogger(__name__)


class ClusterError(ResourceError):
    """A Job failed, or cannot be made."""


class ClusterUnreachableError(ClusterError):
    """The API server does not answer, or says that it cannot just now."""

    passes = True


class PodsLostError(ClusterError):
    """Pods were taken away, or had too little memory."""

    passes = True


@dataclass(frozen=True, slots=True)
class PodState:
    """What Kubernetes knows of one pod."""

    name: str
    phase: str
    reason: str | None = None
    """Of the pod as a whole, e.g. `Evicted`."""
    message: str | None = None
    out_of_memory: bool = False
    exit_code: int | None = None
    waiting_for: str | None = None
    """Why a container does not start, e.g. `ErrImagePull: …`."""
    unschedulable: str | None = None
    """Why no node takes it, e.g. `0/1 nodes are available: 1 Insufficient nvidia.com/gpu.`"""
    disrupted: str | None = None
    """Why Kubernetes itself ended it, e.g. `PreemptionByScheduler`."""


@dataclass(frozen=True, slots=True)
class JobState:
    """What Kubernetes knows of one Job and its pods."""

    name: str
    age_seconds: float
    succeeded: bool
    failed: bool
    memory_limit: str | None
    pods: tuple[PodState, ...]
    """Oldest first."""
    warnings: tuple[str, ...] = ()
    """Newest last: why it has no pod."""
    gave_up: str | None = None
    """Why Kubernetes makes no further pod for it, e.g. `BackoffLimitExceeded: …`; a Job that may retry can have pods that
    failed, and has not."""
    annotations: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """One namespace of a cluster.

    Args:
        namespace: Where the Jobs are.
        batch_api, core_api: Of the Kubernetes client, or None for those of the process's own configuration.
    """

    def __init__(self, namespace: str, *, batch_api: Any = None, core_api: Any = None) -> None:
        self.namespace = namespace
        self._given = (batch_api, core_api)

    @classmethod
    def of_this_pod(cls) -> "Cluster":
        """The namespace that this pod runs in.

        Raises:
            ClusterError: this process runs in no pod.
        """
        import kubernetes
        from kubernetes.config.config_exception import ConfigException

        try:
            kubernetes.config.load_incluster_config()
            with open(_NAMESPACE_FILE, encoding="ascii") as file:  # noqa: PTH123 - one of the kubelet's own paths
                return cls(file.read().strip())
        except (ConfigException, OSError) as problem:
            raise ClusterError(
                f"this process runs in no pod ({problem}): a namespace is reached from inside its cluster only"
            ) from None

    @cached_property
    def _batch(self) -> Any:
        import kubernetes

        return self._given[0] or kubernetes.client.BatchV1Api()

    @cached_property
    def _core(self) -> Any:
        import kubernetes

        return self._given[1] or kubernetes.client.CoreV1Api()

    def job(self, name: str) -> JobState | None:
        """The Job with this name and its pods; None where there is none.

        Raises:
            ClusterUnreachableError: the API server does not answer.
        """
        found = answer_of(
            lambda: self._batch.read_namespaced_job(
                name, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        )
        if found is None:
            return None
        states = self.pods(f"job-name={name}")
        return JobState(
            name=name,
            age_seconds=time.time() - found.metadata.creation_timestamp.timestamp(),
            succeeded=(found.status.succeeded or 0) >= (found.spec.completions or 1),
            failed=bool(found.status.failed),
            memory_limit=_memory_limit(found),
            pods=states,
            warnings=() if states else self._warnings(name),
            gave_up=_gave_up(found),
            annotations=found.metadata.annotations or {},
        )

    def jobs_of_runs(self, run_id: str | None = None) -> dict[str, str]:
        """Jobs that work for runs and have not ended: the run's id, by name of the Job.

        Args:
            run_id: Of one run; None for all.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it refuses.
        """
        import kubernetes

        selector = RUN_LABEL if run_id is None else f"{RUN_LABEL}={run_id}"
        try:
            found = answer_of(
                lambda: self._batch.list_namespaced_job(
                    self.namespace, label_selector=selector, _request_timeout=REQUEST_TIMEOUT_SECONDS
                )
            )
        except kubernetes.client.rest.ApiException as problem:
            raise ClusterError(f"Jobs cannot be listed: {said_by(problem)}") from problem
        return {
            job.metadata.name: job.metadata.labels[RUN_LABEL]
            for job in (found.items if found else [])
            if not job.status.completion_time and not _has_failed(job)
        }

    def run_of(self, pod: str) -> str | None:
        """Id of the run that a pod works for; None where it works for none."""
        found = answer_of(
            lambda: self._core.read_namespaced_pod(
                pod, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        )
        return ((found.metadata.labels or {}) if found is not None else {}).get(RUN_LABEL)

    def owner_of(self, pod: str) -> tuple[str, str] | None:
        """Name and uid of the Job that a pod belongs to; None where it belongs to none."""
        found = answer_of(
            lambda: self._core.read_namespaced_pod(
                pod, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        )
        owners = (found.metadata.owner_references or []) if found is not None else []
        return next(((owner.name, owner.uid) for owner in owners if owner.kind == "Job"), None)

    def image_of(self, pod: str) -> str:
        """The image of a pod's first container.

        Raises:
            ClusterError: there is no such pod.
        """
        found = answer_of(
            lambda: self._core.read_namespaced_pod(
                pod, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        )
        if found is None:
            raise ClusterError(f"namespace {self.namespace} has no pod {pod}")
        return str(found.spec.containers[0].image)

    def manifest_of(self, pod: str) -> dict[str, Any] | None:
        """A pod, as the API server writes it; None where there is none."""
        import kubernetes

        found = answer_of(
            lambda: self._core.read_namespaced_pod(
                pod, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        )
        manifest: dict[str, Any] | None = kubernetes.client.ApiClient().sanitize_for_serialization(found)
        return manifest

    def log_of(self, pod: str, container: str) -> str | None:
        """What a container has printed so far, its first megabytes; None where there is nothing to be read.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it refuses.
        """
        import kubernetes

        try:
            answer = answer_of(
                lambda: self._core.read_namespaced_pod_log(
                    pod,
                    self.namespace,
                    container=container,
                    limit_bytes=_LOG_BYTES,
                    # As text, some versions of the client hand out the name of its bytes.
                    _preload_content=False,
                    _request_timeout=REQUEST_TIMEOUT_SECONDS,
                )
            )
        except kubernetes.client.rest.ApiException as problem:
            if problem.status == _NOT_YET:
                return None
            raise ClusterError(f"the log of {pod} cannot be read: {said_by(problem)}") from problem
        return None if answer is None else str(answer.data.decode(errors="replace"))

    def pods(self, selector: str) -> tuple[PodState, ...]:
        """The pods with these labels, oldest first.

        Raises:
            ClusterUnreachableError: the API server does not answer.
        """
        found = answer_of(
            lambda: self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        )
        by_age = sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp)
        return tuple(pod_state(pod) for pod in by_age)

    def may(self, verb: str, resource: str) -> bool:
        """Whether the account of this process has a right in the namespace.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it does not let itself be asked.
        """
        import kubernetes

        asked = {"namespace": self.namespace, "verb": verb, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        api = kubernetes.client.AuthorizationV1Api()
        try:
            answer = answer_of(
                lambda: api.create_self_subject_access_review(
                    review, _request_timeout=REQUEST_TIMEOUT_SECONDS
                )
            )
        except kubernetes.client.rest.ApiException as problem:
            raise ClusterError(f"rights cannot be looked up: {said_by(problem)}") from problem
        return bool(answer.status.allowed)

    def create_job(self, job: Any) -> None:
        """Make a Job; one that is there already is left as it is."""
        self._create(self._batch.create_namespaced_job, job)

    def create_service(self, service: Any) -> None:
        """Make a Service; one that is there already is left as it is."""
        self._create(self._core.create_namespaced_service, service)

    def delete_job(self, name: str) -> bool:
        """Remove a Job with its pods; False where there is none."""
        return self._delete(self._batch.delete_namespaced_job, name, propagation_policy="Background")

    def delete_service(self, name: str) -> bool:
        """Remove a Service; False where there is none."""
        return self._delete(self._core.delete_namespaced_service, name)

    def _create(self, create: Callable[..., Any], body: Any) -> None:
        import kubernetes

        try:
            answer_of(lambda: create(self.namespace, body, _request_timeout=REQUEST_TIMEOUT_SECONDS))
        except kubernetes.client.rest.ApiException as problem:
            # Names say what they are for: it was made by a request whose answer was lost, or before a restart.
            if problem.status != CONFLICT:
                raise ClusterError(f"Kubernetes refuses: {said_by(problem)}") from problem

    def _delete(self, delete: Callable[..., Any], name: str, **options: Any) -> bool:
        import kubernetes

        try:
            answer = answer_of(
                lambda: delete(name, self.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS, **options)
            )
        except kubernetes.client.rest.ApiException as problem:
            raise ClusterError(f"{name} cannot be removed: {said_by(problem)}") from problem
        return answer is not None

    def _warnings(self, job: str) -> tuple[str, ...]:
        events = answer_of(
            lambda: self._core.list_namespaced_event(
                self.namespace,
                field_selector=f"involvedObject.kind=Job,involvedObject.name={job},type=Warning",
                _request_timeout=REQUEST_TIMEOUT_SECONDS,
            )
        )
        return tuple(f"{event.reason}: {event.message}" for event in events.items)


class ClusterJobs:
    """Runs Jobs beside the pod of this process, to their end.

    Args:
        cluster: The namespace of this pod.
        pod: This pod's name.
    """

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self._cluster = cluster
        self._pod = pod

    @classmethod
    def of_this_pod(cls) -> "ClusterJobs":
        """Jobs beside this pod.

        Raises:
            ClusterError: this process runs in no pod.
        """
        return cls(Cluster.of_this_pod(), os.environ.get("HOSTNAME", ""))

    @property
    def image(self) -> str:
        """The image that this process runs from."""
        return self._cluster.image_of(self._pod)

    @property
    def namespace(self) -> str:
        """Where Jobs are made."""
        return self._cluster.namespace

    @cached_property
    def own_pod(self) -> Mapping[str, Any]:
        """The pod of this process, as the API server writes it.

        Raises:
            ClusterError: the API server knows no such pod.
        """
        found = self._cluster.manifest_of(self._pod)
        if found is None:
            raise ClusterError(
                f"namespace {self.namespace} has no pod {self._pod or 'of this name'}; leave hostname and hostNetwork out of it"
            )
        return found

    def begin(self, job: Mapping[str, Any]) -> None:
        """Make a Job that works for the run of this pod, and wait for nothing; one that is there already is left as it is.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it refuses.
        """
        run_id = self.own_pod["metadata"].get("labels", {}).get(RUN_LABEL)
        self._cluster.create_job(_of_run(job, run_id))

    def state_of(self, job: str) -> JobState | None:
        """The Job with this name and its pods; None where there is none.

        Raises:
            ClusterUnreachableError: the API server does not answer.
        """
        return self._cluster.job(job)

    def log_of(self, pod: str, container: str) -> str | None:
        """See `Cluster.log_of`."""
        return self._cluster.log_of(pod, container)

    def end(self, job: str) -> None:
        """Remove a Job, and return once its pods are gone.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it refuses, or the pods do not go.
        """
        self._cluster.delete_job(job)
        deadline = time.monotonic() + _GONE_SECONDS
        while self._cluster.pods(f"job-name={job}"):
            if time.monotonic() > deadline:
                raise ClusterError(f"the pods of {job} do not end; see kubectl get pods -l job-name={job}")
            time.sleep(_GONE_POLL_SECONDS)

    def run(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Make these Services and Jobs, wait until the Jobs have succeeded, and remove them all.

        They carry the run that this pod works for, so that they end where it is ended on purpose. What is there already
        is taken up as it is; where this process is ended, it stays for the next one.

        Raises:
            PodsLostError: pods were taken away or had too little memory, or a Job is gone.
            ClusterError: a container ended with an error of its own, or Kubernetes refuses an object.
        """
        run_id = self._cluster.run_of(self._pod)
        try:
            for manifest in manifests:
                create = (
                    self._cluster.create_job if manifest["kind"] == "Job" else self._cluster.create_service
                )
                create(_of_run(manifest, run_id))
            for manifest in manifests:
                if manifest["kind"] == "Job":
                    self._wait_for(manifest["metadata"]["name"])
        except Exception:
            self._remove(manifests)
            raise
        self._remove(manifests)

    def _wait_for(self, name: str) -> None:
        reported: set[str] = set()
        while True:
            try:
                job = self._cluster.job(name)
            except ClusterUnreachableError as problem:
                # It says nothing about the Job, which goes on.
                log.warning("%s; the Job %s is taken to run on", problem, name)
            else:
                if job is None:
                    raise PodsLostError(f"the Job {name} is gone; somebody has deleted it")
                if job.succeeded:
                    return
                if job.failed:
                    raise _failure_of(job)
                for reason in {pod.unschedulable or pod.waiting_for for pod in job.pods} - {None, *reported}:
                    reported.add(str(reason))
                    log.info("the Job %s waits: %s", name, reason)
            time.sleep(_POLL_SECONDS)

    def _remove(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        for manifest in manifests:
            delete = self._cluster.delete_job if manifest["kind"] == "Job" else self._cluster.delete_service
            try:
                delete(manifest["metadata"]["name"])
            except ClusterUnreachableError as problem:
                log.warning("%s %s stays behind: %s", manifest["kind"], manifest["metadata"]["name"], problem)


def _of_run(manifest: Mapping[str, Any], run_id: str | None) -> Mapping[str, Any]:
    """The object with the label of a run."""
    if run_id is None:
        return manifest
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), RUN_LABEL: run_id}}}


def _failure_of(job: JobState) -> ClusterError:
    for pod in job.pods:
        if pod.out_of_memory:
            return PodsLostError(f"the pod {pod.name} ran out of memory at its limit of {job.memory_limit}")
        if outside := outside_cause(pod):
            return PodsLostError(f"the pod {pod.name} was ended from outside: {outside}")
    failed = next((pod for pod in job.pods if pod.exit_code), None)
    if failed is None:
        return PodsLostError(f"the pods of {job.name} were taken away")
    return ClusterError(
        f"the pod {failed.name} of {job.name} ended with {failed.exit_code}; see kubectl logs {failed.name}"
    )


def outside_cause(pod: PodState) -> str | None:
    """What ended a pod from outside; None where its own program did."""
    if pod.disrupted:
        return pod.disrupted
    if pod.reason:
        return f"{pod.reason}: {pod.message}" if pod.message else pod.reason
    # Python never ends like this by itself.
    return {_KILLED: "SIGKILL", _TERMINATED: "SIGTERM"}.get(pod.exit_code or 0)


_NAMESPACE_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def pod_state(pod: Any) -> PodState:
    """What matters of the Kubernetes client's pod."""
    status = pod.status
    containers = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    ended = [each.state.terminated for each in containers if each.state and each.state.terminated]
    waiting = [each.state.waiting for each in containers if each.state and each.state.waiting]
    conditions = {each.type: each for each in status.conditions or []}
    scheduled, disrupted = conditions.get("PodScheduled"), conditions.get("DisruptionTarget")
    failed = next((each for each in ended if each.exit_code), None)
    return PodState(
        name=pod.metadata.name,
        phase=status.phase or "Unknown",
        reason=status.reason,
        message=status.message,
        out_of_memory=any(each.reason == "OOMKilled" for each in ended),
        exit_code=failed.exit_code if failed else (0 if ended else None),
        waiting_for=next((_reason(each) for each in waiting if each.reason != "ContainerCreating"), None),
        unschedulable=_reason(scheduled) if scheduled and scheduled.reason == "Unschedulable" else None,
        disrupted=_reason(disrupted) if disrupted and disrupted.status == "True" else None,
    )


def _reason(said: Any) -> str:
    return f"{said.reason}: {said.message}" if said.message else str(said.reason)


def answer_of(request: Callable[[], Any]) -> Any:
    """What the API server answers, None for what does not exist.

    Raises:
        ClusterUnreachableError: there is no answer, or none just now.
    """
    import kubernetes
    import urllib3

    try:
        return request()
    except kubernetes.client.rest.ApiException as problem:
        if problem.status == _NOT_FOUND:
            return None
        if problem.status in _TRANSIENT_STATUS or not problem.status:
            raise ClusterUnreachableError(
                f"the Kubernetes API cannot answer: {said_by(problem)}"
            ) from problem
        raise
    except urllib3.exceptions.HTTPError as problem:
        raise ClusterUnreachableError(f"the Kubernetes API does not answer: {problem}") from problem


def said_by(problem: Any) -> str:
    """The API server's own words, where it sent any."""
    try:
        return str(json.loads(problem.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{problem.status} {problem.reason}"


def _gave_up(job: Any) -> str | None:
    conditions = job.status.conditions or []
    return next(
        (_reason(each) for each in conditions if each.type == "Failed" and each.status == "True"), None
    )


def _has_failed(job: Any) -> bool:
    """Whether no pod will be made for it any more; one that may retry has failed with its last pod only."""
    return _gave_up(job) is not None or bool(job.status.failed and not job.spec.backoff_limit)


def _memory_limit(job: Any) -> str | None:
    resources = job.spec.template.spec.containers[0].resources
    limits: Mapping[str, str] = (resources.limits if resources else None) or {}
    return limits.get("memory")


def mebibytes(quantity: str) -> int:
    """A memory quantity such as `512Mi` or `8Gi`, in MiB.

    Raises:
        ValueError: it is no whole number of Mi or Gi.
    """
    found = _MEMORY.fullmatch(quantity)
    if found is None:
        raise ValueError(f"memory {quantity!r} is no whole number of Mi or Gi")
    return int(found[1]) * _MEBIBYTES[found[2]]


def quantity_of(size_mebibytes: int) -> str:
    """The shortest quantity of so many MiB."""
    whole, rest = divmod(size_mebibytes, 1024)
    return f"{size_mebibytes}Mi" if rest else f"{whole}Gi"

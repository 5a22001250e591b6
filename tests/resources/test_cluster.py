"""What is read out of Kubernetes' own objects."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import urllib3
from kubernetes import client
from kubernetes.client.rest import ApiException

from resources.cluster import (
    Cluster,
    ClusterError,
    ClusterJobs,
    ClusterUnreachableError,
    JobState,
    PodState,
    mebibytes,
    pod_state,
    quantity_of,
)


def pod(name="step-a", *, phase="Running", created=0, **status):
    """A pod as the API server sends it."""
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, creation_timestamp=datetime.fromtimestamp(created, UTC)),
        status=client.V1PodStatus(phase=phase, **status),
    )


def container(**state):
    """The status of the pod's container."""
    return [client.V1ContainerStatus(name="c", image="i", image_id="", ready=False, restart_count=0, state=client.V1ContainerState(**state))]  # fmt: skip


def test_a_container_that_ran_out_of_memory():
    """Kubernetes names the reason; the exit code alone would not tell."""
    ended = client.V1ContainerStateTerminated(exit_code=137, reason="OOMKilled")

    found = pod_state(pod(phase="Failed", container_statuses=container(terminated=ended)))

    assert (found.out_of_memory, found.exit_code) == (True, 137)


def test_a_pod_that_waits_for_a_node():
    """The scheduler's own words."""
    condition = client.V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes are available"
    )

    found = pod_state(pod(phase="Pending", conditions=[condition]))

    assert found.unschedulable == "Unschedulable: 0/1 nodes are available"


def test_a_container_that_cannot_start():
    """One that is merely being created is no news."""
    waiting = client.V1ContainerStateWaiting(reason="ErrImageNeverPull", message="no image")
    creating = client.V1ContainerStateWaiting(reason="ContainerCreating")

    assert (
        pod_state(pod(container_statuses=container(waiting=waiting))).waiting_for
        == "ErrImageNeverPull: no image"
    )
    assert pod_state(pod(container_statuses=container(waiting=creating))).waiting_for is None


def test_a_pod_that_was_preempted():
    """Newer clusters say so in a condition."""
    condition = client.V1PodCondition(
        type="DisruptionTarget", status="True", reason="PreemptionByScheduler", message="made room"
    )

    assert pod_state(pod(conditions=[condition])).disrupted == "PreemptionByScheduler: made room"


class Api:
    """Both halves of the client, each call answered by what stands under its name."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.asked.append((name, arguments, options))
            answer = self.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def job(**status):
    """A Job as the API server sends it."""
    resources = client.V1ResourceRequirements(limits={"memory": "2Gi"})
    template = client.V1PodTemplateSpec(
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", resources=resources)])
    )
    return client.V1Job(
        metadata=client.V1ObjectMeta(name="step", creation_timestamp=datetime.now(UTC)),
        spec=client.V1JobSpec(template=template),
        status=client.V1JobStatus(**status),
    )  # fmt: skip


def test_a_job_and_its_pods_oldest_first():
    """Kubernetes lists pods in no order of time."""
    pods = SimpleNamespace(items=[pod("second", created=2), pod("first", created=1)])
    api = Api(read_namespaced_job=job(failed=1), list_namespaced_pod=pods)

    found = Cluster("ns", batch_api=api, core_api=api).job("step")

    assert [each.name for each in found.pods] == ["first", "second"]
    assert (found.failed, found.succeeded, found.memory_limit) == (True, False, "2Gi")


def test_a_job_without_pods_says_why():
    """A quota or a missing service account is told by the Job's events alone."""
    event = SimpleNamespace(reason="FailedCreate", message="exceeded quota")
    api = Api(
        read_namespaced_job=job(),
        list_namespaced_pod=SimpleNamespace(items=[]),
        list_namespaced_event=SimpleNamespace(items=[event]),
    )

    assert Cluster("ns", batch_api=api, core_api=api).job("step").warnings == (
        "FailedCreate: exceeded quota",
    )


def test_what_does_not_exist_is_none():
    """404 is an answer."""
    api = Api(read_namespaced_job=ApiException(status=404), delete_namespaced_job=ApiException(status=404))
    cluster = Cluster("ns", batch_api=api, core_api=api)

    assert cluster.job("step") is None
    assert cluster.delete_job("step") is False


@pytest.mark.parametrize(
    "problem",
    [
        urllib3.exceptions.MaxRetryError(None, "https://api"),
        urllib3.exceptions.ReadTimeoutError(None, "https://api", "timed out"),
        ApiException(status=503, reason="Service Unavailable"),
        ApiException(status=429, reason="Too Many Requests"),
        ApiException(status=0, reason="handshake"),
    ],
)
def test_an_api_server_that_does_not_answer_is_told_apart(problem):
    """Silence says nothing about the step."""
    api = Api(read_namespaced_job=problem)

    with pytest.raises(ClusterUnreachableError, match="Kubernetes API"):
        Cluster("ns", batch_api=api, core_api=api).job("step")


def test_a_job_is_made_once():
    """The name says what it is for: one that is there was made by a request whose answer was lost."""
    api = Api(create_namespaced_job=ApiException(status=409))

    Cluster("ns", batch_api=api, core_api=api).create_job(job())

    assert [name for name, *_ in api.asked] == ["create_namespaced_job"]


def test_a_refused_job_is_one_clear_error():
    """The API server's own words."""
    refused = ApiException(status=403, reason="Forbidden")
    refused.body = '{"message": "jobs.batch is forbidden: exceeded quota"}'
    api = Api(create_namespaced_job=refused)

    with pytest.raises(ClusterError, match="exceeded quota"):
        Cluster("ns", batch_api=api, core_api=api).create_job(job())


def test_what_may_not_be_listed_or_removed_is_one_clear_error():
    """The API server's own words, as for what may not be made."""
    refused = ApiException(status=403, reason="Forbidden")
    cluster = Cluster(
        "ns", batch_api=Api(list_namespaced_job=refused, delete_namespaced_job=refused), core_api=Api()
    )
    for act in (cluster.jobs_of_runs, lambda: cluster.delete_job("step")):
        with pytest.raises(ClusterError, match="Forbidden"):
            act()


def test_no_request_waits_for_ever():
    """The client's own default is to wait until the connection breaks."""
    api = Api(
        read_namespaced_job=job(),
        list_namespaced_pod=SimpleNamespace(items=[]),
        list_namespaced_event=SimpleNamespace(items=[]),
        list_namespaced_job=SimpleNamespace(items=[]),
        read_namespaced_pod=pod(),
        create_namespaced_job=None,
        delete_namespaced_job=None,
    )
    cluster = Cluster("ns", batch_api=api, core_api=api)

    cluster.job("step")
    cluster.jobs_of_runs()
    cluster.run_of("step-a")
    cluster.create_job(job())
    cluster.delete_job("step")

    assert all(options["_request_timeout"] for _, _, options in api.asked)


@pytest.mark.parametrize(("quantity", "size"), [("512Mi", 512), ("8Gi", 8192), ("1536Mi", 1536)])
def test_quantities_of_memory(quantity, size):
    """There and back."""
    assert mebibytes(quantity) == size
    assert quantity_of(size) == quantity


def test_a_quantity_that_is_none():
    """Named, with what would do."""
    with pytest.raises(ValueError, match="'8G' is no whole number of Mi or Gi"):
        mebibytes("8G")


class Scripted(Cluster):
    """A namespace in which a Job goes through these states."""

    def __init__(self, *states):
        super().__init__("ns")
        self.states = list(states)
        self.made, self.removed = [], []

    def run_of(self, pod):
        """None."""

    def job(self, name):
        """The next state."""
        state = self.states.pop(0)
        if isinstance(state, BaseException):
            raise state
        return state

    def create_job(self, job):
        """Noted."""
        self.made.append("job")

    def create_service(self, service):
        """Noted."""
        self.made.append("service")

    def delete_job(self, name):
        """Noted."""
        self.removed.append(name)
        return True

    def delete_service(self, name):
        """Noted."""
        self.removed.append(name)
        return True


RUNNING = JobState("train", 1.0, succeeded=False, failed=False, memory_limit="2Gi", pods=())
MANIFESTS = [{"kind": kind, "metadata": {"name": f"a-{kind.lower()}"}} for kind in ("Service", "Job")]


def lost(**how):
    """The Job after one of its pods ended like this."""
    return replace(RUNNING, failed=True, pods=(PodState("train-0", "Failed", **how),))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """States are scripted, so nothing is waited for."""
    monkeypatch.setattr("resources.cluster._POLL_SECONDS", 0)


def test_a_job_runs_to_its_end_through_an_outage_and_is_removed():
    """The Service is there before the pods look for each other."""
    done = replace(RUNNING, succeeded=True)
    cluster = Scripted(RUNNING, ClusterUnreachableError("away"), RUNNING, done)

    ClusterJobs(cluster, "pod").run(MANIFESTS)

    assert cluster.made == ["service", "job"]
    assert cluster.removed == ["a-service", "a-job"]


@pytest.mark.parametrize(
    ("state", "passes", "told"),
    [
        (lost(exit_code=1), False, "ended with 1; see kubectl logs train-0"),
        (lost(exit_code=137, out_of_memory=True), True, "ran out of memory at its limit of 2Gi"),
        (lost(reason="Evicted"), True, "ended from outside: Evicted"),
        (replace(RUNNING, failed=True), True, "were taken away"),
        (None, True, "is gone"),
    ],
)
def test_a_job_that_ends_badly_says_whether_to_try_again(state, passes, told):
    """And leaves nothing behind that would hold GPUs."""
    cluster = Scripted(RUNNING, state)

    with pytest.raises(ClusterError, match=told) as failed:
        ClusterJobs(cluster, "pod").run(MANIFESTS)

    assert failed.value.passes is passes
    assert cluster.removed == ["a-service", "a-job"]


def test_a_job_stays_when_this_process_is_ended():
    """The next attempt takes it up."""
    cluster = Scripted(RUNNING, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        ClusterJobs(cluster, "pod").run(MANIFESTS)

    assert cluster.removed == []


def test_a_process_outside_of_a_cluster_cannot_make_jobs():
    """One error says so."""
    with pytest.raises(ClusterError, match="runs in no pod"):
        ClusterJobs.of_this_pod()

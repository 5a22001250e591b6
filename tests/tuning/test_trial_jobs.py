"""Trials as Jobs: what their pods get, how they are read, retried, taken up again and removed."""

from dataclasses import replace

import kubernetes_validate
import pytest

from platform_assets.models.spec import ResourcesSpec
from platform_assets.tuning.trial_job import IDENTITY, trial_job
from platform_assets.tuning.trial_jobs import JobTrials
from resources.cluster import ClusterUnreachableError, JobState, PodState
from tests.tuning.experiments import write_experiment

OWN = {
    "metadata": {"name": "step", "namespace": "platform-assets", "labels": {"dagster/run-id": "run"}},
    "spec": {
        "serviceAccountName": "platform-assets-run",
        "securityContext": {"runAsNonRoot": True},
        "containers": [
            {
                "name": "dagster",
                "image": "registry/platform:7",
                "imagePullPolicy": "IfNotPresent",
                "securityContext": {"readOnlyRootFilesystem": True},
                "env": [
                    {"name": "DAGSTER_HOME", "value": "/opt/dagster/home"},
                    {"name": "DAGSTER_RUN_JOB_NAME", "value": "line"},
                    {"name": "TMPDIR", "value": "/scratch"},
                ],
                "envFrom": [{"configMapRef": {"name": "platform-settings"}}],
                "volumeMounts": [
                    {"name": "instance", "mountPath": "/opt/dagster/home"},
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "below", "mountPath": "/tmp/below"},
                    {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
                ],
            }
        ],
        "volumes": [
            {"name": "instance", "configMap": {"name": "dagster-instance"}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "below", "emptyDir": {}},
            {"name": "token", "secret": {"secretName": "token"}},
        ],
    },
}
GPU = ResourcesSpec(
    gpu=1, cpu="2", memory="8Gi", nodes=2, node_selector={"accelerator": "nvidia"}, shared_memory="1Gi"
)
COMMAND = ["platform-assets", "trial", "line", "--set", "rate=${trialParameters.rate}"]


@pytest.fixture
def experiment(tmp_path):
    """An Experiment whose template states a scratch of its own, a variable and how often a lost pod is tried again."""
    return write_experiment(
        tmp_path,
        COMMAND,
        job={"backoffLimit": 2},
        pod={"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "2Gi"}}]},
        container={
            "env": [{"name": "TMPDIR", "value": "/tmp"}],
            "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
        },
    )


def made(experiment, **changes):
    """The Job of a trial beside the pod above."""
    told = {"resources": GPU, "environment": {"PLATFORM_TRIAL_FEATURES": "f" * 64}} | changes
    job = experiment.trial_manifest({"rate": "0.05"}, "tests-1")
    return trial_job(job, container="trial", beside=OWN, **told)


def test_a_trials_pod_is_as_the_one_beside_it(experiment):
    """Image, account, variables and volumes of that, the resources of the spec, and the command of the template."""
    job = made(experiment)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["name"] == "tests-1"
    assert job["metadata"]["namespace"] == "platform-assets"
    assert job["spec"]["backoffLimit"] == 2
    assert container["command"] == [*COMMAND[:-1], "rate=0.05"]
    assert (container["image"], pod["serviceAccountName"]) == ("registry/platform:7", "platform-assets-run")
    assert pod["automountServiceAccountToken"] is False
    assert job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "trial"
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert pod["nodeSelector"] == {"accelerator": "nvidia"}
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "DAGSTER_HOME": "/opt/dagster/home",
        "TMPDIR": "/tmp",
        "PLATFORM_TRIAL_FEATURES": "f" * 64,
    }
    assert {each["mountPath"]: each["name"] for each in container["volumeMounts"]} == {
        "/tmp": "scratch",
        "/opt/dagster/home": "instance",
        "/dev/shm": "shared-memory",
    }
    assert [each["name"] for each in pod["volumes"]] == ["scratch", "instance", "shared-memory"]
    assert pod["volumes"][0]["emptyDir"] == {"sizeLimit": "2Gi"}


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_kubernetes_accepts_it(experiment, version):
    """By its own schemas, in which an unknown field is an error."""
    kubernetes_validate.validate(made(experiment), version, strict=True)


def test_equal_trials_have_one_identity(experiment):
    """Others have another: of other features, resources, or values."""
    identity = made(experiment)["metadata"]["annotations"][IDENTITY]
    assert made(experiment)["metadata"]["annotations"][IDENTITY] == identity
    others = [
        made(experiment, environment={"PLATFORM_TRIAL_FEATURES": "0" * 64}),
        made(experiment, resources=ResourcesSpec()),
    ]
    assert identity not in [each["metadata"]["annotations"][IDENTITY] for each in others]


class Cluster:
    """Jobs whose pods do what a test says."""

    own_pod = OWN

    def __init__(self) -> None:
        self.made: dict[str, JobState] = {}
        self.logs: dict[str, str] = {}
        self.ended: list[str] = []
        self.away = False

    def begin(self, job) -> None:
        """Of a name that is not there yet."""
        name = job["metadata"]["name"]
        assert name not in self.made
        self.made[name] = JobState(
            name, 0, succeeded=False, failed=False, memory_limit="8Gi", pods=(), annotations=job["metadata"]["annotations"]
        )  # fmt: skip

    def state_of(self, job):
        """As it is now."""
        if self.away:
            raise ClusterUnreachableError("it does not answer")
        return self.made.get(job)

    def log_of(self, pod, container):
        """What it has printed."""
        assert container == "trial"
        return self.logs.get(pod)

    def end(self, job) -> None:
        """It is gone."""
        self.made.pop(job, None)
        self.ended.append(job)

    def now(self, job, **changes) -> None:
        """Something has become of a Job."""
        self.made[job] = replace(self.made[job], **changes)


@pytest.fixture
def cluster():
    """One without Jobs."""
    return Cluster()


def trials(experiment, cluster) -> JobTrials:
    """The Experiment's, looked at as often as it is waited for."""
    environment = {"PLATFORM_TRIAL_FEATURES": "f" * 64}
    return JobTrials(experiment, cluster, resources=GPU, environment=environment, poll_seconds=0.001)


def values(trial) -> list[str]:
    """What it has reported."""
    return [each.value for each in trial.observations()]


def test_a_job_is_read_while_it_runs(experiment, cluster):
    """Reports wake who waits; what a later look finds again is no news; the block takes it away."""
    with trials(experiment, cluster) as runner:
        trial = runner.start("tests-1", {"rate": "0.05"})
        runner.wait([trial], 0)
        assert (trial.outcome(), values(trial)) == ("running", [])
        cluster.now("tests-1", pods=(PodState("a", "Running"),))
        cluster.logs["a"] = "2026-11-30T12:00:00Z auc=0.5\n"
        runner.wait([trial], 60)
        assert values(trial) == ["0.5"]
        assert trial.look() is False
        cluster.logs["a"] += "2026-11-30T12:00:01Z auc=0.75\n"
        cluster.now("tests-1", succeeded=True, pods=(PodState("a", "Succeeded", exit_code=0),))
        runner.wait([trial], 60)
        assert (trial.outcome(), values(trial)) == ("succeeded", ["0.5", "0.75"])
        trial.stop()
        assert cluster.ended == []
    assert cluster.ended == ["tests-1"]


def test_a_pod_that_was_killed_is_no_failed_trial(experiment, cluster):
    """Its Job makes another one, which begins anew; what it reports again counts once, and its end is the trial's."""
    with trials(experiment, cluster) as runner:
        trial = runner.start("tests-1", {"rate": "0.05"})
        killed = PodState("a", "Failed", exit_code=137)
        cluster.logs["a"] = "auc=0.5\nauc=0.6\n"
        cluster.now("tests-1", failed=True, pods=(killed,))
        runner.wait([trial], 60)
        assert (trial.outcome(), values(trial)) == ("running", ["0.5", "0.6"])
        cluster.now("tests-1", pods=(killed, PodState("b", "Running")))
        cluster.logs["b"] = "auc=0.5\n"
        assert trial.look() is False
        assert values(trial) == ["0.5", "0.6"]
        cluster.logs["b"] = "auc=0.5\nauc=0.6\nauc=0.7\n"
        cluster.now("tests-1", succeeded=True, pods=(PodState("b", "Succeeded", exit_code=0),))
        runner.wait([trial], 60)
        assert (trial.outcome(), values(trial)) == ("succeeded", ["0.5", "0.6", "0.7"])


@pytest.mark.parametrize(
    ("pod", "log", "reason"),
    [
        (PodState("a", "Failed", exit_code=1), "auc=0.5\nerror: no rows; add some\n", "no rows; add some"),
        (PodState("a", "Failed", exit_code=137), None, "its pod was ended from outside: SIGKILL"),
        (PodState("a", "Failed", exit_code=137, out_of_memory=True), None, "its pod ran out of memory at the limit of 8Gi"),
        (PodState("a", "Running"), None, "DeadlineExceeded: it took too long"),
    ],
)  # fmt: skip
def test_a_trial_has_failed_when_its_job_has(experiment, cluster, pod, log, reason):
    """With what its last pod said, or Kubernetes of it."""
    with trials(experiment, cluster) as runner:
        trial = runner.start("tests-1", {"rate": "0.05"})
        if log:
            cluster.logs["a"] = log
        cluster.now("tests-1", failed=True, gave_up="DeadlineExceeded: it took too long", pods=(pod,))
        runner.wait([trial], 60)
        assert (trial.outcome(), trial.reason) == ("failed", reason)


def test_a_job_that_somebody_deletes_has_failed(experiment, cluster):
    """There is nothing to wait for."""
    with trials(experiment, cluster) as runner:
        trial = runner.start("tests-1", {"rate": "0.05"})
        cluster.made.clear()
        runner.wait([trial], 60)
        assert (trial.outcome(), trial.reason) == ("failed", "its Job is gone; somebody has deleted it")


def test_an_api_server_that_is_away_says_nothing_about_trials(experiment, cluster):
    """They are taken to run on."""
    with trials(experiment, cluster) as runner:
        trial = runner.start("tests-1", {"rate": "0.05"})
        cluster.away = True
        runner.wait([trial], 0.01)
        assert trial.outcome() == "running"
        cluster.away = False


def test_a_stopped_trial_is_gone(experiment, cluster):
    """With its pods."""
    with trials(experiment, cluster) as runner:
        trial = runner.start("tests-1", {"rate": "0.05"})
        trial.stop()
        assert cluster.made == {}


class Told(BaseException):
    """This process is told to end."""


def test_whoever_goes_on_takes_up_the_jobs_of_before(experiment, cluster):
    """Told to end, they stay; one of the same name and of another trial makes room. An error takes them along."""
    with pytest.raises(Told):
        begin_and_end(experiment, cluster)
    assert cluster.ended == []
    cluster.now("tests-1", succeeded=True, pods=(PodState("a", "Succeeded", exit_code=0),))
    cluster.logs["a"] = "auc=0.75\n"
    with pytest.raises(ValueError, match="no more"):
        go_on_and_fail(experiment, cluster)
    assert cluster.made == {}


def begin_and_end(experiment, cluster) -> None:
    """Two trials, and a signal."""
    with trials(experiment, cluster) as runner:
        runner.start("tests-1", {"rate": "0.05"})
        runner.start("tests-2", {"rate": "0.06"})
        raise Told


def go_on_and_fail(experiment, cluster) -> None:
    """The first of them again, another one of the second's name, and an error."""
    with trials(experiment, cluster) as runner:
        first = runner.start("tests-1", {"rate": "0.05"})
        runner.start("tests-2", {"rate": "0.01"})
        assert cluster.ended == ["tests-2"]
        runner.wait([first], 60)
        assert (first.outcome(), values(first)) == ("succeeded", ["0.75"])
        raise ValueError("no more")

"""Executors as pods: what they are made of, how large they are, and what is said where they cannot be had."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from resources.cluster import ClusterUnreachableError, PodState
from resources.settings import PlatformSettings, SettingsError
from resources.spark import SparkError, spark_session
from resources.spark_executor import executor_command
from resources.spark_pods import SparkPods, await_executors, driver_options, executor_pod
from tests.features.spark_cluster import need_spark
from tests.line_factory import ROOT

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def driver(**spec):
    """A driver's pod as the API server has it: with a token, a Secret, a volume that is shared, and one that is its own."""
    container = {
        "name": "dagster",
        "image": "registry.example/platform-assets:1",
        "imagePullPolicy": "IfNotPresent",
        "args": ["dagster", "api", "execute_step"],
        "workingDir": "/scratch",
        "env": [
            {"name": "TMPDIR", "value": "/scratch"},
            {
                "name": "PGPASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "platform-secrets", "key": "PGPASSWORD"}},
            },
        ],
        "envFrom": [
            {"configMapRef": {"name": "platform-settings"}},
            {"secretRef": {"name": "platform-secrets"}},
        ],
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "rows", "mountPath": "/spark"},
            {"name": "keys", "mountPath": "/keys"},
            {"name": "token", "mountPath": TOKEN},
        ],
        "resources": {"limits": {"memory": "4Gi"}},
    }
    return {
        "metadata": {"name": "driver", "labels": {"dagster/run-id": "a-run", "job-name": "step"}},
        "spec": {
            "serviceAccountName": "platform-assets-spark",
            "nodeName": "node-1",
            "nodeSelector": {"pool": "spot"},
            "containers": [container],
            "initContainers": [{"name": "wait", "image": "busybox"}],
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "rows", "persistentVolumeClaim": {"claimName": "rows"}},
                {"name": "keys", "secret": {"secretName": "keys"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        }
        | spec,
        "status": {"podIP": "10.0.0.7"},
    }


class FakeCluster:
    """A namespace with one pod, whose account may do some things."""

    namespace = "platform-assets"

    def __init__(
        self, pod, allowed=("get", "list", "watch", "create", "delete", "deletecollection"), waiting=()
    ):
        self.pod, self.allowed, self.waiting = pod, allowed, waiting

    def manifest_of(self, name):
        """That pod, by any name."""
        return self.pod

    def may(self, verb, resource):
        """As it was said."""
        return verb in self.allowed and resource == "pods"

    def pods(self, selector):
        """Those that wait; an error is raised, once."""
        assert selector == "spark-app-selector=spark-1"
        if isinstance(self.waiting, Exception):
            problem, self.waiting = self.waiting, ()
            raise problem
        return self.waiting


@pytest.fixture
def in_cluster(monkeypatch):
    """This process runs in the pod of such a namespace."""

    def run(*given, **options):
        cluster = FakeCluster(*given, **options)
        monkeypatch.setattr("resources.spark_pods.Cluster.of_this_pod", lambda: cluster)
        monkeypatch.setenv("HOSTNAME", "driver")
        return cluster

    return run


# --- The template -----------------------------------------------------------------------------------------


def test_an_executor_has_what_the_driver_has_but_no_secret():
    """Volumes at the same paths and the environment; neither Secrets nor the token, and no container but its own."""
    made = executor_pod(driver())
    (container,) = made["spec"]["containers"]
    assert container["image"] == "registry.example/platform-assets:1"
    assert container["args"] == [sys.executable, "-m", "resources.spark_executor"]
    assert container["env"] == [{"name": "TMPDIR", "value": "/scratch"}]
    assert container["envFrom"] == [{"configMapRef": {"name": "platform-settings"}}]
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/scratch", "/spark", "/spark-local"}
    assert {each["name"] for each in made["spec"]["volumes"]} == {"scratch", "rows", "spark-local-dir-1"}
    assert made["spec"]["automountServiceAccountToken"] is False
    assert made["spec"]["nodeSelector"] == {"pool": "spot"}
    assert {"nodeName", "initContainers"}.isdisjoint(made["spec"])
    assert made["metadata"]["labels"]["dagster/run-id"] == "a-run"
    assert "job-name" not in made["metadata"]["labels"]


def test_the_token_of_an_older_kubernetes_is_left_out_too():
    """There it is a Secret like any other."""
    pod = driver(volumes=[{"name": "token", "secret": {"secretName": "default-token-x"}}])
    assert "token" not in json.dumps(executor_pod(pod)["spec"]["containers"])


@pytest.mark.parametrize(
    "volume",
    [
        {"csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}},
        {
            "projected": {
                "sources": [{"configMap": {"name": "ca"}}, {"podCertificate": {"signerName": "a/b"}}]
            }
        },
    ],
)
def test_secrets_of_other_kinds_are_left_out_too(volume):
    """Those of a store outside, and a certificate's key; what is projected beside such a thing goes with it."""
    volumes = [{"name": "keys"} | volume, {"name": "rows", "csi": {"driver": "nfs.csi.k8s.io"}}]
    made = executor_pod(driver(volumes=volumes))
    assert [each["name"] for each in made["spec"]["volumes"]] == ["rows", "spark-local-dir-1"]


def test_variables_that_hold_a_secret_are_left_out_wherever_they_come_from():
    """By their name, or by a password in an address: a launcher may copy them out of its own environment."""
    pod = driver()
    given = {
        "AWS_SECRET_ACCESS_KEY": "hush",
        "PLATFORM_ROW_SALT": "hush",
        "PLATFORM_LEDGER_URI": "postgresql://me:hush@host/ledger",
        "PLATFORM_CATALOG_URI": "postgresql://me@host:5432/catalog",
        "NUMBA_CACHE_DIR": "/scratch/numba",
    }
    pod["spec"]["containers"][0]["env"] = [{"name": name, "value": value} for name, value in given.items()]
    made = executor_pod(pod)
    assert [each["name"] for each in made["spec"]["containers"][0]["env"]] == [
        "PLATFORM_CATALOG_URI",
        "NUMBA_CACHE_DIR",
    ]
    assert "hush" not in json.dumps(made)


# --- Sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "heap", "task"),
    [
        ("1", "4Gi", 1, 1024, 2048),
        ("250m", "1536Mi", 1, 512, 512),
        ("2500m", "8Gi", 3, 2048, 1365),
        ("0.5", "2Gi", 1, 512, 1024),
    ],
)
def test_memory_is_shared_out(cpu, memory, cores, heap, task):
    """A quarter is Java's heap, as much is what it takes beside it, and the rest is for the tasks at once."""
    pods = SparkPods(cpu=cpu, memory=memory)
    assert (pods.cores, pods.heap_mebibytes, pods.task_bytes >> 20) == (cores, heap, task)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"memory": "1Gi"}, "memory 1Gi is too little for 1 task.* at least 1536Mi"),
        ({"cpu": "4", "memory": "3Gi"}, "memory 3Gi is too little for 4 task.* at least 3Gi, or less cpu"),
        ({"memory": "4000"}, "memory"),
        ({"cpu": "many"}, "cpu"),
        ({"executors": 0}, "executors"),
        ({"nodes": 2}, "nodes"),
    ],
)
def test_pods_that_cannot_be_are_refused(given, told):
    """With what would do."""
    with pytest.raises(ValidationError, match=told):
        SparkPods(**given)


def test_a_claim_needs_a_place_in_pods(tmp_path):
    """And a folder is found by all under one path."""
    with pytest.raises(SettingsError, match=r"nobody says where pods have it; set spark_folder"):
        PlatformSettings(home=tmp_path, spark_pods={"claim": "rows"})
    with pytest.raises(ValidationError, match="begins with /"):
        PlatformSettings(home=tmp_path, spark_folder=Path("rows"))


# --- The driver -------------------------------------------------------------------------------------------


def test_this_process_is_the_driver_of_pods_beside_its_own(in_cluster, tmp_path):
    """Its address, its pod as their owner, their size, and the template."""
    in_cluster(driver())
    _, options = driver_options(SparkPods(executors=3, cpu="1500m", memory="6Gi"), tmp_path)
    expected = {
        "spark.driver.host": "10.0.0.7",
        "spark.driver.memory": "1536m",
        "spark.kubernetes.namespace": "platform-assets",
        "spark.kubernetes.driver.pod.name": "driver",
        "spark.kubernetes.container.image": "registry.example/platform-assets:1",
        "spark.executor.instances": "3",
        "spark.executor.cores": "2",
        "spark.executor.memory": "1536m",
        "spark.executor.memoryOverhead": "4608m",
        "spark.kubernetes.executor.request.cores": "1500m",
        "spark.kubernetes.executor.limit.cores": "2",
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
    }
    assert expected.items() <= options.items()
    template = json.loads(Path(options["spark.kubernetes.executor.podTemplateFile"]).read_text())
    assert template == executor_pod(driver())


def test_outside_of_a_pod_there_is_no_driver_of_pods(tmp_path):
    """In one sentence, before Java is started."""
    need_spark()
    with (
        pytest.raises(
            SparkError,
            match=r"^Spark on Kubernetes: this process runs in no pod that has a token; .* run it in one of that cluster$",
        ),
        spark_session("k8s://https://127.0.0.1:6443", tmp_path),
    ):
        raise AssertionError("there is a session")
    assert list(tmp_path.iterdir()) == []


def test_an_account_that_may_not_make_pods_is_told(in_cluster, tmp_path):
    """With the rights that it lacks, and where they are."""
    in_cluster(driver(), allowed=("get", "list", "delete", "deletecollection"))
    with pytest.raises(SparkError) as found:
        driver_options(SparkPods(), tmp_path)
    assert str(found.value) == (
        "Spark on Kubernetes: the account of this pod may not watch or create pods in namespace platform-assets; give it the one "
        "of k8s/spark (PLATFORM_SPARK_PODS__ACCOUNT)"
    )


@pytest.mark.parametrize("pod", [None, driver() | {"status": {}}])
def test_a_pod_that_executors_cannot_find_is_told(in_cluster, tmp_path, pod):
    """One whose host name is not its own, or that has no address yet."""
    in_cluster(pod)
    with pytest.raises(SparkError, match=r"has no pod driver with an address of its own"):
        driver_options(SparkPods(), tmp_path)


class FakeContext:
    """Of a session, which has so many executors as one looks again and again."""

    applicationId = "spark-1"  # noqa: N815 - pyspark's own name

    def __init__(self, *counts):
        self.counts = list(counts)

    @property
    def _jsc(self):
        return self

    def sc(self):
        """See `size`."""
        return self

    def getExecutorMemoryStatus(self):  # noqa: N802 - Spark's own name
        """See `size`."""
        return self

    def size(self):
        """Executors, and the driver."""
        return 1 + (self.counts.pop(0) if len(self.counts) > 1 else self.counts[0])


def test_what_executors_wait_for_is_logged_once(caplog):
    """Until the first is there."""
    waiting = (PodState("one", "Pending", unschedulable="Unschedulable: 0/1 nodes are available"),)
    with caplog.at_level("INFO"):
        await_executors(FakeContext(0, 0, 1), FakeCluster(driver(), waiting=waiting), patience_seconds=60)
    assert [each.getMessage() for each in caplog.records] == [
        "Spark's executors wait: Unschedulable: 0/1 nodes are available"
    ]


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        ((), "no pod was made: a quota may forbid it"),
        (
            (PodState("one", "Failed", exit_code=1),),
            "one ended with 1: its image needs Java, pyspark and this release",
        ),
        (
            (PodState("one", "Pending", waiting_for="ErrImagePull: no such image"),),
            "ErrImagePull: no such image",
        ),
    ],
)
def test_executors_that_never_come_are_told_with_the_reason(waiting, told):
    """Spark itself would wait for ever."""
    with pytest.raises(SparkError, match=rf"no executor came in 0 s \({told}"):
        await_executors(FakeContext(0), FakeCluster(driver(), waiting=waiting), patience_seconds=0)


def test_an_api_server_that_is_away_for_a_moment_ends_nothing():
    """Executors come all the same."""
    cluster = FakeCluster(driver(), waiting=ClusterUnreachableError("away"))
    await_executors(FakeContext(0, 1), cluster, patience_seconds=60)


def test_spark_that_gives_up_on_executors_is_told_with_their_reason():
    """Java ends itself when too many have ended, and does not answer any more."""

    class Gone(FakeContext):
        def size(self):
            """It is there, and then it is not."""
            if len(self.counts) == 1:
                raise ConnectionRefusedError
            return super().size()

    waiting = (PodState("one", "Failed", exit_code=1),)
    with pytest.raises(SparkError, match=r"no executor came \(one ended with 1: its image needs Java"):
        await_executors(Gone(0, 0), FakeCluster(driver(), waiting=waiting), patience_seconds=60)


# --- The executor -----------------------------------------------------------------------------------------

GIVEN = {
    "SPARK_DRIVER_URL": "spark://driver",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.8",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "exec-7",
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_LOCAL_DIRS": "/spark-local",
    "SPARK_JAVA_OPT_10": "-Dlast",
    "SPARK_JAVA_OPT_2": "-Dfirst",
}


def test_an_executor_is_java_with_what_spark_says():
    """Options in their order, its memory, and who it is; what it writes for a moment lies where it may write."""
    found = executor_command(GIVEN, Path("/usr/bin/java"), Path("/opt/spark"))
    assert found[:7] == [
        "/usr/bin/java",
        "-Djava.io.tmpdir=/spark-local",
        "-Dfirst",
        "-Dlast",
        "-Xms512m",
        "-Xmx512m",
        "-cp",
    ]
    assert found[7] == "/opt/spark/jars/*"
    told = dict(zip(found[9::2], found[10::2], strict=True))
    assert told["--driver-url"] == "spark://driver"
    assert (told["--executor-id"], told["--cores"], told["--hostname"]) == ("7", "2", "10.0.0.8")


def test_what_spark_has_not_started_is_refused():
    """With the variable that is missing; a person who tries it gets no traceback of Java."""
    done = subprocess.run(
        [sys.executable, "-m", "resources.spark_executor", "executor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("resources.spark.SparkError: Spark's executor: ")

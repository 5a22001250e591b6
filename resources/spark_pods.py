"""Executors of Spark as pods beside the pod of this process, which is the driver.

They are made of that pod: its image, its volumes at the same paths, its environment, account and security context, so that
whatever the driver can compute they can. What is secret stays with the driver: executors read files, and ask nobody.
"""

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from resources.cluster import (
    RUN_LABEL,
    Cluster,
    ClusterError,
    ClusterUnreachableError,
    mebibytes,
    quantity_of,
)
from resources.secret_names import SECRET_NAME
from resources.spark import SparkError, says_gone

if TYPE_CHECKING:
    from pyspark.core.context import SparkContext

RIGHTS: Final = ("get", "list", "watch", "create", "delete", "deletecollection")
"""To pods, of a driver's account."""
EXECUTOR: Final = "spark-executor"
"""Component of an executor pod, by which NetworkPolicies know it."""
PATIENCE_SECONDS: Final = 600.0
"""For the first executor; an autoscaler may have to bring a node first."""
_CONTAINER: Final = "executor"
_TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where the kubelet puts it
_SECRET_SOURCES: Final = frozenset({"secret", "serviceAccountToken", "podCertificate"})
"""Of a projected volume."""
_SECRETS_DRIVER: Final = "secrets-store.csi.k8s.io"
_PASSWORD: Final = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_LOCAL: Final = "spark-local-dir-1"
"""Spark takes a volume whose name begins so for its blocks."""
_LOCAL_PATH: Final = "/spark-local"
_APPLICATION_LABEL: Final = "spark-app-selector"
_LEAST_HEAP: Final = 512
_LEAST_TASK_BYTES: Final = 512 << 20
_HEAP_PART: Final = 4
_POLL_SECONDS: Final = 0.5
_OF_POD: Final = (
    "serviceAccountName",
    "securityContext",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "affinity",
    "runtimeClassName",
    "priorityClassName",
    "schedulerName",
    "hostAliases",
    "dnsPolicy",
    "dnsConfig",
    "enableServiceLinks",
)
_OF_CONTAINER: Final = ("image", "imagePullPolicy", "workingDir", "securityContext")

log = logging.getLogger(__name__)


class SparkPods(BaseModel):
    """What executors are, where they are pods."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executors: int = Field(default=2, ge=1, le=1000)
    """How many."""
    cpu: Annotated[str, Field(pattern=r"^([1-9][0-9]*m?|[0-9]+\.[0-9]+)$")] = "1"
    """Of each, and of the step that is their driver, as Kubernetes writes it; an executor computes as many tasks at once."""
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi)$")] = "4Gi"
    """Of each, and of that step: a quarter for Java's heap, as much for what Java takes beside it, the rest for Python."""
    account: str = Field(default="platform-assets-spark", min_length=1)
    """Service account of that step: it may make pods."""
    claim: str | None = None
    """PersistentVolumeClaim that a step has at `spark_folder`, and with it its executors."""

    @property
    def cores(self) -> int:
        """Tasks that an executor computes at once."""
        cpu = float(self.cpu.removesuffix("m")) / (1000 if self.cpu.endswith("m") else 1)
        return max(1, math.ceil(cpu))

    @property
    def heap_mebibytes(self) -> int:
        """Java's part of an executor's memory: it hands blocks on, and computes nothing."""
        return max(_LEAST_HEAP, mebibytes(self.memory) // _HEAP_PART)

    @property
    def task_bytes(self) -> int:
        """Memory of the Python process of one task: Java takes about as much beside its heap as in it."""
        return (mebibytes(self.memory) - 2 * self.heap_mebibytes) * (1 << 20) // self.cores

    @model_validator(mode="after")
    def _is_enough(self) -> Self:
        if self.task_bytes < _LEAST_TASK_BYTES:
            raise ValueError(
                f"memory {self.memory} is too little for {self.cores} task(s) at once and Java; give at least "
                f"{quantity_of(2 * _LEAST_HEAP + self.cores * (_LEAST_TASK_BYTES >> 20))}, or less cpu"
            )
        return self


def executor_pod(driver: Mapping[str, Any]) -> dict[str, Any]:
    """The template that Spark makes executor pods of; their size, name, owner and Java are its own affair.

    Args:
        driver: The driver's pod, as the API server has it.
    """
    container = driver["spec"]["containers"][0]
    volumes = [each for each in driver["spec"].get("volumes", ()) if not _is_secret(each)]
    mounts = [
        each
        for each in container.get("volumeMounts", ())
        if each["name"] in {volume["name"] for volume in volumes} and each["mountPath"] != _TOKEN_PATH
    ]
    mounted = {each["name"] for each in mounts}
    labels = {
        "app.kubernetes.io/name": "platform-assets",
        "app.kubernetes.io/part-of": "platform-assets",
        "app.kubernetes.io/component": EXECUTOR,
    }
    if run := driver["metadata"].get("labels", {}).get(RUN_LABEL):
        labels[RUN_LABEL] = run
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": labels},
        "spec": {
            **{field: driver["spec"][field] for field in _OF_POD if field in driver["spec"]},
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "volumes": [
                *(each for each in volumes if each["name"] in mounted),
                {"name": _LOCAL, "emptyDir": {}},
            ],
            "containers": [
                {
                    "name": _CONTAINER,
                    **{field: container[field] for field in _OF_CONTAINER if field in container},
                    # Behind the image's own entrypoint; Spark adds a word of its own.
                    "args": [sys.executable, "-m", "resources.spark_executor"],
                    "env": [each for each in container.get("env", ()) if not _has_secret(each)],
                    "envFrom": [each for each in container.get("envFrom", ()) if "secretRef" not in each],
                    "volumeMounts": [*mounts, {"name": _LOCAL, "mountPath": _LOCAL_PATH}],
                }
            ],
        },
    }


def _is_secret(volume: Mapping[str, Any]) -> bool:
    """Whether it holds a Secret, one of a store outside, or a token as Kubernetes 1.21 and later mount it."""
    parts = volume.get("projected", {}).get("sources", ())
    return (
        "secret" in volume
        or volume.get("csi", {}).get("driver") == _SECRETS_DRIVER
        or any(not _SECRET_SOURCES.isdisjoint(each) for each in parts)
    )


def _has_secret(variable: Mapping[str, Any]) -> bool:
    """Whether it comes from a Secret, or is one by its name or by a password in an address."""
    value = variable.get("value")
    if value is None:
        return "secretKeyRef" in variable.get("valueFrom", {})
    return SECRET_NAME.search(variable["name"].upper()) is not None or _PASSWORD.search(value) is not None


def driver_options(pods: SparkPods, folder: Path) -> tuple[Cluster, dict[str, str]]:
    """The namespace of this pod, and what makes Spark's driver of this process, with executors as pods in it.

    Args:
        pods: What executors are to be.
        folder: Exists; the template is written there.

    Raises:
        SparkError: this process runs in no pod, may not make pods, or has no address.
        ClusterError: the API server does not answer, or answers nothing.
    """
    try:
        cluster = Cluster.of_this_pod()
    except ClusterError:
        raise SparkError(
            "Spark on Kubernetes: this process runs in no pod that has a token; its executors are pods made of its own, so run it "
            "in one of that cluster"
        ) from None
    refused = [verb for verb in RIGHTS if not cluster.may(verb, "pods")]
    if refused:
        raise SparkError(
            f"Spark on Kubernetes: the account of this pod may not {' or '.join(refused)} pods in namespace {cluster.namespace}; give "
            "it the one of k8s/spark (PLATFORM_SPARK_PODS__ACCOUNT)"
        )
    name = os.environ.get("HOSTNAME", "")
    own = cluster.manifest_of(name)
    if own is None or not own.get("status", {}).get("podIP"):
        raise SparkError(
            f"Spark on Kubernetes: namespace {cluster.namespace} has no pod {name or 'of this name'} with an address of its own; "
            "leave hostname and hostNetwork out of the driver's pod"
        )
    template = folder / "executor.json"
    template.write_text(json.dumps(executor_pod(own)), encoding="utf-8")
    container = own["spec"]["containers"][0]
    return cluster, {
        "spark.driver.host": own["status"]["podIP"],
        "spark.driver.memory": f"{pods.heap_mebibytes}m",
        # Its libraries unpack themselves there, and the root of a pod may be read-only.
        "spark.driver.extraJavaOptions": f'-Djava.io.tmpdir="{folder}"',
        # Rows travel between pods; only who has the secret of this session talks, and nobody else reads along.
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        # Of a long run, those that nodes have lost now and then are no sign of an image that cannot start.
        "spark.executor.failuresValidityInterval": "10m",
        "spark.executor.instances": str(pods.executors),
        "spark.executor.cores": str(pods.cores),
        "spark.executor.memory": f"{pods.heap_mebibytes}m",
        "spark.executor.memoryOverhead": f"{mebibytes(pods.memory) - pods.heap_mebibytes}m",
        "spark.kubernetes.namespace": cluster.namespace,
        # Its owner is this pod: executors end with it, whatever becomes of this process.
        "spark.kubernetes.driver.pod.name": name,
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.executor.podTemplateFile": str(template),
        "spark.kubernetes.executor.podTemplateContainerName": _CONTAINER,
        "spark.kubernetes.executor.disableConfigMap": "true",
        "spark.kubernetes.executor.request.cores": pods.cpu,
        "spark.kubernetes.executor.limit.cores": str(pods.cores),
        "spark.kubernetes.container.image": container["image"],
        "spark.kubernetes.container.image.pullPolicy": container.get("imagePullPolicy", "IfNotPresent"),
    }


def await_executors(context: "SparkContext", cluster: Cluster, *, patience_seconds: float) -> None:
    """Return as soon as an executor is there; what they wait for is logged, each reason once.

    Raises:
        SparkError: none came in time, where Spark itself would wait for ever; or Spark has given up on those that ended.
    """
    selector = f"{_APPLICATION_LABEL}={context.applicationId}"
    deadline = time.monotonic() + patience_seconds
    told: list[str] = []
    while not _has_executor(context, told):
        for reason in _reasons(cluster, selector):
            if reason not in told:
                told.append(reason)
                log.info("Spark's executors wait: %s", reason)
        if time.monotonic() > deadline:
            raise SparkError(
                f"Spark on Kubernetes: no executor came in {patience_seconds:.0f} s "
                f"({told[-1] if told else 'no pod was made: a quota may forbid it, see kubectl get events'})"
            )
        time.sleep(_POLL_SECONDS)


def _has_executor(context: "SparkContext", told: Sequence[str]) -> bool:
    try:
        # One of those that are counted is the driver.
        return bool(context._jsc.sc().getExecutorMemoryStatus().size() > 1)  # noqa: SLF001 - pyspark has no other way
    except Exception as problem:
        if not says_gone(problem) or not told:
            raise
        raise SparkError(f"Spark on Kubernetes: no executor came ({told[-1]})") from None


def _reasons(cluster: Cluster, selector: str) -> Iterator[str]:
    try:
        pods = cluster.pods(selector)
    except ClusterUnreachableError as problem:
        # It says nothing about the pods, which come all the same.
        log.warning("%s; executors are waited for", problem)
        return
    for pod in pods:
        if reason := pod.unschedulable or pod.waiting_for:
            yield reason
        elif pod.exit_code:
            yield f"one ended with {pod.exit_code}: its image needs Java, pyspark and this release of the platform"

"""Training on several machines: the Indexed Job of a spec with `nodes`, and what runs it (docs/adr/0024).

Every pod runs torch's launcher, which starts a process for each GPU. The pods meet at the first of them,
under the name that a headless Service gives it.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

from platform_assets.models.pod import container_resources, placement, shared_memory
from platform_assets.models.spec import ModelSpec, ResourcesSpec

RENDEZVOUS_PORT: Final = 29500
TRAINING_MODULE: Final = "platform_assets.tasks.training_process"
_RENDEZVOUS_SECONDS: Final = 1800
"""How long the first pod waits for the last: a node may have to be made, and its image pulled."""
_USER_ID: Final = 65532
_JOB_LABEL: Final = "platform-assets/training-job"
_LINE_CHARACTERS: Final = 32


class JobRunner(Protocol):
    """The cluster that this process is part of, as far as it runs Jobs."""

    @property
    def image(self) -> str:
        """The image that this process runs from."""
        ...

    @property
    def namespace(self) -> str:
        """Where Jobs are made."""
        ...

    def run(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Make these objects, wait until the Job among them has succeeded, and remove them again.

        Objects of the same name that are there already are taken up as they are: an earlier attempt, whose
        own pod was lost, has made them. Where this process is ended, the objects stay for the next attempt.

        Raises:
            ResourceError: a container ended with an error of its own. Another attempt would end the same way.
            Exception: any other, where pods were lost or ran out of memory: the step is tried again.
        """
        ...


def training_job(
    spec: ModelSpec,
    *,
    prefix: str,
    image: str,
    namespace: str,
    service_account: str = "default",
    config_map: str = "platform-settings",
    secret: str = "platform-secrets",  # noqa: S107 - the name of an object
) -> list[dict[str, Any]]:
    """The headless Service and the Indexed Job that train on `nodes` machines, `gpu` processes on each.

    Args:
        spec: Of the line.
        prefix: Of the job's files in the object store, `models/<env>/<line>/<version>.checkpoint`.
        image: Holds this package.
        namespace: Where both are made.
        service_account: Of the pods, which get no token of it: none of them speaks to the API server.
        config_map: Holds the platform's settings as environment variables.
        secret: Holds the credentials of the object store, likewise.
    """
    name = job_name(spec.line, prefix)
    labels = {
        "app.kubernetes.io/name": "platform-assets",
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/part-of": "platform-assets",
        "platform-assets/line": spec.line,
        _JOB_LABEL: name,
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "clusterIP": "None",
            "selector": {_JOB_LABEL: name},
            # Pods look for the first one before any of them is ready.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }
    nodes = spec.resources.nodes
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": nodes,
            "parallelism": nodes,
            # The others cannot go on without a lost pod. The step makes a new Job, which has the checkpoint.
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 86400,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(spec, name, prefix, image, service_account, config_map, secret),
            },
        },
    }
    return [service, job]


def job_name(line: str, prefix: str) -> str:
    """Name of the Job whose files lie below `prefix`: equal for equal models, so that it is found again."""
    version = PurePosixPath(prefix).stem
    # A pod's host name is `<job>-<index>`, of 63 characters at most.
    return f"train-{line.replace('_', '-')[:_LINE_CHARACTERS].rstrip('-')}-{version}"


def _pod(
    spec: ModelSpec, job: str, prefix: str, image: str, service_account: str, config_map: str, secret: str
) -> dict[str, Any]:
    resources = spec.resources
    volumes, mounts = shared_memory(resources)
    return {
        "restartPolicy": "Never",
        "subdomain": job,
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "fsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {_JOB_LABEL: job}},
            }
        ],
        "containers": [
            {
                "name": "training",
                "image": image,
                "command": _command(resources, job, prefix),
                "envFrom": [{"configMapRef": {"name": config_map}}, {"secretRef": {"name": secret}}],
                "env": [{"name": name, "value": "/scratch"} for name in ("HOME", "PLATFORM_HOME", "TMPDIR")],
                "resources": container_resources(resources),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}, *mounts],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
        **placement(resources),
    }


def _command(resources: ResourcesSpec, job: str, prefix: str) -> list[str]:
    return [
        *("python", "-m", "torch.distributed.run"),
        f"--nnodes={resources.nodes}",
        f"--nproc-per-node={max(1, resources.gpu)}",
        # Kubernetes puts the pod's index here. Static: the first pod is the meeting point because it is the
        # first, whether or not DNS knows it yet, and ranks follow the indexes.
        "--node-rank=$(JOB_COMPLETION_INDEX)",
        "--rdzv-backend=static",
        f"--rdzv-endpoint={job}-0.{job}:{RENDEZVOUS_PORT}",
        f"--rdzv-id={job}",
        f"--rdzv-conf=timeout={_RENDEZVOUS_SECONDS}",
        "--max-restarts=0",
        *("-m", TRAINING_MODULE, "--job", prefix),
    ]

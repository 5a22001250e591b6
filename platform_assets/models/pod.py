"""What the training step asks of Kubernetes, as Dagster's tags say it; only an executor that makes pods reads them."""

from typing import Any, Final

from platform_assets.models.spec import ResourcesSpec
from platform_assets.tags import MAX_MEMORY_TAG, POD_TAG
from resources.cluster import mebibytes, quantity_of

GPU: Final = "nvidia.com/gpu"
GPU_POOL: Final = "gpu"
"""Dagster's pool of steps that hold GPUs; its limit is the number of GPUs there are."""
_SHARED_MEMORY: Final = "shared-memory"


def container_resources(resources: ResourcesSpec) -> dict[str, dict[str, str]]:
    """Requests and limits of the training container, equal: a node's other pods never slow it down or end it."""
    amounts = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.gpu:
        amounts[GPU] = str(resources.gpu)
    return {"limits": amounts, "requests": amounts}


def gpu_pool(resources: ResourcesSpec) -> str | None:
    """The pool that the training step belongs to; with several nodes its Job's pods have the GPUs, not the step."""
    return GPU_POOL if resources.gpu and resources.nodes == 1 else None


def pod_tags(resources: ResourcesSpec) -> dict[str, Any]:
    """Tags of the training step.

    They stand on the step and not on a job: only so they reach it from automation, backfills and the UI alike.
    With several nodes, the step makes a Job of pods that train, and waits for it.
    """
    if resources.nodes > 1:
        waiting = ResourcesSpec(cpu="250m", memory="1Gi", max_memory="8Gi")
        return pod_tags(waiting)
    volumes, mounts = shared_memory(resources)
    container = {"resources": container_resources(resources)} | ({"volumeMounts": mounts} if mounts else {})
    pod = placement(resources) | ({"volumes": volumes} if volumes else {})
    config = {"container_config": container} | ({"pod_spec_config": pod} if pod else {})
    return {POD_TAG: config, MAX_MEMORY_TAG: max_memory(resources)}


def placement(resources: ResourcesSpec) -> dict[str, Any]:
    """Where a pod that trains may run, as fields of its spec; only those that the training spec states."""
    stated = {
        "nodeSelector": dict(resources.node_selector),
        "tolerations": [each.model_dump(exclude_none=True) for each in resources.tolerations],
        "runtimeClassName": resources.runtime_class,
        "priorityClassName": resources.priority_class,
    }
    return {field: value for field, value in stated.items() if value}


def shared_memory(resources: ResourcesSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts of /dev/shm in the size that the training spec states; none where it states none."""
    if not resources.shared_memory:
        return [], []
    in_memory = {"medium": "Memory", "sizeLimit": resources.shared_memory}
    return (
        [{"name": _SHARED_MEMORY, "emptyDir": in_memory}],
        [{"name": _SHARED_MEMORY, "mountPath": "/dev/shm"}],  # noqa: S108 - the device
    )


def max_memory(resources: ResourcesSpec) -> str:
    """The most memory that a training pod gets after it ran out."""
    return resources.max_memory or quantity_of(2 * mebibytes(resources.memory))

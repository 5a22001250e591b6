"""What a transformer's step asks of Kubernetes where it is Spark's driver, as Dagster's tags say it."""

from typing import Any, Final

from platform_assets.tags import MAX_MEMORY_TAG, POD_TAG
from resources.cluster import mebibytes, quantity_of
from resources.settings import PlatformSettings
from resources.spark import on_kubernetes

DRIVER_LABEL: Final = "platform-assets/spark-driver"
"""On the pod of a driver: NetworkPolicies let its executors reach it."""
_VOLUME: Final = "spark"


def pod_tags(settings: PlatformSettings) -> dict[str, Any]:
    """Tags of a transformer's step; none where it needs no pod of its own, as executors are no pods that it makes."""
    if settings.features_engine != "spark" or not on_kubernetes(settings.spark_remote):
        return {}
    pods = settings.spark_pods
    container: dict[str, Any] = {
        "resources": {
            "requests": {"cpu": pods.cpu, "memory": pods.memory},
            "limits": {"cpu": str(pods.cores), "memory": pods.memory},
        }
    }
    pod: dict[str, Any] = {"serviceAccountName": pods.account, "automountServiceAccountToken": True}
    if pods.claim is not None:
        container["volumeMounts"] = [{"name": _VOLUME, "mountPath": str(settings.spark_folder)}]
        pod["volumes"] = [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": pods.claim}}]
    return {
        POD_TAG: {
            "container_config": container,
            "pod_spec_config": pod,
            "pod_template_spec_metadata": {"labels": {DRIVER_LABEL: "true"}},
        },
        MAX_MEMORY_TAG: quantity_of(2 * mebibytes(pods.memory)),
    }

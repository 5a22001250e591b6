"""What k8s/spark brings, on the test cluster: an account that may make pods, and a volume that pods and this machine see."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from resources.spark import java, spark_lacks
from scripts.k8s import MANIFESTS, ROOT

CLAIM = "platform-assets-spark"
MOUNT = "/spark"
"""Where pods have it."""
SCRATCH = "/scratch"
"""Each pod's own: nothing else of its root may be written to."""


def shared_folder() -> Path | None:
    """Where this machine has it; None where pods are on others, or would find no Spark."""
    state = os.environ.get("CLUSTER_STATE")
    return Path(state) / "shared" / "spark" if state and java() and not spark_lacks() else None


def pod_settings() -> dict[str, str]:
    """Of the platform's pods: two executors, so small that the test cluster has room for them."""
    return {
        "PLATFORM_FEATURES_ENGINE": "spark",
        "PLATFORM_SPARK_REMOTE": "k8s://in-cluster",
        "PLATFORM_SPARK_FOLDER": MOUNT,
        "PLATFORM_SPARK_PODS__CLAIM": CLAIM,
        "PLATFORM_SPARK_PODS__CPU": "250m",
        "PLATFORM_SPARK_PODS__MEMORY": "1536Mi",
    }


def pod_variables() -> dict[str, str]:
    """What no setting is."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        # The checkout that pods see may not be written to: without this, each compiles all kernels.
        "NUMBA_CACHE_DIR": f"{MOUNT}/numba",
    }


def install_spark(apply: Callable[[dict[str, Any]], None], namespace: str) -> Path:
    """Make account, rights and volume; the volume's folder on this machine."""
    folder = shared_folder()
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("rbac.yaml", "claim.yaml"):
        text = (MANIFESTS / "spark" / name).read_text()
        for each in yaml.safe_load_all(text.replace("namespace: platform-assets", f"namespace: {namespace}")):
            apply(each)
    claim = {"namespace": namespace, "name": CLAIM}
    volume = {
        "capacity": {"storage": "50Gi"},
        "accessModes": ["ReadWriteMany"],
        "hostPath": {"path": str(folder)},
        "claimRef": claim,
    }
    apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": CLAIM}, "spec": volume})
    return folder


def driver_pod(name: str, image: str, *arguments: str) -> dict[str, Any]:
    """A pod that is Spark's driver, as restricted as ours but for its user."""
    scratch = {"PLATFORM_HOME": f"{SCRATCH}/home", "HOME": SCRATCH, "TMPDIR": SCRATCH}
    variables = {**pod_settings(), **pod_variables(), **scratch}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": CLAIM,
            "automountServiceAccountToken": True,
            "restartPolicy": "Never",
            "volumes": [
                {"name": "spark", "persistentVolumeClaim": {"claimName": CLAIM}},
                {"name": "scratch", "emptyDir": {}},
            ],
            "containers": [
                {
                    "name": "driver",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "workingDir": str(ROOT),
                    "args": ["python", *arguments],
                    "env": [{"name": each, "value": value} for each, value in variables.items()],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "spark", "mountPath": MOUNT},
                        {"name": "scratch", "mountPath": SCRATCH},
                    ],
                    "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}},
                }
            ],
        },
    }

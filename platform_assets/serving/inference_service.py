"""The KServe manifest that serves one release of a model line."""

import re
from collections.abc import Mapping
from typing import Any

from resources.errors import PlatformError

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# KServe names the Deployment and Service `<name>-predictor`; a Service name holds 63 characters.
_NAME_MAX_LENGTH = 63 - len("-predictor")


class ServingError(PlatformError):
    """A release cannot be served as it is described."""


def inference_service(
    *,
    line: str,
    release_id: str,
    model_version: str,
    source_commit: str,
    data_version: str,
    model_uri: str,
    deployment: Mapping[str, Any],
    model_format: str,
) -> dict[str, Any]:
    """The `serving.kserve.io/v1beta1` InferenceService of one release, in Standard mode.

    What people select by is a label; what may be longer or stranger than a label's 63 characters
    (hashes, `abc123+dirty`) is an annotation.

    Args:
        line: Name of the model line; its underscores become hyphens in the object's name.
        release_id: The release that is served.
        model_version: Version number in the model registry.
        source_commit: Commit of the training spec.
        data_version: Content hash of the dataset the model was trained on.
        model_uri: Where KServe's storage initializer finds the model's files.
        deployment: The section `deployment` of training-spec.yaml: `min_replicas`, `max_replicas`, `cpu`
            (cores or a quantity such as `500m`), `memory` (a quantity) and `gpu` (whole devices).
        model_format: KServe's name of the format, by which it picks the serving runtime.

    Raises:
        ServingError: a field of `deployment` is missing or impossible, or a name is not legal in Kubernetes.
    """
    min_replicas, max_replicas = _field(deployment, "min_replicas"), _field(deployment, "max_replicas")
    if not 1 <= min_replicas <= max_replicas:
        raise ServingError(
            f"deployment.min_replicas is {min_replicas} and deployment.max_replicas is {max_replicas}: "
            "Standard mode needs 1 ≤ min_replicas ≤ max_replicas, it cannot scale to zero"
        )
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": _object_name(line),
            "labels": {
                "app.kubernetes.io/part-of": "platform-assets",
                "platform-assets/line": _label("line", line),
                "platform-assets/model-version": _label("model_version", model_version),
            },
            "annotations": {
                "serving.kserve.io/deploymentMode": "Standard",
                "platform-assets/release-id": release_id,
                "platform-assets/source-commit": source_commit,
                "platform-assets/data-version": data_version,
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": min_replicas,
                "maxReplicas": max_replicas,
                "model": {
                    "modelFormat": {"name": model_format},
                    "storageUri": model_uri,
                    # Equal requests and limits: latency must not depend on what the neighbours leave over.
                    "resources": {"requests": _quantities(deployment), "limits": _quantities(deployment)},
                },
            },
        },
    }


def _quantities(deployment: Mapping[str, Any]) -> dict[str, str]:
    quantities = {"cpu": str(_field(deployment, "cpu")), "memory": str(_field(deployment, "memory"))}
    if gpu := _field(deployment, "gpu"):
        quantities["nvidia.com/gpu"] = str(gpu)
    return quantities


def _field(deployment: Mapping[str, Any], name: str) -> Any:
    if deployment.get(name) is None:
        raise ServingError(f"deployment.{name} is missing: add it to training-spec.yaml")
    return deployment[name]


def _object_name(line: str) -> str:
    name = line.replace("_", "-")
    if not _DNS_LABEL.fullmatch(name) or len(name) > _NAME_MAX_LENGTH:
        raise ServingError(
            f"the line {line!r} cannot name a Kubernetes object: use at most {_NAME_MAX_LENGTH} lower-case letters, "
            "digits and underscores, beginning with a letter and not ending with an underscore"
        )
    return name


def _label(what: str, value: str) -> str:
    if not _LABEL_VALUE.fullmatch(value):
        raise ServingError(
            f"{what} {value!r} is not a legal Kubernetes label: use at most 63 letters, digits, `-`, `_` and `.`, "
            "beginning and ending with a letter or digit"
        )
    return value

"""The Job of one trial: the Experiment's, with what the pod has that executes the Experiment.

On Katib the template alone says where a trial runs. Here its pod gets the image, account, variables and volumes of the pod
beside which it is made, so that it is the same release and finds the same state, and the resources of the training spec.
What the template states itself stands, but for image and resources.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from platform_assets.fingerprint import canonical_sha256
from platform_assets.models.pod import container_resources, placement, shared_memory
from platform_assets.models.spec import ResourcesSpec

IDENTITY: Final = "platform-assets/trial-sha256"
"""Annotation of the Job: equal for equal trials, whichever pod has begun them."""
_KEPT_SECONDS: Final = 86_400
_OF_POD: Final = (
    *("serviceAccountName", "securityContext", "imagePullSecrets", "enableServiceLinks", "hostAliases"),
    *("dnsPolicy", "dnsConfig", "nodeSelector", "tolerations", "priorityClassName", "schedulerName"),
)
_OF_CONTAINER: Final = ("workingDir", "securityContext")
_TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_LABELS: Final = {
    "app.kubernetes.io/name": "platform-assets",
    "app.kubernetes.io/component": "trial",
    "app.kubernetes.io/part-of": "platform-assets",
}
"""By which network policies know the pod."""
_OF_THE_RUN: Final = "DAGSTER_RUN_"
"""What variables begin with that tell a pod which run or step it works for."""


def trial_job(
    job: Mapping[str, Any],
    *,
    container: str,
    beside: Mapping[str, Any],
    resources: ResourcesSpec,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """The manifest.

    Args:
        job: As Katib would make it: `Experiment.trial_manifest`.
        container: Name of the primary container.
        beside: The pod that executes the Experiment, as the API server writes it.
        resources: Of the training spec; a trial trains on one node.
        environment: Further variables of the primary container.
    """
    made = copy.deepcopy(dict(job))
    own = beside["spec"]
    made["metadata"] |= {"namespace": beside["metadata"]["namespace"]}
    annotations = made["metadata"].setdefault("annotations", {})
    annotations[IDENTITY] = canonical_sha256(
        {"job": dict(job), "environment": dict(environment), "resources": container_resources(resources)}
    )
    made["spec"].setdefault("ttlSecondsAfterFinished", _KEPT_SECONDS)
    template = made["spec"]["template"]
    labels = (template.get("metadata") or {}).get("labels") or {}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": _LABELS | labels}
    pod = template["spec"]
    for field in _OF_POD:
        if field in own:
            pod.setdefault(field, own[field])
    # A trial speaks to the platform's state, and not to the API server.
    pod["automountServiceAccountToken"] = False
    pod |= placement(resources)
    (primary,) = [each for each in pod["containers"] if each["name"] == container]
    _join(pod, primary, own["containers"][0], own.get("volumes", ()))
    in_memory, mounted = shared_memory(resources)
    pod["volumes"] = [*pod["volumes"], *in_memory]
    primary["volumeMounts"] = [*primary["volumeMounts"], *mounted]
    primary["resources"] = container_resources(resources)
    primary["env"] = _joined(
        primary["env"], [{"name": name, "value": value} for name, value in environment.items()], "name"
    )
    return made


def _join(
    pod: dict[str, Any], primary: dict[str, Any], own: Mapping[str, Any], volumes: Iterable[Mapping[str, Any]]
) -> None:
    """Give the primary container what another container has: its image, variables and mounts."""
    primary["image"] = own["image"]
    if "imagePullPolicy" in own:
        primary["imagePullPolicy"] = own["imagePullPolicy"]
    for field in _OF_CONTAINER:
        if field in own:
            primary.setdefault(field, own[field])
    env = [each for each in own.get("env", ()) if not each["name"].startswith(_OF_THE_RUN)]
    primary["env"] = _joined(env, primary.get("env", ()), "name")
    from_maps = [*own.get("envFrom", ())]
    primary["envFrom"] = [*from_maps, *(each for each in primary.get("envFrom", ()) if each not in from_maps)]
    stated = {each["name"] for each in pod.get("volumes", ())}
    taken = [each["mountPath"] for each in primary.get("volumeMounts", ())] + [_TOKEN_PATH]
    mounts = [
        each
        for each in own.get("volumeMounts", ())
        if each["name"] not in stated
        and not any(PurePosixPath(each["mountPath"]).is_relative_to(path) for path in taken)
    ]
    needed = {each["name"] for each in mounts}
    primary["volumeMounts"] = [*primary.get("volumeMounts", ()), *mounts]
    pod["volumes"] = [*pod.get("volumes", ()), *(each for each in volumes if each["name"] in needed)]


def _joined(
    first: Sequence[Mapping[str, Any]], second: Iterable[Mapping[str, Any]], key: str
) -> list[Mapping[str, Any]]:
    """Both lists; of two with one name, the second's."""
    later = {each[key]: each for each in second}
    return [*(each for each in first if each[key] not in later), *later.values()]

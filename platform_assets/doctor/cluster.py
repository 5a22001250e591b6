"""The cluster that this pod runs in: its API server, what this account may do, which kinds of ours are served."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from platform_assets.doctor.findings import OWN_PATIENCE_SECONDS, Finding, Probe, Status, one_line
from resources.cluster_access import NEEDED, AccessError, ClusterAccess, NoAccountError, Permission
from resources.settings import PlatformSettings

_SUBJECT: Final = "cluster"
_ADVICE: Final = "see that the pod's account has a token (automountServiceAccountToken) and that NetworkPolicies let it out"
_KINDS: Final = (
    ("kubeflow.org/v1", "FeatureTransformer", "transformers as objects", "kubectl apply -k k8s/crds"),
    ("triggers.tekton.dev/v1beta1", "EventListener", "Tekton's triggers", "`platform-assets listen` needs none of them"),
)  # fmt: skip
"""Kinds that some part of the platform can use, for what, and what to do where they are not served."""
_RIGHTS_OF: Final = {"platform-assets-spark": "k8s/spark/rbac.yaml"}
"""Where an account gets its rights, if not from Dagster's file."""
_REQUEST_SECONDS: Final = OWN_PATIENCE_SECONDS / 2


def probes_of_cluster(
    settings: PlatformSettings, access: Callable[[], ClusterAccess] | None = None
) -> list[Probe]:
    """A probe of the API server; one that finds nothing to look at where this is no pod.

    Args:
        settings: Say whether this should be a pod.
        access: Another way to the API server than that of this pod.
    """
    return [Probe("systems", _SUBJECT, lambda: _cluster(settings, access or _of_this_pod), _ADVICE)]


def _of_this_pod() -> ClusterAccess:
    return ClusterAccess.of_this_pod(timeout_seconds=_REQUEST_SECONDS)


def _cluster(settings: PlatformSettings, access: Callable[[], ClusterAccess]) -> Iterator[Finding]:
    is_pod = access is not _of_this_pod or bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if not is_pod:
        status: Status = "warning" if settings.profile == "cluster" else "not used"
        advice = "run this in a pod: kubectl exec deploy/platform-assets-code -- platform-assets doctor"
        yield Finding(
            "systems", _SUBJECT, status, "this process runs in no pod", advice if status == "warning" else ""
        )
        return
    try:
        server = access()
        begun = time.time()
        answer = server.version()
        now = time.time()
        skew = None
        if answer.time is not None:
            skew = answer.time - now if answer.time > now else min(0.0, answer.time + 1 - begun)
        yield Finding("systems", _SUBJECT, "ok", f"version {answer.body['gitVersion']}", skew_seconds=skew)
        yield _permissions(server)
        yield from _served(server)
    except NoAccountError as problem:
        yield Finding("systems", _SUBJECT, "not used", f"{problem}, as is right for pods that start no runs")
    except AccessError as problem:
        yield Finding("systems", _SUBJECT, "problem", one_line(problem), _ADVICE)


def _permissions(server: ClusterAccess) -> Finding:
    account = server.account()
    needed = NEEDED.get(account)
    if needed is None:
        return Finding("systems", "permissions", "ok", f"the account {account} needs none")
    lacking = [each for each in needed if not server.may(each)]
    if lacking:
        return Finding(
            "systems",
            "permissions",
            "problem",
            f"the account {account} may not {', '.join(map(_told, lacking))} in {server.namespace}",
            f"kubectl apply -f {_RIGHTS_OF.get(account, 'k8s/dagster/rbac.yaml')}, in the namespace of the pods",
        )
    return Finding(
        "systems", "permissions", "ok", f"the account {account} has all {len(needed)} that it needs"
    )


def _served(server: ClusterAccess) -> Iterator[Finding]:
    for group_version, kind, use, otherwise in _KINDS:
        if kind in server.kinds(group_version):
            yield Finding("systems", kind, "ok", f"served in {group_version}: {use}")
        else:
            yield Finding("systems", kind, "not used", f"not served in {group_version}: no {use}", otherwise)


def _told(permission: Permission) -> str:
    group, resource, verb = permission
    return f"{verb} {resource}{f'.{group}' if group else ''}"

"""Who a pod is to the API server of its cluster, what it may do there, and what is served.

Asked over plain HTTP, without the Kubernetes client: that takes a second to load, and this is asked by who is in doubt
whether anything works at all.
"""

import json
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

from resources.errors import ResourceError
from resources.spark_pods import RIGHTS

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WATCH: Final = (
    ("batch", "jobs", "get"), ("batch", "jobs", "list"), ("batch", "jobs/status", "get"), ("batch", "jobs/status", "list"),
    ("", "pods", "get"), ("", "pods", "list"), ("", "pods/log", "get"), ("", "pods/log", "list"), ("", "events", "list"),
)  # fmt: skip
_END: Final = (("batch", "jobs", "delete"), ("", "pods", "delete"))
_START: Final = (("batch", "jobs", "create"),)
_TRAIN_ON_NODES: Final = (("", "services", "create"), ("", "services", "delete"), ("", "services", "get"))

Permission = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""
NEEDED: Final[Mapping[str, tuple[Permission, ...]]] = {
    "platform-assets-webserver": _WATCH + _END,
    "platform-assets-daemon": _WATCH + _END + _START,
    "platform-assets-run": _WATCH + _END + _START + _TRAIN_ON_NODES,
    "platform-assets-code": (
        ("kubeflow.org", "featuretransformers", "list"),
        ("kubeflow.org", "featuretransformers/status", "patch"),
    ),
    "platform-assets-workflow": _WATCH + _END + _START + _TRAIN_ON_NODES,
    "platform-assets-spark": tuple(("", "pods", verb) for verb in RIGHTS),
}
"""What each account of ours needs, as k8s/dagster/rbac.yaml and k8s/spark/rbac.yaml give it; the others need nothing."""


class AccessError(ResourceError):
    """The API server does not answer, or does not tell."""


class NoAccountError(AccessError):
    """There is nobody in whose name to ask: no pod, or one without a token."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said, and when by its own clock (seconds since the epoch; None where it did not tell)."""

    body: Mapping[str, Any]
    time: float | None


class ClusterAccess:
    """One account at one API server.

    Args:
        server: Its URL.
        token: Of the account.
        authority: File with the certificates that the server's must come from; None: those of the system.
        namespace: Where permissions are asked for.
        timeout_seconds: For each request.
    """

    def __init__(
        self, server: str, *, token: str, authority: Path | None, namespace: str, timeout_seconds: float
    ) -> None:
        self._server = server
        self._token = token
        self._authority = authority
        self.namespace = namespace
        self._timeout_seconds = timeout_seconds

    @classmethod
    def of_this_pod(cls, *, timeout_seconds: float, account: Path = _ACCOUNT) -> "ClusterAccess":
        """The account that this pod runs under.

        Raises:
            NoAccountError: This process runs in no pod, or its pod was given no token.
        """
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
        if not host:
            raise NoAccountError("this process runs in no pod")
        try:
            token = (account / "token").read_text(encoding="ascii").strip()
            namespace = (account / "namespace").read_text(encoding="ascii").strip()
        except OSError as problem:
            raise NoAccountError(f"this pod was given no token of its account: {problem.strerror}") from None
        address = f"[{host}]" if ":" in host else host
        return cls(
            f"https://{address}:{port or 443}",
            token=token,
            authority=account / "ca.crt",
            namespace=namespace,
            timeout_seconds=timeout_seconds,
        )

    def version(self) -> Answer:
        """The server's version: `gitVersion`."""
        return self._ask("/version")

    def account(self) -> str:
        """Name of the account, without its namespace; as the server names it where it is none of a namespace."""
        kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        told = self._ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", kind).body
        return str(told["status"]["userInfo"]["username"]).rpartition(":")[2]

    def may(self, permission: Permission) -> bool:
        """Whether the account may do this in the namespace."""
        group, resource, verb = permission
        name, _, subresource = resource.partition("/")
        attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": name}
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": attributes | ({"subresource": subresource} if subresource else {})
            },
        }
        told = self._ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asked).body
        return bool(told.get("status", {}).get("allowed"))

    def kinds(self, group_version: str) -> frozenset[str]:
        """The kinds that are served of a group and version, e.g. `kubeflow.org/v1`; none where it is not served."""
        try:
            told = self._ask(f"/apis/{group_version}").body
        except AccessError as problem:
            if isinstance(problem.__cause__, HTTPError) and problem.__cause__.code == 404:  # noqa: PLR2004
                return frozenset()
            raise
        return frozenset(str(each.get("kind")) for each in told.get("resources", ()))

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the kubelet names the server
            f"{self._server}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            trusted = ssl.create_default_context(cafile=str(self._authority)) if self._authority else None
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=self._timeout_seconds, context=trusted
            ) as answer:
                date = answer.headers.get("Date")
                return Answer(
                    json.loads(answer.read()), parsedate_to_datetime(date).timestamp() if date else None
                )
        except (OSError, ValueError) as problem:
            raise AccessError(f"{self._server}{path}: {problem}") from problem

"""Objects of a kind that a CustomResourceDefinition defines, in one namespace of a cluster."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Protocol

from resources.cluster import (
    CONFLICT,
    REQUEST_TIMEOUT_SECONDS,
    Cluster,
    ClusterError,
    answer_of,
    said_by,
)

_MERGE: Final = "application/merge-patch+json"
Content = Mapping[str, Any]
"""An object as JSON has it."""


class CustomObjects(Protocol):
    """The objects of one kind."""

    @property
    def namespace(self) -> str:
        """Where they are."""
        ...

    def found(self) -> Sequence[Content]:
        """All of them.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it does not serve the kind, or may not tell.
        """
        ...

    def patch_status(self, seen: Content, status: Content) -> bool:
        """Writes these fields of an object's status; False where it is gone, or is no longer what was seen.

        Raises:
            ClusterUnreachableError: the API server does not answer.
            ClusterError: it refuses.
        """
        ...


class ClusterObjects:
    """Those that an API server has.

    Args:
        namespace: Where they are.
        api_version: Group and version, as `kubeflow.org/v1`.
        plural: The kind's name in URLs.
        api: Of the Kubernetes client, or None for that of the process's own configuration.
    """

    def __init__(self, namespace: str, *, api_version: str, plural: str, api: Any = None) -> None:
        self.namespace = namespace
        self._kind = f"{plural}.{api_version}"
        group, _, version = api_version.partition("/")
        self._path = (group, version, namespace, plural)
        self._given = api

    @classmethod
    def of_this_pod(cls, *, api_version: str, plural: str) -> "ClusterObjects":
        """Those of the namespace that this pod runs in.

        Raises:
            ClusterError: this process runs in no pod.
        """
        return cls(Cluster.of_this_pod().namespace, api_version=api_version, plural=plural)

    @cached_property
    def _api(self) -> Any:
        import kubernetes

        return self._given or kubernetes.client.CustomObjectsApi()

    def found(self) -> Sequence[Content]:
        """All of them; see `CustomObjects`."""
        import kubernetes

        try:
            listed = answer_of(
                lambda: self._api.list_namespaced_custom_object(
                    *self._path, _request_timeout=REQUEST_TIMEOUT_SECONDS
                )
            )
        except kubernetes.client.rest.ApiException as problem:
            raise ClusterError(
                f"{self._kind} cannot be listed in namespace {self.namespace}: {said_by(problem)}"
            ) from problem
        if listed is None:
            raise ClusterError(f"the cluster does not serve {self._kind}: kubectl apply -k k8s/crds")
        return list(listed["items"])

    def patch_status(self, seen: Content, status: Content) -> bool:
        """Writes these fields of an object's status; see `CustomObjects`."""
        import kubernetes

        metadata = seen["metadata"]
        # With the version that was seen: what others have written into the status meanwhile is not overwritten.
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        try:
            answer = answer_of(
                lambda: self._api.patch_namespaced_custom_object_status(
                    *self._path,
                    metadata["name"],
                    patch,
                    _content_type=_MERGE,
                    _request_timeout=REQUEST_TIMEOUT_SECONDS,
                )
            )
        except kubernetes.client.rest.ApiException as problem:
            if problem.status == CONFLICT:
                return False
            raise ClusterError(
                f"the status of {metadata['name']} cannot be written: {said_by(problem)}"
            ) from problem
        return answer is not None

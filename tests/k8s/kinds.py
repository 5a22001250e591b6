"""Finding one's way among objects."""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The one with this kind and name."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


def workloads(objects: list[Object]) -> list[Object]:
    """All that makes pods."""
    return of_kind(objects, "Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob")


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every container, with the name of what makes its pod."""
    for workload in workloads(objects):
        pod = workload["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield workload["metadata"]["name"], container


def config(objects: list[Object], name: str) -> dict[str, str]:
    """The data of a ConfigMap."""
    data: dict[str, str] = one(objects, "ConfigMap", name)["data"]
    return data

"""Manifests as an API server takes them: defaults, admission and validation are its own."""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy

import pytest

from scripts.k8s import MANIFESTS, dry_run, objects_of, overlays, render
from tests.cluster.deployment import reachable_host

pytestmark = pytest.mark.cluster


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Output of kubectl."""
    done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def objects() -> Iterator[dict[str, list[dict]]]:
    """All objects, by overlay; the namespaces that they lie in exist until the end."""
    if reachable_host() is None:
        pytest.skip("NO CLUSTER: set KUBECONFIG")
    by_overlay = {name: objects_of(render(MANIFESTS / "overlays" / name)) for name in overlays()}
    namespaces = {
        each["metadata"]["name"]: each
        for found in by_overlay.values()
        for each in found
        if each["kind"] == "Namespace"
    }
    known = kubectl("get", "namespaces", "-o", "name").split()
    made = [each for name, each in namespaces.items() if f"namespace/{name}" not in known]
    for each in made:
        kubectl("apply", "-f", "-", given=json.dumps(each))
    yield by_overlay
    for each in made:
        kubectl("delete", "namespace", each["metadata"]["name"], "--wait=false")


def test_the_api_server_admits_every_object_that_it_knows(objects):
    """None is refused, and those that it cannot judge are of newer versions or of others' kinds."""
    asked = [(overlay, each) for overlay, found in objects.items() for each in found]

    found = dry_run(asked)

    assert found.refused == []
    assert len(found.accepted) + len(found.not_served) == len(asked)
    judged = {told.split(": ")[1].split()[0] for told in found.accepted}
    assert {"Deployment", "Service", "NetworkPolicy", "Role", "RoleBinding", "ResourceQuota"} <= judged


def test_the_api_server_refuses_a_spoiled_one(objects):
    """A Service on a port that there is not."""
    spoiled = deepcopy(next(each for each in objects["dev"] if each["kind"] == "Service"))
    spoiled["spec"]["ports"][0]["port"] = 65536

    found = dry_run([("dev", spoiled)])

    assert (found.accepted, found.not_served) == ([], [])
    assert "65535" in str(found.refused[0])

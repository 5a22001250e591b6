"""FeatureTransformers on a real API server: it and the models agree on every object."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from platform_assets.features.transformer_crd import GROUP, PLURAL, VERSION
from platform_assets.features.transformer_spec import read_transformer, transformer_of_object
from scripts.k8s import MANIFESTS
from tests.api_server import NAMESPACE, ApiServer, api_server
from tests.features.transformer_objects import RIGHT, WRONG, Object, transformer

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # its certificate is its own


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """A server that knows the kind."""
    with api_server(MANIFESTS / "crds") as found:
        yield found


@pytest.fixture(scope="module")
def objects(server: ApiServer) -> Any:
    """The Python client's way to objects."""
    import kubernetes

    return kubernetes.client.CustomObjectsApi(server.client())


def refusal(objects: Any, content: Object, *, keep: bool = False) -> str | None:
    """Why the server refuses an object, as strictly as kubectl asks; None where it takes it."""
    import kubernetes

    try:
        objects.create_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, content,
            field_validation="Strict", **({} if keep else {"dry_run": "All"}),
        )  # fmt: skip
    except kubernetes.client.rest.ApiException as problem:
        if problem.status not in {400, 422}:
            raise
        return str(json.loads(problem.body)["message"])
    return None


@pytest.mark.parametrize("name", RIGHT)
def test_the_server_takes_what_the_models_take(objects: Any, name: str):
    """Every right one."""
    assert refusal(objects, RIGHT[name]) is None


@pytest.mark.parametrize("name", WRONG)
def test_the_server_refuses_what_the_models_refuse(objects: Any, name: str):
    """Every wrong one; what a validator says of it, the server says in the same words."""
    said = refusal(objects, WRONG[name])

    assert said is not None
    with pytest.raises(ValidationError) as refused:
        transformer_of_object(WRONG[name])
    first = refused.value.errors()[0]
    if (
        first["type"] == "value_error"
        and "metadata" not in first["loc"]
        and "a name stands twice" not in first["msg"]
    ):
        assert first["msg"].removeprefix("Value error, ") in said


@pytest.mark.parametrize(
    "name", ["the least of woe", "all of woe", "the least of zscore", "all of lag", "nulls"]
)
def test_one_manifest_two_runtimes(server: ApiServer, name: str, tmp_path: Path):
    """What kubectl reads back, with the server's defaults, is to a laptop what the file itself is to it."""
    file, back = tmp_path / "file.yaml", tmp_path / "back.yaml"
    file.write_text(yaml.safe_dump(RIGHT[name]))

    applied = server.kubectl("-n", "kept", "apply", "-f", str(file), "-o", "yaml")
    assert applied.returncode == 0, applied.stderr
    back.write_text(applied.stdout)

    found, stated = read_transformer(back).content, transformer_of_object(RIGHT[name])
    assert found.name == stated.name
    assert found.spec.normalised() == stated.spec.normalised()
    section = found.spec.transformer_type
    if section in RIGHT[name]["spec"]:
        assert found.spec.of_type() == stated.spec.of_type()


def test_explain_says_what_fields_are(server: ApiServer):
    """The words of the models."""
    told = server.kubectl("explain", "featuretransformer.spec.woe.smoothing").stdout
    assert "so that an empty cell has a finite weight." in " ".join(told.split())
    assert "conditions" in server.kubectl("explain", "ft.status").stdout


def test_a_status_changes_no_spec(server: ApiServer, objects: Any):
    """It is patched by itself, and the generation stays; a patch of the object leaves the status."""
    name = "with-status"
    assert refusal(objects, transformer(name=name), keep=True) is None
    path = (GROUP, VERSION, NAMESPACE, PLURAL, name)
    condition = {
        "type": "Registered", "status": "True", "reason": "Registered", "message": "",
        "lastTransitionTime": "2026-11-29T12:00:00Z",
    }  # fmt: skip
    status = {
        "observedGeneration": 1,
        "assetKey": "with_status",
        "newestVersion": "v3",
        "conditions": [condition],
    }
    merge = {"_content_type": "application/merge-patch+json"}

    objects.patch_namespaced_custom_object_status(
        *path, {"status": status, "spec": {"windowDays": 7}}, **merge
    )
    after = objects.get_namespaced_custom_object(*path)
    assert after["status"] == status
    assert (after["spec"]["windowDays"], after["metadata"]["generation"]) == (30, 1)

    objects.patch_namespaced_custom_object(
        *path, {"spec": {"windowDays": 7}, "status": {"assetKey": "x"}}, **merge
    )
    after = objects.get_namespaced_custom_object(*path)
    assert after["status"] == status
    assert (after["spec"]["windowDays"], after["metadata"]["generation"]) == (7, 2)

    (header, line) = server.kubectl("get", "ft", name).stdout.splitlines()
    assert header.split() == ["NAME", "TYPE", "DAYS", "SOURCE", "REGISTERED", "NEWEST", "AGE"]
    assert line.split()[:6] == [name, "woe", "7", "asset://credit_scorecard_dataset", "True", "v3"]

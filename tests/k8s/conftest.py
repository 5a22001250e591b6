"""The overlays, rendered once by the real kustomize."""

from pathlib import Path
from typing import Any

import pytest

from scripts.k8s import MANIFESTS, ManifestsError, kustomizer, objects_of, overlays, render

Objects = list[dict[str, Any]]


def rendered(folder: str) -> Objects:
    """The objects of a kustomization below k8s/; skips the test where nothing can render it."""
    try:
        kustomizer()
    except ManifestsError as problem:
        pytest.skip(f"NOT RENDERED: {problem}")
    return objects_of(render(MANIFESTS / folder))


@pytest.fixture(scope="session")
def by_overlay() -> dict[str, Objects]:
    """The objects of each overlay."""
    return {name: rendered(f"overlays/{name}") for name in overlays()}


@pytest.fixture(params=["dev", "prod"])
def objects(request: pytest.FixtureRequest, by_overlay: dict[str, Objects]) -> Objects:
    """The objects of one overlay; the test runs for each."""
    return by_overlay[request.param]


@pytest.fixture
def in_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kubelet gives to a pod with a token: the run launcher looks for it when it is made."""
    from kubernetes.config import incluster_config

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "kubernetes.invalid")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for name in ("SERVICE_TOKEN_FILENAME", "SERVICE_CERT_FILENAME"):
        (tmp_path / name).write_text("of the tests")
        monkeypatch.setattr(incluster_config, name, str(tmp_path / name))

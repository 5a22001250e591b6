"""The overlays, rendered once by the real kustomize."""

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

"""The registry: one version for one fingerprint, whoever registers it and how often."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from resources.model_registry import MlflowRegistry, RegistryError

RACED = "reviews_sentiment"


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """A home whose registry two processes made at once, registering three models; and what they printed."""
    home = tmp_path_factory.mktemp("registry")
    command = [
        sys.executable,
        Path(__file__).with_name("registrar.py"),
        uri_of(home),
        home / "locks",
        RACED,
        "3",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
            for _ in range(2)
        ]
        return home, [process.communicate()[0].split() for process in processes]


@pytest.fixture
def home(raced):
    """Where the registry of this module lies."""
    return raced[0]


@pytest.fixture
def registry(home):
    """The registry of this module."""
    return opened(home)


@pytest.fixture
def name():
    """A model name that no other test uses."""
    return f"model_{uuid4().hex[:8]}"


def uri_of(home: Path) -> str:
    """The registry's address."""
    return f"sqlite:///{home / 'mlflow' / 'mlflow.sqlite'}"


def opened(home: Path) -> MlflowRegistry:
    """The registry of a home, as another process would open it."""
    return MlflowRegistry(uri_of(home), locks=home / "locks")


def register(registry: MlflowRegistry, name: str, fingerprint: str = "f0", **tags: str) -> int:
    """Register a model that was trained somewhere."""
    return registry.register(name, fingerprint=fingerprint, source="file:///models/1", run_id="", tags=tags)


def stored(registry: MlflowRegistry, name: str) -> dict[int, dict[str, str]]:
    """Tags by version number, as MLflow shows them."""
    found = registry._client.search_model_versions(f"name = '{name}'")
    return {int(version.version): dict(version.tags) for version in found}


def test_a_fingerprint_is_registered_once(registry, home, name):
    """Registering again, also from a fresh process's view, finds the version; a new fingerprint gets the next."""
    assert registry.find(name, "f0") is None
    assert register(registry, name) == 1
    assert register(registry, name) == 1
    assert register(opened(home), name) == 1
    assert register(registry, name, "f1") == 2
    assert (registry.find(name, "f0"), registry.find(name, "f1"), registry.find(name, "f2")) == (1, 2, None)
    assert set(stored(registry, name)) == {1, 2}


def test_a_version_carries_its_provenance(registry, name):
    """Tags travel with the registration; registering again and tagging later change them, and no other version's."""
    number = register(registry, name, source_commit="0c0ffee", release="blocked")
    other = register(registry, name, "f1", release="blocked")
    assert stored(registry, name)[number] == {
        "fingerprint": "f0",
        "source_commit": "0c0ffee",
        "release": "blocked",
    }
    register(registry, name, code_commit="0c0ffee")
    registry.tag(name, number, {"release": "passed"})
    assert stored(registry, name)[number] == {
        "fingerprint": "f0",
        "source_commit": "0c0ffee",
        "code_commit": "0c0ffee",
        "release": "passed",
    }
    assert stored(registry, name)[other]["release"] == "blocked"


def test_models_do_not_share_fingerprints(registry, name):
    """The same fingerprint under another name is another model."""
    assert register(registry, name) == 1
    assert registry.find(f"{name}_other", "f0") is None
    assert register(registry, f"{name}_other", "f1") == 1
    assert register(registry, f"{name}_other") == 2


def test_an_alias_names_one_version(registry, name):
    """An alias points where it was pointed last."""
    for fingerprint in ("f0", "f1"):
        register(registry, name, fingerprint)
    for number in (2, 1):
        registry.point(name, "production", number)
        assert int(registry._client.get_model_version_by_alias(name, "production").version) == number


def test_two_versions_of_one_fingerprint_are_told(registry, name):
    """What this platform never makes, but somebody else's hand may: the numbers are named, none is chosen."""
    number = register(registry, name)
    other = register(registry, name, "f1")
    registry._client.set_model_version_tag(name, str(other), "fingerprint", "f0")
    with pytest.raises(
        RegistryError, match=f"model {name}: versions {number}, {other} carry one fingerprint f0"
    ):
        register(registry, name)


def test_processes_that_register_at_once_make_one_version(raced, registry):
    """Two processes start without a registry and register the same three models: each gets the same three numbers."""
    assert raced[1] == [["1", "2", "3"]] * 2
    assert set(stored(registry, RACED)) == {1, 2, 3}

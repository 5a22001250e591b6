"""What tests of commands on images share."""

import os

import pytest


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A home of the test's own, whatever the environment says of another."""
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))

"""What tests of features share."""

import pytest

from platform_assets.features import memory_budget


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory limit counts what the process takes; what all other tests have left in this one is none of theirs."""
    monkeypatch.setattr(memory_budget, "resident_bytes", lambda: 0)

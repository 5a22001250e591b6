"""Waiting for what happens outside this process."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_for(
    found: Callable[[], T],
    what: str,
    *,
    seconds: float = 120,
    every: float = 0.5,
    otherwise: Callable[[], str] = str,
) -> T:
    """The first true answer of `found`; the test fails, naming `what` and `otherwise`, when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}\n{otherwise()}")
        time.sleep(every)
    return answer

"""What is announced of a training is what was measured of it."""

import logging
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.models import progress as module
from platform_assets.models.batches import batches_of
from platform_assets.models.progress import Progress

WARMING_SECONDS = 120.0
"""Of the first step: compiling, allocating, reading weights for the first time."""
UNITS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}


class Clock:
    """A time that passes when it is told to."""

    seconds = 1000.0

    def monotonic(self) -> float:
        """The present."""
        return self.seconds


def announced(
    sizes: np.ndarray,
    *,
    per_unit: float,
    per_step: float,
    batch_size: int = 16,
    epochs: int = 1,
    begun: int = 0,
) -> tuple[list[tuple[int, float]], float]:
    """What is announced at which step, in seconds, and how long the training then really takes.

    Args:
        sizes: of the rows.
        per_unit: seconds that a unit of work takes.
        per_step: seconds that each step takes besides.
        batch_size: rows of a batch.
        epochs: how often all are trained on.
        begun: steps that an earlier process has done; a minute each.
    """
    clock, told = Clock(), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append((step, record.getMessage()))
    logger = logging.getLogger(module.__name__)
    logger.addHandler(handler)
    level, module_time = logger.level, module.time
    logger.setLevel(logging.INFO)
    module.time = clock
    try:
        batches = list(batches_of(sizes, batch_size=batch_size, epochs=epochs, seed=3))
        progress = Progress(len(batches), epochs * int(sizes.sum()), None)
        seconds = 60.0 * begun
        for step, batch in enumerate(batches, start=1):
            progress.work(int(sizes[batch].sum()))
            if step <= begun:
                continue
            spent = per_step + per_unit * int(sizes[batch].sum()) + WARMING_SECONDS * (step == begun + 1)
            clock.seconds += spent
            seconds += spent
            if progress.due(step):
                progress.report(step, 0.5, 1e-3, len(batch), seconds=seconds)
    finally:
        module.time = module_time
        logger.setLevel(level)
        logger.removeHandler(handler)
    found = []
    for at, message in told:
        if match := re.fullmatch(r"training takes about ([\d.]+) (\w+) in all", message):
            found.append((at, float(match[1]) * UNITS[match[2]]))
    return found, seconds


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(8, 256), min_size=600, max_size=900),
    per_unit=st.floats(1e-4, 1e-1),
    per_step=st.floats(0, 0.05),
    begun=st.sampled_from([0, 3, 10, 17]),
)
def test_the_duration_is_announced_once_and_is_right(sizes, per_unit, per_step, begun):
    """After ten steps, whatever the hardware, the texts and the warming up; in a training that goes on too."""
    found, really = announced(np.array(sizes), per_unit=per_unit, per_step=per_step, begun=begun)
    ((step, seconds),) = found
    assert begun + 10 <= step <= begun + 19
    assert seconds == pytest.approx(really, rel=0.25, abs=60)


def test_equal_steps_are_announced_to_the_minute():
    """A hundred thousand rows of one size: nothing is left to chance, and the first step counts once."""
    found, really = announced(np.full(32_000, 100), per_unit=0.001, per_step=0.1)
    assert found == [(10, pytest.approx(really, abs=30))]


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_a_training_of_a_few_steps_is_over_before_it_is_announced(steps):
    """Nothing is guessed."""
    found, _ = announced(np.full(16 * steps, 10), per_unit=0.01, per_step=0.0)
    assert found == []


@pytest.mark.parametrize(
    ("seconds", "told"), [(7.4, "7 seconds"), (99, "99 seconds"), (150, "2 minutes"), (9000, "2.5 hours")]
)
def test_durations_are_told_as_people_do(seconds, told):
    """In seconds, minutes or hours."""
    assert module._duration(seconds) == told

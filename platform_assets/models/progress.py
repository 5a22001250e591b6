"""How far a training is, and how long it will take: measured, never guessed from what hardware ought to do."""

import logging
import time
from typing import Final

from platform_assets.models.trainer import ProgressCallback

_MINIMUM_REPORT_STEPS: Final = 10
_REPORTS: Final = 100
_MEASURED_STEPS: Final = 9
"""As many as this before a duration is announced: those after the first, up to the tenth."""

log = logging.getLogger(__name__)


class Progress:
    """Tells progress at the first step, at about a hundred steps between, and at the last.

    Steps differ: rows of similar size share a batch, and a batch of long texts takes many times as long as one of short
    ones. So seconds are counted by the work that was done in them, and not by the step.
    """

    def __init__(self, total_steps: int, total_work: int, callback: ProgressCallback | None) -> None:
        """Nothing is measured yet.

        Args:
            total_steps: of the training.
            total_work: of all of its steps, in what `TorchRecipe.sizes` counts.
            callback: is told of each report.
        """
        self._total_steps = total_steps
        self._total_work = total_work
        self._callback = callback
        self._every = max(_MINIMUM_REPORT_STEPS, total_steps // _REPORTS)
        self._work = 0
        self._began: tuple[float, int, int] | None = None
        """Time, step and work at the end of this process's first step, which also pays for warming up."""
        self._announced = False

    def work(self, amount: int) -> None:
        """Count a step's work, be it done now or before this process."""
        self._work += amount

    def due(self, step: int) -> bool:
        """Whether this step is to be reported; those that are must be waited for, which costs a GPU its lead."""
        tenth = not self._announced and self._began is not None and step - self._began[1] == _MEASURED_STEPS
        return self._began is None or step % self._every == 0 or step == self._total_steps or tenth

    def report(
        self, step: int, loss: float, learning_rate: float, batch_rows: int, *, seconds: float
    ) -> None:
        """Tell what is known after a step.

        Args:
            step: the step.
            loss: mean over its rows.
            learning_rate: of the next step.
            batch_rows: rows of a step.
            seconds: that were spent on training so far, in this process and before it.
        """
        now = time.monotonic()
        measured = {"loss": loss, "learning_rate": learning_rate}
        message = f"step {step} of {self._total_steps}: loss {loss:.4f}"
        if self._began is None:
            self._began = (now, step, self._work)
        elif step > self._began[1]:
            began, first_step, first_work = self._began
            seconds_per_step = (now - began) / (step - first_step)
            left_seconds = (now - began) / max(1, self._work - first_work) * (self._total_work - self._work)
            measured["rows_per_second"] = batch_rows / seconds_per_step
            message += f", {measured['rows_per_second']:.1f} rows/s, {left_seconds:.0f} s left"
            if not self._announced and step - first_step >= _MEASURED_STEPS and step < self._total_steps:
                self._announced = True
                log.info("training takes about %s in all", _duration(seconds + left_seconds))
        log.info(message)
        if self._callback:
            self._callback(step, measured)


def _duration(seconds: float) -> str:
    """In the unit that a person would say."""
    if seconds < 100:  # noqa: PLR2004 - so many seconds are easily imagined
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 100 * 60 else f"{seconds / 3600:.1f} hours"

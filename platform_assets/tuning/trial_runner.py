"""What a study asks of whoever executes its trials: processes on a laptop, Jobs on a cluster, a function in a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

Outcome = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One report of a metric, as the collector's filter has found it in a line that the trial printed."""

    metric: str
    value: str
    """As printed; it may be no number at all (the default filter finds nothing in `auc=nan`)."""
    time: datetime
    """Stated at the beginning of the line, or else when the line was read; with a time zone."""


class RunningTrial(Protocol):
    """A trial that has been started."""

    @property
    def name(self) -> str:
        """The trial's name."""

    def observations(self) -> Sequence[Observation]:
        """Every report so far, in the order in which they were printed. When the outcome is known, all there will be."""

    def outcome(self) -> Outcome:
        """Whether it still runs, and else how its command has ended."""

    @property
    def reason(self) -> str:
        """Why it has failed, as it says itself; empty where it has not, and where it cannot tell."""

    def stop(self) -> None:
        """End it now. When this returns, it uses nothing any more; of one that has ended already it does nothing."""


class TrialRunner(Protocol):
    """Executes trials, any number of them side by side."""

    def start(self, trial: str, assignment: Mapping[str, str]) -> RunningTrial:
        """The trial, started.

        A study that was killed starts the trials that it left again, under the same name and with the same assignment. A
        runner whose trials outlive it, as Jobs do, hands out the one of that name that still runs, or has ended.

        Args:
            trial: Its name, unique among all studies.
            assignment: Text by parameter.
        """

    def wait(self, running: Sequence[RunningTrial], timeout_seconds: float) -> None:
        """Return when one of them has news or has ended, or when the time is up."""

"""Trials that a tracker is told of while they run: what they were given, what they report, and how they ended."""

from collections.abc import Mapping, Sequence
from typing import Final

from platform_assets.tuning.collecting import finite
from platform_assets.tuning.trial_runner import Observation, Outcome, RunningTrial, TrialRunner
from resources.run_tracking import End, TrackedRun, TrackedStudy

_ENDS: Final[Mapping[Outcome, End]] = {"running": "KILLED", "succeeded": "FINISHED", "failed": "FAILED"}


class TrackedTrials:
    """Runs trials as another runner does, and tells a tracker. One that is away holds none of them up."""

    def __init__(self, runner: TrialRunner, study: TrackedStudy) -> None:
        """Starts nothing yet.

        Args:
            runner: Executes them.
            study: Of which each is a run.
        """
        self._runner = runner
        self._study = study

    def start(self, trial: str, assignment: Mapping[str, str]) -> "_Tracked":
        """See `TrialRunner.start`."""
        started = self._runner.start(trial, assignment)
        run = self._study.trial(trial)
        run.params(assignment)
        return _Tracked(started, run)

    def wait(self, running: Sequence[RunningTrial], timeout_seconds: float) -> None:
        """See `TrialRunner.wait`."""
        own = [each for each in running if isinstance(each, _Tracked)]
        self._runner.wait([each.trial for each in own], timeout_seconds)
        for each in own:
            each.tell()


class _Tracked:
    """A trial, and its run at the tracker."""

    def __init__(self, trial: RunningTrial, run: TrackedRun) -> None:
        self.trial = trial
        self._run = run
        self._told = 0
        self._steps: dict[str, int] = {}

    @property
    def name(self) -> str:
        """See `RunningTrial.name`."""
        return self.trial.name

    @property
    def reason(self) -> str:
        """See `RunningTrial.reason`."""
        return self.trial.reason

    def observations(self) -> Sequence[Observation]:
        """See `RunningTrial.observations`."""
        return self.trial.observations()

    def outcome(self) -> Outcome:
        """See `RunningTrial.outcome`."""
        return self.trial.outcome()

    def stop(self) -> None:
        """See `RunningTrial.stop`; one that still runs is killed."""
        outcome = self.trial.outcome()
        self.trial.stop()
        self.tell()
        self._run.close(_ENDS[outcome])

    def tell(self) -> None:
        """Tell what it has reported since: the step is the number of the report."""
        found = self.trial.observations()
        for each in found[self._told :]:
            step = self._steps[each.metric] = self._steps.get(each.metric, 0) + 1
            value = finite(each.value)
            if value is not None:
                self._run.metrics(
                    {each.metric: value}, step=step, time_ms=round(each.time.timestamp() * 1000)
                )
        self._told = max(self._told, len(found))

"""A study: an Experiment executed as Katib's controllers execute it, with Optuna for what suggests the trials.

What ends it is looked at in Katib's order (`UpdateExperimentStatusCondition` in
pkg/controller.v1beta1/experiment/util/status_util.go): the goal, failed trials, the count of trials, no more suggestions. What
runs when it ends is stopped and counted as killed, where Katib lets it run on for nothing.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from platform_assets.tuning.collecting import finite, metrics_of, reports_of, value_of
from platform_assets.tuning.errors import StudyBusyError
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.median_stop import is_stopped
from platform_assets.tuning.record import StudyRecord, utc_now
from platform_assets.tuning.status import Condition, ConditionType, Status, TrialState, TrialStatus
from platform_assets.tuning.storage import open_storage
from platform_assets.tuning.trial_runner import Observation, RunningTrial, TrialRunner
from resources.locks import Held, Locks, LockTimeoutError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

__all__ = ["Observation", "RunningTrial", "TrialRunner", "run_study"]
_WAIT_SECONDS: Final = 5.0
_MAX_REACHED: Final = "ExperimentMaxTrialsReached"
"""The reason of an end from which an Experiment may go on (`IsCompletedExperimentRestartable`)."""


def run_study(
    experiment: Experiment,
    runner: TrialRunner,
    *,
    storage: str,
    seed: int,
    locks: Locks,
    on_change: Callable[[Status], None],
    identity: str | None = None,
    wait_seconds: float = _WAIT_SECONDS,
    now: Callable[[], datetime] = utc_now,
) -> Status:
    """Execute an Experiment to its end, or go on where a killed process has left it.

    A study that has succeeded is over: its status is given, and no trial is run. One that has failed is begun anew, as one
    deletes an Experiment on Katib and applies it again.

    Args:
        experiment: What to search.
        runner: Executes trials.
        storage: `sqlite:///FILE`, `postgresql://…`, or the path of a journal; studies of many Experiments share it.
        seed: What is random is drawn by it; a study that goes on keeps the one that it has begun with, and the file's
            `random_state` goes before both.
        locks: Let one process at a time execute a study.
        on_change: Told of every trial that starts, reports or ends.
        identity: What the trials depend on besides the Experiment, such as the features that they are trained on: a study of
            another identity is another study.
        wait_seconds: How long to wait for a runner that has no news.
        now: The clock.

    Returns:
        The last status; its condition is Succeeded or Failed.

    Raises:
        StudyBusyError: Another process executes this study.
        TuningError: The storage cannot be opened.
    """
    name = f"{experiment.name}-{experiment.study_sha256[:16]}"
    if identity is not None:
        name = f"{name}-{identity}"
    opened = open_storage(storage, locks)
    with ExitStack() as stack:
        try:
            held = stack.enter_context(locks.hold(f"tuning-{_lock_name(name)}", timeout_seconds=0))
        except LockTimeoutError as problem:
            raise StudyBusyError(
                f"study {name}: another process runs it; wait for that to end, or end it ({problem})"
            ) from problem
        record = _opened(opened, name, experiment, seed, now)
        return _Execution(experiment, runner, record, held, on_change, wait_seconds, now).run()


class _Execution:
    """One process's part of a study."""

    def __init__(
        self,
        experiment: Experiment,
        runner: TrialRunner,
        record: StudyRecord,
        held: Held,
        on_change: Callable[[Status], None],
        wait_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._experiment, self._runner, self._record, self._held = experiment, runner, record, held
        self._on_change, self._wait_seconds, self._now = on_change, wait_seconds, now
        self._running: dict[str, RunningTrial] = {}
        self._shown: object = None

    def run(self) -> Status:
        """See `run_study`."""
        if self._record.ended is not None:
            if not self._may_go_on(self._record.ended):
                return self._status()
            self._record.restart()
        end = self._end(exhausted=False)
        with ExitStack() as stack:
            # Whatever happens, nothing runs on unwatched; what is cut off here is started again by the next process.
            stack.callback(self._stop)
            if end is None:
                self._start_again()
            while end is None:
                exhausted = self._fill()
                self._tell()
                if self._running:
                    self._runner.wait([*self._running.values()], self._wait_seconds)
                    self._collect()
                    self._tell()
                end = self._end(exhausted=exhausted)
        self._kill_rest(end)
        self._record.end(end)
        self._tell()
        return self._status()

    def _may_go_on(self, ended: Condition) -> bool:
        most, made = self._experiment.max_trials, len(self._record.trials())
        # With resumePolicy Never another count is another study, whose record has not ended.
        return ended.reason == _MAX_REACHED and most is not None and most > made

    def _start_again(self) -> None:
        """Start what a killed process has left running."""
        for each in self._record.trials():
            if each.state == "Running":
                self._start(each)

    def _stop(self) -> None:
        with ExitStack() as stack:
            for running in self._running.values():
                stack.callback(running.stop)

    def _start(self, trial: TrialStatus) -> None:
        self._running[trial.name] = self._runner.start(trial.name, trial.assignment)

    def _fill(self) -> bool:
        """Start as many trials as may run side by side; whether there is nothing more to suggest."""
        most = self._experiment.max_trials
        while len(self._running) < self._experiment.parallel_trials:
            if most is not None and len(self._record.trials()) >= most:
                break
            self._held.check()
            suggested = self._record.suggest()
            if isinstance(suggested, str):
                return suggested == "end"
            self._start(suggested)
            self._tell()
        return False

    def _collect(self) -> None:
        """Take down what has ended, and end what reports nonsense or lags behind."""
        objective, stop = self._experiment.objective, self._experiment.early_stopping
        for each in self._record.trials():
            running = self._running.get(each.name)
            if running is None:
                continue
            # In this order: of a trial that has ended every report is there.
            outcome = running.outcome()
            observations = running.observations()
            reports = reports_of(objective.metric, observations)
            metrics = metrics_of(objective, observations)
            value = value_of(objective, metrics)
            state: TrialState
            numbers = [found for report in reports if (found := finite(report)) is not None]
            if len(numbers) < len(reports):
                state, message = "Failed", f"Trial has reported a {objective.metric} that is no finite number"
            elif outcome == "failed":
                state, message = "Failed", ": ".join(filter(None, ("Trial has failed", running.reason)))
            elif outcome == "succeeded" and value is None:
                state, message = "MetricsUnavailable", f"Trial has reported no {objective.metric}"
            elif outcome == "succeeded":
                state, message = "Succeeded", "Trial has succeeded"
            elif stop is not None and is_stopped(stop, objective, self._record.bound(each), numbers):
                state, message = "EarlyStopped", "Trial is early stopped"
            else:
                continue
            running.stop()
            self._record.finish(
                each,
                state,
                message,
                metrics=metrics,
                reports=reports,
                value=value if state in ("Succeeded", "EarlyStopped") else None,
            )
            del self._running[each.name]

    def _end(self, *, exhausted: bool) -> Condition | None:
        status, objective, most_failed = (
            self._status(),
            self._experiment.objective,
            self._experiment.max_failed_trials,
        )
        ended = len(status.trials) - status.count("Running")
        failed = status.count("Failed", "MetricsUnavailable")
        if status.optimal is not None and objective.is_reached(_value(status.optimal)):
            return self._condition(
                "Succeeded",
                "ExperimentGoalReached",
                "Experiment has succeeded because Objective goal has reached",
            )
        if most_failed is not None and failed != 0 and failed >= most_failed:
            return self._condition(
                "Failed", "ExperimentFailed", "Experiment has failed because max failed count has reached"
            )
        if self._experiment.max_trials is not None and ended >= self._experiment.max_trials:
            return self._condition(
                "Succeeded", _MAX_REACHED, "Experiment has succeeded because max trial count has reached"
            )
        if exhausted and not self._running:
            return self._condition(
                "Succeeded",
                "ExperimentSuggestionEndReached",
                "Experiment has succeeded because suggestion service has reached the end",
            )
        return None

    def _condition(self, kind: ConditionType, reason: str, message: str) -> Condition:
        return Condition(kind, reason, message, self._now())

    def _kill_rest(self, end: Condition) -> None:
        for each in self._record.trials():
            if each.state == "Running":
                self._record.finish(each, "Killed", f"Trial is killed, since: {end.message}")
        self._running.clear()

    def _status(self) -> Status:
        trials = tuple(self._live(each) for each in self._record.trials())
        optimal: TrialStatus | None = None
        for each in trials:
            # Strictly: of equal ones the first.
            if each.value is not None and (
                optimal is None or self._experiment.objective.is_better(each.value, _value(optimal))
            ):
                optimal = each
        return Status(
            self._experiment.name, trials, optimal, tuple(self._conditions()), self._record.start_time
        )

    def _conditions(self) -> Iterator[Condition]:
        began = self._record.start_time
        yield Condition("Created", "ExperimentCreated", "Experiment is created", began)
        if (restarted := self._record.restarted_at) is not None:
            began = restarted
            yield Condition("Restarting", "ExperimentRestarting", "Experiment is restarted", began)
        yield Condition("Running", "ExperimentRunning", "Experiment is running", began)
        if self._record.ended is not None:
            yield self._record.ended

    def _live(self, trial: TrialStatus) -> TrialStatus:
        """With what a trial that runs has reported so far; none of it counts before it has ended."""
        running = self._running.get(trial.name)
        if running is None:
            return trial
        observations, objective = running.observations(), self._experiment.objective
        return replace(
            trial,
            metrics=metrics_of(objective, observations),
            reports=tuple(reports_of(objective.metric, observations)),
        )

    def _tell(self) -> None:
        status = self._status()
        news = (status.condition, [(each.name, each.state, len(each.reports)) for each in status.trials])
        if news != self._shown:
            self._shown = news
            self._on_change(status)


def _opened(
    storage: "BaseStorage", name: str, experiment: Experiment, seed: int, now: Callable[[], datetime]
) -> StudyRecord:
    """The newest attempt at a study; another one where that has failed."""
    attempt = 1
    while True:
        record = StudyRecord(storage, f"{name}-{attempt}", experiment, seed=seed, now=now)
        if record.ended is None or record.ended.type != "Failed":
            return record
        attempt += 1


def _value(trial: TrialStatus) -> float:
    assert trial.value is not None, "the optimum has a value"
    return trial.value


def _lock_name(study: str) -> str:
    return hashlib.sha256(study.encode()).hexdigest()[:16]

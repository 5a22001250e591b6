"""What Optuna's storage keeps of a study, and how a killed one is put right.

A trial is made of several changes of the storage, and a process may die between any two of them:

| left behind | when the study is opened again |
|---|---|
| a trial that waits to be asked for | it is the next |
| a trial without all of its values | they are suggested, as they would have been |
| a trial that runs | it is started again under its name, with its assignment |
| a trial whose result is written down and not yet told to Optuna | it is told |
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.median_stop import bound
from platform_assets.tuning.samplers import fixed_values, sampler, searched_space
from platform_assets.tuning.search_space import written
from platform_assets.tuning.status import Condition, Metric, TrialState, TrialStatus

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

_RESULT: Final = "result"
_BOUND: Final = "bound"
_STARTED: Final = "started"
_SEED: Final = "seed"
_ENDED: Final = "ended"
_RESTARTED: Final = "restarted"
_TOLD: Final = ("Succeeded", "EarlyStopped")
"""Trials whose value counts, for the optimum and for whatever suggests the next (Katib's convertTrialObservation)."""


class StudyRecord:
    """One study of an Experiment in a storage. Only one process at a time may have it open."""

    def __init__(
        self,
        storage: "BaseStorage",
        name: str,
        experiment: Experiment,
        *,
        seed: int,
        now: Callable[[], datetime],
    ) -> None:
        """Opens the study, made where it does not exist, and puts right what a killed process has left.

        Args:
            storage: As `open_storage` gives it.
            name: The study's.
            experiment: What it executes.
            seed: Of a new study; one that exists keeps its own.
            now: The clock.
        """
        import optuna

        direction = experiment.objective.type
        self._study = optuna.create_study(
            storage=storage, study_name=name, direction=direction, load_if_exists=True
        )
        self._storage, self._name, self._experiment, self._now = storage, name, experiment, now
        self._known: tuple[TrialStatus, ...] | None = None
        self._bounds: dict[int, float | None] = {}
        self._space = searched_space(experiment)
        self._distributions = {each.name: each.distribution() for each in self._space}
        self._seed: int = self._kept(_SEED, seed)
        self.start_time = datetime.fromisoformat(self._kept(_STARTED, now().isoformat()))
        self._repair()

    @property
    def ended(self) -> Condition | None:
        """What it has come to; None while it goes on."""
        content = self._study.user_attrs.get(_ENDED)
        return None if content is None else _condition(content)

    @property
    def restarted_at(self) -> datetime | None:
        """When it last went on after it had ended."""
        content = self._study.user_attrs.get(_RESTARTED)
        return None if content is None else datetime.fromisoformat(content)

    def end(self, condition: Condition) -> None:
        """Keep what it has come to."""
        content = {"type": condition.type, "reason": condition.reason, "message": condition.message}
        self._study.set_user_attr(_ENDED, {**content, "time": condition.time.isoformat()})

    def restart(self) -> None:
        """Let it go on although it had ended."""
        self._study.set_user_attr(_RESTARTED, self._now().isoformat())
        self._study.set_user_attr(_ENDED, None)

    def trials(self) -> tuple[TrialStatus, ...]:
        """All that have been suggested, in order."""
        from optuna.trial import TrialState as OptunaState

        # Nobody else changes it, and to read it anew at each look would be most of what a study costs.
        if self._known is None:
            found = self._study.get_trials(deepcopy=False)
            self._known = tuple(self._status(each) for each in found if each.state != OptunaState.WAITING)
        return self._known

    def bound(self, trial: TrialStatus) -> float | None:
        """What `medianstop` holds the trial against."""
        if trial.number not in self._bounds:
            self._bounds[trial.number] = self._study.get_trials(deepcopy=False)[trial.number].user_attrs.get(
                _BOUND
            )
        return self._bounds[trial.number]

    def suggest(self) -> TrialStatus | Literal["wait", "end"]:
        """The next trial, which runs from now on; or that others must end first, or that there is none."""
        from optuna.trial import TrialState as OptunaState

        found = self._study.get_trials(deepcopy=False)
        if all(each.state != OptunaState.WAITING for each in found):
            fixed = fixed_values(self._experiment, self.trials(), self._seed)
            if isinstance(fixed, str):
                return fixed
            if fixed:
                self._study.enqueue_trial(
                    {each.name: each.read(fixed[each.name]) for each in self._space if each.name in fixed}
                )
        return self._begun(self._study.ask())

    def finish(
        self,
        trial: TrialStatus,
        state: TrialState,
        message: str,
        *,
        metrics: Sequence[Metric] = (),
        reports: Sequence[str] = (),
        value: float | None = None,
    ) -> None:
        """Keep how a trial has ended.

        Args:
            trial: The trial.
            state: Its last.
            message: Why.
            metrics: What it has reported.
            reports: Of the objective, in order.
            value: The objective, by its strategy, if it counts.
        """
        result = {
            "state": state,
            "message": message,
            "completed": self._now().isoformat(),
            "metrics": [each.to_json() for each in metrics],
            "reports": [*reports],
            "value": value,
        }
        self._storage.set_trial_user_attr(self._id_of(trial.number), _RESULT, result)
        self._tell(trial.number, result)

    def _tell(self, number: int, result: Mapping[str, Any]) -> None:
        from optuna.trial import TrialState as OptunaState

        self._known = None
        if result["state"] in _TOLD:
            self._study.tell(number, result["value"])
        else:
            self._study.tell(number, state=OptunaState.FAIL)

    def _repair(self) -> None:
        import optuna
        from optuna.trial import TrialState as OptunaState

        for each in self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            if _RESULT in each.user_attrs:
                self._tell(each.number, each.user_attrs[_RESULT])
            elif not set(self._distributions) <= set(each.params) or _STARTED not in each.user_attrs:
                self._begun(optuna.trial.Trial(self._study, self._id_of(each.number)))

    def _begun(self, trial: "optuna.trial.Trial") -> TrialStatus:
        # Drawn before any single one, whichever is missing: they are the same however far the trial had come.
        self._study.sampler = sampler(self._experiment, self._seed, trial.number)
        assert trial.relative_params is not None
        for place, (name, distribution) in enumerate(self._distributions.items()):
            self._study.sampler = sampler(self._experiment, self._seed, trial.number, place)
            _suggest(trial, name, distribution)
        stop = self._experiment.early_stopping
        if stop is not None:
            succeeded = [
                [float(report) for report in each.reports]
                for each in self.trials()
                if each.state == "Succeeded"
            ]
            trial.set_user_attr(_BOUND, bound(stop, succeeded))
        # The last: a trial that has it lacks nothing.
        trial.set_user_attr(_STARTED, self._now().isoformat())
        self._known = None
        return self.trials()[trial.number]

    def _status(self, trial: "FrozenTrial") -> TrialStatus:
        result = trial.user_attrs.get(_RESULT)
        started = trial.user_attrs.get(_STARTED)
        values = {name: value for name, value in trial.params.items() if name in self._distributions}
        complete = len(values) == len(self._distributions)
        assignment = written(self._space, values) if complete else {}
        start_time = datetime.fromisoformat(started) if started else self.start_time
        name = trial_name(self._experiment, self._name, trial.number)
        if result is None:
            return TrialStatus(
                name, trial.number, "Running", assignment, (), None, start_time, None, "Trial is running"
            )
        return TrialStatus(
            name,
            trial.number,
            cast("TrialState", result["state"]),
            assignment,
            tuple(Metric(**each) for each in result["metrics"]),
            result["value"],
            start_time,
            datetime.fromisoformat(result["completed"]),
            result["message"],
            tuple(result["reports"]),
        )

    def _kept(self, name: str, value: Any) -> Any:
        """What stands under a name of the study, where the first value stays."""
        if name not in self._study.user_attrs:
            self._study.set_user_attr(name, value)
        return self._study.user_attrs[name]

    def _id_of(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(self._name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)


def trial_name(experiment: Experiment, study: str, number: int) -> str:
    """A trial's name: the same whenever the study is opened, and unique among all studies.

    Katib draws eight letters after the Experiment's name; here they come of the study and the trial's number.
    """
    return f"{experiment.name}-{hashlib.sha256(f'{study}/{number}'.encode()).hexdigest()[:8]}"


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def _suggest(trial: "optuna.trial.Trial", name: str, distribution: "BaseDistribution") -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match distribution:
        case FloatDistribution():
            trial.suggest_float(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case IntDistribution():
            trial.suggest_int(
                name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        case CategoricalDistribution():
            trial.suggest_categorical(name, distribution.choices)


def _condition(content: Mapping[str, Any]) -> Condition:
    return Condition(
        content["type"], content["reason"], content["message"], datetime.fromisoformat(content["time"])
    )

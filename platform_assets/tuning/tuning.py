"""A line is tuned: its Experiment is executed, and its best trial is held against the values of the spec."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from platform_assets.fingerprint import canonical_sha256, code_version
from platform_assets.manifest import identity_of
from platform_assets.models.spec import ModelSpec
from platform_assets.models.trainer import AnyTrainer
from platform_assets.references import FeaturesVersion
from platform_assets.tuning.assignment import assigned, fields_of
from platform_assets.tuning.collecting import finite, metrics_of, reports_of, value_of
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.status import Status
from platform_assets.tuning.study import run_study
from platform_assets.tuning.trial_runner import TrialRunner
from resources.locks import Locks

SEED: Final = 17
"""Of what is random in a search whose file names no `random_state`."""
_WAIT_SECONDS: Final = 5.0
_TRIAL_CODE: Final = code_version(
    "trial",
    *(f"platform_assets.tuning.{module}" for module in ("trial", "measures", "assignment")),
    "platform_assets.validation.metrics",
)
"""Where this changes, trials that have ended say nothing of those to come."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a tuning has come to."""

    status: Status
    trial: str
    """Name of the best trial; that of the spec's own values where no other was better. Empty where none has a value."""
    value: float
    """What it reached; 0 where none has a value."""
    default_value: float | None
    """What the values of the spec reach, trained and judged as every trial; None where that trial failed."""
    assignment: Mapping[str, JsonValue]
    """Value by field of the spec, of the best trial."""

    @property
    def is_complete(self) -> bool:
        """Whether the Experiment has ended as it should, with a trial that has a value."""
        return self.status.condition.type == "Succeeded" and self.status.optimal is not None

    @property
    def beats_defaults(self) -> bool:
        """Whether the best trial is better than the values of the spec, as far as these could be measured."""
        return self.status.optimal is not None and self.trial == self.status.optimal.name

    @property
    def sentence(self) -> str:
        """How the best trial compares, for people."""
        if not self.is_complete:
            return self.status.condition.message
        best = self.status.optimal
        assert best is not None and best.value is not None  # noqa: PT018 - both, where it is complete
        found = f"{best.name} reached {best.value:.4f}"
        if self.default_value is None:
            return f"{found}; what the values of the spec reach could not be measured"
        if self.beats_defaults:
            return f"{found}, and the values of the spec {self.default_value:.4f}"
        return f"{found}, which does not beat the values of the spec ({self.default_value:.4f}): those stay"


def tune(
    experiment: Experiment,
    spec: ModelSpec,
    trainer: AnyTrainer,
    runner: TrialRunner,
    *,
    storage: str,
    locks: Locks,
    identity: str,
    on_change: Callable[[Status], None],
) -> Tuned:
    """Execute an Experiment, and one more trial with the values of the spec.

    Args:
        experiment: What to search.
        spec: Of the line.
        trainer: Of its task.
        runner: Executes trials.
        storage: See `run_study`, as for the next.
        locks: Let one process at a time execute a study.
        identity: What the trials depend on besides the Experiment, as `trials_identity` has it.
        on_change: Told of every trial that starts, reports or ends.

    Raises:
        StudyBusyError: Another process executes this study.
        TuningError: The storage cannot be opened.
    """
    status = run_study(
        experiment, runner, storage=storage, seed=SEED, locks=locks, on_change=on_change, identity=identity
    )
    best = status.optimal
    if status.condition.type != "Succeeded" or best is None or best.value is None:
        return Tuned(status, "", 0.0, None, {})
    own = default_assignment(experiment, spec, trainer)
    name = f"{experiment.name}-{canonical_sha256([identity, own])[:8]}"
    default_value = _value_of_trial(experiment, runner, name, own)
    if default_value is not None and not experiment.objective.is_better(best.value, default_value):
        return Tuned(status, name, default_value, default_value, _values(experiment, spec, trainer, own))
    values = _values(experiment, spec, trainer, best.assignment)
    return Tuned(status, best.name, best.value, default_value, values)


def trials_identity(
    spec: ModelSpec, trainer: AnyTrainer, experiment: Experiment, features: FeaturesVersion
) -> str:
    """What trials depend on besides their Experiment: features, code, and the values of the spec that none of them sets."""
    tuned = set(fields_of([each.name for each in experiment.parameters], trainer.fields).values())
    return canonical_sha256(
        {
            "features": features.version,
            "code": f"{_TRIAL_CODE}-{trainer.code}",
            "upstream": dict(trainer.upstream(spec, features.recipe)),
            "values": identity_of(spec, [field for field in trainer.fields if field not in tuned]),
        }
    )[:16]


def default_assignment(experiment: Experiment, spec: ModelSpec, trainer: AnyTrainer) -> dict[str, str]:
    """The values of the spec as the text of each parameter."""
    fields = fields_of([each.name for each in experiment.parameters], trainer.fields)
    written = spec.model_dump(mode="json", include=set(fields.values()))
    return {
        name: value if isinstance(value := written[field], str) else json.dumps(value)
        for name, field in fields.items()
    }


def _values(
    experiment: Experiment, spec: ModelSpec, trainer: AnyTrainer, assignment: Mapping[str, str]
) -> dict[str, JsonValue]:
    fields = fields_of([each.name for each in experiment.parameters], trainer.fields)
    resolved = assigned(spec, assignment, trainer.fields)
    found: dict[str, Any] = resolved.model_dump(mode="json", include=set(fields.values()))
    return found


def _value_of_trial(
    experiment: Experiment, runner: TrialRunner, name: str, assignment: Mapping[str, str]
) -> float | None:
    """What one trial beside the study reaches; None where it fails."""
    running = runner.start(name, assignment)
    try:
        while (outcome := running.outcome()) == "running":
            runner.wait([running], _WAIT_SECONDS)
    finally:
        running.stop()
    objective, observations = experiment.objective, running.observations()
    told = reports_of(objective.metric, observations)
    if outcome != "succeeded" or any(finite(each) is None for each in told):
        return None
    return value_of(objective, metrics_of(objective, observations))

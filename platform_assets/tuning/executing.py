"""Where the trials of a tuning run, and what is told of them while they do."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from platform_assets.models.spec import ModelSpec
from platform_assets.models.trainer import AnyTrainer
from platform_assets.models.training_site import environment_of
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import FeaturesVersion
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.pictures import study_pictures
from platform_assets.tuning.status import Status
from platform_assets.tuning.stored import StoredTuning, store_tuning
from platform_assets.tuning.tracked_trials import TrackedTrials
from platform_assets.tuning.trial_jobs import JobTrials
from platform_assets.tuning.trial_processes import ProcessTrials
from platform_assets.tuning.trial_runner import TrialRunner
from platform_assets.tuning.tuning import Tuned, trials_identity, tune
from resources.locks import Locks, LockTimeoutError
from resources.provenance import source_commit

FEATURES_VARIABLE: Final = "PLATFORM_TRIAL_FEATURES"
SPEC_VARIABLE: Final = "PLATFORM_TRIAL_SPEC"
VALUES_VARIABLE: Final = "PLATFORM_TRIAL_VALUES"
"""By these trials are told which features, which spec, and which values of it besides those of their own assignment."""

log = logging.getLogger(__name__)


@contextmanager
def only_tuning(locks: Locks, identity: str, *, tell: Callable[[str], None] = log.info) -> Iterator[None]:
    """One process at a time executes a tuning; a second one says that it waits, and finds what the first has made.

    Args:
        locks: Hold processes apart.
        identity: What tells the tuning from every other.
        tell: Told of a wait.
    """
    name = f"tune-{identity[:16]}"
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.hold(name, timeout_seconds=0))
        except LockTimeoutError:
            tell("another process executes this tuning; waiting for it to end")
            stack.enter_context(locks.hold(name))
        yield


def run_tuning(
    outside: OutsideSystems,
    spec: ModelSpec,
    trainer: AnyTrainer,
    experiment: Experiment,
    features: FeaturesVersion,
    *,
    identity: str,
    spec_path: Path,
    tell: Callable[[str], None] = log.info,
) -> Tuned:
    """The tuning, executed where this platform runs, by one process at a time: whoever is in `only_tuning`.

    Args:
        outside: The systems.
        spec: Of the line.
        trainer: Of its task.
        experiment: What to search.
        features: What trials are trained and judged on.
        identity: What tells it from every other tuning.
        spec_path: The spec's file, which trials read.
        tell: Told a line of every trial that has ended.

    Raises:
        StudyBusyError: Another process executes it.
        TuningError: The storage of studies cannot be opened.
    """
    tracking = outside.run_tracking.study(
        experiment=spec.line, identity=identity, name=experiment.name, tags={"line": spec.line}
    )
    told = {
        FEATURES_VARIABLE: features.version,
        VALUES_VARIABLE: spec.model_dump_json(include=set(trainer.fields)),
        SPEC_VARIABLE: str(spec_path.resolve()),
    }
    with tracking as tracked, _runner(outside, spec, experiment, told, identity) as runner:
        return tune(
            experiment,
            spec,
            trainer,
            TrackedTrials(runner, tracked),
            storage=outside.settings.resolved_tuning_uri,
            locks=outside.locks,
            identity=trials_identity(spec, trainer, experiment, features),
            on_change=_Progress(tell),
        )


def execute_tuning(
    outside: OutsideSystems,
    spec: ModelSpec,
    trainer: AnyTrainer,
    experiment: Experiment,
    features: FeaturesVersion,
    *,
    folder: str,
    identity: str,
    spec_path: Path,
) -> StoredTuning:
    """As `run_tuning`, and stored below the key `folder`."""
    tuned = run_tuning(outside, spec, trainer, experiment, features, identity=identity, spec_path=spec_path)
    log.info("%s", tuned.sentence)
    pictures = study_pictures(experiment, tuned.status)
    return store_tuning(
        outside.object_store, folder, experiment, tuned, pictures, source_commit=source_commit(spec_path)
    )


@contextmanager
def _runner(
    outside: OutsideSystems,
    spec: ModelSpec,
    experiment: Experiment,
    told: Mapping[str, str],
    identity: str,
) -> Iterator[TrialRunner]:
    settings = outside.settings
    trials: ProcessTrials | JobTrials
    if settings.profile == "cluster":
        trials = JobTrials(experiment, outside.job_runner(), resources=spec.resources, environment=told)
    else:
        scratch = settings.home / "tuning" / identity[:16]
        environment = {**environment_of(settings, os.environ), **told}
        trials = ProcessTrials(experiment, environment=environment, scratch=scratch)
    with trials as runner:
        yield runner


class _Progress:
    """Tells a person of each trial that has ended."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._told = tell, set[str]()

    def __call__(self, status: Status) -> None:
        for each in status.trials:
            if each.state == "Running" or each.name in self._told:
                continue
            self._told.add(each.name)
            values = ", ".join(f"{name} {value}" for name, value in each.assignment.items())
            reached = f"{each.value:.4f}" if each.value is not None else each.message
            self._tell(f"trial {len(self._told)}: {reached} ({values})")

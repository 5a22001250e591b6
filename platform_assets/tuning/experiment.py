"""A Katib Experiment, read and found good: what a study executes.

The file is the one that `kubectl apply` gives to Katib. Whatever Katib would refuse is refused here, and what it would
take and this platform cannot execute as it means it is refused by name (docs/adr/0071).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from platform_assets.fingerprint import canonical_sha256
from platform_assets.manifest import FieldPath, Manifest, ManifestError, read_manifest
from platform_assets.tuning.experiment_spec import KatibExperiment, Strategy, TrialTemplate
from platform_assets.tuning.katib_rules import DEADLINE, DEFAULT_FILTER, parameter_of, problems, settings_of
from platform_assets.tuning.search_space import Parameter
from platform_assets.tuning.trial_template import command, render

_COUNTS = frozenset({"parallelTrialCount", "maxTrialCount", "maxFailedTrialCount"})
"""What may be edited of an Experiment that Katib knows (`ValidateExperiment`)."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is sought."""

    type: Literal["minimize", "maximize"]
    metric: str
    additional_metrics: tuple[str, ...]
    goal: float | None
    strategies: Mapping[str, Strategy]
    """Which of a metric's reports is its value, by metric; every metric has one."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are collected, the objective's first."""
        return (self.metric, *self.additional_metrics)

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better than another."""
        return value > than if self.type == "maximize" else value < than

    def is_reached(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return self.goal is not None and (value == self.goal or self.is_better(value, self.goal))


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What suggests trials."""

    name: str
    settings: Mapping[str, str]
    """Text by name; all of them known and valid."""


@dataclass(frozen=True, slots=True)
class MedianStop:
    """When `medianstop` ends a trial before its time."""

    min_trials_required: int = 3
    start_step: int = 4


@dataclass(frozen=True)
class Experiment:
    """A valid Experiment. Its file is kept, so that whoever finds a parameter wrong can say where it stands."""

    manifest: Manifest[KatibExperiment]

    @property
    def name(self) -> str:
        """Its name, which its trials' names begin with."""
        return self.manifest.content.metadata.name

    @property
    def namespace(self) -> str:
        """Where its trials are on a cluster."""
        return self.manifest.content.metadata.namespace

    @cached_property
    def objective(self) -> Objective:
        """What is sought, strategies filled in as `setDefaultObjective` does: those of the objective's direction."""
        spec = self.manifest.content.spec.objective
        default: Strategy = "max" if spec.type == "maximize" else "min"
        stated = {each.name: each.value for each in spec.metric_strategies}
        metrics = (spec.objective_metric_name, *spec.additional_metric_names)
        return Objective(
            spec.type,
            spec.objective_metric_name,
            spec.additional_metric_names,
            spec.goal,
            {name: stated.get(name, default) for name in metrics},
        )

    @cached_property
    def algorithm(self) -> Algorithm:
        """What suggests trials."""
        section = self.manifest.content.spec.algorithm
        return Algorithm(section.algorithm_name, settings_of(section))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The space that is searched, in the order of the file."""
        return tuple(parameter_of(each) for each in self.manifest.content.spec.parameters)

    @property
    def parallel_trials(self) -> int:
        """Trials side by side."""
        return self.manifest.content.spec.parallel_trial_count

    @property
    def max_trials(self) -> int | None:
        """Trials that end before the study has succeeded; None: until the algorithm has no more to suggest."""
        return self.manifest.content.spec.max_trial_count

    @property
    def max_failed_trials(self) -> int | None:
        """Failed trials from which on the study has failed; None: it goes on however many fail."""
        return self.manifest.content.spec.max_failed_trial_count

    @property
    def early_stopping(self) -> MedianStop | None:
        """When trials are ended before their time; None: never."""
        section = self.manifest.content.spec.early_stopping
        if section is None:
            return None
        return MedianStop(**{name: int(value) for name, value in settings_of(section).items()})

    @cached_property
    def metrics_filter(self) -> tuple[re.Pattern[str], ...]:
        """Expressions that find metrics in a line that a trial prints: the first group is the name, the second the value."""
        formats = self.manifest.content.spec.metrics_collector_spec.source.filter.metrics_format
        # Classes of characters are ASCII's in Go.
        return tuple(re.compile(each, re.ASCII) for each in formats or (DEFAULT_FILTER,))

    @property
    def trial_template(self) -> TrialTemplate:
        """What a trial is."""
        return self.manifest.content.spec.trial_template

    @property
    def trial_deadline_seconds(self) -> int | None:
        """`activeDeadlineSeconds` of a trial's Job, after which it has failed; None: it has as long as it takes."""
        job = self.trial_template.trial_spec or {}
        found: int | None = job["spec"].get(DEADLINE)
        return found

    @cached_property
    def sha256(self) -> str:
        """Identity: everything that the file says of the search, however it is laid out."""
        return canonical_sha256({"name": self.name, "spec": self._spec()})

    @cached_property
    def study_sha256(self) -> str:
        """Identity of the study that executes it.

        Where `resumePolicy` lets an Experiment that has reached its count of trials go on, it is the same with other
        counts, which are the fields that Katib lets one edit.
        """
        spec = self._spec()
        if self.manifest.content.spec.resume_policy != "Never":
            spec = {key: value for key, value in spec.items() if key not in _COUNTS}
        return canonical_sha256({"name": self.name, "spec": spec})

    def trial_manifest(self, assignment: Mapping[str, str], trial: str) -> dict[str, Any]:
        """The Job of a trial, as Katib makes it of the template.

        Args:
            assignment: Text by parameter.
            trial: The trial's name.
        """
        return render(self.trial_template, assignment, trial=trial, namespace=self.namespace)

    def trial_arguments(self, assignment: Mapping[str, str], trial: str) -> list[str]:
        """What the primary container of a trial executes: its command and its arguments."""
        job = self.trial_manifest(assignment, trial)
        return command(job, self.trial_template.primary_container_name)

    def error(self, field: FieldPath, problem: str) -> ManifestError:
        """An error about a field of the file, as `("spec", "maxTrialCount")`, naming file and line."""
        return self.manifest.error(field, problem)

    def parameter_error(self, name: str, problem: str) -> ManifestError:
        """An error about a parameter, naming the line where its name stands."""
        index = [each.name for each in self.parameters].index(name)
        return self.error(("spec", "parameters", index, "name"), problem)

    def _spec(self) -> dict[str, Any]:
        content: dict[str, Any] = self.manifest.content.spec.model_dump(mode="json", by_alias=True)
        return content


def read_experiment(path: Path) -> Experiment:
    """The Experiment in a file.

    Raises:
        ManifestError: It is none, or Katib or this platform cannot execute it; the message lists every problem with
            file, line and field.
    """
    manifest = read_manifest(path, KatibExperiment, in_clusters=True)
    if found := [str(manifest.error(field, problem)) for field, problem in problems(manifest.content)]:
        raise ManifestError("\n".join(found))
    return Experiment(manifest)

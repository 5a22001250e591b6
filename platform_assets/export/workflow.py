"""A line as steps that others run: what each takes, hands on and costs. The formats are written from this.

A step is the command `platform-assets materialize LINE STAGE …` in a container that has the image and the
platform's settings. It hands on the data version of what it made, and the next step is made from exactly
that version, whatever else has happened in between.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, get_args

from pydantic import JsonValue, ValidationError

from platform_assets.datasets.sources import without_secrets
from platform_assets.features.versions import split_reference
from platform_assets.manifest import first_problem
from platform_assets.references import (
    AssetReference,
    DatasetVersion,
    DeploymentVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
)
from platform_assets.tasks.task import AnyTask
from platform_assets.tasks.training_spec import TrainingSpec
from platform_assets.validation.gate import Condition, Gate
from resources.errors import PlatformError

VERSION: Final = "version"
WORKFLOW_TAG: Final = "platform/workflow"
"""Names, on a run, the workflow that it is a step of."""
WAIT_SECONDS: Final = 24 * 3600
"""How long a step waits while the line runs elsewhere: a training may take that long."""
_ACTED_ON: Final = "deployment"
_JUDGED_BY: Final = "validation"
_PURE: Final = ("features", "model")


class ExportError(PlatformError):
    """A line cannot be exported, or an exported step was given what it cannot take."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value of the spec that one run may change."""

    name: str
    value: JsonValue
    is_optional: bool
    """Whether it may be null."""


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """One asset of the line as a step."""

    stage: str
    after: str | None
    """The step whose version it is made from."""
    parameters: tuple[Parameter, ...]
    figures: tuple[str, ...]
    """What it hands on, by the names of `key_figures`."""
    is_pure: bool
    """Whether equal inputs give equal outputs, so that a runtime may answer from its cache. Steps that read
    the world, judge or act are none, nor are features of transformers at their latest, nor a tuning, whose Experiment is
    a file of its own."""
    condition: Condition | None = None
    """What the headline must satisfy, or the step is not run."""


@dataclass(frozen=True, slots=True)
class LineWorkflow:
    """A line as a workflow."""

    spec: TrainingSpec
    basis: str
    """Identity of the spec that the steps must find under the line's name."""
    image: str
    headline: str
    """The figure that decides whether the line's last step is run."""
    steps: tuple[WorkflowStep, ...]

    @property
    def line(self) -> str:
        """The line's name."""
        return self.spec.line

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of all steps; no two steps share a name."""
        return tuple(parameter for step in self.steps for parameter in step.parameters)

    def command(
        self,
        step: WorkflowStep,
        *,
        workflow: str,
        made_from: str,
        value_of: Callable[[str], str],
        file_of: Callable[[str], str],
    ) -> list[str]:
        """The step's command line, in which the runtime puts values into its own placeholders.

        Args:
            step: The step.
            workflow: What the runtime calls the workflow.
            made_from: Placeholder of the version of the step before.
            value_of: Placeholder of a parameter's value.
            file_of: File that takes a figure.
        """
        return [
            *("platform-assets", "materialize", self.line, step.stage),
            *("--basis", self.basis),
            *("--run-tag", f"{WORKFLOW_TAG}={workflow}"),
            *("--wait", str(WAIT_SECONDS)),
            *(("--from", made_from) if step.after else ()),
            *(part for each in step.parameters for part in ("--set", f"{each.name}={value_of(each.name)}")),
            *(part for figure in step.figures for part in ("--output", f"{figure}={file_of(figure)}")),
        ]


def line_workflow(task: AnyTask, spec: TrainingSpec, *, basis: str, image: str) -> LineWorkflow:
    """The line of a spec as a workflow.

    Args:
        task: The line's task.
        spec: The line's spec.
        basis: `Line.basis` of it.
        image: The container image of every step.

    Raises:
        ExportError: a URI of the spec carries a secret, which would stand in the exported file.
    """
    sources = (*spec.train_data_uri, spec.shift_data_uri)
    if exposed := [uri for uri in sources if uri and without_secrets(uri) != uri]:
        raise ExportError(
            f"{spec.line}: {without_secrets(exposed[0])} carries a user, a password or a query, which would stand "
            "in the exported file: leave it out of the spec, and give it to the steps by their environment"
        )
    values, fields = task.overrides(spec), _fields(type(spec)) | _fields(type(spec.drift))
    stages = list(spec.stages)
    headline = task.evaluator.headline
    gate = spec.gates.get(headline)
    # What is the latest is no input of the step: a cache would answer with the version of some other day.
    follows_latest = any(split_reference(each)[1] is None for each in task.featurizer.uses(spec).names)
    condition = None if gate is None else Gate.parse(headline, gate, task.rules, spec).condition
    return LineWorkflow(
        spec=spec,
        basis=basis,
        image=image,
        headline=headline,
        steps=tuple(
            WorkflowStep(
                stage=stage,
                after=stages[at - 1] if at else None,
                parameters=tuple(
                    Parameter(name, value, is_optional=NoneType in get_args(fields[name]))
                    for name, value in values.get(stage, {}).items()
                ),
                figures=(VERSION, headline) if stage == _JUDGED_BY else (VERSION,),
                is_pure=stage in _PURE and not (stage == "features" and follows_latest),
                condition=condition if stage == _ACTED_ON else None,
            )
            for at, stage in enumerate(stages)
        ),
    )


def _fields(section: Any) -> dict[str, Any]:
    return {name: field.annotation for name, field in section.model_fields.items()}


def spelled(value: JsonValue) -> str:
    """The text that `assigned` reads as this value: JSON, and a string as it is where that is unmistakable."""
    if isinstance(value, str) and _read(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _read(text: str) -> JsonValue:
    try:
        return json.loads(text)  # type: ignore[no-any-return]
    except ValueError:
        return text


def assigned(
    task: AnyTask, spec: TrainingSpec, stage: str, assignments: Sequence[str]
) -> dict[str, JsonValue]:
    """The values that `FIELD=VALUE` texts give to a stage, as its run configuration has them.

    Raises:
        ExportError: a text is no assignment, the stage has no such field, or the value is out of range.
    """
    given: dict[str, JsonValue] = {}
    known = task.overridable.get(stage, ())
    for text in assignments:
        field, equals, value = text.partition("=")
        if not equals or field not in known:
            raise ExportError(
                f"--set {text}: " + ("write FIELD=VALUE; " if not equals else "")
                + (f"{stage} takes {', '.join(known)}" if known else f"{stage} takes no values")
            )  # fmt: skip
        given[field] = _read(value)
    try:
        found = task.overrides(task.with_overrides(spec, {stage: given}))
    except ValidationError as problem:
        raise ExportError(f"--set {first_problem(problem)}") from None
    return {field: found[stage][field] for field in given}


def key_figures(reference: AssetReference) -> dict[str, JsonValue]:
    """What is worth telling of an asset's new version, by name; `version` of every one."""
    figures: dict[str, JsonValue] = {VERSION: reference.version}
    match reference:
        case DatasetVersion() | FeaturesVersion():
            figures["rows"] = reference.snapshot.rows
        case ModelVersion():
            figures["weights_sha256"] = reference.weights_sha256
        case ReportVersion():
            figures |= reference.metrics
        case RegisteredVersion():
            figures["number"] = reference.number
        case DeploymentVersion():
            figures["release_id"] = reference.release_id
    return figures


def figure_texts(figures: Mapping[str, JsonValue], names: Sequence[str]) -> dict[str, str]:
    """The text of each named figure, for a file that a runtime reads.

    Raises:
        ExportError: there is no such figure.
    """
    if unknown := [name for name in names if name not in figures]:
        raise ExportError(f"--output {unknown[0]}: no such figure; there are {', '.join(figures)}")
    texts = {name: figures[name] for name in names}
    return {name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()}

"""An Experiment that is refused before anything runs, since it is of another line or its trials are of something else."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from platform_assets.lines.line import SPECS_FOLDER
from platform_assets.manifest import ManifestError
from platform_assets.models.spec import ModelSpec
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tuning.assignment import assigned
from platform_assets.tuning.declared import declared_experiment
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.tuning import default_assignment
from tests.tasks.toys import toy_task, write_line
from tests.tuned_line import SET_SMOOTHING, SMOOTHING, write_experiment

FIELDS = ("smoothing", "modulus")
MODULUS = {"name": "modulus", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}}
SET_MODULUS = ("--set", "modulus=${trialParameters.modulus}")
SHIPPED = {
    "chest_xray_detector/experiment.yaml": "training-spec.yaml",
    "chest_xray_detector/reference-experiment.yaml": "reference-training-spec.yaml",
    "credit_scorecard/experiment.yaml": "training-spec.yaml",
    "reviews_sentiment/experiment.yaml": "training-spec.yaml",
}


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[ModelSpec]:
    """The spec of the toy's line."""
    with toy_task():
        yield read_training_spec(write_line(tmp_path / "line"))[1].content


@pytest.fixture
def declared(tmp_path: Path, toy: ModelSpec) -> Callable[..., Experiment]:
    """The Experiment whose trials' command ends so."""

    def declared(command: Sequence[str] = SET_SMOOTHING, **spec: Any) -> Experiment:
        file = write_experiment(tmp_path, command=command, **spec)
        return declared_experiment(file, spec=toy, fields=FIELDS)

    return declared


@pytest.mark.parametrize(
    "command",
    [
        SET_SMOOTHING,
        ("--set=smoothing=${trialParameters.smoothing}",),
        ("--set", "modulus=3", *SET_SMOOTHING),
    ],
)
def test_a_command_that_sets_what_is_searched_is_taken(
    declared: Callable[..., Experiment], command: Sequence[str]
) -> None:
    """In either spelling, and beside values that hold for every trial."""
    assert declared(command).name == "toy-search"


def test_it_may_have_line_ends_of_windows(tmp_path: Path, toy: ModelSpec) -> None:
    """And is the same Experiment."""
    file = write_experiment(tmp_path)
    plain = declared_experiment(file, spec=toy, fields=FIELDS)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert declared_experiment(file, spec=toy, fields=FIELDS).sha256 == plain.sha256


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ("--set", "modulus=2${trialParameters.smoothing}"),
            r"parameters\.0\.name: .*sets smoothing of the model, and the command of a trial does not",
        ),
        (("--set", "smoothing=0${trialParameters.smoothing}"), r"parameters\.0\.name: .*sets smoothing"),
        (("--set", "modulus=${trialParameters.smoothing}"), r"parameters\.0\.name: .*sets smoothing"),
        (
            (*SET_SMOOTHING, "--set", "smoothing=2"),
            r"trialSpec: what its command sets: smoothing stands twice",
        ),
        ((*SET_SMOOTHING, "--set", "modulo=2"), r"modulo: is no field .*did you mean modulus"),
        ((*SET_SMOOTHING, "--set", "modulus"), r"--set modulus: write NAME=VALUE"),
        ((*SET_SMOOTHING, "--set"), r"--set : write NAME=VALUE"),
        ((*SET_SMOOTHING, "--features", "0123"), r"--features has no place there"),
        ((*SET_SMOOTHING, "--spec=other.yaml"), r"--spec has no place there"),
    ],
)
def test_a_command_that_tries_something_else_than_is_searched_is_refused(
    declared: Callable[..., Experiment], command: Sequence[str], told: str
) -> None:
    """Else the model would get values that no trial was given, or those of other features; file and line are named."""
    with pytest.raises(ManifestError, match=rf"experiment\.yaml:\d+: .*{told}"):
        declared(command)


def test_values_that_change_places_are_refused(declared: Callable[..., Experiment]) -> None:
    """Two parameters of which each sets the field of the other."""
    crossed = (
        "--set",
        "modulus=${trialParameters.smoothing}",
        "--set",
        "smoothing=${trialParameters.modulus}",
    )
    assert declared((*SET_SMOOTHING, *SET_MODULUS), parameters=[SMOOTHING, MODULUS]).parameters
    with pytest.raises(ManifestError, match="sets smoothing of the model"):
        declared(crossed, parameters=[SMOOTHING, MODULUS])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"objective": {"type": "maximize", "objectiveMetricName": "accurracy"}},
            r"objectiveMetricName: .*no trial tells accurracy",
        ),
        (
            {"parameters": [SMOOTHING | {"name": "smoothin"}]},
            r"parameters\.0\.name: .*is no field.* did you mean smoothing",
        ),
    ],
)
def test_what_no_trial_tells_or_sets_is_refused(
    declared: Callable[..., Experiment], spec: dict[str, Any], told: str
) -> None:
    """One error with file and line."""
    (name,) = [each["name"] for each in spec.get("parameters", [SMOOTHING])]
    with pytest.raises(ManifestError, match=rf"experiment\.yaml:\d+: .*{told}"):
        declared(("--set", f"{name}=${{trialParameters.{name}}}"), **spec)


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        (
            SMOOTHING | {"feasibleSpace": {"min": "0", "max": "1"}},
            r"may be 0\.0; smoothing: Input should be greater",
        ),
        (MODULUS | {"feasibleSpace": {"min": "0", "max": "4"}}, "may be 0; modulus: Input should be greater"),
        (MODULUS | {"parameterType": "double"}, r"may be 1\.0; modulus: Input should be a valid integer"),
        (
            MODULUS | {"parameterType": "categorical", "feasibleSpace": {"list": ["1", "two"]}},
            "may be two; modulus: Input should be a valid integer",
        ),
    ],
)
def test_values_that_are_none_for_their_field_are_refused(
    declared: Callable[..., Experiment], parameter: dict[str, Any], told: str
) -> None:
    """Else trials that were given them would fail, one after another."""
    name = parameter["name"]
    with pytest.raises(ManifestError, match=rf"experiment\.yaml:\d+: spec\.parameters\.0\.name: {told}"):
        declared(("--set", f"{name}=${{trialParameters.{name}}}"), parameters=[parameter])


def test_an_experiment_of_another_line_is_refused(tmp_path: Path, toy: ModelSpec) -> None:
    """So is a command that is none of the platform's."""
    file = write_experiment(tmp_path)
    with pytest.raises(ManifestError, match=r"executes `platform-assets trial toy`; a trial of this line"):
        declared_experiment(file, spec=toy.model_copy(update={"line": "other"}), fields=FIELDS)
    file.write_text(file.read_text(encoding="utf-8").replace("- platform-assets\n", "- make-a-model\n"))
    with pytest.raises(ManifestError, match="executes `make-a-model trial toy`"):
        declared_experiment(file, spec=toy, fields=FIELDS)


@pytest.mark.parametrize("file", SHIPPED)
def test_every_shipped_experiment_gives_its_spec_values_that_this_takes(file: str) -> None:
    """The spec's own, and both ends of each range, together with what the command sets in every trial."""
    path = SPECS_FOLDER / file
    task, manifest = read_training_spec(path.with_name(SHIPPED[file]))
    spec, fields = manifest.content, task.trainer.fields
    experiment = declared_experiment(path, spec=spec, fields=fields)
    own = default_assignment(experiment, spec, task.trainer)
    assert set(own) == {each.name for each in experiment.parameters}
    for each in experiment.parameters:
        assert each.allows(own[each.name]), f"{each.name}: the spec's own value is not searched"
    lowest = {each.name: str(each.low) for each in experiment.parameters}
    highest = {each.name: str(each.high) for each in experiment.parameters}
    for values in (own, lowest, highest):
        arguments = experiment.trial_arguments(values, experiment.name)
        given = dict(text.split("=", 1) for text in arguments if "=" in text)
        assert assigned(spec, given, fields)

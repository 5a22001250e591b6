"""The Experiment that a line declares, checked against what the line can be told."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from platform_assets.ledger.ledger import fingerprint_of
from platform_assets.models.spec import ModelSpec
from platform_assets.tuning.assignment import AssignmentError, assigned, fields_of, parameter_problems
from platform_assets.tuning.experiment import Experiment, read_experiment
from platform_assets.tuning.measures import METRICS

RULE_SET: Final = "tuning.completed"
"""Whose verdict says that an Experiment has ended as it should, with a best trial."""
RULE_SET_HASH: Final = fingerprint_of(condition="Succeeded", optimum="of a finite value")
COMMAND: Final = ("platform-assets", "trial")
"""What the container of a trial executes, before the name of the line."""
_SET: Final = "--set"
_TRIAL: Final = ("spec", "trialTemplate", "trialSpec")


def declared_experiment(file: Path, *, spec: ModelSpec, fields: Collection[str]) -> Experiment:
    """The Experiment in a file, if it is one of this line's.

    Args:
        file: That.
        spec: Of the line whose trials it must be of.
        fields: Those of the spec that one run may change.

    Raises:
        ManifestError: It is no Experiment, a parameter sets no such field or has values that are none for it, no trial tells
            its objective, or its trials are of something else: another line, or values of other fields than those that
            its best trial's would be.
    """
    experiment = read_experiment(file)
    names = [each.name for each in experiment.parameters]
    for name, problem in parameter_problems(names, fields).items():
        raise experiment.parameter_error(name, problem)
    if (metric := experiment.objective.metric) not in METRICS:
        raise experiment.error(
            ("spec", "objective", "objectiveMetricName"),
            f"no trial tells {metric}; it tells {', '.join(METRICS)}",
        )
    # No text that somebody would write, so that it is found again wherever the command has it.
    texts = {name: f"value-{number}-of-the-trial" for number, name in enumerate(names)}
    arguments = experiment.trial_arguments(texts, experiment.name)
    own = (*COMMAND, spec.line)
    if tuple(arguments[: len(own)]) != own:
        told = " ".join(arguments[: len(own)]) or "nothing"
        raise experiment.error(
            _TRIAL, f"its container executes `{told}`; a trial of this line is `{' '.join(own)} {_SET} …`"
        )
    try:
        given = dict(_assignments(arguments[len(own) :]))
        set_by = fields_of(given, fields)
    except AssignmentError as problem:
        raise experiment.error(_TRIAL, f"what its command sets: {problem}") from None
    given_to = {set_by[name]: text for name, text in given.items()}
    for name, field in fields_of(names, fields).items():
        if given_to.get(field) != texts[name]:
            raise experiment.parameter_error(
                name,
                f"sets {field} of the model, and the command of a trial does not; write `{_SET} {name}=${{trialParameters.…}}` "
                "there, with the trial parameter that refers to it",
            )
        _check_values(experiment, name, field, spec, fields)
    return experiment


def _check_values(
    experiment: Experiment, name: str, field: str, spec: ModelSpec, fields: Collection[str]
) -> None:
    """Nothing, where the field may have the values that the parameter may have, as far as examples tell.

    Whether they go with other values of the spec, only trials can tell: those may be searched, too.
    """
    parameter = next(each for each in experiment.parameters if each.name == name)
    for text in parameter.examples:
        try:
            assigned(spec, {name: text}, fields)
        except AssignmentError as problem:
            if str(problem).startswith((f"{field}: ", f"{name} sets {field}: ")):
                raise experiment.parameter_error(name, f"may be {text}; {problem}") from None


def _assignments(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and text of every value that a trial's command sets.

    Raises:
        AssignmentError: It says something else: on which features and by which spec a trial trains, whoever executes it says.
    """
    seen = set[str]()
    rest = list(arguments)
    while rest:
        option, equals, text = rest.pop(0).partition("=")
        if option != _SET:
            raise AssignmentError(f"{option} has no place there; write {_SET} NAME=VALUE, and nothing else")
        text = text if equals else rest.pop(0) if rest else ""
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise AssignmentError(f"{_SET} {text}: write NAME=VALUE")
        if name in seen:
            raise AssignmentError(f"{name} stands twice; keep one")
        seen.add(name)
        yield name, value

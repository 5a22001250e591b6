"""Parameters of an Experiment, and the fields of a training spec that they set.

A parameter sets the field of its name, or the one that `ALIASES` states for it. All values come as text, since Katib
knows no other; each is read as the type of its field.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, TypeVar

from pydantic import JsonValue
from pydantic import ValidationError as PydanticValidationError

from platform_assets.manifest import first_problem
from platform_assets.models.spec import ModelSpec
from platform_assets.tuning.errors import TuningError

ALIASES: Final[Mapping[str, str]] = {
    "dropout_rate": "dropout",
    "lr": "learning_rate",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "n_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "warmup_ratio": "warmup_fraction",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "clip_norm",
    "ema_decay": "average_decay",
    "l2_regularization": "regularisation",
    "n_estimators": "max_iterations",
    "num_leaves": "max_leaf_nodes",
    "min_child_samples": "min_samples_leaf",
    "random_seed": "seed",
    "random_state": "seed",
}
"""Field by another name for it, as Katib's own examples and well-known libraries call it. A field of the spec that has
such a name itself comes first."""

_UNGATED: Final = {"gates": {"auc": "> 0"}}
"""A trial passes no gate, and those of its line may be measured of another kind of model only, as of scorecards."""

S = TypeVar("S", bound=ModelSpec)


class AssignmentError(TuningError):
    """A parameter sets no field of the spec, or its value is none for the field."""


def parameter_problems(parameters: Iterable[str], fields: Collection[str]) -> dict[str, str]:
    """What is wrong with each parameter that sets no field, or one that another sets already.

    Args:
        parameters: Names, in the order in which they stand.
        fields: Those that one run may change: `Trainer.fields`.
    """
    problems: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in parameters:
        field = _field_of(name, fields)
        if field is None:
            alike = get_close_matches(name, [*fields, *_aliases_of(fields)], n=1)
            meant = f"did you mean {alike[0]}? " if alike else ""
            problems[name] = (
                f"is no field of the spec that a trial may set; {meant}there are {', '.join(fields)}"
            )
        elif field in taken:
            problems[name] = f"sets {field}, as {taken[field]} does; keep one of them"
        else:
            taken[field] = name
    return problems


def fields_of(parameters: Iterable[str], fields: Collection[str]) -> dict[str, str]:
    """The field of the spec by parameter.

    Args:
        parameters: Names, in the order in which they stand.
        fields: Those that one run may change: `Trainer.fields`.

    Raises:
        AssignmentError: a parameter sets no field, or two set the same; all of them are named.
    """
    names = list(parameters)
    if problems := parameter_problems(names, fields):
        raise AssignmentError("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
    return {name: str(_field_of(name, fields)) for name in names}


def assigned(spec: S, values: Mapping[str, str], fields: Collection[str]) -> S:
    """The spec with these values, checked as strictly as its file, but for its gates: no trial comes to them.

    A value is what its text is as JSON, or else the text itself: `8`, `1e-4`, `true`, `[16, 32]`, `cosine`.

    Args:
        spec: Of the line.
        values: Text by parameter.
        fields: Those that one run may change: `Trainer.fields`.

    Raises:
        AssignmentError: a parameter sets no field, or its value is none for the field.
    """
    names = {field: name for name, field in fields_of(values, fields).items()}
    texts = {field: values[name] for field, name in names.items()}
    read = {field: _from_json(text) for field, text in texts.items()}
    try:
        return _with(spec, read)
    except PydanticValidationError as problem:
        odd = {str(each["loc"][0]) for each in problem.errors() if each["loc"]} & texts.keys()
        try:
            # Of a field that holds text, 8 and true are text, too.
            return _with(spec, read | {field: texts[field] for field in odd})
        except PydanticValidationError:
            told = first_problem(problem)
            field = told.partition(":")[0]
            aside = f"{names[field]} sets " if names.get(field, field) != field else ""
            raise AssignmentError(aside + told) from None


def _with(spec: S, values: Mapping[str, JsonValue]) -> S:
    ungated = _UNGATED if "gates" in type(spec).model_fields else {}
    return type(spec).model_validate({**spec.model_dump(), **ungated, **values})


def _from_json(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _field_of(name: str, fields: Collection[str]) -> str | None:
    field = name if name in fields else ALIASES.get(name)
    return field if field in fields else None


def _aliases_of(fields: Collection[str]) -> list[str]:
    return [alias for alias, field in ALIASES.items() if field in fields]

"""Hyper-parameters that a tuning has found, in the place of the spec's."""

from pydantic import JsonValue, ValidationError

from platform_assets.manifest import first_problem
from platform_assets.models.errors import TrainingError
from platform_assets.models.spec import ModelSpec
from platform_assets.references import FeaturesVersion, TunedBy, TuningVersion


def require_of(tuning: TuningVersion, features: FeaturesVersion) -> None:
    """Refuses a tuning of other features.

    Raises:
        TrainingError: It is of others.
    """
    if tuning.features.version != features.version:
        line = features.dataset.line
        raise TrainingError(
            f"{line}_tuning is of features {tuning.features.version[:12]}, and the newest are {features.version[:12]}: "
            f"materialize {line}_tuning, then {line}_model"
        )


def tuned(spec: ModelSpec, tuning: TuningVersion | None, *, file: ModelSpec) -> ModelSpec:
    """The spec with the values of the best trial.

    Args:
        spec: What a run resolved.
        tuning: The tuning; None of a line that has none.
        file: What the file says. Where a person has given this run another value, that one stands.

    Raises:
        TrainingError: The values do not go with the rest of the spec.
    """
    if tuning is None:
        return spec
    values = spec.model_dump(mode="json") | _taken(spec, tuning, file)
    try:
        return type(spec).model_validate(values)
    except ValidationError as problem:
        raise TrainingError(
            f"{spec.line}_tuning: the values of trial {tuning.trial} do not go with the rest of the spec "
            f"({first_problem(problem)}); change the spec, or what its Experiment searches"
        ) from None


def tuned_by(spec: ModelSpec, tuning: TuningVersion | None, *, file: ModelSpec) -> TunedBy | None:
    """What a model's record says of the tuning behind it: the values that are from it, and no others.

    Args:
        spec: As for `tuned`, as the next.
        tuning: The tuning.
        file: What the file says.

    Returns:
        None of a line that has none, and where a person has given this run another value of all that it found.
    """
    if tuning is None or not (values := _taken(spec, tuning, file)):
        return None
    return TunedBy(
        tuning=tuning.version,
        experiment=tuning.experiment,
        trial=tuning.trial,
        status_key=tuning.status_key,
        assignment=values,
    )


def _taken(spec: ModelSpec, tuning: TuningVersion, file: ModelSpec) -> dict[str, JsonValue]:
    values, stated = spec.model_dump(mode="json"), file.model_dump(mode="json")
    return {field: value for field, value in tuning.assignment.items() if values[field] == stated[field]}

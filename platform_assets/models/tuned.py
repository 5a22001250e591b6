"""Hyper-parameters that a tuning has found, in the place of the spec's."""

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
    """
    if tuning is None:
        return spec
    values = spec.model_dump(mode="json")
    stated = file.model_dump(mode="json")
    found = {field: value for field, value in tuning.assignment.items() if values[field] == stated[field]}
    return type(spec).model_validate({**values, **found})


def tuned_by(tuning: TuningVersion | None) -> TunedBy | None:
    """What a model's record says of the tuning behind it."""
    if tuning is None:
        return None
    return TunedBy(
        tuning=tuning.version,
        experiment=tuning.experiment,
        trial=tuning.trial,
        status_key=tuning.status_key,
        assignment=tuning.assignment,
    )

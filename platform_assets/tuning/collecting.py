"""What a trial's reports come to: its metrics, and its value.

A transcription of `getMetrics` (kubeflow/katib pkg/controller.v1beta1/trial/trial_controller_util.go) and
`getObjectiveMetricValue` (pkg/controller.v1beta1/experiment/util/status_util.go), but for values that are no finite numbers:
Katib makes a trial whose objective is such a value the best of all, and here it has failed.
"""

from collections.abc import Sequence
from math import isfinite

from platform_assets.tuning.experiment import Objective
from platform_assets.tuning.status import UNAVAILABLE, Metric
from platform_assets.tuning.trial_runner import Observation


def finite(value: str) -> float | None:
    """The finite number that was reported; None if it is none."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if isfinite(found) else None


def reports_of(metric: str, observations: Sequence[Observation]) -> list[str]:
    """What was reported of one metric, in order."""
    return [each.value.strip() for each in observations if each.metric == metric]


def metrics_of(objective: Objective, observations: Sequence[Observation]) -> tuple[Metric, ...]:
    """Least, greatest and latest of every metric of the objective; reports that are no finite numbers are left out."""
    return tuple(_metric(name, observations) for name in objective.metrics)


def value_of(objective: Objective, metrics: Sequence[Metric]) -> float | None:
    """The objective, by its strategy; None if nothing of it was reported."""
    (found,) = [each for each in metrics if each.name == objective.metric]
    text: str = getattr(found, objective.strategies[objective.metric])
    return None if text == UNAVAILABLE else float(text)


def _metric(name: str, observations: Sequence[Observation]) -> Metric:
    found = [each for each in observations if each.metric == name and finite(each.value) is not None]
    if not found:
        return Metric(name)
    latest = found[0]
    for each in found:
        # Not by the order alone: lines state when they were printed, and the last of one moment counts.
        if each.time >= latest.time:
            latest = each
    return Metric(
        name,
        min=min(found, key=lambda each: float(each.value)).value.strip(),
        max=max(found, key=lambda each: float(each.value)).value.strip(),
        latest=latest.value.strip(),
    )

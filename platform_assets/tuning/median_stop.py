"""Katib's `medianstop`, as it computes it, which is not a median.

From pkg/earlystopping/v1beta1/medianstop/service.py and cmd/metricscollector/v1beta1/file-metricscollector/main.go
(`updateStopRules`) of kubeflow/katib:

| | |
|---|---|
| a trial's average | mean of the first `start_step` reports of the objective, of a succeeded trial |
| bound | mean of these averages, once there are `min_trials_required` |
| when it is drawn | when the trial is suggested; what ends later does not move it |
| when it is applied | once, at report number `start_step` |
| to what | to the best report so far, whatever the strategy; strictly worse than the bound ends the trial |
"""

from collections.abc import Sequence

from platform_assets.tuning.experiment import MedianStop, Objective


def bound(settings: MedianStop, succeeded: Sequence[Sequence[float]]) -> float | None:
    """What a trial that is suggested now is held against; None as long as too few have succeeded.

    Args:
        settings: Of the Experiment.
        succeeded: Reports of the objective, by trial that has succeeded; none is empty.
    """
    averages = [_mean(reports[: settings.start_step]) for reports in succeeded]
    return _mean(averages) if len(averages) >= settings.min_trials_required else None


def is_stopped(
    settings: MedianStop, objective: Objective, limit: float | None, reports: Sequence[float]
) -> bool:
    """Whether a running trial is to be ended.

    Args:
        settings: Of the Experiment.
        objective: Whose direction says what is worse.
        limit: The bound that was drawn when the trial was suggested.
        reports: Of the objective, so far.
    """
    if limit is None or len(reports) < settings.start_step:
        return False
    first = reports[: settings.start_step]
    best = max(first) if objective.type == "maximize" else min(first)
    return best != limit and not objective.is_better(best, limit)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

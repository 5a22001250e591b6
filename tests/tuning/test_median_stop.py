"""medianstop against Katib's own code, transcribed line by line."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tuning.experiment import MedianStop, Objective
from platform_assets.tuning.median_stop import bound, is_stopped
from tests.tuning.toy import experiment, run

REPORTS = st.lists(st.floats(-10, 10, allow_nan=False), min_size=1, max_size=8)


class KatibService:
    """`MedianStopService.get_median_value`, with the log of a trial in the place of the database's."""

    def __init__(self, min_trials_required: int, start_step: int) -> None:
        self.min_trials_required = min_trials_required
        self.start_step = start_step
        self.trials_avg_history: dict[str, float] = {}

    def get_median_value(self, succeeded: dict[str, Sequence[float]]) -> float | None:
        """pkg/earlystopping/v1beta1/medianstop/service.py."""
        for name, metric_logs in succeeded.items():
            if name not in self.trials_avg_history:
                first_x_logs = metric_logs[: self.start_step]
                metric_sum = 0.0
                for log in first_x_logs:
                    metric_sum += float(log)
                new_average = metric_sum / len(first_x_logs)
                self.trials_avg_history[name] = new_average
        if len(self.trials_avg_history) >= self.min_trials_required:
            return sum(list(self.trials_avg_history.values())) / len(self.trials_avg_history)
        return None


def katib_collector(
    rule_value: float | None, start_step: int, objective_type: str, metrics: Sequence[float]
) -> int | None:
    """`watchMetricsFile` and `updateStopRules` of file-metricscollector/main.go: after which report a trial is stopped."""
    if rule_value is None:
        return None
    comparison = "less" if objective_type == "maximize" else "greater"
    metric_start_step = start_step
    optimal_obj_value: float | None = None
    for number, reported in enumerate(metrics, start=1):
        metric_value = reported
        if (
            optimal_obj_value is None
            or (objective_type == "maximize" and metric_value > optimal_obj_value)
            or (objective_type == "minimize" and metric_value < optimal_obj_value)
        ):
            optimal_obj_value = metric_value
        metric_value = optimal_obj_value
        metric_start_step -= 1
        if metric_start_step != 0:
            continue
        if comparison == "less" and metric_value < rule_value:
            return number
        if comparison == "greater" and metric_value > rule_value:
            return number
    return None


@settings(max_examples=60)
@given(
    st.lists(REPORTS, max_size=6),
    REPORTS,
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(["maximize", "minimize"]),
)
def test_it_stops_what_katib_stops(
    succeeded: list[list[float]], reports: list[float], needed: int, start: int, kind: str
) -> None:
    """The same bound, to the last bit, and the same trials at the same report."""
    stop = MedianStop(needed, start)
    objective = Objective(kind, "auc", (), None, {"auc": "latest"})
    service = KatibService(needed, start)
    limit = service.get_median_value({str(name): logs for name, logs in enumerate(succeeded)})
    assert bound(stop, succeeded) == limit
    stopped_at = katib_collector(limit, start, kind, reports)
    for seen in range(1, len(reports) + 1):
        expected = stopped_at is not None and seen >= stopped_at
        assert is_stopped(stop, objective, limit, reports[:seen]) is expected


STOP = {
    "algorithmName": "medianstop",
    "algorithmSettings": [
        {"name": "min_trials_required", "value": "2"},
        {"name": "start_step", "value": "2"},
    ],
}


def test_a_trial_that_lags_behind_is_stopped_and_its_value_competes(tmp_path: Path) -> None:
    """The third is held against the mean of the first two; nobody waits for its last report."""
    plays = iter([[0.4, 0.6, 0.5], [0.5, 0.7, 0.4], [0.3, 0.5, 0.99], [0.6, 0.7, 0.6]])
    tried = experiment(tmp_path, earlyStopping=STOP, parallelTrialCount=1, maxTrialCount=4)
    status, runner = run(tried, lambda _: next(plays), tmp_path)
    assert [each.state for each in status.trials] == ["Succeeded", "Succeeded", "EarlyStopped", "Succeeded"]
    stopped = runner.trials[status.trials[2].name]
    assert stopped.stopped
    assert stopped.shown == 2
    assert status.trials[2].value == pytest.approx(0.5)
    assert status.trials[2].metrics[0].to_json() == {
        "name": "auc",
        "min": "0.3",
        "max": "0.5",
        "latest": "0.5",
    }


def test_the_bound_is_drawn_when_a_trial_is_suggested(tmp_path: Path) -> None:
    """What succeeds beside it moves nothing: the bad one of the second pair began when too few had succeeded."""
    plays = iter([[0.9, 0.9], [0.9, 0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1, 0.1], [0.1] * 5])
    tried = experiment(tmp_path, earlyStopping=STOP, parallelTrialCount=2, maxTrialCount=4)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert [each.state for each in status.trials] == ["Succeeded", "Succeeded", "Succeeded", "EarlyStopped"]


def test_early_stopped_trials_are_no_failed_ones(tmp_path: Path) -> None:
    """However many there are; and they count for maxTrialCount."""
    plays = iter([[0.9, 0.9], [0.9, 0.9], *([[0.1] * 3] * 6)])
    tried = experiment(
        tmp_path, earlyStopping=STOP, parallelTrialCount=1, maxTrialCount=8, maxFailedTrialCount=1
    )
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert status.count("EarlyStopped") == 6
    assert status.condition.reason == "ExperimentMaxTrialsReached"

"""The status is shaped as Katib's."""

from datetime import timedelta
from pathlib import Path

from platform_assets.tuning.status import Condition, Metric, Status, TrialState, TrialStatus
from tests.tuning.toy import MIDNIGHT, experiment, run


def trial(number: int, state: TrialState, value: float | None = None) -> TrialStatus:
    """A trial of one parameter."""
    return TrialStatus(
        f"toy-{number}",
        number,
        state,
        {"rate": "0.10"},
        (Metric("auc", "0.1", "0.9", str(value)),) if value is not None else (Metric("auc"),),
        value,
        MIDNIGHT,
        None if state == "Running" else MIDNIGHT + timedelta(seconds=90),
        "Because",
    )


def test_counters_and_lists_have_upstreams_names() -> None:
    """Those of experiment_types.go, one of which is `trialMetricsUnavailable`; values are text."""
    states: list[TrialState] = [
        "Succeeded",
        "Failed",
        "Killed",
        "EarlyStopped",
        "MetricsUnavailable",
        "Running",
    ]
    trials = tuple(trial(number, state) for number, state in enumerate(states))
    best = trial(6, "Succeeded", 0.5)
    conditions = (
        Condition("Created", "ExperimentCreated", "Experiment is created", MIDNIGHT),
        Condition("Running", "ExperimentRunning", "Experiment is running", MIDNIGHT),
        Condition("Succeeded", "ExperimentGoalReached", "It has", MIDNIGHT + timedelta(minutes=2)),
    )
    assert Status("toy", (*trials, best), best, conditions, MIDNIGHT).to_json() == {
        "startTime": "2026-11-30T00:00:00Z",
        "completionTime": "2026-11-30T00:02:00Z",
        "conditions": [
            {
                "type": each.type,
                "status": holds,
                "reason": each.reason,
                "message": each.message,
                "lastUpdateTime": time,
                "lastTransitionTime": time,
            }
            for each, holds, time in zip(
                conditions,
                ("True", "False", "True"),
                ("2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "2026-11-30T00:02:00Z"),
                strict=True,
            )
        ],
        "trials": 7,
        "trialsRunning": 1,
        "runningTrialList": ["toy-5"],
        "trialsSucceeded": 2,
        "succeededTrialList": ["toy-0", "toy-6"],
        "trialsFailed": 1,
        "failedTrialList": ["toy-1"],
        "trialsKilled": 1,
        "killedTrialList": ["toy-2"],
        "trialsEarlyStopped": 1,
        "earlyStoppedTrialList": ["toy-3"],
        "trialMetricsUnavailable": 1,
        "metricsUnavailableTrialList": ["toy-4"],
        "currentOptimalTrial": {
            "bestTrialName": "toy-6",
            "parameterAssignments": [{"name": "rate", "value": "0.10"}],
            "observation": {"metrics": [{"name": "auc", "min": "0.1", "max": "0.9", "latest": "0.5"}]},
        },
    }


def test_a_trial_tells_its_state_and_times() -> None:
    """What was not reported is `unavailable`, and a trial that runs has no time of completion."""
    assert trial(1, "MetricsUnavailable").to_json() == {
        "name": "toy-1",
        "state": "MetricsUnavailable",
        "message": "Because",
        "parameterAssignments": [{"name": "rate", "value": "0.10"}],
        "observation": {
            "metrics": [{"name": "auc", "min": "unavailable", "max": "unavailable", "latest": "unavailable"}]
        },
        "startTime": "2026-11-30T00:00:00Z",
        "completionTime": "2026-11-30T00:01:30Z",
    }
    assert "completionTime" not in trial(1, "Running").to_json()


def test_a_study_tells_every_metric(tmp_path: Path) -> None:
    """Additional ones too, and what is no number among their reports is left out."""
    objective = {"type": "maximize", "objectiveMetricName": "auc", "additionalMetricNames": ["loss"]}
    status, _ = run(
        experiment(tmp_path, objective=objective, maxTrialCount=2), lambda _: [0.5, 0.25], tmp_path
    )
    assert [each.to_json() for each in status.trials[0].metrics] == [
        {"name": "auc", "min": "0.25", "max": "0.5", "latest": "0.25"},
        {"name": "loss", "min": "unavailable", "max": "unavailable", "latest": "unavailable"},
    ]
    assert status.to_json()["currentOptimalTrial"]["observation"]["metrics"] == [
        each.to_json() for each in status.trials[0].metrics
    ]

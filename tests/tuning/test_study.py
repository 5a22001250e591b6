"""A study behaves as Katib's controllers do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.tuning.collecting import metrics_of, value_of
from platform_assets.tuning.errors import StudyBusyError
from platform_assets.tuning.experiment import Objective
from platform_assets.tuning.hyperband import next_trial
from platform_assets.tuning.status import Status
from platform_assets.tuning.study import Observation, run_study
from resources.locks import FileLocks
from tests.tuning.toy import DEPTH, MIDNIGHT, RATE, ToyRunner, ToyTrial, experiment, run

STEPPED_RATE = {
    "name": "rate",
    "parameterType": "double",
    "feasibleSpace": {"min": "0.1", "max": "0.9", "step": "0.1"},
}


def by_rate(assignment: Mapping[str, str]) -> list[float]:
    """A trial whose objective is its rate."""
    return [float(assignment["rate"])]


def failed(_: Mapping[str, str]) -> ToyTrial:
    """A trial whose command fails."""
    return ToyTrial("", [0.9], ends="failed")


def test_trials_run_side_by_side_until_the_count_is_reached(tmp_path: Path) -> None:
    """Never more of them than parallelTrialCount, and the best is the optimum."""
    status, runner = run(experiment(tmp_path, maxTrialCount=7), by_rate, tmp_path)
    assert len(runner.started) == 7
    assert runner.most_at_once == 2
    assert status.condition.type == "Succeeded"
    assert status.condition.reason == "ExperimentMaxTrialsReached"
    best = max(runner.started, key=lambda started: float(started[1]["rate"]))
    assert status.optimal is not None
    assert (status.optimal.name, status.optimal.assignment) == best
    assert len({assignment["rate"] for _, assignment in runner.started}) == 7


def test_the_least_is_sought_where_it_is_to_be_minimized(tmp_path: Path) -> None:
    """By the strategy of that direction."""
    objective = {"type": "minimize", "objectiveMetricName": "auc"}
    plays = iter([[0.5, 0.2], [0.3, 0.9], [0.4, 0.4]])
    tried = experiment(tmp_path, objective=objective, maxTrialCount=3)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert [each.value for each in status.trials] == [0.2, 0.3, 0.4]
    assert status.optimal == status.trials[0]


def test_of_equal_trials_the_first_is_the_optimum(tmp_path: Path) -> None:
    """The comparison is strict."""
    status, _ = run(experiment(tmp_path), lambda _: [0.5], tmp_path)
    assert status.optimal == status.trials[0]


def test_the_goal_ends_the_study_and_what_still_runs(tmp_path: Path) -> None:
    """Katib lets the others run on for nothing; here they are killed, and count as nothing else."""
    objective = {"type": "maximize", "objectiveMetricName": "auc", "goal": 0.9}
    plays = iter([[0.5], [0.1] * 9, [0.9], [0.1]])
    told: list[Status] = []
    status, runner = run(
        experiment(tmp_path, objective=objective), lambda _: next(plays), tmp_path, told=told
    )
    assert status.condition.reason == "ExperimentGoalReached"
    assert [each.state for each in status.trials] == ["Succeeded", "Killed", "Succeeded"]
    assert runner.trials[status.trials[1].name].stopped
    assert told[-1] == status


def test_a_study_that_dies_when_it_is_over_starts_nothing_again(tmp_path: Path) -> None:
    """The goal had been reached, and what ran beside it was not yet noted as killed."""
    objective = {"type": "maximize", "objectiveMetricName": "auc", "goal": 0.9}
    tried = experiment(tmp_path, objective=objective)
    plays = iter([[0.1] * 9, [0.95]])

    def dying(status: Status) -> None:
        if status.optimal is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(
            tried,
            ToyRunner(lambda _: next(plays)),
            storage=f"{tmp_path}/study.journal",
            seed=7,
            locks=FileLocks(tmp_path / "locks"),
            on_change=dying,
        )
    status, runner = run(tried, by_rate, tmp_path)
    assert runner.started == []
    assert [each.state for each in status.trials] == ["Killed", "Succeeded"]
    assert status.condition.reason == "ExperimentGoalReached"


def test_the_goal_goes_before_failed_trials(tmp_path: Path) -> None:
    """The order in which Katib looks: goal, failed, count."""
    objective = {"type": "maximize", "objectiveMetricName": "auc", "goal": 0.9}
    plays = iter([ToyTrial("", [0.1], ends="failed"), [0.95]])
    tried = experiment(tmp_path, objective=objective, maxFailedTrialCount=1, maxTrialCount=2)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert status.condition.reason == "ExperimentGoalReached"


def test_failed_trials_go_before_the_count(tmp_path: Path) -> None:
    """Two of two have ended, and one was one too many."""
    plays = iter([ToyTrial("", [0.1], ends="failed"), [0.95]])
    tried = experiment(tmp_path, maxFailedTrialCount=1, maxTrialCount=2)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert (status.condition.type, status.condition.reason) == ("Failed", "ExperimentFailed")


def test_no_failed_trial_is_none_too_many(tmp_path: Path) -> None:
    """`failedTrialsCount != 0`: with maxFailedTrialCount 0 the first failed trial ends the study, and nothing else."""
    status, _ = run(experiment(tmp_path, maxFailedTrialCount=0), by_rate, tmp_path)
    assert status.condition.type == "Succeeded"


@pytest.mark.parametrize(
    ("reports", "state"),
    [
        (["nan"], "Failed"),
        (["inf"], "Failed"),
        ([0.99, "", 0.5], "Failed"),
        (["-Infinity", 0.5], "Failed"),
        ([], "MetricsUnavailable"),
    ],
)
def test_what_reports_no_number_is_never_the_best(tmp_path: Path, reports: list[Any], state: str) -> None:
    """Katib's filter finds an empty text in `auc=nan`, which it cannot compare, and so takes for the best."""
    plays = iter([[0.2], reports, [0.1]])
    tried = experiment(tmp_path, parallelTrialCount=1, maxTrialCount=3)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert [each.state for each in status.trials] == ["Succeeded", state, "Succeeded"]
    assert status.trials[1].value is None
    assert status.optimal == status.trials[0]


def test_a_trial_that_diverges_is_ended_at_once(tmp_path: Path) -> None:
    """Nothing that it may still print will count."""
    plays = iter([[0.2, "nan", *([0.3] * 50)], [0.1]])
    tried = experiment(tmp_path, parallelTrialCount=1, maxTrialCount=2)
    status, runner = run(tried, lambda _: next(plays), tmp_path)
    assert status.trials[0].state == "Failed"
    assert runner.trials[status.trials[0].name].shown == 2


def test_trials_without_metrics_count_as_failed(tmp_path: Path) -> None:
    """Failed and MetricsUnavailable together."""
    plays = iter([ToyTrial("", [0.1], ends="failed"), [], [0.1]])
    tried = experiment(tmp_path, parallelTrialCount=1, maxFailedTrialCount=2)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert [each.state for each in status.trials] == ["Failed", "MetricsUnavailable"]
    assert status.condition.type == "Failed"
    assert status.optimal is None


def test_what_a_failed_trial_has_reported_does_not_compete(tmp_path: Path) -> None:
    """Katib observes a trial when its Job has succeeded."""
    plays = iter([ToyTrial("", [0.99], ends="failed"), [0.1]])
    tried = experiment(tmp_path, parallelTrialCount=1, maxTrialCount=2)
    status, _ = run(tried, lambda _: next(plays), tmp_path)
    assert status.optimal == status.trials[1]


def test_reports_are_told_while_a_trial_runs(tmp_path: Path) -> None:
    """But none of them counts before it has ended."""
    told: list[Status] = []
    tried = experiment(tmp_path, parallelTrialCount=1, maxTrialCount=1)
    run(tried, lambda _: [0.1, 0.2, 0.3], tmp_path, told=told)
    assert [(each.trials[0].state, each.trials[0].reports) for each in told if each.trials] == [
        ("Running", ()),
        ("Running", ("0.1",)),
        ("Running", ("0.1", "0.2")),
        ("Succeeded", ("0.1", "0.2", "0.3")),
        ("Succeeded", ("0.1", "0.2", "0.3")),
    ]
    assert told[2].trials[0].value is None
    assert told[2].optimal is None


def test_a_study_that_is_over_stays_over(tmp_path: Path) -> None:
    """Nothing is run again, and its status is the same."""
    tried = experiment(tmp_path)
    first, _ = run(tried, by_rate, tmp_path)
    second, runner = run(tried, by_rate, tmp_path)
    assert second == first
    assert runner.started == []


def test_a_study_that_has_failed_is_begun_anew(tmp_path: Path) -> None:
    """As one deletes an Experiment on Katib and applies it again."""
    tried = experiment(tmp_path, maxFailedTrialCount=3)
    status, first = run(tried, failed, tmp_path)
    assert status.condition.type == "Failed"
    status, second = run(tried, by_rate, tmp_path)
    assert status.condition.type == "Succeeded"
    assert not {name for name, _ in first.started} & {name for name, _ in second.started}


def test_a_study_goes_on_where_its_policy_lets_it(tmp_path: Path) -> None:
    """Three more trials of the same study, none of them repeated."""
    few = experiment(tmp_path, resumePolicy="LongRunning", maxTrialCount=4)
    first, _ = run(few, by_rate, tmp_path)
    many = experiment(tmp_path, resumePolicy="LongRunning", maxTrialCount=7)
    second, runner = run(many, by_rate, tmp_path)
    assert second.trials[:4] == first.trials
    assert len(runner.started) == 3
    assert [each.type for each in second.conditions] == ["Created", "Restarting", "Running", "Succeeded"]


def test_one_process_at_a_time_runs_a_study(tmp_path: Path) -> None:
    """Two would start its trials twice; a study of another Experiment does not mind."""
    tried = experiment(tmp_path)

    def play(assignment: Mapping[str, str]) -> list[float]:
        with pytest.raises(StudyBusyError, match="another process runs it"):
            run(tried, by_rate, tmp_path)
        status, _ = run(experiment(tmp_path, maxTrialCount=3), by_rate, tmp_path)
        assert status.is_over
        return by_rate(assignment)

    run(tried, play, tmp_path)


def test_nothing_runs_on_when_the_study_is_interrupted(tmp_path: Path) -> None:
    """Whoever interrupts it takes the trials along; the next process starts them again under their names."""

    class Interrupted(ToyRunner):
        def wait(self, running: Any, timeout_seconds: float) -> None:
            if len(self.started) == 4:
                raise KeyboardInterrupt
            super().wait(running, timeout_seconds)

    tried = experiment(tmp_path)
    runner = Interrupted(by_rate)
    with pytest.raises(KeyboardInterrupt):
        run(tried, by_rate, tmp_path, runner=runner)
    assert [trial.stopped for trial in runner.trials.values()] == [True] * 4
    status, second = run(tried, by_rate, tmp_path)
    assert second.started[:2] == runner.started[2:]
    assert len(second.started) == 4
    assert len(status.trials) == status.count("Succeeded") == 6


@pytest.mark.parametrize("algorithm", ["random", "grid"])
def test_an_interrupted_study_suggests_what_it_would_have(tmp_path: Path, algorithm: str) -> None:
    """Start-up points are not repeated: the seed of each is its own."""
    tried = experiment(
        tmp_path, algorithm={"algorithmName": algorithm}, parameters=[DEPTH, STEPPED_RATE], maxTrialCount=8
    )
    whole, _ = run(tried, by_rate, tmp_path, storage=f"{tmp_path}/whole")

    class Impatient(ToyRunner):
        def wait(self, running: Any, timeout_seconds: float) -> None:
            if len(self.started) >= 3:
                raise KeyboardInterrupt
            super().wait(running, timeout_seconds)

    with pytest.raises(KeyboardInterrupt):
        run(tried, by_rate, tmp_path, storage=f"{tmp_path}/parts", runner=Impatient(by_rate))
    # A study keeps the seed that it has begun with.
    status, _ = run(tried, by_rate, tmp_path, storage=f"{tmp_path}/parts", seed=99)
    assert [each.assignment for each in status.trials] == [each.assignment for each in whole.trials]


def test_the_files_seed_goes_before_the_callers(tmp_path: Path) -> None:
    """`random_state`."""
    setting = [{"name": "random_state", "value": "5"}]
    tried = experiment(tmp_path, algorithm={"algorithmName": "random", "algorithmSettings": setting})
    first, _ = run(tried, by_rate, tmp_path, storage=f"{tmp_path}/a", seed=1)
    second, _ = run(tried, by_rate, tmp_path, storage=f"{tmp_path}/b", seed=2)
    assert [each.assignment for each in first.trials] == [each.assignment for each in second.trials]


def test_tpe_learns(tmp_path: Path) -> None:
    """Of 24 trials, the last twelve are better than the first, on average; the first round is random."""
    tried = experiment(tmp_path, algorithm={"algorithmName": "tpe"}, maxTrialCount=24)
    status, _ = run(tried, lambda each: [-abs(float(each["rate"]) - 0.05)], tmp_path)
    values = [each.value for each in status.trials if each.value is not None]
    assert sum(values[12:]) > sum(values[:12])


HYPERBAND = {
    "algorithmName": "hyperband",
    "algorithmSettings": [{"name": "r_l", "value": "9"}, {"name": "resource_name", "value": "depth"}],
}


def test_hyperband_gives_the_best_more(tmp_path: Path) -> None:
    """Brackets of 9, 5 and 3 trials; of each round the best third goes on with three times as much."""
    tried = experiment(
        tmp_path,
        algorithm=HYPERBAND,
        parallelTrialCount=9,
        maxTrialCount=None,
        parameters=[{**DEPTH, "feasibleSpace": {"min": "1", "max": "1"}}, RATE],
    )
    status, runner = run(tried, by_rate, tmp_path)
    depths = [int(assignment["depth"]) for _, assignment in runner.started]
    assert depths == [1] * 9 + [3] * 3 + [9] + [3] * 5 + [9] * 2 + [9] * 3
    first = sorted((each.assignment["rate"] for each in status.trials[:9]), key=float, reverse=True)
    assert [each.assignment["rate"] for each in status.trials[9:12]] == first[:3]
    assert status.trials[12].assignment["rate"] == first[0]
    assert status.condition.reason == "ExperimentSuggestionEndReached"


@pytest.mark.parametrize("eta", [2, 3, 5, 7])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_hyperband_begins_with_one_of_a_power_of_eta(eta: int, rounds: int) -> None:
    """And not with none: 49 · 7**-2, as Katib has it, is 0.9999999999999999 in floats."""
    settings = {"r_l": str(eta**rounds), "eta": str(eta), "resource_name": "epochs"}
    objective = Objective("maximize", "auc", (), None, {"auc": "max"})
    assert next_trial(settings, objective, []) == {"epochs": "1"}


def test_hyperband_goes_on_with_those_that_have_succeeded(tmp_path: Path) -> None:
    """A failed trial is none of the best, however it began."""
    plays = iter([ToyTrial("", [0.99], ends="failed") for _ in range(7)])

    def play(assignment: Mapping[str, str]) -> Any:
        return next(plays, by_rate(assignment))

    tried = experiment(
        tmp_path, algorithm=HYPERBAND, parallelTrialCount=9, maxTrialCount=30, maxFailedTrialCount=None
    )
    status, _ = run(tried, play, tmp_path)
    survivors = {each.assignment["rate"] for each in status.trials[7:9]}
    assert {each.assignment["rate"] for each in status.trials[9:11]} == survivors
    assert [each.assignment["depth"] for each in status.trials[9:12]] == ["3", "3", "9"]


STRATEGIES = st.sampled_from(["min", "max", "latest"])


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 5)), min_size=1, max_size=8),
    STRATEGIES,
)
def test_a_trials_value_is_katibs(reports: list[tuple[float, int]], strategy: Any) -> None:
    """`getMetrics` of trial_controller_util.go, transcribed: the latest is by the stated time, not by the order."""
    least = greatest = latest = None
    latest_time = -1
    for value, second in reports:
        if least is None or greatest is None:
            least = greatest = value
        elif value < least:
            least = value
        elif value > greatest:
            greatest = value
        if latest is None or not latest_time > second:
            latest_time, latest = second, value
    expected = {"min": least, "max": greatest, "latest": latest}[strategy]
    objective = Objective("maximize", "auc", (), None, {"auc": strategy})
    seen = [Observation("auc", repr(value), MIDNIGHT.replace(second=second)) for value, second in reports]
    assert value_of(objective, metrics_of(objective, seen)) == expected


def test_names_of_trials_are_names_of_objects(tmp_path: Path) -> None:
    """As Katib's are: the Experiment's, and eight letters or digits."""
    _, runner = run(experiment(tmp_path), by_rate, tmp_path)
    assert all(re.fullmatch(r"toy-[a-z0-9]{8}", name) for name, _ in runner.started)


def test_a_runner_that_cannot_start_leaves_the_trial_for_later(tmp_path: Path) -> None:
    """Its error is told, and the study goes on from there."""

    def play(_: Mapping[str, str]) -> list[float]:
        raise RuntimeError("no room")

    tried = experiment(tmp_path)
    with pytest.raises(RuntimeError, match="no room"):
        run_study(
            tried,
            ToyRunner(play),
            storage=f"{tmp_path}/study.journal",
            seed=7,
            locks=FileLocks(tmp_path / "locks"),
            on_change=lambda _: None,
        )
    status, runner = run(tried, by_rate, tmp_path)
    assert len(runner.started) == len(status.trials) == 6

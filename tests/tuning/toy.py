"""Experiments and trials for tests: the file is small, and a trial is a function of its assignment."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from platform_assets.tuning.experiment import Experiment, read_experiment
from platform_assets.tuning.status import Status
from platform_assets.tuning.study import Observation, RunningTrial, run_study
from platform_assets.tuning.trial_runner import Outcome
from resources.locks import FileLocks

MIDNIGHT = datetime(2026, 11, 30, tzinfo=UTC)
Reports = Sequence[str | float]
RATE = {
    "name": "rate",
    "parameterType": "double",
    "feasibleSpace": {"min": "0.001", "max": "0.1", "distribution": "logUniform"},
}
DEPTH = {"name": "depth", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "9"}}


def manifest(**changes: Any) -> dict[str, Any]:
    """An Experiment as a file has it; each change replaces a field of `spec`, and one that is None takes it away."""
    spec: dict[str, Any] = {
        "objective": {"type": "maximize", "objectiveMetricName": "auc"},
        "algorithm": {"algorithmName": "random"},
        "parallelTrialCount": 2,
        "maxTrialCount": 6,
        "maxFailedTrialCount": 3,
        "parameters": [RATE, DEPTH],
    }
    spec.update(changes)
    spec = {key: copy.deepcopy(value) for key, value in spec.items() if value is not None}
    names = [each["name"] for each in spec.get("parameters", [])]
    spec.setdefault("trialTemplate", template(names))
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": "toy"},
        "spec": spec,
    }


def template(names: Sequence[str]) -> dict[str, Any]:
    """A trialTemplate whose command takes each parameter as `name=value`."""
    return {
        "primaryContainerName": "training",
        "trialParameters": [{"name": f"the-{name}", "reference": name} for name in names],
        "trialSpec": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [
                            {
                                "name": "training",
                                "image": "toy:1.0",
                                "command": ["toy", "trial"],
                                "args": [f"{name}=${{trialParameters.the-{name}}}" for name in names],
                            }
                        ],
                    }
                }
            },
        },
    }


def written(content: Mapping[str, Any], folder: Path) -> Path:
    """The manifest as a file."""
    path = folder / "experiment.yaml"
    # JSON is YAML, and keeps numbers that are text in quotes.
    path.write_text(json.dumps(dict(content), indent=2), encoding="utf-8")
    return path


def experiment(folder: Path, **changes: Any) -> Experiment:
    """The Experiment of `manifest(**changes)`, however many trials of it fail, if nothing else is said."""
    return read_experiment(written(manifest(**{"maxFailedTrialCount": None, **changes}), folder))


@dataclass
class ToyTrial:
    """A trial that prints one report whenever somebody waits, and then ends."""

    name: str
    reports: Reports
    ends: Outcome = "succeeded"
    metric: str = "auc"
    shown: int = 0
    stopped: bool = False

    def observations(self) -> Sequence[Observation]:
        """What it has printed so far, a second between two reports."""
        return [
            Observation(self.metric, str(value), MIDNIGHT + timedelta(seconds=second))
            for second, value in enumerate(self.reports[: self.shown])
        ]

    def outcome(self) -> Outcome:
        """It runs until it has printed everything."""
        return self.ends if self.shown >= len(self.reports) else "running"

    @property
    def reason(self) -> str:
        """Nothing more than that it has failed."""
        return ""

    def stop(self) -> None:
        """Noted."""
        self.stopped = True


Play = Callable[[Mapping[str, str]], Reports | ToyTrial]


@dataclass
class ToyRunner:
    """Trials that are played in this process: all that run come on by one report at a time."""

    play: Play
    started: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    trials: dict[str, ToyTrial] = field(default_factory=dict)
    most_at_once: int = 0

    def start(self, trial: str, assignment: Mapping[str, str]) -> ToyTrial:
        """The trial that is played for the assignment."""
        played = self.play(assignment)
        toy = played if isinstance(played, ToyTrial) else ToyTrial(trial, played)
        toy.name = trial
        self.started.append((trial, dict(assignment)))
        self.trials[trial] = toy
        return toy

    def wait(self, running: Sequence[RunningTrial], timeout_seconds: float) -> None:
        """Every trial prints one report more."""
        self.most_at_once = max(self.most_at_once, len(running))
        for each in running:
            assert isinstance(each, ToyTrial)
            each.shown += 1


def run(
    tried: Experiment,
    play: Play,
    folder: Path,
    *,
    storage: str | None = None,
    seed: int = 7,
    identity: str | None = None,
    told: list[Status] | None = None,
    runner: ToyRunner | None = None,
) -> tuple[Status, ToyRunner]:
    """The study's last status, and the runner that has played its trials."""
    runner = runner or ToyRunner(play)
    status = run_study(
        tried,
        runner,
        storage=storage or f"{folder}/study.journal",
        seed=seed,
        locks=FileLocks(folder / "locks"),
        on_change=told.append if told is not None else lambda _: None,
        identity=identity,
    )
    return status, runner

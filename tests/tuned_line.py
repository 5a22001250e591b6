"""A tuned line of the toy task: its Experiment searches one number."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_assets.tuning import executing
from tests.tasks.toys import toy_task, write_line
from tests.tuning.toy import Play, ToyRunner

LINE = "toy"
EXPERIMENT_FILE = "experiment.yaml"
SMOOTHING = {
    "name": "smoothing",
    "parameterType": "double",
    "feasibleSpace": {"min": "1", "max": "400"},
}
SET_SMOOTHING = ("--set", "smoothing=${trialParameters.smoothing}")


@contextmanager
def played_trials(play: Play) -> Iterator[ToyRunner]:
    """The toy is a task, and trials of tunings are played in this process, where processes and Jobs would take long.

    Args:
        play: What a trial reports, by its assignment.
    """
    runner = ToyRunner(play)
    with toy_task(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(executing, "_runner", lambda *_: nullcontext(runner))
        yield runner


def experiment(*, command: Sequence[str] = SET_SMOOTHING, line: str = LINE, **spec: Any) -> dict[str, Any]:
    """The Experiment as its file has it.

    Args:
        command: What stands in a trial's command behind `platform-assets trial LINE`.
        line: Whose trials they are.
        **spec: Fields of its spec, in place of what stands there.
    """
    names = [each["name"] for each in spec.get("parameters", [SMOOTHING])]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": "toy-search"},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "auc"},
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": 1,
            "maxTrialCount": 1,
            "maxFailedTrialCount": 1,
            "parameters": [SMOOTHING],
            "trialTemplate": {
                "primaryContainerName": "trial",
                "trialParameters": [{"name": name, "reference": name} for name in names],
                "trialSpec": {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "spec": {
                        "template": {
                            "spec": {
                                "restartPolicy": "Never",
                                "containers": [
                                    {
                                        "name": "trial",
                                        "image": "platform-assets",
                                        "command": ["platform-assets", "trial", line, *command],
                                    }
                                ],
                            }
                        }
                    },
                },
            },
            **spec,
        },
    }


def write_experiment(folder: Path, *, command: Sequence[str] = SET_SMOOTHING, **spec: Any) -> Path:
    """The file of `experiment(…)`."""
    path = folder / EXPERIMENT_FILE
    path.write_text(yaml.safe_dump(experiment(command=command, **spec), sort_keys=False), encoding="utf-8")
    return path


def write_tuned_line(folder: Path, **changes: Any) -> Path:
    """The toy's line with an Experiment, and some fields of its spec changed."""
    path = write_line(folder, **{"experiment": EXPERIMENT_FILE} | changes)
    write_experiment(folder)
    return path

"""A tuned line of the toy task: its Experiment searches one number, in trials that are real processes."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.line_factory import ROOT
from tests.tasks.toys import toy_task, write_line

LINE = "toy"
EXPERIMENT_FILE = "experiment.yaml"
SMOOTHING = {
    "name": "smoothing",
    "parameterType": "double",
    "feasibleSpace": {"min": "1", "max": "400"},
}
SET_SMOOTHING = ("--set", "smoothing=${trialParameters.smoothing}")
_TOYS_OF_EVERY_PROCESS = """\
import platform_assets.tasks

platform_assets.tasks.__path__ = [*platform_assets.tasks.__path__, {folder!r}]
"""


@contextmanager
def toys_in_trials(folder: Path) -> Iterator[None]:
    """The toy is a task here and in the processes that are started meanwhile.

    Args:
        folder: For what Python runs first in each of them.
    """
    folder.mkdir(parents=True)
    text = _TOYS_OF_EVERY_PROCESS.format(folder=str(ROOT / "tests" / "tasks"))
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    with toy_task(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
        yield


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
    path = write_line(folder, experiment=EXPERIMENT_FILE, **changes)
    write_experiment(folder)
    return path

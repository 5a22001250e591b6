"""Experiments whose trials do whatever a test wants."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from platform_assets.tuning.experiment import Experiment, read_experiment


def write_experiment(
    folder: Path,
    command: Sequence[str],
    *,
    parallel: int = 2,
    job: dict[str, Any] | None = None,
    pod: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
    trial_parameters: Sequence[dict[str, str]] = (),
    **spec: Any,
) -> Experiment:
    """An Experiment of one parameter, `rate`, which stands as `${trialParameters.rate}` in the command of its Job.

    Args:
        folder: For its file.
        command: What a trial executes.
        parallel: Trials side by side.
        job: Further fields of the Job's spec.
        pod: Of its pod's.
        container: Of its container.
        trial_parameters: Further placeholders.
        **spec: Of the Experiment's, in place of what stands there.
    """
    content = {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": "tests"},
        "spec": {
            "objective": {
                "type": "maximize",
                "objectiveMetricName": "auc",
                "additionalMetricNames": ["log_loss"],
            },
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": parallel,
            "maxTrialCount": 4,
            "parameters": [
                {
                    "name": "rate",
                    "parameterType": "double",
                    "feasibleSpace": {"min": "0.01", "max": "0.1"},
                }
            ],
            "trialTemplate": {
                "primaryContainerName": "trial",
                "trialParameters": [{"name": "rate", "reference": "rate"}, *trial_parameters],
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
                                        "command": list(command),
                                        **(container or {}),
                                    }
                                ],
                                **(pod or {}),
                            }
                        },
                        **(job or {}),
                    },
                },
            },
            **spec,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_experiment(path)


def python(folder: Path, program: str, *arguments: str) -> list[str]:
    """The command of a Python program with these arguments and the rate; it gets a file, as each word must be one to a shell."""
    file = folder / f"program-{len(list(folder.glob('program-*')))}.py"
    file.write_text(program, encoding="utf-8")
    return [sys.executable, "-u", str(file), *arguments, "${trialParameters.rate}"]

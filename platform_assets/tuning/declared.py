"""The Experiment that a line declares, checked against what the line can be told."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from platform_assets.ledger.ledger import fingerprint_of
from platform_assets.tuning.assignment import parameter_problems
from platform_assets.tuning.experiment import Experiment, read_experiment
from platform_assets.tuning.measures import METRICS

RULE_SET: Final = "tuning.completed"
"""Whose verdict says that an Experiment has ended as it should, with a best trial."""
RULE_SET_HASH: Final = fingerprint_of(condition="Succeeded", optimum="of a finite value")
COMMAND: Final = ("platform-assets", "trial")
"""What the container of a trial executes, before the name of the line."""


def declared_experiment(file: Path, *, line: str, fields: Collection[str]) -> Experiment:
    """The Experiment in a file, if it is one of this line's.

    Args:
        file: That.
        line: Whose trials it must be of.
        fields: Those of the spec that one run may change.

    Raises:
        ManifestError: It is no Experiment, a parameter sets no such field, no trial tells its objective, or its trials are
            of something else.
    """
    experiment = read_experiment(file)
    names = [each.name for each in experiment.parameters]
    for name, problem in parameter_problems(names, fields).items():
        raise experiment.parameter_error(name, problem)
    if (metric := experiment.objective.metric) not in METRICS:
        raise experiment.error(
            ("spec", "objective", "objectiveMetricName"),
            f"no trial tells {metric}; it tells {', '.join(METRICS)}",
        )
    arguments = experiment.trial_arguments(dict.fromkeys(names, "1"), experiment.name)
    if tuple(arguments[:3]) != (*COMMAND, line):
        told = " ".join(arguments[:3]) or "nothing"
        raise experiment.error(
            ("spec", "trialTemplate", "trialSpec"),
            f"its container executes `{told}`; a trial of this line is `{' '.join((*COMMAND, line))} --set …`",
        )
    return experiment

"""Hyperband as Katib executes it: rounds of trials, of which the best go on with more of a resource, such as epochs.

The schedule is that of pkg/suggestion/v1beta1/hyperband/service.py in kubeflow/katib. Bracket s, from s_max down to 0, begins
with ceil((s_max + 1) · eta^s / (s + 1)) random trials, each with r_l · eta^-s of the resource; of every round the best
1/eta (rounded up) are tried again with eta times as much. Katib asks for as many trials as run in parallel instead, and
accepts no answer of another number, so with it one bracket has one round; and a single failed trial ends its rounds, where here
the best of those that have succeeded go on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, Literal

from platform_assets.tuning.algorithms import hyperband_rungs
from platform_assets.tuning.experiment import Objective
from platform_assets.tuning.search_space import Parameter
from platform_assets.tuning.status import TrialStatus

_ONE: Final = Decimal(1)


def searched(settings: Mapping[str, str], parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """The space, the resource's own put in the place of that of the file, which Katib does not look at either."""
    resource, most = settings["resource_name"], math.floor(float(settings["r_l"]))
    return tuple(
        replace(each, low=_ONE, high=_ONE * most, step=None, logarithmic=False)
        if each.name == resource
        else each
        for each in parameters
    )


def next_trial(
    settings: Mapping[str, str], objective: Objective, trials: Sequence[TrialStatus]
) -> dict[str, str] | Literal["wait", "end"]:
    """What the next trial is given, by parameter; parameters that are left out are drawn at random.

    Args:
        settings: `r_l`, `resource_name`, `eta`.
        objective: Says which trials are the best.
        trials: All so far, in the order in which they were suggested.

    Returns:
        "wait" while a round is not over, "end" when the last has begun with all of its trials.
    """
    r_l, eta, resource = float(settings["r_l"]), int(settings.get("eta", "3")), settings["resource_name"]
    last = hyperband_rungs(settings)
    behind = 0
    for bracket in range(last, -1, -1):
        size = _ceil((last + 1) * eta**bracket, bracket + 1)
        rung = trials[behind : behind + size]
        if len(rung) < size:
            return {resource: str(int(r_l / eta**bracket))}
        behind += size
        for round_number in range(1, bracket + 1):
            if any(each.state == "Running" for each in rung):
                return "wait"
            best = _best(objective, rung, _ceil(_ceil(size, eta ** (round_number - 1)), eta))
            rung = trials[behind : behind + len(best)]
            if len(rung) < len(best):
                amount = int(r_l / eta ** (bracket - round_number))
                return {**best[len(rung)].assignment, resource: str(amount)}
            behind += len(best)
    return "end"


def _best(objective: Objective, rung: Sequence[TrialStatus], most: int) -> list[TrialStatus]:
    sign = -1 if objective.type == "maximize" else 1
    succeeded = [
        (sign * each.value, each) for each in rung if each.state == "Succeeded" and each.value is not None
    ]
    return [each for _, each in sorted(succeeded, key=lambda pair: pair[0])[:most]]


def _ceil(number: int, divisor: int) -> int:
    """Rounded up in whole numbers: with floats, as Katib has it, a third of 27 may be a little more than 9."""
    return -(-number // divisor)

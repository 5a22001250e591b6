"""The settings of Katib's algorithms: which there are, what they may be, and what this platform makes of them.

Every name is one that the image knows which Katib's own configuration gives the algorithm
(manifests/v1beta1/installs/katib-standalone/katib-config.yaml): hyperopt for random and tpe, Optuna for grid and
multivariate-tpe, goptuna for cmaes and sobol.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from platform_assets.tuning.search_space import Parameter, combinations, number

_SEED: Final = "random_state"
_WHOLE: Final = "must be a whole number that is not negative"
_SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "random": (_SEED,),
    "grid": (_SEED,),
    "tpe": (_SEED, "n_EI_candidates"),
    "multivariate-tpe": (_SEED, "n_startup_trials", "n_ei_candidates"),
    "cmaes": (_SEED, "restart_strategy"),
    "sobol": (),
    "hyperband": ("r_l", "eta", "resource_name"),
}
_UNMAPPED: Final = {
    ("tpe", "gamma"): "is hyperopt's alone; remove it",
    ("tpe", "prior_weight"): "is hyperopt's alone; remove it",
    (
        "tpe",
        "n_startup_trials",
    ): "is not known to Katib's tpe, whose first round is random; write multivariate-tpe",
    (
        "cmaes",
        "sigma",
    ): "counts in the parameters' units on Katib and in shares of their range in Optuna; remove it",
}
_FEWEST_CMAES = 2
_MOST_RUNGS = 20
_MOST_POINTS = 1_000_000
"""Their order is drawn beforehand."""


def seed_of(settings: Mapping[str, str]) -> int | None:
    """The seed that the file states."""
    return int(settings[_SEED]) if _SEED in settings else None


def problem_of_setting(algorithm: str, name: str, value: str) -> str | None:
    """What is wrong with one setting, as the algorithm's service on Katib would find it.

    Args:
        algorithm: Its name.
        name: The setting's name.
        value: Its text.
    """
    if (algorithm, name) in _UNMAPPED:
        return f"{name} {_UNMAPPED[algorithm, name]}"
    if name not in _SETTINGS[algorithm]:
        known = ", ".join(_SETTINGS[algorithm]) or "none at all"
        return f"{algorithm} knows no setting {name}; it knows {known}"
    match name:
        case "random_state" | "n_startup_trials" | "n_ei_candidates":
            return None if _whole(value) else f"{name} {_WHOLE}"
        case "n_EI_candidates":
            return None if _whole(value) and int(value) else f"{name} must be a whole number from 1 on"
        case "r_l":
            found = number(value)
            return None if found is not None and found > 0 else f"{name} must be a number above 0"
        case "eta":
            # Katib computes with whole ones when it checks and with any when it runs.
            return None if _whole(value) and int(value) > 1 else "eta must be a whole number from 2 on"
        case "restart_strategy" if value != "none":
            return "Optuna restarts no CMA-ES any more; write none, or remove it"
    return None


def problems_of_space(
    algorithm: str,
    settings: Mapping[str, str],
    parameters: Sequence[Parameter],
    parallel: int,
    most: int | None,
) -> Iterator[str]:
    """What keeps an algorithm from searching this space.

    Args:
        algorithm: Its name.
        settings: Text by name; each is valid by itself.
        parameters: The space.
        parallel: Trials side by side.
        most: `maxTrialCount`.
    """
    match algorithm:
        case "grid":
            for each in parameters:
                if each.count is None:
                    yield f"grid needs a step for {each.name}; add one, or write random"
            points = combinations(parameters)
            if points is not None and points > _MOST_POINTS:
                yield f"the grid has {points} points; {_MOST_POINTS} is the most: write larger steps, or random"
            if points is not None and most is not None and most > points:
                yield f"maxTrialCount is {most} and the grid has {points} points; write {points}"
        case "cmaes":
            if sum(not each.is_listed for each in parameters) < _FEWEST_CMAES:
                yield "cmaes searches numbers, two or more of them; add one, or write tpe"
        case "hyperband":
            yield from _problems_of_hyperband(settings, parameters, parallel)
        case _:
            pass


def hyperband_rungs(settings: Mapping[str, str]) -> int:
    """`s_max`: how often a trial of hyperband's first bracket goes on with more of the resource."""
    r_l, eta = float(settings["r_l"]), int(settings.get("eta", "3"))
    rungs = 0
    # int(log(r_l) / log(eta)) as Katib has it is 4 for 3**5.
    while eta ** (rungs + 1) <= r_l:
        rungs += 1
    return rungs


def _problems_of_hyperband(
    settings: Mapping[str, str], parameters: Sequence[Parameter], parallel: int
) -> Iterator[str]:
    if missing := [name for name in ("r_l", "resource_name") if name not in settings]:
        yield f"hyperband needs the setting {' and '.join(missing)}; add it"
        return
    resource = next((each for each in parameters if each.name == settings["resource_name"]), None)
    if resource is None:
        yield "resource_name must be one of the parameters"
    elif resource.type != "int":
        yield f"resource_name must be a parameter of type int, as epochs are; {resource.name} is {resource.type}"
    if float(settings["r_l"]) < 1:
        yield "r_l must be 1 or more, or no trial gets any of the resource"
        return
    rungs, eta = hyperband_rungs(settings), int(settings.get("eta", "3"))
    if rungs > _MOST_RUNGS:
        yield f"r_l of that size gives {rungs} rounds; lower it, or write a larger eta"
    elif parallel < math.ceil(eta**rungs):
        yield f"parallelTrialCount must be {eta**rungs} or more with that r_l and eta; raise it, or lower r_l"


def _whole(value: str) -> bool:
    return value.isascii() and value.isdigit()

"""Katib's algorithms as Optuna's samplers.

| algorithm | here | on Katib |
|---|---|---|
| random | `RandomSampler` | hyperopt |
| tpe | `TPESampler(multivariate=False, constant_liar=True)`; the first round is random | hyperopt, whose first round is random |
| multivariate-tpe | `TPESampler(multivariate=True, constant_liar=True)` | Optuna |
| cmaes | `CmaEsSampler`; what is no number is drawn at random | goptuna |
| sobol | `QMCSampler`, not scrambled | goptuna |
| grid | every point once, in an order drawn by the seed | Optuna's `GridSampler`, likewise |
| hyperband | `hyperband.py`; what a bracket begins with by `RandomSampler` | its own |

Each parameter of trial n has a sampler of its own, whose seed is derived of the study's, n and its place. So a study that was
killed goes on as if it had not been, be it between two parameters of a trial: Optuna's samplers begin anew in each process,
and with one seed they would suggest their first points again.
`GridSampler` is not used, since it shuffles the grid by its seed and keeps only numbers of points.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from platform_assets.tuning import hyperband
from platform_assets.tuning.algorithms import seed_of
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.search_space import Parameter, combinations, grid_point
from platform_assets.tuning.status import TrialStatus

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_SEEDS = 2**32


def searched_space(experiment: Experiment) -> tuple[Parameter, ...]:
    """The space from which trials are suggested."""
    if experiment.algorithm.name == "hyperband":
        return hyperband.searched(experiment.algorithm.settings, experiment.parameters)
    return experiment.parameters


def fixed_values(
    experiment: Experiment, trials: Sequence[TrialStatus], seed: int
) -> Mapping[str, str] | Literal["wait", "end"]:
    """What of the next trial no sampler decides, as text by parameter.

    Args:
        experiment: The Experiment.
        trials: All so far, in the order in which they were suggested.
        seed: The study's.

    Returns:
        "wait" if trials that run must end first, "end" if there is no more to suggest.
    """
    match experiment.algorithm.name:
        case "hyperband":
            return hyperband.next_trial(experiment.algorithm.settings, experiment.objective, trials)
        case "grid":
            points = combinations(experiment.parameters)
            assert points is not None, "checked when the file was read"
            if len(trials) >= points:
                return "end"
            return grid_point(experiment.parameters, _shuffled(points, _seed(experiment, seed))[len(trials)])
        case _:
            return {}


def sampler(experiment: Experiment, seed: int, number: int, place: int = 0) -> "BaseSampler":
    """What suggests a parameter of trial `number`, or all of them at once.

    Args:
        experiment: The Experiment, whose `random_state` goes before the seed.
        seed: The study's.
        number: From 0 on.
        place: The parameter's.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import CmaEsSampler, QMCSampler, RandomSampler, TPESampler

    settings = experiment.algorithm.settings
    own = _derived(_seed(experiment, seed), number, place)
    match experiment.algorithm.name:
        case "tpe":
            return TPESampler(
                n_startup_trials=experiment.parallel_trials,
                n_ei_candidates=int(settings.get("n_EI_candidates", "24")),
                multivariate=False,
                constant_liar=True,
                seed=own,
            )
        case "multivariate-tpe":
            return TPESampler(
                n_startup_trials=int(settings.get("n_startup_trials", "10")),
                n_ei_candidates=int(settings.get("n_ei_candidates", "24")),
                multivariate=True,
                constant_liar=True,
                seed=own,
            )
        case "cmaes":
            return CmaEsSampler(seed=own, warn_independent_sampling=False)
        case "sobol":
            with warnings.catch_warnings():
                # It has been experimental since 2022; the lock file says which one was tried.
                warnings.simplefilter("ignore", ExperimentalWarning)
                return QMCSampler(
                    qmc_type="sobol",
                    scramble=False,
                    independent_sampler=RandomSampler(seed=own),
                    warn_independent_sampling=False,
                    warn_asynchronous_seeding=False,
                )
        case _:
            return RandomSampler(seed=own)


def _seed(experiment: Experiment, seed: int) -> int:
    stated = seed_of(experiment.algorithm.settings)
    return seed if stated is None else stated


def _derived(seed: int, number: int, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{place}".encode()).digest()[:8]) % _SEEDS


@lru_cache(maxsize=8)
def _shuffled(points: int, seed: int) -> tuple[int, ...]:
    import numpy as np

    return tuple(np.random.default_rng(seed).permutation(points).tolist())

"""Pictures of a study as PNG bytes of 640 × 420 pixels."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any, Final

from platform_assets.pictures import COLOURS, GREY, as_png, new_figure, tidy
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.samplers import searched_space
from platform_assets.tuning.search_space import Parameter
from platform_assets.tuning.status import Status, TrialState, TrialStatus

_FEWEST_FOR_IMPORTANCE: Final = 8
"""Trials with a value; of fewer, the forest of fANOVA says nothing but which split it happened to draw."""
_MOST_LABELS = 8
_LABEL: Final[Mapping[str, Any]] = {"fontsize": "small", "va": "center", "color": GREY}
_BEHIND_LABELS: Final = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
_LONGEST_LABEL = 14
_MARKERS: Final[Mapping[TrialState, tuple[str, str, str]]] = {
    "Succeeded": ("o", COLOURS[0], "succeeded"),
    "EarlyStopped": ("v", COLOURS[4], "stopped early"),
}
_WITHOUT_VALUE: Final[Mapping[TrialState, str]] = {
    "Failed": "failed",
    "MetricsUnavailable": "without metrics",
    "Killed": "killed",
    "Running": "running",
}


def study_pictures(experiment: Experiment, status: Status) -> dict[str, bytes]:
    """Every picture that this study has enough trials for, by its name."""
    found = {
        "history": history_picture(experiment, status),
        "parallel_coordinates": parallel_coordinates_picture(experiment, status),
        "importance": importance_picture(experiment, status),
    }
    return {name: png for name, png in found.items() if png is not None}


def history_picture(experiment: Experiment, status: Status) -> bytes | None:
    """The objective by trial, and the best so far; None as long as no trial has a value."""
    judged = _judged(status)
    if not judged:
        return None
    from matplotlib.ticker import MaxNLocator

    objective = experiment.objective
    figure = new_figure()
    axes = figure.add_subplot(
        xlabel="Trial, in the order of suggestion", ylabel=f"{objective.metric} ({objective.type}d)"
    )
    tidy(axes)
    for state, (marker, colour, label) in _MARKERS.items():
        if of_state := [each for each in judged if each.state == state]:
            axes.scatter(
                [each.number + 1 for each in of_state],
                [_value(each) for each in of_state],
                marker=marker,
                color=colour,
                label=f"{label}: {len(of_state)}",
                zorder=3,
            )
    best: list[float] = []
    numbers: list[int] = []
    for each in judged:
        value = _value(each)
        best.append(value if not best or objective.is_better(value, best[-1]) else best[-1])
        numbers.append(each.number + 1)
    end = len(status.trials)
    axes.step(
        [*numbers, max(end, numbers[-1])],
        [*best, best[-1]],
        where="post",
        color=COLOURS[1],
        linewidth=1.8,
        label=f"best so far: {best[-1]:.4g}",
    )
    if objective.goal is not None:
        axes.axhline(
            objective.goal, color=GREY, linewidth=1, linestyle="--", label=f"goal: {objective.goal:g}"
        )
    others = [f"{word}: {count}" for state, word in _WITHOUT_VALUE.items() if (count := status.count(state))]
    axes.set_title(", ".join(others), fontsize="small", color=GREY, loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    return as_png(figure)


def parallel_coordinates_picture(experiment: Experiment, status: Status) -> bytes | None:
    """A line for each trial through its values, the better the darker; None as long as no trial has a value."""
    judged = _judged(status)
    if not judged:
        return None
    from matplotlib import colormaps

    objective, space = experiment.objective, searched_space(experiment)
    values = [_value(each) for each in judged]
    low, high = min(values), max(values)
    goodness = [_share(value, low, high) for value in values]
    if objective.type == "minimize":
        goodness = [1 - share for share in goodness]
    figure = new_figure()
    axes = figure.add_subplot(xlim=(-0.3, len(space) + 0.45), ylim=(-0.06, 1.06))
    axes.set_yticks([])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    shades = colormaps["viridis_r"]
    # The best last, on top of the others.
    for share, each in sorted(zip(goodness, judged, strict=True), key=lambda pair: pair[0]):
        heights = [_height(parameter, each.assignment[parameter.name]) for parameter in space]
        is_best = status.optimal is not None and each.number == status.optimal.number
        axes.plot(
            range(len(space) + 1),
            [*heights, _share(_value(each), low, high)],
            color=COLOURS[1] if is_best else shades(share),
            linewidth=2.4 if is_best else 1.2,
            alpha=1 if is_best else 0.75,
            zorder=3 if is_best else 2,
        )
    for place, parameter in enumerate(space):
        axes.axvline(place, color=GREY, linewidth=0.8)
        for height, label in _marks(parameter):
            axes.text(place + 0.03, height, label, bbox=_BEHIND_LABELS, zorder=4, **_LABEL)
    axes.axvline(len(space), color=GREY, linewidth=0.8)
    for height, number in {0.0: low, 1.0: high}.items():
        axes.text(len(space) + 0.03, height, f"{number:.4g}", **_LABEL)
    names = [f"{each.name}\n(logarithmic)" if each.logarithmic else each.name for each in space]
    axes.set_xticks(range(len(space) + 1), [*names, objective.metric])
    axes.set_title(f"{len(judged)} trials, the best in orange", fontsize="small", color=GREY, loc="right")
    return as_png(figure)


def importance(experiment: Experiment, status: Status) -> dict[str, float] | None:
    """Share of the objective's variance that each parameter explains by itself (fANOVA, Hutter et al. 2014).

    Returns:
        Shares that sum up to 1, the greatest first; None with fewer than 8 trials that have a value, or if all
        values are the same.
    """
    judged = _judged(status)
    if len(judged) < _FEWEST_FOR_IMPORTANCE or len({each.value for each in judged}) == 1:
        return None
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    space = [each for each in searched_space(experiment) if each.count != 1]
    if not space:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=experiment.objective.type)
    for each in judged:
        study.add_trial(
            optuna.trial.create_trial(
                params={
                    parameter.name: parameter.read(each.assignment[parameter.name]) for parameter in space
                },
                distributions={parameter.name: parameter.distribution() for parameter in space},
                value=_value(each),
            )
        )
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def importance_picture(experiment: Experiment, status: Status) -> bytes | None:
    """The parameters by their importance; None where there is none to tell."""
    shares = importance(experiment, status)
    if shares is None:
        return None
    figure = new_figure()
    axes = figure.add_subplot(xlabel="Share of explained variance (fANOVA)", xlim=(0, 1.08))
    tidy(axes)
    bars = axes.barh(list(shares), list(shares.values()), color=COLOURS[0])
    axes.bar_label(bars, labels=[f"{share:.2f}" for share in shares.values()], padding=3)
    axes.invert_yaxis()
    axes.set_title(f"of {len(_judged(status))} trials", fontsize="small", color=GREY, loc="right")
    return as_png(figure)


def _judged(status: Status) -> list[TrialStatus]:
    return [each for each in status.trials if each.value is not None]


def _value(trial: TrialStatus) -> float:
    assert trial.value is not None, "only trials that have one are drawn"
    return trial.value


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, from 0 to 1; in the middle if these are the same."""
    return (value - low) / (high - low) if high > low else 0.5


def _height(parameter: Parameter, text: str) -> float:
    if parameter.is_listed:
        return _share(parameter.values.index(text), 0, len(parameter.values) - 1)
    value, low, high = float(text), float(parameter.low), float(parameter.high)
    if parameter.logarithmic:
        value, low, high = log(value), log(low), log(high)
    return _share(value, low, high)


def _marks(parameter: Parameter) -> Sequence[tuple[float, str]]:
    if not parameter.is_listed:
        return [(0, f"{float(parameter.low):g}"), (1, f"{float(parameter.high):g}")]
    apart = max(1, -(-len(parameter.values) // _MOST_LABELS))
    return [(_height(parameter, text), text[:_LONGEST_LABEL]) for text in parameter.values[::apart]]

"""Rules of gates on measures that not every task has: a task offers those whose measures it makes.

| rule | reads of the measures |
|---|---|
| ks, gini | `ks`, `gini` |
| psi | `stability` |
| parity_ratio, parity_difference, equalized_odds_difference | `fairness` |

The rules of fairness decide on the end of an interval that speaks for the model (see `fairness`): they fail what chance does
not explain, so a small group passes by being small. `min_rows` is what says how small is too small, and where no two
groups have so many rows a rule is an error.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pydantic import BaseModel

from platform_assets.validation.errors import ValidationError
from platform_assets.validation.fairness import Fairness, GroupingFairness
from platform_assets.validation.gate import Condition, Decision, GateInputs, Rule, finite, is_or_is_not
from platform_assets.validation.scorecard import Interval, Stability

M = TypeVar("M", bound=BaseModel)


def _measured(inputs: GateInputs, name: str, model: type[M]) -> M:
    measured = inputs.measures.get(name)
    if measured is None:
        raise ValidationError(f"{name} was not measured")
    return model.model_validate(measured)


def _separation(name: str) -> Callable[[GateInputs, Condition], Decision]:
    def decide(inputs: GateInputs, condition: Condition) -> Decision:
        measured = inputs.measures.get(name)
        observed = finite(f"the {name} on the test split", measured if isinstance(measured, float) else None)
        holds = condition.holds(observed)
        n = inputs.test_metrics.n
        return Decision(holds, observed, f"{name} {observed:.4f} {is_or_is_not(holds)} {condition} (n = {n})")

    return decide


def _psi(inputs: GateInputs, condition: Condition) -> Decision:
    stability = _measured(inputs, "stability", Stability)
    rows = f"n = {stability.n_reference} and {stability.n_current}"
    if not condition.holds(stability.by_chance):
        raise ValidationError(
            f"PSI cannot decide on so few rows ({rows}): chance alone takes it to {stability.by_chance:.4f}"
        )
    observed = finite("the PSI of the scores", stability.psi)
    holds = condition.holds(observed)
    return Decision(
        holds,
        observed,
        f"PSI {observed:.4f} of the scores, validation against test, {is_or_is_not(holds)} {condition} "
        f"({rows}; chance alone seldom exceeds {stability.by_chance:.4f})",
    )


def _between_groups(
    what: str, interval_of: Callable[[GroupingFairness], Interval | None], *, high_is_good: bool
) -> Callable[[GateInputs, Condition], Decision]:
    def decide(inputs: GateInputs, condition: Condition) -> Decision:
        measured = _measured(inputs, "fairness", Fairness)
        found: list[tuple[float, GroupingFairness, Interval]] = []
        for grouping in measured.groupings:
            interval = interval_of(grouping)
            if interval is None:
                because = grouping.not_compared_because or "no two groups have rows of both labels"
                raise ValidationError(f"{grouping.name} cannot be compared: {because}")
            end = interval.high if high_is_good else interval.low
            found.append((finite(f"the {what} of {grouping.name}", end), grouping, interval))
        end, grouping, interval = (min if high_is_good else max)(found, key=lambda each: each[0])
        holds = condition.holds(end)
        return Decision(
            holds,
            end,
            f"{what} of {grouping.name} {interval.value:.3f}, 95 % interval {interval.low:.3f} to {interval.high:.3f}: "
            f"its favourable end {is_or_is_not(holds)} {condition} ({grouping.compared} groups of at least {grouping.smallest} rows)",
        )

    return decide


SCORECARD_RULES: Final[Mapping[str, Rule]] = {
    "ks": Rule(_separation("ks"), operators=(">", ">="), version=1),
    "gini": Rule(_separation("gini"), operators=(">", ">="), version=1),
    "psi": Rule(_psi, operators=("<", "<="), version=1),
}
FAIRNESS_RULES: Final[Mapping[str, Rule]] = {
    "parity_ratio": Rule(
        _between_groups("parity ratio", lambda grouping: grouping.parity_ratio, high_is_good=True),
        operators=(">", ">="),
        version=1,
        fields=("fairness",),
    ),
    "parity_difference": Rule(
        _between_groups("parity difference", lambda grouping: grouping.parity_difference, high_is_good=False),
        operators=("<", "<="),
        version=1,
        fields=("fairness",),
    ),
    "equalized_odds_difference": Rule(
        _between_groups(
            "equalized-odds difference",
            lambda grouping: grouping.equalized_odds_difference,
            high_is_good=False,
        ),
        operators=("<", "<="),
        version=1,
        fields=("fairness",),
    ),
}

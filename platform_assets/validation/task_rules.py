"""Rules of gates on measures that not every task has: a task offers those whose measures it makes.

| rule | reads of the measures |
|---|---|
| ks, gini | `ks`, `gini` |
| psi | `stability` |
| parity_ratio, parity_difference, equalized_odds_difference | `fairness` |
| auc_behind_challenger | `challenger` |
| coefficients_agree | `coefficients` |
| auc_gain_from_transformers | `without_transformers` |
| sensitivity_at_90_specificity, specificity_at_90_sensitivity | themselves, `operating_points` |
| worst_slice_auc, worst_slice_sensitivity, worst_slice_specificity | `slices` |
| auc_within_views | `views` |
| auc_above_metadata | `metadata_alone` |

The rules of fairness decide on the end of an interval that speaks for the model (see `fairness`): they fail what chance does
not explain, so a small group passes by being small. `min_rows` is what says how small is too small, and where no two
groups have so many rows a rule is an error. How far a scorecard is behind its challenger, and what transformers gain, is
decided on the difference itself, as a drop from production is: its interval is paired, so it is narrow, and it is told. So is
what a model knows beyond the metadata of its images.

The rules of slices decide on the upper end of an interval for the same reason as those of fairness: what fails is worse for
sure. Slices that have too few rows to be judged are named; where none has enough, a rule is an error. Within views the AUC
itself decides, as of all rows, since a model that has learnt nothing but the view has none to speak of there.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic import ValidationError as PydanticValidationError

from platform_assets.validation.errors import ValidationError
from platform_assets.validation.fairness import Fairness, GroupingFairness
from platform_assets.validation.gate import (
    AUC_DECIMALS,
    DEMANDED,
    Condition,
    Decision,
    GateInputs,
    Rule,
    finite,
    is_or_is_not,
)
from platform_assets.validation.operating_points import OperatingPoint
from platform_assets.validation.scorecard import Interval, Stability
from platform_assets.validation.slices import Part

M = TypeVar("M", bound=BaseModel)


class Challenger(BaseModel):
    """A stronger model that is harder to read, on the same rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    auc: float
    ahead: Interval
    """Its AUC minus the model's, with the 95 % interval of the paired rows."""


class WithoutTransformers(BaseModel):
    """The same model, trained on the same rows without what transformers make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc: float
    gain: Interval
    """The model's AUC minus this one's, with the 95 % interval of the paired rows."""


class MetadataAlone(BaseModel):
    """A model of what is known of images without looking at them, on the same rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc: Interval
    ahead: Interval
    """The model's AUC minus this one's, with the 95 % interval of the paired rows."""
    read: str
    """Columns that it reads, for people."""


class CoefficientSign(BaseModel):
    """Whether a coefficient says what its characteristic says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    characteristic: str
    coefficient: float
    agrees: bool


_SIGNS: Final = TypeAdapter(tuple[CoefficientSign, ...])
_PARTS: Final = TypeAdapter(tuple[Part, ...])
_POINTS: Final = TypeAdapter(tuple[OperatingPoint, ...])


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


def _auc_behind_challenger(inputs: GateInputs, condition: Condition) -> Decision:
    challenger = _measured(inputs, "challenger", Challenger)
    auc = finite("the AUC on the test split", inputs.test_metrics.auc)
    observed = round(finite("the AUC of the challenger", challenger.auc) - auc, AUC_DECIMALS)
    holds = condition.holds(observed)
    interval = f"95 % interval {challenger.ahead.low:.3f} to {challenger.ahead.high:.3f}"
    return Decision(
        holds,
        observed,
        f"the AUC is {observed:.4f} behind {challenger.name}, {auc:.4f} to {challenger.auc:.4f}, which "
        f"{is_or_is_not(holds)} {condition} ({interval}, n = {inputs.test_metrics.n})",
    )


def _auc_gain_from_transformers(inputs: GateInputs, condition: Condition) -> Decision:
    without = _measured(inputs, "without_transformers", WithoutTransformers)
    auc = finite("the AUC on the test split", inputs.test_metrics.auc)
    observed = round(auc - finite("the AUC without transformers", without.auc), AUC_DECIMALS)
    holds = condition.holds(observed)
    interval = f"95 % interval {without.gain.low:.4f} to {without.gain.high:.4f}"
    return Decision(
        holds,
        observed,
        f"what transformers make gains {observed:.4f} of AUC, {without.auc:.4f} to {auc:.4f}, which "
        f"{is_or_is_not(holds)} {condition} ({interval}, n = {inputs.test_metrics.n})",
    )


def _at_operating_point(what: str, kept: str) -> Callable[[GateInputs, Condition], Decision]:
    def decide(inputs: GateInputs, condition: Condition) -> Decision:
        points = _POINTS.validate_python(inputs.measures.get("operating_points") or ())
        point = next((each for each in points if each.point == f"90% {kept}"), None)
        observed = finite(f"the {what} at 90 % {kept}", getattr(point, what, None))
        holds = condition.holds(observed)
        low, high = getattr(point, f"{what}_low"), getattr(point, f"{what}_high")
        interval = f"95 % interval {low:.3f} to {high:.3f}"
        return Decision(
            holds,
            observed,
            f"{what} {observed:.4f} at 90 % {kept} {is_or_is_not(holds)} {condition} ({interval}, n = {inputs.test_metrics.n})",
        )

    return decide


def _judged(inputs: GateInputs, kind: str, *, none: str) -> tuple[list[Part], str]:
    """The parts of a kind that have rows enough, and a clause that names the others.

    Raises:
        ValidationError: there is none: a gate that judged nothing must not pass.
    """
    measured = _PARTS.validate_python(inputs.measures.get(f"{kind}s") or ())
    judged = [each for each in measured if each.not_judged_because is None]
    left = [f"{each.slice} ({each.not_judged_because})" for each in measured if each.not_judged_because]
    if not judged:
        raise ValidationError(f"no {kind} has rows enough to be judged: {'; '.join(left) or none}")
    return judged, f"; not judged: {', '.join(left)}" if left else ""


def _worst_slice(what: str, measure: str) -> Callable[[GateInputs, Condition], Decision]:
    def decide(inputs: GateInputs, condition: Condition) -> Decision:
        judged, others = _judged(inputs, "slice", none="there are none")
        ends = [
            (finite(f"the {what} of {each.slice}", getattr(each, f"{measure}_high")), each) for each in judged
        ]
        end, worst = min(ends, key=lambda each: each[0])
        holds = condition.holds(end)
        value, low = (getattr(worst, f"{measure}{suffix}") for suffix in ("", "_low"))
        worse = [each.slice for high, each in ends if not condition.holds(high) and each is not worst]
        also = f"; nor is that of {', '.join(worse)}" if worse else ""
        return Decision(
            holds,
            end,
            f"{what} of {worst.slice} {value:.3f}, 95 % interval {low:.3f} to {end:.3f} (n = {worst.n}), the least of "
            f"{len(judged)} slices: its upper end {is_or_is_not(holds)} {condition}{also}{others}",
        )

    return decide


def _auc_within_views(inputs: GateInputs, condition: Condition) -> Decision:
    judged, others = _judged(inputs, "view", none="none was measured")
    aucs = [(finite(f"the AUC of {each.slice}", each.auc), each) for each in judged]
    observed, worst = min(aucs, key=lambda each: each[0])
    holds = condition.holds(observed)
    return Decision(
        holds,
        observed,
        f"AUC {observed:.4f} within {worst.slice}, the least of {len(judged)} views, {is_or_is_not(holds)} {condition} "
        f"(95 % interval {worst.auc_low:.3f} to {worst.auc_high:.3f}, n = {worst.n}){others}",
    )


def _auc_above_metadata(inputs: GateInputs, condition: Condition) -> Decision:
    alone = _measured(inputs, "metadata_alone", MetadataAlone)
    auc = finite("the AUC on the test split", inputs.test_metrics.auc)
    observed = round(auc - finite("the AUC of metadata alone", alone.auc.value), AUC_DECIMALS)
    holds = condition.holds(observed)
    interval = f"95 % interval {alone.ahead.low:.3f} to {alone.ahead.high:.3f}"
    return Decision(
        holds,
        observed,
        f"the AUC is {observed:.4f} above that of metadata alone, {alone.auc.value:.4f} to {auc:.4f}, which "
        f"{is_or_is_not(holds)} {condition} ({interval}, n = {inputs.test_metrics.n})",
    )


def _coefficients_agree(inputs: GateInputs, condition: Condition) -> Decision:
    measured = inputs.measures.get("coefficients")
    if measured is None:
        raise ValidationError("coefficients was not measured")
    try:
        signs = _SIGNS.validate_python(measured)
    except PydanticValidationError:
        raise ValidationError("coefficients are none") from None
    if not signs:
        raise ValidationError("the model has no coefficients")
    wrong = [each for each in signs if not each.agrees]
    holds = condition.holds(float(not wrong))
    if not wrong:
        reason = f"all {len(signs)} coefficients have the sign of their characteristic"
    else:
        named = ", ".join(f"{each.characteristic} ({each.coefficient:+.3f})" for each in wrong)
        reason = (
            f"{len(wrong)} of {len(signs)} coefficients say the opposite of their characteristic: {named}"
        )
    return Decision(holds, float(len(wrong)), reason)


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
POINTS_RULES: Final[Mapping[str, Rule]] = {
    "auc_behind_challenger": Rule(_auc_behind_challenger, operators=("<", "<="), version=1),
    "coefficients_agree": Rule(_coefficients_agree, operators=(DEMANDED,), version=1),
}
"""Of models in points."""
TRANSFORMER_RULES: Final[Mapping[str, Rule]] = {
    "auc_gain_from_transformers": Rule(_auc_gain_from_transformers, operators=(">", ">="), version=1),
}
"""Of models that read what transformers make."""
OPERATING_RULES: Final[Mapping[str, Rule]] = {
    "sensitivity_at_90_specificity": Rule(
        _at_operating_point("sensitivity", "specificity"), operators=(">", ">="), version=1
    ),
    "specificity_at_90_sensitivity": Rule(
        _at_operating_point("specificity", "sensitivity"), operators=(">", ">="), version=1
    ),
}
"""Of models that are used at one threshold."""
_OF_SLICES: Final = ("slices", "slice_min_rows", "slice_min_of_label")
SLICE_RULES: Final[Mapping[str, Rule]] = {
    f"worst_slice_{measure}": Rule(
        _worst_slice(what, measure), operators=(">", ">="), version=1, fields=_OF_SLICES
    )
    for what, measure in (("AUC", "auc"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
}
SHORTCUT_RULES: Final[Mapping[str, Rule]] = {
    "auc_within_views": Rule(_auc_within_views, operators=(">", ">="), version=1, fields=_OF_SLICES[1:]),
    "auc_above_metadata": Rule(_auc_above_metadata, operators=(">", ">="), version=1, fields=("metadata",)),
}
"""Of models of images, which may know the device instead of the finding."""

"""Gates: conditions of a training spec that a model's measurements must meet.

A gate passes only where its condition was seen to hold. What cannot be decided (a measurement that is
missing or not a number, too few rows, an exception) is an `error`, and an error never passes.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, JsonValue

from platform_assets.fingerprint import canonical_sha256
from platform_assets.manifest import identity_of
from platform_assets.validation.drift import DriftFinding
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.metrics import ROWS, BinaryMetrics
from resources.errors import PlatformError
from resources.unread import unread

MIN_DRIFT_ROWS: Final = 1000
"""Two samples of 500 rows from one source were seen to differ by KS 0.09; of 2,000 rows, by 0.03."""

DEMANDED: Final = "true"

AUC_DECIMALS: Final = 12
"""0.95 - 0.94 is 0.010000000000000009: what lies behind these decimals is not the model's."""

_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    DEMANDED: operator.eq,
}
_COMPARISON: Final = re.compile(r"(>=|<=|==|>|<)\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison with a bound, or the bare demand that a statement is true."""

    operator: str
    """One of `>`, `>=`, `<`, `<=`, `==`, or `true`, which compares the statement's 0 or 1 with 1."""
    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value satisfies the condition; NaN never does."""
        return _OPERATORS[self.operator](value, self.bound)

    def __str__(self) -> str:
        """The one spelling of all equal conditions: `> 0.92`, `== 1`, `true`."""
        if self.operator == DEMANDED:
            return DEMANDED
        return f"{self.operator} {self.bound!r}".removesuffix(".0")


def parse_condition(text: str | bool) -> Condition:  # noqa: FBT001
    """The condition that a spec writes as `"> 0.92"`, `"<= 0.1"` or a bare `true`.

    Raises:
        ValueError: The text is none of these, or `false`.
    """
    if text is True or text == DEMANDED:
        return Condition(DEMANDED, 1.0)
    if text is False or text == "false":
        raise ValueError("a gate cannot be set to false: to switch it off, remove it from the spec")
    if match := _COMPARISON.fullmatch(text.strip()):
        try:
            bound = float(match[2])
        except ValueError:
            bound = math.nan
        if math.isfinite(bound):
            return Condition(match[1], bound)
    raise ValueError(
        f'"{text}" is not a condition: write a comparison with a number, such as "> 0.92", "<= 0.1" or "== 1",'
        " or a bare true"
    )


class SourceComparison(BaseModel):
    """Candidate and production on the frozen test rows of one source, or the reason why they were not compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    n: int
    auc: float | None = None
    production_auc: float | None = None
    drop_low: float | None = None
    """Lower end of the paired 95 % interval of the drop, `production_auc` minus `auc`."""
    drop_high: float | None = None
    not_compared_because: str | None = None


class GateInputs(BaseModel):
    """All measurements that gates decide on; the test split is that of the line's first source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test_metrics: BinaryMetrics
    baseline_name: str = "baseline"
    baseline_auc: float | None = None
    """AUC of the task's baseline on the test split."""
    production_auc: float | None = None
    """AUC of the version in production on the test split."""
    has_production: bool
    """Whether the line has a version in production. Only a known absence excuses a missing AUC."""
    score_drift: DriftFinding | None = None
    """The model's scores, validation against test split."""
    other_sources: tuple[SourceComparison, ...] | None = None
    """Every other source that the candidate was trained on; None where nobody has looked."""
    measures: Mapping[str, JsonValue] = {}
    """What the task has measured besides, for its own rules."""


class GateResult(BaseModel):
    """What one gate decided, on what, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule_set: str
    rule_set_hash: str
    condition: str
    observed: float | None
    outcome: Literal["pass", "fail", "error"]
    reason: str


class Decision(NamedTuple):
    """Whether a gate's condition holds, the figure that decided, and the sentence that says so."""

    holds: bool
    observed: float | None
    reason: str


def _auc(inputs: GateInputs, condition: Condition) -> Decision:
    metrics = inputs.test_metrics
    observed = finite("the AUC on the test split", metrics.auc)
    holds = condition.holds(observed)
    interval = f"{metrics.confidence * 100:g} % interval {metrics.auc_low:.3f} to {metrics.auc_high:.3f}"
    if metrics.resampled != ROWS:
        interval += f" by {metrics.resampled}"
    return Decision(
        holds, observed, f"AUC {observed:.4f} {is_or_is_not(holds)} {condition} ({interval}, n = {metrics.n})"
    )


def _beats_baseline(inputs: GateInputs, condition: Condition) -> Decision:
    auc = finite("the AUC on the test split", inputs.test_metrics.auc)
    baseline = finite(f"the AUC of the {inputs.baseline_name} on the test split", inputs.baseline_auc)
    holds = condition.holds(float(auc >= baseline))
    return Decision(
        holds,
        auc - baseline,
        f"AUC {auc:.4f} {is_or_is_not(holds)} >= {baseline:.4f} of the {inputs.baseline_name} (n = {inputs.test_metrics.n})",
    )


def _score_drift_ks(inputs: GateInputs, condition: Condition) -> Decision:
    drift = inputs.score_drift
    if drift is None:
        raise ValidationError("the drift of the scores was not measured")
    rows = f"n = {drift.n_reference} and {drift.n_current}"
    if min(drift.n_reference, drift.n_current) < MIN_DRIFT_ROWS:
        raise ValidationError(
            f"KS cannot decide on so few rows ({rows}): chance alone moves it, {MIN_DRIFT_ROWS} a side are needed"
        )
    observed = finite("the KS of the scores", drift.ks)
    holds = condition.holds(observed)
    return Decision(
        holds,
        observed,
        f"KS {observed:.4f} of the scores, {drift.reference} against {drift.current}, "
        f"{is_or_is_not(holds)} {condition} ({rows})",
    )


def _auc_drop_from_production(inputs: GateInputs, condition: Condition) -> Decision:
    if not inputs.has_production and inputs.production_auc is None:
        return Decision(holds=True, observed=None, reason="no production version to compare with")
    auc = finite("the AUC on the test split", inputs.test_metrics.auc)
    production = finite("the AUC of the production version on the test split", inputs.production_auc)
    observed = round(production - auc, AUC_DECIMALS)
    holds = condition.holds(observed)
    return Decision(
        holds,
        observed,
        f"the AUC drop of {observed:.4f} from production, {production:.4f} to {auc:.4f}, "
        f"{is_or_is_not(holds)} {condition} (n = {inputs.test_metrics.n})",
    )


def _auc_drop_by_source(inputs: GateInputs, condition: Condition) -> Decision:
    others = inputs.other_sources
    if others is None:
        raise ValidationError(
            "nobody knows which sources in training are not the line's own: make the dataset anew, which records it"
        )
    if not others:
        return Decision(holds=True, observed=None, reason="no other source in training")
    if not inputs.has_production and all(each.production_auc is None for each in others):
        return Decision(holds=True, observed=None, reason="no production version to compare with")
    if refused := [
        f"{each.source}: {each.not_compared_because}" for each in others if each.not_compared_because
    ]:
        raise ValidationError(f"not every source could be compared: {'; '.join(refused)}")
    observed, worst = max(((_drop(each), each) for each in others), key=itemgetter(0))
    holds = condition.holds(observed)
    interval = (
        "" if worst.drop_low is None else f"95 % interval {worst.drop_low:.3f} to {worst.drop_high:.3f}, "
    )
    return Decision(
        holds,
        observed,
        f"the largest AUC drop on another source, {observed:.4f} on {worst.source}, "
        f"{worst.production_auc:.4f} to {worst.auc:.4f}, {is_or_is_not(holds)} {condition} ({interval}n = {worst.n})",
    )


def _drop(compared: SourceComparison) -> float:
    auc = finite(f"the AUC on the test split of {compared.source}", compared.auc)
    production = finite(
        f"the AUC of the production version on the test split of {compared.source}", compared.production_auc
    )
    return round(production - auc, AUC_DECIMALS)


def finite(what: str, value: float | None) -> float:
    """The value.

    Raises:
        ValidationError: there is none, or it is not finite; nothing can be decided on it.
    """
    if value is None:
        raise ValidationError(f"{what} was not measured")
    if not math.isfinite(value):
        raise ValidationError(f"{what} is {value}")
    return value


def is_or_is_not(holds: bool) -> str:  # noqa: FBT001
    """The verb of a reason."""
    return "is" if holds else "is not"


class Rule(NamedTuple):
    """The meaning of a gate's name."""

    decide: Callable[[GateInputs, Condition], Decision]
    operators: tuple[str, ...]
    """Those that make sense: `auc: "< 0.92"` would pass what it should stop."""
    version: int
    """Raised when the meaning changes. It enters the rule-set hash, so that verdicts given under the
    old meaning no longer count."""
    is_share: bool = True
    """Whether a bound beyond 1 must be a mistake."""
    fields: tuple[str, ...] = ()
    """Fields of the spec that decide besides the condition. They are among those of the evaluator, so that a change
    brings a new verdict. What one run may change is not: it is part of the model, whose version a verdict is about."""


SHARED_RULES: Final[Mapping[str, Rule]] = {
    # Version 2 of the first four: on the test rows of the line's first source, whatever else is trained on.
    "auc": Rule(_auc, operators=(">", ">="), version=2),
    "beats_baseline": Rule(_beats_baseline, operators=(DEMANDED,), version=2),
    "score_drift_ks": Rule(_score_drift_ks, operators=("<", "<="), version=2),
    "auc_drop_from_production": Rule(_auc_drop_from_production, operators=("<", "<="), version=2),
    "auc_drop_by_source": Rule(_auc_drop_by_source, operators=("<", "<="), version=1),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate as a spec demands it.

    Raises:
        ValueError: The condition makes no sense for the rule.
    """

    name: str
    condition: Condition
    rule: Rule
    """What the name means."""
    decided_by: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the spec says in the rule's fields."""

    def __post_init__(self) -> None:
        operators = self.rule.operators
        if self.condition.operator not in operators:
            raise ValueError(f'{self.name}: "{self.condition}" must be written with {" or ".join(operators)}')
        if self.rule.is_share and abs(self.condition.bound) > 1:
            raise ValueError(f'{self.name}: "{self.condition}" must be a share such as 0.1, not a percentage')

    @classmethod
    def parse(
        cls,
        name: str,
        condition: str | bool,  # noqa: FBT001
        rules: Mapping[str, Rule] = SHARED_RULES,
        spec: BaseModel | None = None,
    ) -> Self:
        """The gate that a spec writes as `name: condition`.

        Args:
            name: Of one of the rules.
            condition: As the spec writes it.
            rules: The rules there are, by name: `rules_with` those of a task.
            spec: The line's spec; None where no rule has fields of it.

        Raises:
            ValueError: As `parse_condition`, and as the class says; or the rule has fields, and there is no spec.
        """
        if name not in rules:
            raise ValueError(f'unknown gate "{name}": known are {", ".join(rules)}')
        rule = rules[name]
        if rule.fields and spec is None:
            raise ValueError(f"{name}: the spec decides too, in {', '.join(rule.fields)}; give the spec")
        decided_by = {} if spec is None else identity_of(spec, rule.fields)
        return cls(name, parse_condition(condition), rule, decided_by)

    @property
    def rule_set(self) -> str:
        """The name under which verdicts are given and demanded."""
        return f"gate.{self.name}"

    @property
    def rule_set_hash(self) -> str:
        """SHA-256 over everything that decides: name, condition, version of the gate's meaning, and its fields."""
        rule = {"name": self.name, "condition": str(self.condition), "version": self.rule.version}
        fields = {"fields": dict(self.decided_by)} if self.decided_by else {}
        return canonical_sha256(rule | fields)

    def evaluate(self, inputs: GateInputs) -> GateResult:
        """The result on these measurements; whatever goes wrong on the way is an `error`."""
        observed = None
        outcome: Literal["pass", "fail", "error"] = "error"
        try:
            holds, observed, reason = self.rule.decide(inputs, self.condition)
            outcome = "pass" if holds else "fail"
        except PlatformError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a bug in one gate must neither pass nor hide the others
            reason = f"{unread(error)}: a bug, whose message is not kept, as it may quote the data"
        return GateResult(
            rule_set=self.rule_set,
            rule_set_hash=self.rule_set_hash,
            condition=str(self.condition),
            observed=observed,
            outcome=outcome,
            reason=reason,
        )


def rules_with(own: Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The rules that all tasks share, and those of one."""
    return {**SHARED_RULES, **own}


def evaluate(
    gates: Mapping[str, str | bool],
    inputs: GateInputs,
    rules: Mapping[str, Rule] = SHARED_RULES,
    spec: BaseModel | None = None,
) -> list[GateResult]:
    """The result of every gate of a spec, in its order.

    Args:
        gates: Condition by gate name, as the spec writes them: `{"auc": "> 0.92", "beats_baseline": True}`.
        inputs: What was measured.
        rules: The rules there are, by name.
        spec: As for `Gate.parse`.

    Raises:
        ValueError: As `Gate.parse`.
    """
    parsed = [Gate.parse(name, condition, rules, spec) for name, condition in gates.items()]
    return [gate.evaluate(inputs) for gate in parsed]

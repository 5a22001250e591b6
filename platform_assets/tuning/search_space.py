"""The space that an Experiment searches: which values a parameter may have, and how each is written.

A trial is given text, as Katib gives it. What the file lists is given as the file writes it; a value on a grid of steps
is written as the decimal number that it is (0.3, never 0.30000000000000004), any other as the shortest decimal number that
is read as the same float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite, prod
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ParameterType = Literal["double", "int", "discrete", "categorical"]
Value = float | int | str
"""As Optuna has it: numbers, or one of the texts of a list."""
_LISTED: Final = ("discrete", "categorical")


def number(text: str) -> Decimal | None:
    """The finite number that a text of the file is, exactly; None if it is none."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    # Python reads 1_000 and digits of other scripts, which the trial's parser need not.
    plain = text.isascii() and "_" not in text and not text.isspace() and text == text.strip()
    return found if plain and found.is_finite() and isfinite(float(found)) else None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter and its feasible space."""

    name: str
    type: ParameterType
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    step: Decimal | None = None
    """Distance of the values from `low` on; None: any number, or of an int any whole one."""
    logarithmic: bool = False
    values: tuple[str, ...] = ()
    """Of a discrete or categorical one: the texts that it may be."""

    @property
    def is_listed(self) -> bool:
        """Whether its values are a list."""
        return self.type in _LISTED

    @property
    def count(self) -> int | None:
        """How many values it may have; None of a double without step."""
        if self.is_listed:
            return len(self.values)
        step = self._step
        return None if step is None else int((self.high - self.low) / step) + 1

    def at(self, index: int) -> str:
        """The value number `index` of those that it may have, from 0 on, as the trial is given it."""
        if self.is_listed:
            return self.values[index]
        return _plain(self.low + index * (self._step or 1))

    @property
    def examples(self) -> tuple[str, ...]:
        """Every value of a list, else the least and the greatest; as trials are given them."""
        if self.is_listed:
            return self.values
        if (count := self.count) is not None:
            return (self.at(0), self.at(count - 1))
        return (self.written(float(self.low)), self.written(float(self.high)))

    def written(self, value: Value) -> str:
        """A value that Optuna suggests, as the trial is given it."""
        if isinstance(value, str):
            return value
        step = self._step
        return repr(float(value)) if step is None else self.at(round((Decimal(value) - self.low) / step))

    def read(self, text: str) -> Value:
        """What Optuna calls a value that is written so."""
        if self.is_listed:
            return text
        return int(text) if self.type == "int" else float(text)

    def allows(self, text: str) -> bool:
        """Whether a value that is written so lies in the feasible space."""
        if self.is_listed:
            return text in self.values
        found = number(text)
        if found is None or not self.low <= found <= self.high:
            return False
        return self._step is None or (found - self.low) % self._step == 0

    def distribution(self) -> "BaseDistribution":
        """How Optuna describes the space."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.is_listed:
            return CategoricalDistribution(self.values)
        count = self.count
        if self.type == "int":
            # Up to the last value that a step reaches: Optuna warns of a bound between two.
            step = int(self.step or 1)
            last = int(self.low) + step * ((int(self.high) - int(self.low)) // step)
            return IntDistribution(int(self.low), last, log=self.logarithmic, step=step)
        if count is None or self.step is None:
            return FloatDistribution(float(self.low), float(self.high), log=self.logarithmic)
        return FloatDistribution(float(self.low), float(self.at(count - 1)), step=float(self.step))

    @property
    def _step(self) -> Decimal | None:
        return Decimal(1) if self.type == "int" and self.step is None else self.step


def distributions(parameters: Sequence[Parameter]) -> "dict[str, BaseDistribution]":
    """How Optuna describes the space, by parameter."""
    return {each.name: each.distribution() for each in parameters}


def written(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> dict[str, str]:
    """The assignment of a trial: text by parameter, in the order of the file.

    Args:
        parameters: The space.
        values: What Optuna suggests, by parameter.
    """
    return {each.name: each.written(values[each.name]) for each in parameters}


def combinations(parameters: Sequence[Parameter]) -> int | None:
    """How many points the space has; None if a parameter is continuous."""
    counts = [each.count for each in parameters]
    return None if None in counts else prod(count for count in counts if count is not None)


def grid_point(parameters: Sequence[Parameter], index: int) -> dict[str, str]:
    """The point number `index` of a space without continuous parameters; the last one's values change fastest."""
    point = {}
    for each in reversed(parameters):
        index, at = divmod(index, each.count or 1)
        point[each.name] = each.at(at)
    return {each.name: point[each.name] for each in parameters}


def _plain(exact: Decimal) -> str:
    """Without an exponent, and without zeros that say nothing."""
    text = format(exact, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

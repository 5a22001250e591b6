"""What a window is, written as plainly as it can be: every row looks at all rows, in exact arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from platform_assets.features.transformer_spec import TransformerSpec

DAY = 86_400_000_000


@dataclass(frozen=True)
class Row:
    """A row: whose, when (microseconds UTC), its value, and when that became known (None: nobody knows yet)."""

    entity: str
    time: int
    value: float | None
    available: int | None


def expected(spec: TransformerSpec, rows: Sequence[Row]) -> list[float | None]:
    """What each row is given."""
    answer = _zscore if spec.transformer_type == "zscore" else _lag
    return [answer(spec, row, [other for other in rows if other.entity == row.entity]) for row in rows]


def _known(row: Row) -> bool:
    return row.value is not None and not math.isnan(row.value) and row.available is not None


def _zscore(spec: TransformerSpec, row: Row, rows: Sequence[Row]) -> float | None:
    said = spec.of_type()
    t, width = row.time, spec.window_days * DAY
    if said.include_current:
        seen = [r for r in rows if t - width < r.time <= t and _known(r) and r.available <= t]
    else:
        seen = [r for r in rows if t - width <= r.time < t and _known(r) and r.available < t]
    if row.value is None or math.isnan(row.value) or len(seen) < said.min_periods:
        return None
    values = [Fraction(r.value) for r in seen]
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    if squares == 0:
        return None
    variance = squares / (len(values) - (said.deviation == "sample"))
    return signed_root((Fraction(row.value) - mean) ** 2 / variance, Fraction(row.value) - mean)


def signed_root(square: Fraction, sign: Fraction) -> float:
    """The root of an exact square, to the last bits of a float."""
    scale = 10**60
    root = math.isqrt(square.numerator * scale // square.denominator)
    return math.copysign(float(Fraction(root, 10**30)), sign) if sign else 0.0


def _lag(spec: TransformerSpec, row: Row, rows: Sequence[Row]) -> float | None:
    said = spec.of_type()
    known = [r for r in rows if _known(r) and r.available < row.time]
    tolerance = math.inf if said.tolerance is None else said.tolerance * DAY
    if said.rows is None:
        latest = row.time - said.days * DAY
        seen = [r for r in known if latest - tolerance <= r.time <= latest]
        nth = 1
    else:
        seen, nth = [r for r in known if r.time < row.time], said.rows
    # The sort is stable: of what is equal, the later row is the later one.
    seen.sort(key=lambda r: (r.time, r.available))
    if len(seen) < nth or (said.rows is not None and row.time - seen[-nth].time > tolerance):
        return None
    return seen[-nth].value

"""The days of a transformer with features by day: what is made of them, what is missing, what is open again, what is refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from platform_assets.features.daily import ENDING, daily_range
from platform_assets.features.day_index import DayIndex, known_index
from platform_assets.features.day_making import published_marks
from platform_assets.features.declared import DeclaredTransformer
from platform_assets.features.versions import latest_version
from platform_assets.outside_systems import OutsideSystems

State = Literal["made", "missing", "reopened", "refused"]


@dataclass(frozen=True, slots=True)
class DayStatus:
    """One day."""

    day: date
    state: State
    """`missing`: it was never made; `reopened`: it was, of other rows or by another spec or kernel."""
    rows: int
    """Of the input."""
    published: bool
    """Whether the table has rows of it, those of before where it is open again or refused now."""
    broken: tuple[str, ...]
    """What of the contract its rows break."""


@dataclass(frozen=True, slots=True)
class DailyStatus:
    """The days of a transformer, from the first one to the newest of its input or of what was made before."""

    asset: str
    version: str | None
    """Of the transformer, whose input is meant; None where it was never materialized."""
    days: tuple[DayStatus, ...]

    def of(self, state: State) -> list[date]:
        """The days in a state."""
        return [each.day for each in self.days if each.state == state]

    def to_json(self) -> dict[str, Any]:
        """For machines; of gaps and of other days that are not made, each."""
        counts = Counter(each.state for each in self.days)
        return {
            "asset": self.asset,
            "version": self.version,
            "first": str(self.days[0].day) if self.days else None,
            "newest": str(self.days[-1].day) if self.days else None,
            "made": counts["made"],
            **{state: [str(day) for day in self.of(state)] for state in ("missing", "reopened", "refused")},
        }


def daily_status(declared: DeclaredTransformer, outside: OutsideSystems) -> DailyStatus | None:
    """What is made of a transformer's days; None where it has none.

    Raises:
        LedgerError: the ledger is damaged.
        WarehouseError: the warehouse does not answer.
    """
    days = daily_range(declared.content)
    if days is None:
        return None
    version = latest_version(outside.ledger, declared.name)
    index = known_index(version, outside) if version else None
    asset = f"{declared.name}{ENDING}"
    if version is None or index is None or index.newest is None:
        return DailyStatus(asset, version.label if version else None, ())
    marks, fingerprints = published_marks(declared.name, outside), index.fingerprints(declared.spec)
    newest = max((index.newest, *marks))
    return DailyStatus(
        asset,
        version.label,
        tuple(_status(day, index, marks.get(day), fingerprints.of(day)) for day in days.days(newest)),
    )


def spans_of(days: Sequence[date]) -> list[tuple[date, date]]:
    """Days, which ascend, as spans of consecutive ones: first and last of each."""
    spans: list[tuple[date, date]] = []
    for day in days:
        if spans and day - spans[-1][1] == timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


def _status(day: date, index: DayIndex, mark: str | None, fingerprint: str) -> DayStatus:
    known = index.by_day.get(day)
    broken = known.broken if known else ()
    state: State
    if broken:
        state = "refused"
    elif mark is None:
        state = "missing"
    else:
        state = "made" if mark == fingerprint else "reopened"
    return DayStatus(day, state, known.rows if known else 0, mark is not None, broken)

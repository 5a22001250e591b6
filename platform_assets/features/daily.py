"""Which transformers have their features by day as well, from which day on, and what a day is.

    metadata:
      annotations:
        platform-assets/daily-from: "2013-01-01"
        platform-assets/daily-until: "2013-12-31"    # the last day; may be left out

Annotations are no part of what a transformer is: its versions stay what they are. A day is one of event time, 24 hours in
UTC.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import DAY_US, FeatureTransformer, TransformerSpec
from platform_assets.references import HISTORICAL

DAILY_FROM: Final = "platform-assets/daily-from"
DAILY_UNTIL: Final = "platform-assets/daily-until"
ENDING: Final = "_daily"
"""Of the asset's name, after the transformer's, and of its table's."""
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class DailyRange:
    """The days that a transformer has an asset's partitions of."""

    first: date
    last: date | None
    """None: none is the last."""

    def __contains__(self, day: date) -> bool:
        """Whether the day is one of them; one that has not ended is none yet, as in Dagster."""
        return self.first <= day < today() and (self.last is None or day <= self.last)

    def days(self, newest: date) -> list[date]:
        """All of them up to a day."""
        last = min(newest, today() - timedelta(days=1), self.last or newest)
        return [self.first + timedelta(days=at) for at in range((last - self.first).days + 1)]


def daily_range(content: FeatureTransformer) -> DailyRange | None:
    """The days of a transformer; None where it has no features by day.

    Raises:
        FeatureError: its annotations name no days, or it is none that can be computed by day.
    """
    stated = content.metadata.annotations
    if DAILY_FROM not in stated:
        if DAILY_UNTIL in stated:
            raise FeatureError(f"metadata.annotations: {DAILY_UNTIL} stands without {DAILY_FROM}; add it")
        return None
    first = _day(DAILY_FROM, stated[DAILY_FROM])
    last = _day(DAILY_UNTIL, stated[DAILY_UNTIL]) if DAILY_UNTIL in stated else None
    if last is not None and last < first:
        raise FeatureError(f"metadata.annotations: {DAILY_UNTIL} is before {DAILY_FROM}; exchange them")
    spec = content.spec
    if spec.transformer_type not in HISTORICAL:
        raise FeatureError(
            f"metadata.annotations: {DAILY_FROM}: {spec.transformer_type} does not look along a history; remove it"
        )
    if spec.dataset is None:
        raise FeatureError(
            f"metadata.annotations: {DAILY_FROM}: only the days of a dataset are known, whose contract judges them; let "
            "inputSource be asset://…, or remove it"
        )
    if history_days(spec) is None:
        raise FeatureError(
            f"metadata.annotations: {DAILY_FROM}: this lag looks back without end, so that any day may change all later "
            "ones; state lag.tolerance, or remove it"
        )
    return DailyRange(first, last)


def history_days(spec: TransformerSpec) -> int | None:
    """How many days before its own a row may look at: rows of day D depend on [D - these, D]; None: on all."""
    history = spec.history_us
    return None if history is None else -(-history // DAY_US)


def today() -> date:
    """The day that has begun and has not ended, in UTC."""
    return datetime.now(UTC).date()


def number_of(day: date) -> int:
    """Days from 1970 on."""
    return (day - _EPOCH).days


def day_of(number: int) -> date:
    """The day of a number."""
    return _EPOCH + timedelta(days=number)


def beginning_of(day: date) -> datetime:
    """Its first instant."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise FeatureError(
            f'metadata.annotations: {name} is no day; write it as "2013-01-01", in quotes'
        ) from None

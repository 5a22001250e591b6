"""Making days of features: each from what is remembered of the days before, or from the rows of its window, with equal bits.

The table `features.<name>_daily` lies by day. Days are replaced whole, as many as were made at once in one commit, each with
its fingerprint; so whoever is killed leaves every day as it was or as it is to be. A day that has its fingerprint already is
not made again.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from platform_assets.datasets.contract import Contract
from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.daily import (
    ENDING,
    DailyRange,
    beginning_of,
    day_of,
    history_days,
    number_of,
)
from platform_assets.features.day_index import (
    DayIndex,
    Fingerprints,
    day_numbers,
    input_of,
    read_columns,
    recorded_index,
)
from platform_assets.features.day_states import DayStates
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import subject_ids
from platform_assets.features.transformer_spec import DAY_US, TransformerSpec
from platform_assets.features.versions import data_version, latest_version
from platform_assets.features.window_columns import times_of
from platform_assets.features.windows import WindowStream
from platform_assets.governance.suppression import publish_unless_erased
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import TABLES, TableSnapshot, TransformerVersion
from resources.provenance import code_commit
from resources.warehouse import Snapshot, TablePolicy, WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

DAYS_AT_ONCE: Final = 30
"""That are in memory, and that a commit brings; besides the days of a window."""
_VERSIONS_DAYS: Final = 7
"""So long a version of the table stays that is no longer the newest."""
_LOCK_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """What became of a day that was to be made."""

    day: date
    outcome: Literal["made", "reused", "refused", "awaited"]
    """`awaited`: the input ends before it."""
    fingerprint: str
    rows: int
    problem: str = ""
    """Why it was not made."""


@dataclass(frozen=True)
class DayMaking:
    """One making of days of a transformer: what its steps share."""

    spec: TransformerSpec
    days: DailyRange
    version: TransformerVersion
    """Whose input is read."""
    contract: Contract
    """Of the dataset."""
    outside: OutsideSystems

    @property
    def table(self) -> str:
        """Where the days lie."""
        return table_of(self.version.name)

    def made(self, wanted: Collection[date]) -> Iterator[DayOutcome]:
        """What becomes of each of these days: first of those that are not made, then of the others as they are published.

        Raises:
            FeatureError: the version is of another spec or kernel than this one, or is not the newest any more, or rows of its
                input were erased meanwhile.
            ErasureError: a subject among the rows was erased meanwhile.
            WarehouseError: the warehouse does not answer.
        """
        if self.version.data_version != data_version(self.spec, self.version.input_hash):
            name = self.version.name
            raise FeatureError(
                f"{self.version.label} is of another spec or kernel than {name} is now; materialize {name} first"
            )
        computing, missing = _Computing(self), list[date]()
        published = published_marks(self.version.name, self.outside)
        for day in sorted(wanted):
            if (outcome := self._unmade(day, published)) is not None:
                yield outcome
            else:
                missing.append(day)
        for at in range(0, len(missing), DAYS_AT_ONCE):
            some = missing[at : at + DAYS_AT_ONCE]
            tables = computing.features_of(some)
            self._publish(tables)
            for day, rows in tables.items():
                yield DayOutcome(day, "made", self.fingerprints.of(day), rows.num_rows)
        computing.keep_state()

    @cached_property
    def input(self) -> TableSnapshot:
        """The rows that the version was made of, by their content: they may have been written again since."""
        given = input_of(self.version)
        try:
            return TableSnapshot.of(self.outside.warehouse.at(given.table, given.content_hash))
        except WarehouseError:
            raise FeatureError(
                f"rows that {self.version.label} was made of were erased or have expired; materialize {self.version.name} first"
            ) from None

    @cached_property
    def index(self) -> DayIndex:
        """The days of the input."""
        return recorded_index(self.version, self.spec, self.contract, self.outside, self._all_rows)

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """Of its days."""
        return self.index.fingerprints(self.spec)

    @cached_property
    def policy(self) -> TablePolicy:
        """Of the input, and of what is made of it."""
        return self.outside.warehouse.policy(self.input.table)

    @property
    def subject_column(self) -> str:
        """Names whom a row is about."""
        return str(self.version.subject_column)

    def rows_between(self, first: date, last: date) -> "pa.Table":
        """The rows of these days that features are made of, day by day, as they stand in each."""
        rows = self.outside.warehouse.read_between(
            self.input.table,
            self.input.snapshot_id,
            str(self.spec.timestamp_column),
            beginning_of(first),
            beginning_of(last + timedelta(days=1)),
            columns=read_columns(self.spec, self.subject_column),
        )
        numbers = day_numbers(self.spec, rows)
        read = [
            number
            for number in range(number_of(first), number_of(last) + 1)
            if self.index.is_read(day_of(number))
        ]
        chosen = np.isin(numbers, read)
        if not chosen.all():
            rows, numbers = rows.filter(chosen), numbers[chosen]
        if (numbers[1:] < numbers[:-1]).any():
            rows = rows.take(np.argsort(numbers, kind="stable"))
        return rows

    def _all_rows(self) -> "pa.Table":
        return self.outside.warehouse.read(self.input.table, self.input.snapshot_id)

    def _unmade(self, day: date, published: "dict[date, str | None]") -> DayOutcome | None:
        """What becomes of a day that is not made; None where it is."""
        known, fingerprint = self.index.by_day.get(day), self.fingerprints.of(day)
        # A day that was made, and that the input does not reach any more, is made again of no rows.
        if day not in published and (self.index.newest is None or day > self.index.newest):
            newest = f"their newest day is {self.index.newest}" if self.index.newest else "there are none"
            why = f"the rows of {self.version.dataset_asset} do not reach it, {newest}"
            return DayOutcome(day, "awaited", fingerprint, 0, why)
        if known is not None and known.broken:
            return DayOutcome(day, "refused", fingerprint, known.rows, "; ".join(known.broken))
        if published.get(day) == fingerprint:
            return DayOutcome(day, "reused", fingerprint, known.rows if known else 0)
        return None

    def _publish(self, tables: "dict[date, pa.Table]") -> None:
        """These days in the place of what the table has of them, in one commit; days of another spec go."""
        warehouse, name = self.outside.warehouse, self.version.name
        with self.outside.locks.hold(f"daily-{name}", timeout_seconds=_LOCK_SECONDS):
            # Whoever computed for hours does not put rows of before in the place of newer ones.
            newest = latest_version(self.outside.ledger, name)
            if newest is not None and newest.data_version != self.version.data_version:
                raise FeatureError(
                    f"{newest.label} was made meanwhile, and these days are of {self.version.label}; materialize them again"
                )
            current = current_version(name, self.outside)
            keep = [
                day
                for day, mark in published_marks(name, self.outside, current).items()
                if day in self.days and day not in tables and self.fingerprints.is_of_this_spec(mark)
            ]
            staged = warehouse.stage_days(
                self.table,
                tables,
                on=current,
                keep=keep,
                content_hash=content_hash,
                gdpr_class=self.policy.gdpr_class,
                retention_days=self.policy.retention_days,
                source_commit=code_commit(),
                marks={day: self.fingerprints.of(day) for day in tables},
                subject_column=self.subject_column,
                subject_namespace=self.version.subject_namespace,
            )
            publish_unless_erased(
                staged,
                (each for rows in tables.values() for each in subject_ids(rows, self.subject_column)),
                namespace=str(self.version.subject_namespace),
                warehouse=warehouse,
                ledger=self.outside.ledger,
                salt=self.outside.salt,
            )
            warehouse.expire(self.table, written_before=datetime.now(UTC) - timedelta(days=_VERSIONS_DAYS))


class _Computing:
    """Computes days one after the other, and remembers what the next ones need."""

    def __init__(self, making: DayMaking) -> None:
        history = history_days(making.spec)
        assert history is not None, "the days of a transformer that looks back without end are refused"
        self._making, self._history = making, history
        self._states = DayStates(
            making.version.name,
            making.spec,
            making.fingerprints,
            making.policy,
            making.subject_column,
            making.outside,
        )
        self._stream: WindowStream | None = None
        self._fed: date | None = None
        """The last day whose rows it has been given."""

    def features_of(self, days: Sequence[date]) -> "dict[date, pa.Table]":
        """The features of these days, which ascend, and come after those of the call before."""
        made: dict[date, pa.Table] = {}
        for some in self._spans(days):
            made |= self._of_span(some)
        return made

    def keep_state(self) -> None:
        """Keep what the day after the newest needs, where all days up to it were given."""
        making = self._making
        read = (each.day for each in making.index.days if each.day in making.days and not each.broken)
        newest = max(read, default=None)
        if self._stream is not None and self._fed is not None and newest is not None and self._fed >= newest:
            self._stream.forget(number_of(newest + timedelta(days=1 - self._history)) * DAY_US)
            self._states.keep(newest, self._stream)

    def _spans(self, days: Sequence[date]) -> Iterator[list[date]]:
        """Days so near to each other that those between them are cheaper given than left out."""
        span: list[date] = []
        for day in days:
            if span and day - span[-1] > timedelta(days=self._history):
                yield span
                span = []
            span.append(day)
        if span:
            yield span

    def _of_span(self, days: Sequence[date]) -> "dict[date, pa.Table]":
        first, last = days[0], days[-1]
        given = self._begin(first)
        rows = self._making.rows_between(given, last)
        features = self._answered(rows)
        self._fed = last
        numbers = day_numbers(self._making.spec, features)
        bounds = np.searchsorted(numbers, [number_of(day) for day in days])
        ends = np.searchsorted(numbers, [number_of(day) for day in days], side="right")
        # What is kept of a day must not hold the rows of all.
        return {
            day: features.slice(start, stop - start).combine_chunks()
            for day, start, stop in zip(days, bounds.tolist(), ends.tolist(), strict=True)
        }

    def _begin(self, first: date) -> date:
        """The first day whose rows are to be given to answer those of a day; before it, all that is needed is remembered."""
        since = first - timedelta(days=self._history)
        if self._stream is not None and self._fed is not None and since <= self._fed + timedelta(days=1):
            return self._fed + timedelta(days=1)
        if (kept := self._states.newest_before(first, since=since)) is not None:
            self._fed, self._stream = kept
            return self._fed + timedelta(days=1)
        self._stream = WindowStream(self._making.spec)
        return since

    def _answered(self, rows: "pa.Table") -> "pa.Table":
        """The rows without what features are made of, with their features; all of it is remembered from now on."""
        spec, stream = self._making.spec, self._stream
        assert stream is not None, "a span has begun"
        times = times_of(rows[str(spec.timestamp_column)], str(spec.timestamp_column))
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            places = np.empty_like(order)
            places[order] = np.arange(len(order))
            answers = stream.process(rows.take(order)).take(places)
        else:
            answers = stream.process(rows)
        table = rows.drop_columns(list(spec.columns))
        for name in spec.outputs.values():
            table = table.append_column(name, answers[name])
        return table


def table_of(name: str) -> str:
    """The table of a transformer's days."""
    return TABLES["features"].format(line=f"{name}{ENDING}")


def current_version(name: str, outside: OutsideSystems) -> Snapshot | None:
    """What is published of a transformer's days."""
    return outside.warehouse.current(table_of(name))


def published_marks(
    name: str, outside: OutsideSystems, current: Snapshot | None = None
) -> dict[date, str | None]:
    """The fingerprints of a transformer's days that are published."""
    current = current or current_version(name, outside)
    return (outside.warehouse.marks(current) or {}) if current else {}

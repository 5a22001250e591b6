"""A new day of features on a long history, against a run over all of it: processor seconds, and that both have equal bits.

The run over everything is what the asset of a transformer does with a new version of its dataset: it reads all rows, computes
and publishes. The new day is what the asset of its days does: it reads the day's rows and what is kept of the days before (or
the rows of its window), computes and publishes. That the days of a version are known is a cost of the version's asset, which
reads all rows anyway; it is told apart.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from platform_assets.features.day_making import DayMaking
from platform_assets.features.version_making import make_version, publish_features
from platform_assets.features.versions import make_latest
from tests.benchmarks.measure import BenchmarkError
from tests.features.day_factory import FIRST, ZSCORE, Meters, bits, days_of

WINDOWS: Final = (7, 30)
ENTITIES: Final = 1_000
CONTRACT: Final = """\
name: meters
expectations:
  - {type: expect_column_values_to_not_be_null, kwargs: {column: kwh, mostly: 0.5}, meta: {domain: readings}}
  - {type: expect_column_values_to_be_between, kwargs: {column: kwh, min_value: 0, mostly: 0.9}, meta: {domain: readings}}
"""


@dataclass(frozen=True, slots=True)
class NewDay:
    """One length of windows."""

    window_days: int
    full_seconds: float
    """Of a run over everything."""
    index_seconds: float
    """Of knowing the days of a version, their hashes and verdicts."""
    backfill_seconds: float
    """Of all days at once."""
    state_seconds: float
    """Of a new day that goes on from the kept state; median."""
    state_bytes: int
    rows_seconds: float
    """Of a new day that is made of the rows of its window; median."""

    def __str__(self) -> str:
        full = self.full_seconds
        return (
            f"  {self.window_days:>6}{full:>10.2f}{self.index_seconds:>10.2f}{self.backfill_seconds:>10.2f}"
            f"{self.state_seconds:>10.3f}{self.state_seconds / full:>8.1%}{self.rows_seconds:>10.3f}"
            f"{self.rows_seconds / full:>8.1%}{self.state_bytes / 1e6:>10.1f}"
        )


@dataclass(frozen=True, slots=True)
class DayFigures:
    """All of them."""

    rows_a_day: int
    days: int
    found: tuple[NewDay, ...]

    def __str__(self) -> str:
        heads = "".join(f"{head:>10}" for head in ("full s", "index s", "backfill s", "state s"))
        return "\n".join(
            [
                f"z-score: a new day of {self.rows_a_day:,} rows on {self.days} days, {ENTITIES:,} entities, CPU, equal bits",
                f"  window{heads}{'ratio':>8}{'rows s':>10}{'ratio':>8}{'state MB':>10}",
                *map(str, self.found),
            ]
        )


def measure_days(folder: Path, *, rows_a_day: int = 100_000, days: int = 100, rounds: int = 3) -> DayFigures:
    """Let days be added one by one, each from the state and again from the rows of its window.

    Raises:
        BenchmarkError: a bit differs.
    """
    rows = _readings(days + rounds, rows_a_day)
    found = [_measured(folder / str(window), rows, window, rows_a_day, days, rounds) for window in WINDOWS]
    return DayFigures(rows_a_day, days, tuple(found))


def _measured(
    folder: Path, rows: pa.Table, window_days: int, rows_a_day: int, days: int, rounds: int
) -> NewDay:
    folder.mkdir()
    meters = Meters(folder, {**ZSCORE, "windowDays": window_days}, contract=CONTRACT)
    first = rows.slice(0, days * rows_a_day)
    meters.publish(first)
    backfill = _seconds(lambda: _make(meters.making(), *range(days)))
    _refuse_different(meters.table(), meters.expected(first))
    full, index, by_state, by_rows, sizes = [], [], [], [], []
    for number in range(days, days + rounds):
        known = rows.slice(0, (number + 1) * rows_a_day)
        dataset = meters.dataset(known)

        def run() -> None:
            made = make_version(meters.declared, dataset, meters.outside)  # noqa: B023 - run at once
            meters.version = made.version
            publish_features(made, meters.declared, dataset, meters.outside)  # noqa: B023 - run at once
            make_latest(meters.version, meters.outside.ledger)

        full.append(_seconds(run))
        index.append(_seconds(lambda: meters.making().index))
        sizes.append(max(len(meters.outside.object_store.get(key)) for key in meters.states))
        by_state.append(_seconds(lambda number=number: _make(meters.making(), number)))
        _refuse_different(_of_day(meters.table(), number), _of_day(meters.expected(known), number))
        # The same day with another value, and nothing kept.
        for key in meters.states:
            meters.outside.object_store.delete(key)
        changed = pa.concat_tables([known.slice(0, known.num_rows - 1), first.slice(0, 1).set_column(
            known.schema.get_field_index("at"), "at", known["at"].slice(known.num_rows - 1).combine_chunks()
        )])  # fmt: skip
        meters.publish(changed)
        by_rows.append(_seconds(lambda number=number: _make(meters.making(), number)))
        _refuse_different(_of_day(meters.table(), number), _of_day(meters.expected(changed), number))
        # What is kept of it is none of the next version's, so its own day is made again.
        meters.publish(known)
        _make(meters.making(), number)
    return NewDay(
        window_days,
        *map(statistics.median, (full, index)),
        backfill,
        statistics.median(by_state),
        max(sizes),
        statistics.median(by_rows),
    )


def _readings(days: int, rows_a_day: int) -> pa.Table:
    """Readings in the order of their times, of entities in turn by chance, each known at its time or some hours later."""
    rng, rows = np.random.default_rng(15), days * rows_a_day
    begin = (FIRST - type(FIRST)(1970, 1, 1)) // timedelta(microseconds=1)
    at = begin + (np.arange(rows) * (86_400_000_000 / rows_a_day)).astype(np.int64)
    meters = np.array([f"m{number}" for number in range(ENTITIES)])
    return pa.table(
        {
            "reading": pa.array(np.arange(rows)).cast(pa.string()),
            "meter": meters[rng.integers(0, ENTITIES, rows)],
            "at": pa.array(at, pa.timestamp("us")),
            "known": pa.array(at + rng.integers(0, 6 * 3_600_000_000, rows), pa.timestamp("us")),
            "kwh": rng.lognormal(3, 1, rows),
        }
    )


def _make(making: DayMaking, *numbers: int) -> None:
    made = list(making.made([FIRST + timedelta(days=number) for number in numbers]))
    if {each.outcome for each in made} != {"made"}:
        raise BenchmarkError("a day was not made")


def _seconds(act: Callable[[], Any]) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


def _of_day(table: pa.Table, number: int) -> pa.Table:
    return table.filter(days_of(table) == number)


def _refuse_different(one: pa.Table, other: pa.Table) -> None:
    if not bits(one).equals(bits(other)):
        raise BenchmarkError("days have other rows or bits than a run over everything")

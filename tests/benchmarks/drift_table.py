"""What an hour of the drift table costs, however many versions it has had.

Each hour replaces the newest of its days, publishes a version, and forgets the oldest beyond those that are kept; after
24 hours a sweep removes what nothing refers to. Manifests that are read are counted, the rest is measured.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from platform_assets.datasets.snapshots import content_hash
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks

TABLE = "drift.line"
HOURS_A_DAY = 24
_FIRST = date(2026, 1, 1)


@dataclass(frozen=True)
class Cost:
    """What the hours up to a sweep cost."""

    versions: int
    """How many were published before."""
    manifests_by_hour: int
    """The most that one hour read."""
    manifests_by_sweep: int
    cpu_ms_by_hour: float
    cpu_ms_by_sweep: float
    metadata_bytes: int
    """Of the table's own file."""


@dataclass(frozen=True)
class Growth:
    """The costs of days at the beginning, when the number of versions has become steady, and at the end."""

    kept: int
    days: int
    steady: Cost
    last: Cost

    def __str__(self) -> str:
        rows = "\n".join(
            f"  {cost.versions:>8,}{cost.cpu_ms_by_hour:10.0f}{cost.manifests_by_hour:10}{cost.cpu_ms_by_sweep:10.0f}"
            f"{cost.manifests_by_sweep:10}{cost.metadata_bytes:12,}"
            for cost in (self.steady, self.last)
        )
        return f"""\
drift table: {self.days} days, the newest {self.kept} versions are kept; CPU ms and manifests read, of an hour and of a sweep
  versions   hour ms manifests  sweep ms manifests  table bytes
{rows}"""


def measure_drift_table(folder: Path, *, versions: int = 400, kept: int = 8, days: int = 5) -> Growth:
    """Publish so many versions, and compare the last with those of when the number of kept ones became steady."""
    costs = list(grow(folder, versions=versions, kept=kept, days=days))
    steady = next(cost for cost in costs if cost.versions > kept + HOURS_A_DAY)
    return Growth(kept, days, steady, costs[-1])


def rows_of(day: date, hour: int, minutes: int = 6) -> pa.Table:
    """The rows that a day has at an hour."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = [start + timedelta(minutes=minute) for minute in range(minutes)]
    return pa.table(
        {
            "minute": pa.array(times, pa.timestamp("us", tz="UTC")),
            "verdicts": pa.array([hour] * minutes, pa.int64()),
        }
    )


def grow(
    folder: Path, *, versions: int, kept: int, days: int = 365, hours_by_sweep: int = HOURS_A_DAY
) -> Iterator[Cost]:
    """Publish so many versions by the hour, of which the newest `kept` stay; yields the cost up to each sweep.

    Args:
        folder: Where the warehouse is made.
        versions: How many are published.
        kept: How many of the newest are not forgotten.
        days: How far back the table goes.
        hours_by_sweep: After how many of them there is a sweep.
    """
    warehouse = IcebergWarehouse(
        f"sqlite:///{folder / 'catalog.sqlite'}", str(folder / "tables"), locks=FileLocks(folder / "locks")
    )
    newest = _FIRST + timedelta(days=days - 1)
    given: dict[str, Any] = {
        "content_hash": content_hash,
        "gdpr_class": "internal",
        "retention_days": 365,
        "source_commit": "0c0ffee",
    }
    all_days = [_FIRST + timedelta(days=number) for number in range(days)]
    current = warehouse.publish(
        warehouse.stage_days(TABLE, {day: rows_of(day, 0) for day in all_days}, on=None, **given)
    )
    times = [current.committed_at]
    with _counted_manifests() as read:
        done = 1
        while done < versions:
            most, before = 0, time.process_time()
            hours = min(hours_by_sweep, versions - done)
            for _ in range(hours):
                read.clear()
                staged = warehouse.stage_days(
                    TABLE, {newest: rows_of(newest, done)}, on=current, keep=all_days[:-1], **given
                )
                current = warehouse.publish(staged)
                times.append(current.committed_at)
                warehouse.expire(TABLE, written_before=times[-kept] if len(times) > kept else times[0])
                done, most = done + 1, max(most, len(read))
            hour_ms = 1000 * (time.process_time() - before) / hours
            read.clear()
            before = time.process_time()
            warehouse.sweep()
            sweep_ms = 1000 * (time.process_time() - before)
            metadata = max(
                (folder / "tables").rglob("*.metadata.json"), key=lambda path: path.stat().st_mtime
            )
            yield Cost(done, most, len(read), hour_ms, sweep_ms, metadata.stat().st_size)


@contextmanager
def _counted_manifests() -> Iterator[list[str]]:
    from pyiceberg.manifest import ManifestFile

    read: list[str] = []
    fetch = ManifestFile.fetch_manifest_entry

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        read.append(self.manifest_path)
        return fetch(self, *arguments, **named)

    ManifestFile.fetch_manifest_entry = counted  # type: ignore[method-assign]
    try:
        yield read
    finally:
        ManifestFile.fetch_manifest_entry = fetch  # type: ignore[method-assign]

"""The drift table of a line: every verdict, rolled up to a row a minute.

A row stands for one (minute, model_version, column, window). Its distance, interval and threshold are those
of the minute's worst verdict; `events` is how many that one has seen, and `psi` its population stability index, which is
measured in the window `count`.

Days before the newest stored one are kept as they were published, whether their segments are still there or
not; later days are rolled up anew. So is the day before, whose last verdicts may have come after midnight.

A day is a file that versions share, so an hour costs what its day costs, however far the table goes back. What was
published in another layout or with other columns is laid out so the first time. Days go after a year; versions,
of which there is one an hour, after some days.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from platform_assets.datasets.snapshots import content_hash
from platform_assets.drift.alarms import CLEAR
from platform_assets.drift.compaction import of_day
from platform_assets.drift.segments import segment_keys
from resources.object_store import ObjectStore
from resources.provenance import code_commit
from resources.warehouse import Snapshot, Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

TABLE: Final = "drift.{line}"
_RETENTION_DAYS: Final = 365
_KEYS: Final = ("minute", "model_version", "column", "window")
_AGGREGATES: Final = {
    "verdicts": "sum",
    "in_alarm": "any",
    # Of the verdict with the largest distance, which is sorted to the front.
    **dict.fromkeys(("events", "ks", "ks_lower", "ks_upper", "threshold", "psi", "psi_by_chance"), "first"),
    "p_value": "min",
    "sample_rate": "min",
    **dict.fromkeys(("sampled_out", "late", "duplicate"), "sum"),
    **dict.fromkeys(("latency_p50_ms", "latency_p99_ms"), "max"),
}


def publish_drift_table(
    store: ObjectStore,
    warehouse: Warehouse,
    *,
    env: str,
    line: str,
    versions_days: int,
    now: datetime | None = None,
) -> Snapshot | None:
    """Brings the table up to date with the segments; None where there never was a verdict.

    Killed at any moment and called again, it ends where it would have ended.

    Args:
        store: Has the segments.
        warehouse: Has the table.
        env: The environment's part of the keys.
        line: The line.
        versions_days: How many days a version stays that is no longer the newest.
        now: The current time, with its time zone.
    """
    now = now or datetime.now(UTC)
    table, today = TABLE.format(line=line), now.astimezone(UTC).date()
    current = warehouse.current(table)
    published = warehouse.days(current, _schema()) if current else {}
    days: dict[date, pa.Table] = {}
    if current and published is None:
        days = _by_day(_as_now(warehouse.read(table, current.snapshot_id)))
    known = published or {}
    looked_at = _days_to_look_at(store, sorted({*days, *known}), today, env=env, line=line)
    for day in looked_at:
        rows = of_day(store, "verdicts", env=env, line=line, day=day, made=rolled_up)
        if rows.num_rows:  # else retention has taken its segments
            days[day] = rows
    newest = max([day for day in (*days, *known) if day <= today], default=today)
    oldest = newest - timedelta(days=_RETENTION_DAYS)
    days = {day: rows for day, rows in days.items() if day >= oldest}
    if days:
        current = warehouse.publish(
            warehouse.stage_days(
                table,
                days,
                on=current,
                keep=[day for day in known if day >= oldest and day not in days],
                content_hash=content_hash,
                gdpr_class="internal",
                retention_days=_RETENTION_DAYS,
                source_commit=code_commit(),
            )
        )
    if current:
        warehouse.expire(table, written_before=now - timedelta(days=versions_days))
    return current


def newest_days(warehouse: Warehouse, published: Snapshot, most: int) -> "pa.Table":
    """The rows of a version's newest days; of no others, so many the table may have."""
    found = warehouse.days(published, _schema()) or {}
    return warehouse.read_days(published, _schema(), sorted(found)[-most:])


def by_day(warehouse: Warehouse, published: Snapshot, most: int) -> "pa.Table":
    """The newest days of a version, a row for each (day, model_version, column, window): each day's worst verdict.

    One day is in memory at a time.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = _schema()
    parts = [schema.empty_table()]
    for day in sorted(warehouse.days(published, schema) or {})[-most:]:
        rows = warehouse.read_days(published, schema, [day])
        of_day = pc.floor_temporal(rows["minute"], unit="day").cast(schema.field("minute").type)
        parts.append(_grouped(rows.set_column(rows.column_names.index("minute"), "minute", of_day)))
    return pa.concat_tables(parts)


def _days_to_look_at(
    store: ObjectStore, known: list[date], today: date, *, env: str, line: str
) -> list[date]:
    """The days whose segments may say more than what is published: the newest one, the day before, and all later ones."""
    if not known:
        return sorted(segment_keys(store, "verdicts", env=env, line=line))
    # An event of the far future ends nothing: the day before the newest of the past is looked at.
    newest = max([day for day in known if day <= today], default=today)
    days = (today - newest).days
    return [newest + timedelta(days=number) for number in range(-1, days + 2)]


def _as_now(rows: "pa.Table") -> "pa.Table":
    """Rows of earlier releases in the columns of today; what they did not have is null."""
    import pyarrow as pa

    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in _schema()
    ]
    return pa.table(columns, schema=_schema())


def _by_day(rows: "pa.Table") -> "dict[date, pa.Table]":
    import pyarrow as pa
    import pyarrow.compute as pc

    days = pc.cast(rows["minute"], pa.date32())
    ordered = [(key, "ascending") for key in _KEYS]
    return {day: rows.filter(pc.equal(days, day)).sort_by(ordered) for day in pc.unique(days).to_pylist()}


def rolled_up(segments: "Iterable[pa.Table]") -> "pa.Table":
    """One row for each (minute, model_version, column, window) of verdicts; one segment is in memory at a time."""
    import pyarrow as pa

    parts = [_grouped(_as_rows(segment)) for segment in segments]
    return _grouped(pa.concat_tables(parts)) if parts else _schema().empty_table()


def _as_rows(verdicts: "pa.Table") -> "pa.Table":
    """Each verdict as the row of a minute that has no other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = {
        "minute": pc.floor_temporal(verdicts["window_end"], unit="minute"),
        "verdicts": pa.array([1] * verdicts.num_rows, pa.int64()),
        "in_alarm": pc.not_equal(verdicts["state"], CLEAR),
    }
    schema = _schema()
    columns = [known[name] if name in known else verdicts[name] for name in schema.names]
    return pa.table(columns, schema=schema)


def _grouped(rows: "pa.Table") -> "pa.Table":
    ordered = rows.sort_by([*((key, "ascending") for key in _KEYS), ("ks", "descending")])
    # Threads would lose the order that `first` relies on, and that of the rows.
    grouped = ordered.group_by(list(_KEYS), use_threads=False).aggregate(list(_AGGREGATES.items()))
    return grouped.rename_columns([*_KEYS, *_AGGREGATES]).cast(_schema())


def _schema() -> "pa.Schema":
    import pyarrow as pa

    kinds = {
        "minute": pa.timestamp("us", tz="UTC"),
        "column": pa.string(),
        "window": pa.string(),
        "in_alarm": pa.bool_(),
        **dict.fromkeys(("model_version", "verdicts", "events"), pa.int64()),
        **dict.fromkeys(("sampled_out", "late", "duplicate"), pa.int64()),
    }
    return pa.schema([(name, kinds.get(name, pa.float64())) for name in (*_KEYS, *_AGGREGATES)])

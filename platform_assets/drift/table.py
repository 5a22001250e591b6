"""The drift table of a line: every verdict, rolled up to a row a minute.

A row stands for one (minute, model_version, column, window). Its distance, interval and threshold are those
of the minute's worst verdict; `events` is how many that one has seen.

Days before the newest stored one are kept as they were published, whether their segments are still there or
not; later days are rolled up anew. So is the day before, whose last verdicts may have come after midnight.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from platform_assets.datasets.snapshots import content_hash
from platform_assets.drift.alarms import CLEAR
from platform_assets.drift.segments import read_segments, segment_keys
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
    **dict.fromkeys(("events", "ks", "ks_lower", "ks_upper", "threshold"), "first"),
    "p_value": "min",
    "sample_rate": "min",
    **dict.fromkeys(("sampled_out", "late", "duplicate"), "sum"),
    **dict.fromkeys(("latency_p50_ms", "latency_p99_ms"), "max"),
}


def publish_drift_table(store: ObjectStore, warehouse: Warehouse, *, env: str, line: str) -> Snapshot | None:
    """Brings the table up to date with the segments; None where there never was a verdict."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table, segments = TABLE.format(line=line), segment_keys(store, "verdicts", env=env, line=line)
    current = warehouse.current(table)
    parts = []
    if current is not None and current.rows:
        published = warehouse.read(table, current.snapshot_id).cast(_schema())
        days = pc.cast(published["minute"], pa.date32())
        newest = pc.max(days).as_py()
        segments = {day: keys for day, keys in segments.items() if day >= newest - timedelta(days=1)}
        parts.append(published.filter(pc.invert(pc.is_in(days, pa.array(list(segments), pa.date32())))))
    if not segments:
        return current
    parts += [rolled_up(read_segments(store, keys)) for keys in segments.values()]
    rows = pa.concat_tables(parts).sort_by([(key, "ascending") for key in _KEYS])
    return warehouse.publish(
        warehouse.stage(
            table,
            rows,
            content_hash=content_hash(rows),
            gdpr_class="internal",
            retention_days=_RETENTION_DAYS,
            source_commit=code_commit(),
        )
    )


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
    # Threads would lose the order that `first` relies on.
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

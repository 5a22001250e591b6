"""What a monitor says, kept as Parquet segments in the object store.

    reports/<env>/<line>/drift/<YYYY-MM-DD>/verdicts-<…>.parquet    a row a verdict
    reports/<env>/<line>/drift/<YYYY-MM-DD>/labels-<…>.parquet      a row an event whose label is known

A segment is one atomic `put`, so a killed process leaves it whole or absent. It lies under the UTC day of
its rows, so that a day can be looked at from its own segments alone. `compaction` puts many into one.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol
from uuid import uuid4

import numpy as np

from platform_assets.drift.event import moment
from resources.object_store import ObjectStore
from resources.provenance import code_commit

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.drift.event import EventBatch
    from platform_assets.drift.monitor import Counters, WindowVerdict

Kind = Literal["verdicts", "labels"]

MEASURED: Final = (
    *("ks", "ks_lower", "ks_upper", "p_value", "sample_rate", "threshold"),
    *("psi", "psi_by_chance"),
)
LARGEST_BUFFER: Final = 200_000
"""Rows; some 100 MB. What comes beyond, while the store cannot be reached, is dropped and counted."""
RETENTION_DAYS: Final = 90
"""Of segments, and of the names of sources that lie beside them."""
_MERGED: Final = "_"
"""In the name of a segment that is made of others: such a one comes after the last of them, and before all later ones."""
_TAKEN_UP: Final = b"platform.taken-up"
_EXPIRES: Final = b"platform.expires"


class Latency(Protocol):
    """Quantiles from an event's time to the first verdict that contains it."""

    @property
    def p50_ms(self) -> float: ...  # noqa: D102
    @property
    def p99_ms(self) -> float: ...  # noqa: D102


class _Shed(NamedTuple):
    """Events that a monitor did not look at."""

    sampled_out: int = 0
    late: int = 0
    duplicate: int = 0


class DriftLog:
    """Buffers what the monitors of a line say, and writes it as segments. Threads may share it.

    Args:
        store: Where segments go.
        env: The environment's part of the keys.
        line: The line.
        now: The current time; it names the segments.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        env: str,
        line: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._folder = folder_of(env, line)
        self._now = now
        self._lock, self._flushing = Lock(), Lock()
        self._rows: dict[Kind, list[tuple[Any, ...]]] = {"verdicts": [], "labels": []}
        self._segments: dict[str, bytes] = {}
        self._shed: dict[tuple[int, str, str], _Shed] = {}
        self.dropped = 0
        """Rows that found the buffer full."""

    @property
    def buffered(self) -> int:
        """Rows that the next flush writes."""
        return sum(map(len, self._rows.values()))

    def add(self, verdicts: "Sequence[WindowVerdict]", counters: "Counters", latency: Latency) -> None:
        """Keep the verdicts of one tick of one monitor, with its counters as they are after it."""
        if not verdicts:
            return
        shed = _Shed(counters.sampled_out, counters.late_beyond_horizon, counters.duplicate)
        latencies = (_finite(latency.p50_ms), _finite(latency.p99_ms))
        rows = []
        for verdict in verdicts:
            # Counters grow; a row carries by how much they did since the last row of the same kind.
            kind = (verdict.model_version, verdict.column, verdict.window)
            since = (now - then for now, then in zip(shed, self._shed.get(kind, _Shed()), strict=True))
            measured = (_finite(getattr(verdict, name)) for name in MEASURED)
            times = (verdict.window_end, verdict.window_start)
            rows.append((*times, *kind, verdict.state, verdict.events, *measured, *since, *latencies))
            self._shed[kind] = shed
        self._keep("verdicts", rows)

    def forget(self, model_version: int) -> None:
        """The counters of this version's next monitor begin at 0."""
        self._shed = {kind: shed for kind, shed in self._shed.items() if kind[0] != model_version}

    def add_labels(self, batch: "EventBatch", model_version: int) -> None:
        """Keep the events of a batch whose label has come; one without a score tells nothing by it."""
        known = np.flatnonzero(~np.isnan(batch.label) & np.isfinite(batch.score))
        columns = (batch.event_time_ms[known], batch.event_ids[known], batch.score[known], batch.label[known])
        rows = [
            (moment(time_ms), model_version, event_id, score, int(label))
            for time_ms, event_id, score, label in zip(*(each.tolist() for each in columns), strict=True)
        ]
        self._keep("labels", rows)

    def flush(self) -> list[str]:
        """Write what is buffered, a segment for each day and kind; the keys.

        Raises:
            ObjectStoreError: The store did not take a segment. The next call tries it again under the same
                key, so it is never there twice.
        """
        with self._flushing:
            written = self._put()
            with self._lock:
                taken, self._rows = self._rows, {"verdicts": [], "labels": []}
            for kind, rows in taken.items():
                self._segments |= dict(self._encoded(kind, rows))
            return written + self._put()

    def _keep(self, kind: Kind, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            room = max(0, LARGEST_BUFFER - self.buffered)
            self._rows[kind] += rows[:room]
            self.dropped += len(rows[room:])

    def _encoded(self, kind: Kind, rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, bytes]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows.sort(key=lambda row: row[0])
        # Names in the order of writing: of two labels of one event, the last one told counts.
        stamp = f"{self._now().astimezone(UTC):%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}"
        schema = _schema(kind)
        for day, of_day in groupby(rows, key=lambda row: row[0].astimezone(UTC).date()):
            cells = zip(*of_day, strict=True)
            columns = [pa.array(each, field.type) for each, field in zip(cells, schema, strict=True)]
            sink = io.BytesIO()
            pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
            yield f"{self._folder}/{day}/{kind}-{stamp}.parquet", sink.getvalue()

    def _put(self) -> list[str]:
        written = []
        for key, content in list(self._segments.items()):
            self._store.put(
                key,
                content,
                gdpr_class="internal",
                retention_days=RETENTION_DAYS,
                source_commit=code_commit(),
            )
            del self._segments[key]
            written.append(key)
        return written


def folder_of(env: str, line: str) -> str:
    """Where the segments of a line lie, a folder a day."""
    return f"reports/{env}/{line}/drift"


def newest_picture_key(env: str, line: str) -> str:
    """The object key of the picture of the newest day, beside the folder that holds segments alone."""
    return f"reports/{env}/{line}/pictures/drift.png"


def segment_keys(store: ObjectStore, kind: Kind, *, env: str, line: str) -> dict[date, list[str]]:
    """The keys of all segments of one kind, oldest first, by their UTC day."""
    found: dict[date, list[str]] = {}
    for key in store.list(folder_of(env, line)):
        day, name = key.split("/")[-2:]
        if name.startswith(f"{kind}-"):
            found.setdefault(date.fromisoformat(day), []).append(key)
    return found


def segments_of_day(store: ObjectStore, kind: Kind, *, env: str, line: str, day: date) -> list[str]:
    """The keys of the segments of one kind and day, oldest first; no other day is looked at."""
    keys = store.list(f"{folder_of(env, line)}/{day}")
    return [key for key in keys if key.rsplit("/", 1)[1].startswith(f"{kind}-")]


def read_segments(store: ObjectStore, keys: Sequence[str]) -> "Iterator[pa.Table]":
    """The rows of each segment of a day, oldest first, and of none that another of them has taken up.

    What a segment of an earlier release does not tell is null.

    Raises:
        ObjectMissingError: One was removed meanwhile: by retention, or because another has taken it up. Ask for the
            day's keys again.
    """
    merged = {key: _read(store, key) for key in keys if _is_merged(key)}
    taken_up = _taken_up({_name(key): _names_in(rows.schema) for key, rows in merged.items()})
    for key in keys:
        if _name(key) not in taken_up:
            rows = merged[key] if key in merged else _read(store, key)
            yield _as_now(rows, _schema("verdicts" if _name(key).startswith("verdicts-") else "labels"))


def names_taken_up(store: ObjectStore, keys: Sequence[str]) -> set[str]:
    """The names of the segments of a day that others of these are made of: they only wait to be deleted.

    Raises:
        ObjectMissingError: As `read_segments`.
    """
    return _taken_up({_name(key): _names_in(_schema_of(store, key)) for key in keys if _is_merged(key)})


def expiry(store: ObjectStore, key: str) -> datetime:
    """When the first of a segment's rows is past its days.

    The object's own days are whole ones: whoever counted on from those of a merged segment would lose a day each time.

    Raises:
        ObjectMissingError: As `read_segments`.
    """
    if _is_merged(key) and (told := (_schema_of(store, key).metadata or {}).get(_EXPIRES)):
        return datetime.fromisoformat(told.decode())
    info = store.info(key)
    return info.stored_at + timedelta(days=info.retention_days)


def merged_segment(keys: Sequence[str], rows: "pa.Table", *, expires: datetime) -> tuple[str, bytes]:
    """Key and content of a segment that takes up others of its day and kind, in the place of the last of them.

    The key follows from theirs, so that two who put the same ones together store one segment.

    Args:
        keys: Theirs, oldest first.
        rows: Theirs.
        expires: When the first of the rows is past its days.
    """
    import pyarrow.parquet as pq

    folder, last = keys[-1].rsplit("/", 1)
    stem = last.removesuffix(".parquet").partition(_MERGED)[0]
    names = "\n".join(map(_name, keys)).encode()
    sink = io.BytesIO()
    stored = rows.replace_schema_metadata({_TAKEN_UP: names, _EXPIRES: expires.isoformat().encode()})
    pq.write_table(stored, sink, compression="zstd")
    return f"{folder}/{stem}{_MERGED}{sha256(names).hexdigest()[:8]}.parquet", sink.getvalue()


def _name(key: str) -> str:
    return key.rsplit("/", 1)[1]


def _is_merged(key: str) -> bool:
    return _MERGED in _name(key)


def _names_in(schema: "pa.Schema") -> frozenset[str]:
    """The names that a segment carries of those that it is made of."""
    told = (schema.metadata or {}).get(_TAKEN_UP, b"")
    return frozenset(told.decode().split("\n")) if told else frozenset()


def _taken_up(made_of: Mapping[str, frozenset[str]]) -> set[str]:
    """Whatever is in another of these merged segments wholly, by the names of those that each is made of."""
    # Two who put segments together at once may have begun with more or fewer of them: the larger has it all.
    within = {
        one
        for one, names in made_of.items()
        for another, others in made_of.items()
        if names < others or (names == others and one > another)
    }
    return within.union(*made_of.values())


def _as_now(rows: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _read(store: ObjectStore, key: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(store.get(key)))


def _schema_of(store: ObjectStore, key: str) -> "pa.Schema":
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_schema(pa.BufferReader(store.get(key)))


def _schema(kind: Kind) -> "pa.Schema":
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    if kind == "labels":
        return pa.schema(
            [
                ("event_time", time),
                ("model_version", pa.int64()),
                ("event_id", pa.uint64()),
                ("score", pa.float64()),
                ("label", pa.int8()),
            ]
        )
    return pa.schema(
        [
            ("window_end", time),
            ("window_start", time),
            ("model_version", pa.int64()),
            ("column", pa.string()),
            ("window", pa.string()),
            ("state", pa.string()),
            ("events", pa.int64()),
            *((name, pa.float64()) for name in MEASURED),
            *((name, pa.int64()) for name in _Shed._fields),
            ("latency_p50_ms", pa.float64()),
            ("latency_p99_ms", pa.float64()),
        ]
    )


def _finite(value: float) -> float | None:
    """None for what could not be measured: NaN would not compare."""
    return float(value) if math.isfinite(value) else None

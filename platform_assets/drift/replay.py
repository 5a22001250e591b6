"""Prediction events from files, through the same watch as live ones, on a clock that follows the events."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import PredictionEvent, milliseconds
from platform_assets.drift.monitor import StateChange
from platform_assets.drift.watch import RefusedEventError, Watch
from platform_assets.sketch.errors import SketchError

_KEEP_MS: Final = 60_000
"""Of event time: what a minute of events says fits into the buffer of the log."""
_EVENT_FIELDS: Final = frozenset(PredictionEvent.__dataclass_fields__) - {"columns"}


@dataclass
class ManualClock:
    """Milliseconds since the epoch, as far as somebody has moved them."""

    now_ms: int = 0

    def __call__(self) -> int:  # noqa: D102
        return self.now_ms


def read_events(path: Path) -> list[PredictionEvent]:
    """The events of a file: JSON Lines, or Parquet with a column for each field and each watched column.

    Raises:
        DriftError: The file cannot be read, or a row of it is no event; the message names file and row.
    """
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)
    events = []
    for number, row in enumerate(rows, start=1):
        try:
            events.append(PredictionEvent.from_json(row))
        except (DriftError, SketchError) as problem:
            raise DriftError(f"{path}: row {number}: {problem}") from None
    return events


def replay(
    files: Iterable[Path], watch: Watch, clock: ManualClock, *, speed: float = 0.0
) -> Iterator[StateChange]:
    """The changes of state that a watch finds, slot by slot, as the files' events go by.

    As with live events, verdicts are stored and the changes of the deployed version are recorded.

    Args:
        files: As `read_events` takes them; all their events are put into the order of their times.
        watch: Takes the events; not started.
        clock: The watch's clock.
        speed: Seconds of events in one second; 0: as fast as possible.

    Raises:
        DriftError: A file cannot be read, an event cannot be taken, or what was found not be kept; events
            before it were taken.
    """
    slot_ms, kept_ms = watch.policy.slot_ms, 0
    events = sorted((each for path in files for each in read_events(path)), key=lambda each: each.event_time)
    started = time.monotonic()
    for slot, together in groupby(events, key=lambda each: milliseconds(each.event_time) // slot_ms):
        clock.now_ms = (slot + 1) * slot_ms
        if speed:
            passed_ms = clock.now_ms - milliseconds(events[0].event_time)
            time.sleep(max(0.0, started + passed_ms / 1000 / speed - time.monotonic()))
        _take(watch, [*together])
        yield from watch.tick()
        if clock.now_ms - kept_ms >= _KEEP_MS:
            _keep(watch)
            kept_ms = clock.now_ms
    # Silence ends the last windows.
    clock.now_ms += watch.policy.l2_ms
    yield from watch.tick()
    _keep(watch)


def _take(watch: Watch, events: list[PredictionEvent]) -> None:
    try:
        watch.receive(events)
    except RefusedEventError as refusal:
        raise DriftError(f"event {events[refusal.row - 1].event_id}: {refusal.problem}") from refusal


def _keep(watch: Watch) -> None:
    watch.keep(everything=True)
    if watch.problems:
        raise DriftError("; ".join(f"{part}: {problem}" for part, problem in watch.problems.items()))


def _json_rows(path: Path) -> Iterator[Any]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield json.loads(line)
                except ValueError as problem:
                    raise DriftError(f"{path}: row {number}: not JSON ({problem})") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DriftError(f"{path} cannot be read: {problem}") from None


def _parquet_rows(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as problem:
        raise DriftError(f"{path} cannot be read: {problem}") from None
    for row in table.to_pylist():
        fields = {name: value for name, value in row.items() if name in _EVENT_FIELDS}
        if hasattr(fields.get("event_time"), "isoformat"):
            fields["event_time"] = fields["event_time"].isoformat()
        yield fields | {"columns": {name: value for name, value in row.items() if name not in _EVENT_FIELDS}}

"""Prediction events from files, through the same monitor as live ones, on a clock that follows the events."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from platform_assets.drift.alarms import State
from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import EventBatch, PredictionEvent, milliseconds
from platform_assets.drift.monitor import Monitor, Tick
from platform_assets.drift.spec import DriftSpec
from platform_assets.drift.watch import ProfileOf

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
        except DriftError as problem:
            raise DriftError(f"{path}: row {number}: {problem}") from None
    return events


def replay(
    files: Iterable[Path],
    *,
    policy: DriftSpec,
    profile_of: ProfileOf,
    states: Mapping[str, State] = MappingProxyType({}),
    speed: float = 0.0,
) -> Iterator[tuple[Monitor, Tick]]:
    """What the monitor of each line and model version says, slot by slot, as the files' events go by.

    Args:
        files: As `read_events` takes them; all their events are put into the order of their times.
        policy: How they are watched.
        profile_of: Gives the reference profile of a line's model version.
        states: The state of each column to begin with.
        speed: Seconds of events in one second; 0: as fast as possible.
    """
    events = sorted(
        (event for path in files for event in read_events(path)), key=lambda each: each.event_time
    )
    clock, monitors = ManualClock(), dict[tuple[str, int], Monitor]()
    started = time.monotonic()
    for end_ms, slot in _slots(events, policy.slot_ms):
        if speed:
            first_ms = milliseconds(events[0].event_time)
            time.sleep(max(0.0, started + (end_ms - first_ms) / 1000 / speed - time.monotonic()))
        clock.now_ms = end_ms
        for (line, version), batch in slot.items():
            if (line, version) not in monitors:
                _, profile = profile_of(line, version)
                monitors[line, version] = Monitor(line, version, profile, policy, clock=clock, states=states)
            monitors[line, version].receive(EventBatch.of(batch))
        for monitor in monitors.values():
            yield monitor, monitor.tick()
    # Silence ends the last windows.
    clock.now_ms += policy.l2_ms
    for monitor in monitors.values():
        yield monitor, monitor.tick()


def _slots(
    events: list[PredictionEvent], slot_ms: int
) -> Iterator[tuple[int, dict[tuple[str, int], list[PredictionEvent]]]]:
    """The end of each slot that holds events, and its events by line and model version."""
    held: dict[tuple[str, int], list[PredictionEvent]] = {}
    end_ms = 0
    for event in events:
        end_of_event_ms = (milliseconds(event.event_time) // slot_ms + 1) * slot_ms
        if held and end_of_event_ms != end_ms:
            yield end_ms, held
            held = {}
        end_ms = end_of_event_ms
        held.setdefault((event.line, event.model_version), []).append(event)
    if held:
        yield end_ms, held


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

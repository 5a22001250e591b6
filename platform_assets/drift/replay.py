"""Prediction events from files, through the same watch as live ones, on a clock that follows the events."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import PredictionEvent, milliseconds
from platform_assets.drift.event_reading import NoEventError, Refused, read_events
from platform_assets.drift.monitor import StateChange
from platform_assets.drift.watch import RefusedEventError, Watch

_KEEP_ROWS: Final = 20_000
"""In the buffer of the log, which holds ten times as many: a season of few events is written in few segments."""


@dataclass
class ManualClock:
    """Milliseconds since the epoch, as far as somebody has moved them."""

    now_ms: int = 0

    def __call__(self) -> int:  # noqa: D102
        return self.now_ms


class _Read(NamedTuple):
    path: Path
    row: int
    event: PredictionEvent


def replay(
    files: Iterable[Path],
    watch: Watch,
    clock: ManualClock,
    *,
    refused: Refused,
    speed: float = 0.0,
) -> Iterator[StateChange]:
    """The changes of state that a watch finds, slot by slot, as the files' events go by.

    As with live events, verdicts are stored and the changes of the deployed version are recorded.

    Args:
        files: As `read_events` takes them; all their events are put into the order of their times.
        watch: Takes the events; not started.
        clock: The watch's clock.
        refused: Is told of each row that is no event or that the watch does not take; all others are taken.
        speed: Seconds of events in one second; 0: as fast as possible.

    Raises:
        DriftError: A file cannot be read, or what was found not be kept.
    """
    slot_ms = watch.policy.slot_ms
    read = [_Read(path, row, event) for path in files for row, event in read_events(path, refused=refused)]
    read.sort(key=lambda each: each.event.event_time)
    taken = _Taking(watch, refused)
    started = time.monotonic()
    for slot, together in groupby(read, key=lambda each: milliseconds(each.event.event_time) // slot_ms):
        # Clocks do not go behind the epoch: what is older counts as of then, as it does where it comes live.
        clock.now_ms = max(0, (slot + 1) * slot_ms)
        if speed:
            passed_ms = clock.now_ms - milliseconds(read[0].event.event_time)
            time.sleep(max(0.0, started + passed_ms / 1000 / speed - time.monotonic()))
        taken.take([*together])
        yield from watch.tick()
        if watch.log.buffered >= _KEEP_ROWS:
            _keep(watch)
    # Silence ends the last windows.
    clock.now_ms += watch.policy.l2_ms
    yield from watch.tick()
    _keep(watch)


class _Taking:
    """Hands events to a watch, all but those that it refuses."""

    def __init__(self, watch: Watch, refused: Refused) -> None:
        self._watch, self._refused = watch, refused
        self._versions: dict[int, str] = {}
        """Why a version cannot be watched: to find that out takes long, and all its events are refused for it."""

    def take(self, read: list[_Read]) -> None:
        left = [each for each in read if not self._is_of_refused_version(each)]
        while left:
            try:
                self._watch.receive([each.event for each in left])
            except RefusedEventError as refusal:
                # Those before it have been found good, and none of them was taken.
                good, bad, left = left[: refusal.row - 1], left[refusal.row - 1], left[refusal.row :]
                self._watch.receive([each.event for each in good])
                if refusal.of_version:
                    self._versions[bad.event.model_version] = refusal.problem
                self._refuse(bad, refusal.problem)
                left = [each for each in left if not self._is_of_refused_version(each)]
            else:
                return

    def _is_of_refused_version(self, read: _Read) -> bool:
        problem = self._versions.get(read.event.model_version)
        if problem is not None:
            self._refuse(read, problem)
        return problem is not None

    def _refuse(self, read: _Read, problem: str) -> None:
        self._refused(NoEventError(str(read.path), read.row, problem))


def _keep(watch: Watch) -> None:
    watch.keep(everything=True)
    if watch.problems:
        raise DriftError("; ".join(f"{part}: {problem}" for part, problem in watch.problems.items()))

"""The log of denied accesses: JSON lines in files of bounded size, and what they add up to.

A folder that any number of processes share:

| file | what |
|---|---|
| `open.jsonl` | what is denied now, a line each |
| `00000007.jsonl` | a full segment; the newest are kept, older ones go |
| `state.json` | up to which segment all is counted, the counts that no summary holds yet, the pending summary |

A segment is cut by renaming, and `state.json` is replaced as a whole, both under one lock. A kill in between leaves a
segment that the state does not know yet, and the next process counts it. A summary stays pending until it is told that
it was kept, so whoever keeps it must take the same one twice.

Nothing here may hold up an answer: what cannot be written, because the disk is full or the lock is not to be had, is
counted in memory and written as one line when there is room again.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import orjson

from platform_assets.ledger.denial_tally import Kind, Tally
from platform_assets.ledger.entry import format_time, sha256

SEGMENT_BYTES: Final = 1 << 20
KEPT_SEGMENTS: Final = 16
_TOLD_KINDS: Final = 50
_PATIENCE_SECONDS: Final = 0.25
_SUMMARY_PATIENCE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.002
_HOUR: Final = len("2026-11-29T20")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Denial:
    """One denied access, as far as it is recorded."""

    kind: Kind
    account: str
    path: str
    groups: tuple[str, ...]
    env: str


@dataclass
class _State:
    log: str = field(default_factory=lambda: uuid4().hex)
    """The name of this log: summaries of several meet in one ledger."""
    through: int = 0
    """All segments up to this one are counted."""
    hour: str = ""
    """In which the newest summary was made."""
    tally: Tally = field(default_factory=Tally)
    segments: list[dict[str, Any]] = field(default_factory=list)
    """Those counted since the newest summary: name, sha256, bytes, denials; the newest that are kept."""
    gone: int = 0
    """How many more there were."""
    pending: dict[str, Any] | None = None


class DenialLog:
    """The log in a folder, created with its first line. May be shared among threads and processes."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        segment_bytes: int = SEGMENT_BYTES,
        kept_segments: int = KEPT_SEGMENTS,
    ) -> None:
        """Touches nothing yet.

        Args:
            folder: Where the files are, and nothing else is.
            clock: Gives the current time with its time zone.
            segment_bytes: A segment is cut by the line that takes it to this size.
            kept_segments: How many segments stay.
        """
        self._folder = folder
        self._open = folder / "open.jsonl"
        self._state = folder / "state.json"
        self._lock = folder / "lock"
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._kept_segments = kept_segments
        self._cut_from = 0.0
        self._unwritten = Tally()
        self._unwritten_lock = threading.Lock()

    def record(self, denial: Denial) -> None:
        """Write a line. Never raises, and waits for others a quarter of a second at most."""
        now = format_time(self._clock())
        line = orjson.dumps(
            {
                "time": now,
                "principal": denial.kind.principal,
                "action": denial.kind.action,
                "account": denial.account,
                "path": denial.path,
                "groups": denial.groups,
                "env": denial.env,
                "reasons": denial.kind.reasons,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        try:
            with self._alone(_PATIENCE_SECONDS):
                if self._size() >= self._segment_bytes and time.monotonic() >= self._cut_from:
                    try:
                        self._cut(self._load())
                    except OSError:
                        # This segment grows a little longer; to count again and again what cannot be stored takes long.
                        self._cut_from = time.monotonic() + _PAUSE_SECONDS
                self._append(line)
                with suppress(OSError):
                    self._append_unwritten()
        except OSError as problem:
            with self._unwritten_lock:
                if not self._unwritten.total:
                    log.warning("denials are only counted until %s can be written: %s", self._folder, problem)
                self._unwritten.add(denial.kind, now)

    @property
    def unwritten(self) -> int:
        """How many denials are only counted, and end with this process."""
        return self._unwritten.total

    def summary(self, *, at_once: bool = False) -> dict[str, Any] | None:
        """What was denied since the last summary, pending until `kept` is told; None where nothing is to be told.

        One an hour: a second one in the same hour of the clock waits for the next.

        Args:
            at_once: Whatever the hour.

        Raises:
            OSError: The folder cannot be read or written, or other processes keep it busy.
        """
        if not self._folder.exists() and not self._unwritten.total:
            return None
        with self._alone(_SUMMARY_PATIENCE_SECONDS):
            state = self._load()
            if self._size() >= self._segment_bytes:
                self._cut(state)
            self._append_unwritten()
            hour = format_time(self._clock())[:_HOUR]
            if state.pending is not None or (state.hour == hour and not at_once):
                return state.pending
            if self._size():
                self._cut(state)
            if not state.tally.total:
                return None
            state.tally.shorten(_TOLD_KINDS)
            state.pending = {
                "log": state.log,
                **state.tally.to_json(),
                "segments": state.segments,
                "segments_gone": state.gone,
            }
            state.tally, state.segments, state.gone, state.hour = Tally(), [], 0, hour
            self._store(state)
            return state.pending

    def kept(self, summary: dict[str, Any]) -> None:
        """This summary is where it will stay: the next one may be made.

        Raises:
            OSError: As `summary`.
        """
        with self._alone(_SUMMARY_PATIENCE_SECONDS):
            state = self._load()
            if state.pending == summary:
                state.pending = None
                self._store(state)

    def waiting(self) -> tuple[str, Tally]:
        """The name of this log in its summaries, and what is in none that was kept.

        Raises:
            OSError: As `summary`.
        """
        if not self._folder.exists():
            return "", Tally()
        with self._alone(_SUMMARY_PATIENCE_SECONDS):
            state = self._load()
            found = state.tally
            if state.pending is not None:
                found.merge(Tally.from_json(state.pending))
            if self._size():
                found.merge(_tally_of(self._open.read_bytes()))
        return state.log, found

    def hash_of(self, segment: str) -> str | None:
        """SHA-256 of a segment as it is now; None where it is gone."""
        try:
            return sha256((self._folder / segment).read_bytes())
        except FileNotFoundError:
            return None

    # --- Under the lock --------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, patience_seconds: float) -> Iterator[None]:
        # `filelock` would be four fifths of the time that a denial takes.
        descriptor = self._lock_file()
        try:
            deadline = time.monotonic() + patience_seconds
            while not _is_taken(descriptor):
                if time.monotonic() > deadline:
                    raise TimeoutError("others keep it busy")
                time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                # By name: a process that was forked meanwhile has the descriptor too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _lock_file(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._lock, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._lock, flags, 0o600)

    def _size(self) -> int:
        """Of the open segment."""
        try:
            return self._open.stat().st_size
        except FileNotFoundError:
            return 0

    def _append(self, line: bytes) -> None:
        """This line at the end of the open segment, whole or not at all."""
        descriptor = os.open(self._open, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size >= 2 * self._segment_bytes:
                raise OSError("segments cannot be counted")
            if (written := os.write(descriptor, line)) != len(line):
                os.ftruncate(descriptor, size)
                raise OSError(f"only {written} bytes of a line of {len(line)} could be written")
        finally:
            os.close(descriptor)

    def _append_unwritten(self) -> None:
        """What was only counted, as one line."""
        with self._unwritten_lock:
            if self._unwritten.total:
                document = {"unwritten": self._unwritten.to_json()}
                self._append(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
                self._unwritten = Tally()

    def _cut(self, state: _State) -> None:
        """Ends the open segment and counts it."""
        segments = self._segments()
        if len(segments) > 2 * self._kept_segments:
            raise OSError("segments cannot be counted")
        number = max([state.through, *map(_number, segments)]) + 1
        self._open.rename(self._folder / f"{number:08}.jsonl")
        self._count(state)

    def _load(self) -> _State:
        """The state, with every segment counted."""
        try:
            document = orjson.loads(self._state.read_bytes())
            state = _State(**{**document, "tally": Tally.from_json(document["tally"])})
        except FileNotFoundError:
            state = _State()
        except (orjson.JSONDecodeError, KeyError, TypeError):
            # Nothing is counted twice; what was counted since the newest summary is lost, and said to be.
            aside = self._state.with_suffix(".unreadable")
            log.warning("%s was altered and is now %s: its counts are lost", self._state, aside.name)
            self._state.replace(aside)
            state = _State(through=max(map(_number, self._segments()), default=0))
            self._store(state)
        self._count(state)
        return state

    def _count(self, state: _State) -> None:
        """Adds the segments that the state does not know."""
        new = [each for each in self._segments() if _number(each) > state.through]
        for segment in new:
            content = segment.read_bytes()
            tally = _tally_of(content)
            state.tally.merge(tally)
            state.segments.append(
                {
                    "name": segment.name,
                    "sha256": sha256(content),
                    "bytes": len(content),
                    "denials": tally.total,
                }
            )
            state.through = _number(segment)
        if new:
            state.gone += len(state.segments[: -self._kept_segments])
            state.segments = state.segments[-self._kept_segments :]
            self._store(state)
            for segment in self._segments()[: -self._kept_segments]:
                segment.unlink()

    def _store(self, state: _State) -> None:
        draft = self._state.with_suffix(".draft")
        with draft.open("wb") as sink:
            sink.write(orjson.dumps({**vars(state), "tally": state.tally.to_json()}))
            sink.flush()
            os.fsync(sink.fileno())
        draft.replace(self._state)

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.jsonl"), key=_number)


def _number(segment: Path) -> int:
    return int(segment.stem)


def _tally_of(content: bytes) -> Tally:
    """What the lines of a segment add up to. One that a power cut garbled is a denial of which no more is known."""
    tally = Tally()
    for line in content.splitlines():
        try:
            document = orjson.loads(line)
            if "unwritten" in document:
                tally.merge(Tally.from_json(document["unwritten"]))
            else:
                kind = Kind(document["principal"], document["action"], tuple(document["reasons"]))
                tally.add(kind, document["time"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            tally.others += 1
    return tally


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

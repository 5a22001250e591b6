"""What is remembered of an entity's events, in memory and as bytes.

The format, all of it little-endian; version 2:

    magic       8 bytes   b"PAWINDOW"
    version     u16
    keys        u8        0: no row was processed, 1: entities are texts, 2: integers
    ordered     u8        1: only the newest entity is kept
    columns     u32
    entities    u64
    length      u64       of everything, in bytes
    spec        32 bytes  SHA-256 of the normalised spec
    entities, by their names' bytes:
        name    u32 and as many bytes of UTF-8
        newest  i64       time of its newest row, in microseconds UTC; the least i64: none
        for each column:
            waiting   u64   events that are not known yet, or not old enough
            kept      u64   events in the window, in the order in which they stand there; see `window_kernels`
            times     i64 × (waiting + kept)
            available i64 × (waiting + kept)
            values    f64 × (waiting + kept)
    checksum    16 bytes  BLAKE2b of everything before

The sums are not there: they follow from the events, so what continues has equal bits. In version 1 they followed from what
had left the window, too, and its events stand in another order; it is refused.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.transformer_spec import DAY_US, LagSpec, TransformerSpec, ZscoreSpec
from platform_assets.fingerprint import canonical_sha256

MAGIC: Final = b"PAWINDOW"
VERSION: Final = 2
_HEAD: Final = struct.Struct("<8sHBBIQQ32s")
_NAME, _NEWEST, _COUNTS = struct.Struct("<I"), struct.Struct("<q"), struct.Struct("<QQ")
_CHECKSUM_BYTES: Final = 16
_BYTES_AN_EVENT: Final = 24
FEWEST_EVENTS: Final = 4
"""That there is room for."""
Words = NDArray[np.int64]


class WindowStateError(FeatureError):
    """A saved state is not one, or not of this spec."""


class WindowMemory:
    """Of one entity and column: the words that kernels work on, seen as integers and as floats."""

    __slots__ = ("floats", "ints")

    def __init__(
        self, decided: "Decided", *, room: int = FEWEST_EVENTS, waiting: int = FEWEST_EVENTS
    ) -> None:
        from platform_assets.features import window_kernels as kernels

        self._take(room, waiting)
        self.ints[: len(decided.words)] = decided.words
        kernels.clear(self.ints)

    def _take(self, room: int, waiting: int) -> None:
        from platform_assets.features import window_kernels as kernels

        words = kernels.WORDS + kernels.ROOM_ARRAYS * room + kernels.WAITING_ARRAYS * waiting
        self.ints: Words = np.zeros(words, np.int64)
        self.floats = self.ints.view(np.float64)
        self.ints[kernels.ROOM], self.ints[kernels.WAITING] = room, waiting

    def grow(self, rows: int = 1) -> None:
        """Make room for so many more events at least, and for twice as many as now."""
        from platform_assets.features import window_kernels as kernels

        old = self.ints
        queue = int(old[kernels.LAST] - old[kernels.FIRST])
        window = int(old[kernels.END] - old[kernels.HEAD])
        room, waiting = int(old[kernels.ROOM]), int(old[kernels.WAITING])
        new_waiting = waiting if 2 * queue + rows <= waiting else max(2 * waiting, 2 * (queue + rows))
        arriving = rows + queue
        new_room = room
        if old[kernels.KIND] != kernels.LAG_DAYS and 2 * (window + arriving) > room:
            new_room = max(2 * room, 2 * (window + arriving))
        self._take(new_room, new_waiting)
        self.ints[: kernels.WORDS] = old[: kernels.WORDS]
        self.ints[kernels.ROOM], self.ints[kernels.WAITING] = new_room, new_waiting
        for k in range(kernels.WAITING_ARRAYS):
            place = kernels.WORDS + k * new_waiting
            begin = kernels.WORDS + k * waiting
            self.ints[place : place + waiting] = old[begin : begin + waiting]
        new_base = kernels.WORDS + kernels.WAITING_ARRAYS * new_waiting
        base = kernels.WORDS + kernels.WAITING_ARRAYS * waiting
        for k in range(kernels.ROOM_ARRAYS):
            place, begin = new_base + k * new_room, base + k * room
            self.ints[place : place + room] = old[begin : begin + room]

    def copy(self) -> "WindowMemory":
        """One of its own."""
        other = WindowMemory.__new__(WindowMemory)
        other.ints = self.ints.copy()
        other.floats = other.ints.view(np.float64)
        return other

    def events(self) -> tuple[int, int, Words, Words, NDArray[np.float64]]:
        """Waiting, kept, and times, availabilities and values: first those that wait."""
        from platform_assets.features import window_kernels as kernels

        ints, floats = self.ints, self.floats
        kind, room, waiting = (int(ints[at]) for at in (kernels.KIND, kernels.ROOM, kernels.WAITING))
        first, last = int(ints[kernels.FIRST]), int(ints[kernels.LAST])
        queues = [
            part[kernels.WORDS + k * waiting + first : kernels.WORDS + k * waiting + last]
            for k, part in ((1, ints), (2, ints), (3, floats))
        ]
        if kind == kernels.LAG_DAYS:
            kept = int(ints[kernels.BEST_TIME] != kernels.BEGINNING)
            window: list[Any] = [
                ints[kernels.BEST_TIME : kernels.BEST_TIME + kept],
                ints[kernels.BEST_AVAILABLE : kernels.BEST_AVAILABLE + kept],
                floats[kernels.BEST_VALUE : kernels.BEST_VALUE + kept],
            ]
        else:
            base = kernels.WORDS + kernels.WAITING_ARRAYS * waiting
            head, end = int(ints[kernels.HEAD]), int(ints[kernels.END])
            kept = end - head
            times = ints[base + head : base + end]
            known = ints[base + 2 * room + head : base + 2 * room + end]
            window = [
                times,
                known if kind == kernels.LAG_ROWS else times,
                floats[base + room + head : base + room + end],
            ]
        joined = [np.concatenate(pair) for pair in zip(queues, window, strict=True)]
        return last - first, kept, joined[0], joined[1], joined[2]

    @classmethod
    def of_events(
        cls,
        decided: "Decided",
        newest: int,
        counts: tuple[int, int],
        times: Words,
        available: Words,
        values: NDArray[np.float64],
    ) -> Self:
        """What `events` told."""
        from platform_assets.features import window_kernels as kernels

        queue, kept = counts
        memory = cls(decided, room=max(FEWEST_EVENTS, 2 * kept), waiting=max(FEWEST_EVENTS, 2 * queue))
        ints, floats = memory.ints, memory.floats
        room, waiting = int(ints[kernels.ROOM]), int(ints[kernels.WAITING])
        ints[kernels.NEWEST_ROW] = newest
        ints[kernels.WORDS : kernels.WORDS + queue] = decided.ready(times[:queue], available[:queue])
        for k, part, source in ((1, ints, times), (2, ints, available), (3, floats, values)):
            part[kernels.WORDS + k * waiting : kernels.WORDS + k * waiting + queue] = source[:queue]
        ints[kernels.LAST] = queue
        times, available, values = times[queue:], available[queue:], values[queue:]
        if decided.kind == kernels.LAG_DAYS:
            if kept:
                ints[kernels.BEST_TIME], ints[kernels.BEST_AVAILABLE] = times[0], available[0]
                floats[kernels.BEST_VALUE] = values[0]
            return memory
        base = kernels.WORDS + kernels.WAITING_ARRAYS * waiting
        ints[base : base + kept] = times
        floats[base + room : base + room + kept] = values
        ints[kernels.END] = kept
        # The window of a z-score turns before the next answer: all of these stand in the back until then.
        ints[kernels.UNSORTED] = bool((times[1:] < times[:-1]).any())
        if decided.kind == kernels.LAG_ROWS:
            ints[base + 2 * room : base + 2 * room + kept] = available
        return memory


@dataclass(frozen=True, slots=True)
class Decided:
    """What a spec says, as kernels read it; times in microseconds."""

    words: tuple[int, ...]
    """In the order of the first words of a state."""

    @classmethod
    def of(cls, spec: TransformerSpec) -> Self:
        """What this spec, which is of type zscore or lag, says."""
        from platform_assets.features import window_kernels as kernels

        late = int(spec.available_column is not None)
        match spec.of_type():
            case ZscoreSpec() as zscore:
                current = int(zscore.include_current)
                span = spec.window_days * DAY_US - current
                freedom = int(zscore.deviation == "sample")
                words = (kernels.ZSCORE, span, current, freedom, zscore.min_periods, 0, -1, late)
            case LagSpec(days=days, rows=rows) as lag:
                tolerance = -1 if lag.tolerance is None else lag.tolerance * DAY_US
                if rows is None:
                    span = (days or spec.window_days) * DAY_US
                    words = (kernels.LAG_DAYS, span, 0, 0, 0, 1, tolerance, late)
                else:
                    words = (kernels.LAG_ROWS, 1, 0, 0, 0, rows, tolerance, late)
            case _:
                raise FeatureError(
                    f"transformerType: {spec.transformer_type} has no window; zscore and lag have"
                )
        return cls(words)

    @property
    def kind(self) -> int:
        """Which of the kernels' kinds."""
        return self.words[0]

    @property
    def includes_current(self) -> bool:
        """Whether a row sees those of its own instant."""
        return bool(self.words[2])

    def ready(self, times: Words, available: Words) -> Words:
        """The first instant at which a row may see each of these events."""
        from platform_assets.features import window_kernels as kernels

        if self.kind == kernels.ZSCORE:
            return np.maximum(times, available) + (1 - self.words[2])
        return np.maximum(times + self.words[1], available + 1)


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a stream is made of."""

    newest: Mapping[str, int] = field(default_factory=dict)
    """Time of an entity's newest row."""
    memories: Mapping[str, Sequence[WindowMemory]] = field(default_factory=dict)
    """By entity, one for each column."""
    key_kind: int = 0
    ordered: bool = False


def write_state(spec: TransformerSpec, state: SavedState) -> bytes:
    """These entities, in the format above."""
    parts: list[bytes | memoryview] = [b""]
    named = sorted((name.encode(), name) for name in state.memories)
    for encoded, name in named:
        parts += [_NAME.pack(len(encoded)), encoded, _NEWEST.pack(state.newest[name])]
        for memory in state.memories[name]:
            *counts, times, available, values = memory.events()
            parts.append(_COUNTS.pack(*counts))
            parts += [
                each.astype(kind, copy=False).view(np.uint8).data
                for each, kind in ((times, "<i8"), (available, "<i8"), (values, "<f8"))
            ]
    length = _HEAD.size + sum(map(len, parts)) + _CHECKSUM_BYTES
    parts[0] = _HEAD.pack(
        MAGIC,
        VERSION,
        state.key_kind,
        int(state.ordered),
        len(spec.columns),
        len(named),
        length,
        spec_hash(spec),
    )
    parts.append(_checksum(parts))
    return b"".join(parts)


def read_state(spec: TransformerSpec, content: bytes) -> SavedState:
    """What `write_state` wrote.

    Raises:
        WindowStateError: it is none, is cut off or damaged, is of a later version, or of another spec.
    """
    if content[: len(MAGIC)] != MAGIC:
        raise WindowStateError("window state: these bytes are none; they begin otherwise")
    if len(content) < _HEAD.size + _CHECKSUM_BYTES:
        raise WindowStateError(
            f"window state: it is cut off after {len(content)} bytes; read it again from where it was stored"
        )
    _, version, key_kind, ordered, columns, entities, length, spec_sha256 = _HEAD.unpack_from(content)
    if version > VERSION:
        raise WindowStateError(
            f"window state: it is of format version {version}, and this release reads up to {VERSION}; update the"
            " platform, or compute the state again"
        )
    if version < VERSION:
        raise WindowStateError(
            f"window state: it is of format version {version}, and what it holds does not give equal bits any more; compute"
            " the state again from the rows of its windows"
        )
    if len(content) < length:
        raise WindowStateError(
            f"window state: it is cut off, {len(content)} of {length} bytes are there; read it again from where it was"
            " stored"
        )
    if (
        len(content) > length
        or _checksum([memoryview(content)[:-_CHECKSUM_BYTES]]) != content[-_CHECKSUM_BYTES:]
    ):
        raise WindowStateError(
            "window state: it is damaged, its checksum does not match; take an older one, or compute it again"
        )
    if spec_sha256 != spec_hash(spec) or columns != len(spec.columns):
        raise WindowStateError(
            "window state: it was made by another spec than this one; compute it again, or use the spec that made it"
        )
    newest: dict[str, int] = {}
    memories: dict[str, Sequence[WindowMemory]] = {}
    for name, time, found in _entities(Decided.of(spec), content, columns, entities):
        newest[name], memories[name] = time, found
    return SavedState(newest, memories, key_kind, bool(ordered))


def _entities(
    decided: Decided, content: bytes, columns: int, entities: int
) -> Iterator[tuple[str, int, list[WindowMemory]]]:
    at = _HEAD.size
    for _ in range(entities):
        (size,) = _NAME.unpack_from(content, at)
        at += _NAME.size
        name = content[at : at + size].decode()
        at += size
        (newest,) = _NEWEST.unpack_from(content, at)
        at += _NEWEST.size
        memories = []
        for _ in range(columns):
            waiting, kept = _COUNTS.unpack_from(content, at)
            at += _COUNTS.size
            events = waiting + kept
            times, available = np.frombuffer(content, "<i8", 2 * events, at).astype(np.int64).reshape(2, -1)
            values = np.frombuffer(content, "<f8", events, at + 16 * events).astype(np.float64)
            at += _BYTES_AN_EVENT * events
            memories.append(
                WindowMemory.of_events(decided, newest, (waiting, kept), times, available, values)
            )
        yield name, newest, memories


def spec_hash(spec: TransformerSpec) -> bytes:
    """SHA-256 of what the spec means."""
    return bytes.fromhex(canonical_sha256(spec.normalised()))


def _checksum(parts: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    for each in parts:
        digest.update(each)
    return digest.digest()

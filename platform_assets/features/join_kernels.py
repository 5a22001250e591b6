"""Compiled loops of the point-in-time join. Whoever needs them imports this module inside a function: numba is heavy.

Entities of label rows are numbered, and found again by what feature rows have, in hash tables with open addressing.
Glossary:

    codes     (rows,)         number of each row's entity, from 0 in the order of appearance; -1: no label row has it
    slots     (2^k,)          code of the entity whose hash led there, -1 where nobody's did
    bounds    (entities + 1,) where the label rows of each entity begin, as they are sorted by entity and time
    newest    (labels,)       of each such row: the best feature row of those that it is the first to know, by event time,
                              by availability, and by number; number -1 where there is none
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import int32, int64, njit, types, uint8, uint64
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]
"""Of the type in the function's signature, which numba checks."""

NOBODY: Final = np.int32(-1)
FOUND, NO_ROW, NOT_YET, TOO_OLD = range(4)
"""What became of a label row."""
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_ONE: Final = np.uint64(1)
_WORD: Final = np.uint64(8)
"""Bytes."""


# These three stand in each file of kernels: shared, they would be part of the version of every transformer, and all
# would be made anew.
def _read(kind: Any) -> types.Array:
    """An array that is only read: arrays that come from Arrow are not writeable."""
    return types.Array(kind, 1, "C", readonly=True)


def _compiled(signature: Any) -> Callable[[F], F]:
    compiled: Callable[[F], F] = njit(signature, cache=True, nogil=True, error_model="numpy")
    return compiled


def _inlined(function: F) -> F:
    inlined: F = njit(function, inline="always", error_model="numpy")
    return inlined


@_inlined
def _mixed(bits: Any) -> Any:
    """Bits of which each depends on all (the end of splitmix64, Steele and others, OOPSLA 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@_inlined
def _word_at(data: Array, at: Any) -> Any:
    """Eight bytes as a number; by an unsigned place, for which the compiler makes it one load."""
    return (
        np.uint64(data[at])
        | np.uint64(data[at + _ONE]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[at + np.uint64(7)]) << np.uint64(56)
    )


@_inlined
def _hash_of(data: Array, start: Any, stop: Any) -> Any:
    """Of the bytes from `start` to `stop`, unsigned places."""
    found = (stop - start) * _MULTIPLIER
    at = start
    while at + _WORD <= stop:
        found = _mixed(found ^ _word_at(data, at)) * _MULTIPLIER
        at += _WORD
    rest, shift = np.uint64(0), np.uint64(0)
    while at < stop:
        rest |= np.uint64(data[at]) << shift
        shift += _WORD
        at += _ONE
    return _mixed(found ^ rest)


@_inlined
def _are_equal(data: Array, start: Any, stop: Any, others: Array, begin: Any, end: Any) -> bool:
    """Whether the bytes from `start` to `stop` are those of others from `begin` to `end`, unsigned places."""
    if stop - start != end - begin:
        return False
    at, other = start, begin
    while at + _WORD <= stop:
        if _word_at(data, at) != _word_at(others, other):
            return False
        at += _WORD
        other += _WORD
    while at < stop:
        if data[at] != others[other]:
            return False
        at += _ONE
        other += _ONE
    return True


@_compiled(int64(_read(int64), int32[::1], int64[::1], int32[::1]))
def number_integers(keys: Array, slots: Array, known: Array, codes: Array) -> int:
    """Number integers by their first appearance; how many there are. `known` gets that of each number."""
    mask = slots.size - 1
    count = 0
    for i in range(keys.size):
        key = keys[i]
        at = int64(_mixed(np.uint64(key)) & np.uint64(mask))
        while slots[at] >= 0 and known[slots[at]] != key:
            at = (at + 1) & mask
        if slots[at] < 0:
            slots[at] = count
            known[count] = key
            count += 1
        codes[i] = slots[at]
    return count


@_compiled(types.void(_read(int64), int32[::1], int64[::1], int32[::1]))
def find_integers(keys: Array, slots: Array, known: Array, codes: Array) -> None:
    """The numbers that integers were given; -1 where they were not."""
    mask = slots.size - 1
    for i in range(keys.size):
        key = keys[i]
        if i > 0 and key == keys[i - 1]:
            codes[i] = codes[i - 1]
            continue
        at = int64(_mixed(np.uint64(key)) & np.uint64(mask))
        while slots[at] >= 0 and known[slots[at]] != key:
            at = (at + 1) & mask
        codes[i] = slots[at]


_TEXTS: Final = (_read(int64), _read(uint8))
"""Where each text begins and the last one ends, and the bytes of all."""


@_compiled(int64(*_TEXTS, int32[::1], uint64[::1], int64[::1], int32[::1]))
def number_texts(
    offsets: Array, data: Array, slots: Array, hashes: Array, firsts: Array, codes: Array
) -> int:
    """Number texts by their first appearance; how many there are. `firsts` gets the row of that, `hashes` its hash."""
    mask = np.uint64(slots.size - 1)
    count = 0
    for i in range(codes.size):
        start, stop = np.uint64(offsets[i]), np.uint64(offsets[i + 1])
        hashed = _hash_of(data, start, stop)
        at = hashed & mask
        while slots[at] >= 0:
            code = slots[at]
            begin, end = np.uint64(offsets[firsts[code]]), np.uint64(offsets[firsts[code] + 1])
            if hashes[code] == hashed and _are_equal(data, start, stop, data, begin, end):
                break
            at = (at + _ONE) & mask
        if slots[at] < 0:
            slots[at] = count
            hashes[count], firsts[count] = hashed, i
            count += 1
        codes[i] = slots[at]
    return count


@_compiled(types.void(*_TEXTS, *_TEXTS, int32[::1], uint64[::1], int64[::1], int32[::1]))
def find_texts(
    offsets: Array,
    data: Array,
    known_offsets: Array,
    known: Array,
    slots: Array,
    hashes: Array,
    firsts: Array,
    codes: Array,
) -> None:
    """The numbers that texts were given; -1 where they were not."""
    mask = np.uint64(slots.size - 1)
    for i in range(codes.size):
        start, stop = np.uint64(offsets[i]), np.uint64(offsets[i + 1])
        if i > 0 and _are_equal(data, start, stop, data, np.uint64(offsets[i - 1]), start):
            codes[i] = codes[i - 1]
            continue
        hashed = _hash_of(data, start, stop)
        at = hashed & mask
        while slots[at] >= 0:
            code = slots[at]
            begin, end = np.uint64(known_offsets[firsts[code]]), np.uint64(known_offsets[firsts[code] + 1])
            if hashes[code] == hashed and _are_equal(data, start, stop, known, begin, end):
                break
            at = (at + _ONE) & mask
        codes[i] = slots[at]


_NEWEST: Final = (int64[::1], int64[::1], int64[::1])
"""Event time, availability and number of the best row."""


@_compiled(
    types.void(
        _read(int32),
        _read(int64),
        _read(int64),
        int64,
        int64,
        _read(int64),
        _read(int64),
        *_NEWEST,
        uint8[::1],
    )
)
def offer(
    codes: Array,
    times: Array,
    available: Array,
    first_row: int,
    includes: int,
    bounds: Array,
    label_times: Array,
    newest_time: Array,
    newest_available: Array,
    newest_row: Array,
    has_rows: Array,
) -> None:
    """Let each feature row be known to the first label row that may know it; those behind that one do, too.

    Args:
        codes: Of the feature rows.
        times: Their event times.
        available: When they became available; empty: at their times.
        first_row: Number of the first of them.
        includes: 1 where a label row knows what was available at its own time, 0 where only what was before.
        bounds: Of the label rows, by entity and time.
        label_times: Their times.
        newest_time: See the glossary; this and the two behind it are changed.
        newest_available: Likewise.
        newest_row: Likewise.
        has_rows: 1 for each entity of which a feature row has come; changed.
    """
    for i in range(codes.size):
        code = codes[i]
        if code < 0:
            continue
        has_rows[code] = 1
        time = times[i]
        known = available[i] if available.size else time
        # With it, a label row of this instant is the first to know.
        since = max(time, known) - includes
        low, end = bounds[code], bounds[code + 1]
        high = end
        while low < high:
            middle = (low + high) >> 1
            if label_times[middle] > since:
                high = middle
            else:
                low = middle + 1
        if low == end:
            continue
        # Rows come by their numbers: of two that are alike in both times, this is the later.
        if newest_row[low] < 0 or (
            time > newest_time[low] or (time == newest_time[low] and known >= newest_available[low])
        ):
            newest_time[low], newest_available[low], newest_row[low] = time, known, first_row + i


@_compiled(
    types.void(
        _read(int64),
        _read(int64),
        _read(int64),
        int64,
        *_NEWEST,
        _read(uint8),
        int64[::1],
        int64[::1],
    )
)
def answer(
    bounds: Array,
    label_times: Array,
    order: Array,
    max_age: int,
    newest_time: Array,
    newest_available: Array,
    newest_row: Array,
    has_rows: Array,
    answers: Array,
    outcomes: Array,
) -> None:
    """The number of the newest feature row that each label row knows, -1 where it knows none.

    Args:
        bounds: Of the label rows, by entity and time.
        label_times: Their times.
        order: Their positions as they came.
        max_age: Most microseconds from event time to label time; -1: any.
        newest_time: What `offer` has found.
        newest_available: Likewise.
        newest_row: Likewise.
        has_rows: Likewise.
        answers: By position as they came; gets them.
        outcomes: Gets how many label rows each outcome has.
    """
    for code in range(bounds.size - 1):
        row, time, available = int64(-1), int64(0), int64(0)
        for at in range(bounds[code], bounds[code + 1]):
            # Rows that are alike in both times have met before: the same label row was the first to know them.
            if newest_row[at] >= 0 and (
                row < 0
                or newest_time[at] > time
                or (newest_time[at] == time and newest_available[at] > available)
            ):
                row, time, available = newest_row[at], newest_time[at], newest_available[at]
            answers[order[at]] = -1
            if row < 0:
                outcomes[NOT_YET if has_rows[code] else NO_ROW] += 1
            elif max_age >= 0 and time < label_times[at] - max_age:
                outcomes[TOO_OLD] += 1
            else:
                outcomes[FOUND] += 1
                answers[order[at]] = row

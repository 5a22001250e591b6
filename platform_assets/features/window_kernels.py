"""Compiled loops over the events of one entity. Whoever needs them imports this module inside a function: numba is heavy.

A state is one array of 64-bit words, seen as `ints` and as `floats`: a head, the events that wait until they are known,
and the events in the window. Glossary:

    waits     (waiting,)  first instant at which a row may see the event, in microseconds; ascending, of equal ones
                          as they came
    w                     length of the window: it holds the instants from t - span on, w of them
    wt, wv    (room,)     time and value of the window's events: [head, front) is the front, those before the border, by
                          time, of equal times as they became known; [front, end) the back, those since, as they became
                          known
    s1, s2    (room,)     of the front's event i: sum of x - f, and of its square, over the front's events from i on
    b1, b2                sum of x - c, and of its square, over the back, each with what its roundings lost
    f, c                  the shifts, values of the window itself: the front's newest, and the back's first

Nothing is ever subtracted from a sum: an event leaves by `head` stepping over it. The border is a multiple of w since 1970,
the last that the window reaches. When it reaches the next one, what was the back becomes the front. With values that
become known late, which are mostly new, it is a multiple of w / 2, and the last but one: so the newer half stays in the
back, which takes events in any order. Either way the window begins at the border or before it; where that would not be so,
it turns.

Which events are front and back, in which order they stand, and both shifts, follow from the window's own events. So do the
sums then, to the last bit, whatever was there before, and whoever asked in between.

About c, the sums of the front's m events are s1 + m (f - c), and s2 + (f - c) (2 s1 + m (f - c)). As each shift is one
of the n values of the window, it is at most sqrt(n) deviations from their mean, so that n s2 - s1² loses a factor of the
order of n to cancellation, and a window of equal values has exactly 0.

No `fastmath` here: sums of roundings would be optimised away.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import boolean, float64, int32, int64, njit, types, uint8
from numpy.typing import NDArray

from platform_assets.features.window_columns import NEVER, SMALLEST_DEVIATION

F = TypeVar("F", bound=Callable[..., Any])
Array = NDArray[Any]
"""Of the type in the function's signature, which numba checks."""

BEGINNING: Final = np.iinfo(np.int64).min
"""Before any time."""

# Words of the head: what was decided, ...
KIND, SPAN, INCLUSIVE, FREEDOM, LEAST, NTH, TOLERANCE, LATE = range(8)
# ... how much room there is and where things are, ...
ROOM, WAITING, HEAD, FRONT, END, FIRST, LAST, STALE, UNSORTED, BORDER, NEWEST_ROW = range(8, 19)
# ... the shift and the sums of the back, the best event of a lag by days, and a row of one's own.
SHIFT, B1, B1_LOST, B2, B2_LOST, BEST_TIME, BEST_AVAILABLE, BEST_VALUE = range(19, 27)
ROW_TIME, ROW_AVAILABLE, ROW_VALUE, ROW_ANSWER, STATUS = range(27, 32)
WORDS: Final = 32
"""Of the head."""
WAITING_ARRAYS, ROOM_ARRAYS = 4, 4

ZSCORE, LAG_DAYS, LAG_ROWS = range(3)
ASK, RECORD = range(2)
"""Whether a row is only answered, or recorded, too."""
DONE, NEEDS_ROOM, NEEDS_COPY, TOO_EARLY = range(4)
"""What became of a row: `NEEDS_COPY` of a question that cannot be answered without changing the state."""

_BLOCK: Final = 4096
_LEAST_SPREAD: Final = SMALLEST_DEVIATION**2
"""What is less is 0: its root has lost its digits."""


def _read(kind: Any) -> types.Array:
    """An array that is only read: arrays that come from Arrow or from bytes are not writeable."""
    return types.Array(kind, 1, "C", readonly=True)


def _compiled(signature: Any) -> Callable[[F], F]:
    compiled: Callable[[F], F] = njit(signature, cache=True, nogil=True, error_model="numpy")
    return compiled


def _inlined(function: F) -> F:
    inlined: F = njit(function, inline="always", error_model="numpy")
    return inlined


_ROWS: Final = (_read(int64), _read(int64), _read(float64), float64[::1])
"""times, available (empty: their times), values (NaN: no event), answers."""
_STATE: Final = (int64[::1], float64[::1])


@_inlined
def _lost(before: float, added: float, after: float) -> float:
    """What rounding took from `after = before + added`, exactly (Knuth, TAOCP 2, 4.2.2)."""
    part = after - before
    return (before - (after - part)) + (added - part)


@_inlined
def _added(
    d: float, sum1: float, lost1: float, sum2: float, lost2: float
) -> tuple[float, float, float, float]:
    """Sum and sum of squares with one value more, each with what its roundings lost."""
    square = d * d
    after1, after2 = sum1 + d, sum2 + square
    return after1, lost1 + _lost(sum1, d, after1), after2, lost2 + _lost(sum2, square, after2)


@_inlined
def _together(
    total: float, squares: float, events: float, sum1: float, sum2: float, apart: float
) -> tuple[float, float]:
    """Sum and sum of squares of the back with those of the front's events, whose shift is so far above the back's."""
    moved = sum1 + events * apart
    return total + moved, squares + (sum2 + apart * (sum1 + moved))


@_compiled(types.void(int64[::1]))
def clear(ints: Array) -> None:
    """Forget all events."""
    ints[HEAD] = ints[FRONT] = ints[END] = ints[FIRST] = ints[LAST] = ints[STALE] = ints[UNSORTED] = 0
    ints[BORDER] = ints[NEWEST_ROW] = ints[BEST_TIME] = BEGINNING
    # As floats these are 0.0.
    ints[SHIFT] = ints[B1] = ints[B1_LOST] = ints[B2] = ints[B2_LOST] = ints[BEST_VALUE] = 0


@_compiled(types.void(int64, int64, *_STATE))
def sum_front(start: int, stop: int, ints: Array, floats: Array) -> None:
    """Compute `s1` and `s2` of the front's events from `start` to `stop`, its end."""
    room = ints[ROOM]
    base = WORDS + WAITING_ARRAYS * ints[WAITING]
    values = floats[base + room : base + 2 * room]
    s1, s2 = floats[base + 2 * room : base + 3 * room], floats[base + 3 * room : base + 4 * room]
    shift = values[stop - 1]
    sum1 = sum2 = lost1 = lost2 = 0.0
    for i in range(stop - 1, start - 1, -1):
        sum1, lost1, sum2, lost2 = _added(values[i] - shift, sum1, lost1, sum2, lost2)
        s1[i], s2[i] = sum1 + lost1, sum2 + lost2


@_compiled(types.void(int64, int64, int64, *_STATE))
def _sort_until(border: int, start: int, stop: int, ints: Array, floats: Array) -> None:
    """Put events before the border first, by time; of equal times, and since the border, they stay as they became known."""
    room = ints[ROOM]
    base = WORDS + WAITING_ARRAYS * ints[WAITING]
    times, values = ints[base : base + room], floats[base + room : base + 2 * room]
    order = np.argsort(np.minimum(times[start:stop], border), kind="mergesort")
    times[start:stop] = times[start:stop][order]
    values[start:stop] = values[start:stop][order]


@_compiled(boolean(int64, int64[::1]))
def _make_room_to_wait(rows: int, ints: Array) -> bool:
    """Whether so many more events can wait, after those that wait were moved to the beginning."""
    waiting, first, last = ints[WAITING], ints[FIRST], ints[LAST]
    if first > 0 and 2 * (last - first) <= waiting:
        for k in range(WAITING_ARRAYS):
            part = ints[WORDS + k * waiting : WORDS + (k + 1) * waiting]
            part[: last - first] = part[first:last]
        ints[FIRST], ints[LAST] = 0, last - first
    return bool(ints[LAST] + rows <= waiting)


@_compiled(boolean(int64, int64[::1]))
def _make_room(rows: int, ints: Array) -> bool:
    """Whether so many more events can enter, after those of the window were moved to the beginning."""
    room, head, end = ints[ROOM], ints[HEAD], ints[END]
    if head > 0 and 2 * (end - head) <= room:
        base = WORDS + WAITING_ARRAYS * ints[WAITING]
        for k in range(ROOM_ARRAYS):
            part = ints[base + k * room : base + (k + 1) * room]
            part[: end - head] = part[head:end]
        ints[HEAD], ints[FRONT], ints[END] = 0, max(ints[FRONT] - head, 0), end - head
    return bool(ints[END] + rows <= room)


@_inlined
def _wait(
    ready: int,
    time: int,
    available: int,
    value: float,
    last: int,
    first: int,
    waits: Array,
    waits_time: Array,
    waits_available: Array,
    waits_value: Array,
) -> None:
    """Queue an event; it stands behind those that are ready as early."""
    k = last
    while k > first and waits[k - 1] > ready:
        waits[k], waits_time[k] = waits[k - 1], waits_time[k - 1]
        waits_available[k], waits_value[k] = waits_available[k - 1], waits_value[k - 1]
        k -= 1
    waits[k], waits_time[k], waits_available[k], waits_value[k] = ready, time, available, value


@_compiled(int64(*_ROWS, int64, int64, int64, *_STATE))
def _zscore(
    times: Array,
    available: Array,
    values: Array,
    answers: Array,
    start: int,
    stop: int,
    record: int,
    ints: Array,
    floats: Array,
) -> int:
    """Answer rows of one entity, in the order of their times; the row before which it stopped, and why in `STATUS`."""
    span, inclusive, freedom, least = ints[SPAN], ints[INCLUSIVE], ints[FREEDOM], ints[LEAST]
    width = span + inclusive
    grid, behind = (width // 2, width // 2) if ints[LATE] else (width, 0)
    room, waiting = ints[ROOM], ints[WAITING]
    waits, waits_time = ints[WORDS : WORDS + waiting], ints[WORDS + waiting : WORDS + 2 * waiting]
    waits_available = ints[WORDS + 2 * waiting : WORDS + 3 * waiting]
    waits_value = floats[WORDS + 3 * waiting : WORDS + 4 * waiting]
    base = WORDS + WAITING_ARRAYS * waiting
    wt, wv = ints[base : base + room], floats[base + room : base + 2 * room]
    s1, s2 = floats[base + 2 * room : base + 3 * room], floats[base + 3 * room : base + 4 * room]
    head, front, end, first, last = ints[HEAD], ints[FRONT], ints[END], ints[FIRST], ints[LAST]
    stale, unsorted, border = ints[STALE], ints[UNSORTED], ints[BORDER]
    shift, b1, b1_lost, b2, b2_lost = floats[SHIFT], floats[B1], floats[B1_LOST], floats[B2], floats[B2_LOST]
    always = available.size == 0
    status = DONE
    i = start
    while i < stop:
        t = times[i]
        j = i + 1
        if inclusive:
            while j < stop and times[j] == t:
                j += 1
        if first == last and record:
            first = last = 0
        if last + (j - i) > waiting or end + (last - first) + (j - i) > room:
            if not record:
                status = NEEDS_COPY
                break
            ints[HEAD], ints[FRONT], ints[END], ints[FIRST], ints[LAST] = head, front, end, first, last
            fits = _make_room_to_wait(j - i, ints)
            fits &= _make_room(last - first + j - i, ints)
            head, front, end, first, last = ints[HEAD], ints[FRONT], ints[END], ints[FIRST], ints[LAST]
            if not fits:
                status = NEEDS_ROOM
                break
        if inclusive:
            for k in range(i, j):
                known = t if always else available[k]
                if values[k] == values[k] and known != NEVER:
                    _wait(
                        max(t, known),
                        t,
                        known,
                        values[k],
                        last,
                        first,
                        waits,
                        waits_time,
                        waits_available,
                        waits_value,
                    )
                    last += 1
        while True:
            due = first < last and waits[first] <= t
            since = (waits[first] if due else t) - span
            if since > border:
                if unsorted and not record:
                    status = NEEDS_COPY
                    break
                border = (since + width - 1) // grid * grid - behind
                # The front ended at the border before, or before that: all of it has left.
                head = front
                if unsorted:
                    _sort_until(border, head, end, ints, floats)
                while head < end and wt[head] < since:
                    head += 1
                front = head
                while front < end and wt[front] < border:
                    front += 1
                stale = unsorted = 0
                if head < front:
                    sum_front(head, front, ints, floats)
                b1 = b1_lost = b2 = b2_lost = 0.0
                if front < end:
                    shift = wv[front]
                for k in range(front, end):
                    b1, b1_lost, b2, b2_lost = _added(wv[k] - shift, b1, b1_lost, b2, b2_lost)
                    unsorted |= int(k > front and wt[k] < wt[k - 1])
            while head < front and wt[head] < since:
                head += 1
            if not due:
                break
            time, value = waits_time[first], waits_value[first]
            first += 1
            if time < since:
                continue
            if time < border:
                if not record:
                    status = NEEDS_COPY
                    break
                k = end
                while k > front or (k > head and wt[k - 1] > time):
                    wt[k], wv[k] = wt[k - 1], wv[k - 1]
                    k -= 1
                wt[k], wv[k] = time, value
                front += 1
                end += 1
                stale = 1
                continue
            if head == end:
                if record:
                    end = 0
                head = front = end
            if front == end:
                shift = value
            elif time < wt[end - 1]:
                unsorted = 1
            wt[end], wv[end] = time, value
            end += 1
            b1, b1_lost, b2, b2_lost = _added(value - shift, b1, b1_lost, b2, b2_lost)
        if status != DONE:
            break
        n = end - head
        total, scale, size = 0.0, np.nan, float(n)
        if n >= least:
            total, squares = b1 + b1_lost, b2 + b2_lost
            if head < front:
                if stale:
                    sum_front(head, front, ints, floats)
                    stale = 0
                if front == end:
                    shift = wv[front - 1]
                total, squares = _together(
                    total, squares, float(front - head), s1[head], s2[head], wv[front - 1] - shift
                )
            # n² times the variance over n; with one division and one root, n (x - c) - s1 over n deviations.
            spread = size * squares - total * total
            if spread > _LEAST_SPREAD:
                scale = np.sqrt((n - freedom) / (size * spread))
        for k in range(i, j):
            answers[k] = (size * (values[k] - shift) - total) * scale
        if not inclusive:
            known = t if always else available[i]
            if record and values[i] == values[i] and known != NEVER:
                _wait(
                    max(t, known) + 1,
                    t,
                    known,
                    values[i],
                    last,
                    first,
                    waits,
                    waits_time,
                    waits_available,
                    waits_value,
                )
                last += 1
        i = j
    ints[STATUS] = status
    if record:
        ints[HEAD], ints[FRONT], ints[END], ints[FIRST], ints[LAST] = head, front, end, first, last
        ints[STALE], ints[UNSORTED], ints[BORDER] = stale, unsorted, border
        floats[SHIFT], floats[B1], floats[B1_LOST], floats[B2], floats[B2_LOST] = (
            shift,
            b1,
            b1_lost,
            b2,
            b2_lost,
        )
    return i


@_compiled(int64(*_ROWS, int64, int64, int64, *_STATE))
def _lag(
    times: Array,
    available: Array,
    values: Array,
    answers: Array,
    start: int,
    stop: int,
    record: int,
    ints: Array,
    floats: Array,
) -> int:
    """As `_zscore`. By days, only the best event of all that may be seen is kept; by rows, the newest `NTH`."""
    by_days = ints[KIND] == LAG_DAYS
    span, nth, tolerance = ints[SPAN], ints[NTH], ints[TOLERANCE]
    room, waiting = ints[ROOM], ints[WAITING]
    waits, waits_time = ints[WORDS : WORDS + waiting], ints[WORDS + waiting : WORDS + 2 * waiting]
    waits_available = ints[WORDS + 2 * waiting : WORDS + 3 * waiting]
    waits_value = floats[WORDS + 3 * waiting : WORDS + 4 * waiting]
    base = WORDS + WAITING_ARRAYS * waiting
    wt, wv = ints[base : base + room], floats[base + room : base + 2 * room]
    wa = ints[base + 2 * room : base + 3 * room]
    head, end, first, last = ints[HEAD], ints[END], ints[FIRST], ints[LAST]
    best_time, best_available, best_value = ints[BEST_TIME], ints[BEST_AVAILABLE], floats[BEST_VALUE]
    always = available.size == 0
    status = DONE
    i = start
    while i < stop:
        t = times[i]
        if first == last and record:
            first = last = 0
        if last + 1 > waiting or (not by_days and end + (last - first) + 1 > room):
            if not record:
                status = NEEDS_COPY
                break
            ints[HEAD], ints[FRONT], ints[END], ints[FIRST], ints[LAST] = head, head, end, first, last
            fits = _make_room_to_wait(1, ints)
            fits &= by_days or _make_room(last - first + 1, ints)
            head, end, first, last = ints[HEAD], ints[END], ints[FIRST], ints[LAST]
            if not fits:
                status = NEEDS_ROOM
                break
        while first < last and waits[first] <= t:
            time, known, value = waits_time[first], waits_available[first], waits_value[first]
            first += 1
            if by_days:
                if time > best_time or (time == best_time and known >= best_available):
                    best_time, best_available, best_value = time, known, value
                continue
            k = end
            while k > head and (wt[k - 1] > time or (wt[k - 1] == time and wa[k - 1] > known)):
                if not record:
                    status = NEEDS_COPY
                    break
                wt[k], wv[k], wa[k] = wt[k - 1], wv[k - 1], wa[k - 1]
                k -= 1
            if status != DONE:
                break
            wt[k], wv[k], wa[k] = time, value, known
            end += 1
            head = max(head, end - nth)
        if status != DONE:
            break
        answer = np.nan
        if by_days:
            if best_time != BEGINNING and (tolerance < 0 or best_time >= t - span - tolerance):
                answer = best_value
        elif end - head == nth and (tolerance < 0 or wt[head] >= t - tolerance):
            answer = wv[head]
        answers[i] = answer
        known = t if always else available[i]
        if record and values[i] == values[i] and known != NEVER:
            _wait(
                max(t + span, known + 1),
                t,
                known,
                values[i],
                last,
                first,
                waits,
                waits_time,
                waits_available,
                waits_value,
            )
            last += 1
        i += 1
    ints[STATUS] = status
    if record:
        ints[HEAD], ints[FRONT], ints[END], ints[FIRST], ints[LAST] = head, head, end, first, last
        ints[BEST_TIME], ints[BEST_AVAILABLE], floats[BEST_VALUE] = best_time, best_available, best_value
    return i


@_compiled(int64(_read(float64)))
def _missing(values: Array) -> int:
    """How many are NaN."""
    missing = 0
    for value in values:
        missing += int(np.isnan(value))
    return missing


@_compiled(types.void(_read(int64), _read(float64), float64[::1], int64, int64, int64, int64))
def _lag_of_days(
    times: Array, values: Array, answers: Array, start: int, stop: int, span: int, tolerance: int
) -> None:
    """Answer rows of one entity that has neither past nor future, each known at its time: as `_lag`, and nothing waits."""
    best_time, best = BEGINNING, np.nan
    k = start
    for i in range(start, stop):
        latest = times[i] - span
        while times[k] <= latest:
            if values[k] == values[k]:
                best_time, best = times[k], values[k]
            k += 1
        answers[i] = best if tolerance < 0 or best_time >= latest - tolerance else np.nan


@_compiled(
    int64(
        _read(int64),
        _read(float64),
        float64[::1],
        int64,
        int64,
        int64,
        int64,
        int64,
        float64[::1],
        float64[::1],
    )
)
def _zscore_of_known(
    times: Array,
    values: Array,
    answers: Array,
    start: int,
    stop: int,
    span: int,
    freedom: int,
    least: int,
    s1: Array,
    s2: Array,
) -> int:
    """Answer rows of one entity that has neither past nor future, all with a value, each known at its time, by earlier ones.

    The same additions as of `_zscore`, so the same bits; but nothing waits and nothing is copied: the rows are the events.
    0, or how many events of a front `s1` and `s2` had no room for; then nothing is answered.
    """
    head = front = end = first = start
    shift = apart = b1 = b1_lost = b2 = b2_lost = 0.0
    border = BEGINNING
    for i in range(start, stop):
        t = times[i]
        while True:
            due = times[end] < t
            since = (times[end] + 1 if due else t) - span
            if since > border:
                # Mostly the next one; a division takes as long as an event.
                border += span
                if since > border:
                    border = (since + span - 1) // span * span
                head = front
                while head < end and times[head] < since:
                    head += 1
                front = end
                apart = b1 = b1_lost = b2 = b2_lost = 0.0
                if head < end:
                    shift = values[end - 1]
                    if end - head > s1.size:
                        return int(end - head)
                    first = head
                    sum1 = sum2 = lost1 = lost2 = 0.0
                    for k in range(end - 1, head - 1, -1):
                        sum1, lost1, sum2, lost2 = _added(values[k] - shift, sum1, lost1, sum2, lost2)
                        s1[k - first], s2[k - first] = sum1 + lost1, sum2 + lost2
            if not due:
                break
            if front == end:
                apart, shift = shift - values[end], values[end]
            b1, b1_lost, b2, b2_lost = _added(values[end] - shift, b1, b1_lost, b2, b2_lost)
            end += 1
        while head < front and times[head] < since:
            head += 1
        n = end - head
        answer = np.nan
        if n >= least:
            total, squares, size = b1 + b1_lost, b2 + b2_lost, float(n)
            if head < front:
                total, squares = _together(
                    total, squares, float(front - head), s1[head - first], s2[head - first], apart
                )
            spread = size * squares - total * total
            if spread > _LEAST_SPREAD:
                answer = (size * (values[i] - shift) - total) * np.sqrt((n - freedom) / (size * spread))
        answers[i] = answer
    return 0


@_compiled(int64(*_ROWS, int64, int64, *_STATE))
def rows(
    times: Array,
    available: Array,
    values: Array,
    answers: Array,
    start: int,
    stop: int,
    ints: Array,
    floats: Array,
) -> int:
    """Answer and record rows of one entity in the order of their times; the row before which there was no room."""
    if ints[KIND] == ZSCORE:
        done = _zscore(times, available, values, answers, start, stop, RECORD, ints, floats)
    else:
        done = _lag(times, available, values, answers, start, stop, RECORD, ints, floats)
    if done > start:
        ints[NEWEST_ROW] = times[done - 1]
    return done


@_compiled(int64(*_ROWS, int64[::1], int64, int64, *_STATE))
def entities(
    times: Array,
    available: Array,
    values: Array,
    answers: Array,
    bounds: Array,
    entity: int,
    row: int,
    ints: Array,
    floats: Array,
) -> int:
    """Answer entity after entity, none of which has a past, from one row on; the row before which there was no room.

    Entity k has the rows from `bounds[k]` to `bounds[k + 1]`. A row within an entity goes on from the state.
    """
    timely_days = ints[KIND] == LAG_DAYS and available.size == 0
    plain_zscores = ints[KIND] == ZSCORE and available.size == 0 and not ints[INCLUSIVE]
    s1, s2 = np.empty(_BLOCK), np.empty(_BLOCK)
    for k in range(entity, bounds.size - 1):
        start, stop = max(bounds[k], row), bounds[k + 1]
        if timely_days:
            _lag_of_days(times, values, answers, start, stop, ints[SPAN], ints[TOLERANCE])
            continue
        if start == bounds[k]:
            clear(ints)
            if plain_zscores and not _missing(values[start:stop]):
                while True:
                    lacking = _zscore_of_known(
                        times, values, answers, start, stop, ints[SPAN], ints[FREEDOM], ints[LEAST], s1, s2
                    )
                    if not lacking:
                        break
                    s1, s2 = np.empty(2 * lacking), np.empty(2 * lacking)
                continue
        done = rows(times, available, values, answers, start, stop, ints, floats)
        if done < stop:
            return done
    return int(bounds[-1])


@_compiled(float64(int64, int64, float64, int64, int64[::1]))
def row(time: int, available: int, value: float, record: int, ints: Array) -> float:
    """Answer one row, and record it if told to. NaN has a reason in `STATUS` if it is not `DONE`."""
    floats = ints.view(np.float64)
    if time < ints[NEWEST_ROW]:
        ints[STATUS] = TOO_EARLY
        return np.nan
    ints[ROW_TIME], ints[ROW_AVAILABLE], floats[ROW_VALUE] = time, available, value
    floats[ROW_ANSWER] = np.nan
    times, knowns = ints[ROW_TIME : ROW_TIME + 1], ints[ROW_AVAILABLE : ROW_AVAILABLE + 1]
    values, answers = floats[ROW_VALUE : ROW_VALUE + 1], floats[ROW_ANSWER : ROW_ANSWER + 1]
    if ints[KIND] == ZSCORE:
        if ints[INCLUSIVE] and not record:
            ints[STATUS] = NEEDS_COPY
            return np.nan
        done = _zscore(times, knowns, values, answers, 0, 1, record, ints, floats)
    else:
        done = _lag(times, knowns, values, answers, 0, 1, record, ints, floats)
    if done and record:
        ints[NEWEST_ROW] = time
    return float(floats[ROW_ANSWER])


@_compiled(int64(_read(float64), float64))
def first_beyond(values: Array, limit: float) -> int:
    """Position of the first value further from 0 than `limit`; -1 if there is none. NaN is none."""
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        beyond = 0
        for i in range(block.size):
            beyond += int(abs(block[i]) > limit)
        if beyond:
            for i in range(block.size):
                if abs(block[i]) > limit:
                    return start + i
    return -1


@_compiled([boolean(_read(kind)) for kind in (int64, int32)])
def ascends(values: Array) -> bool:
    """Whether no value is less than the one before it."""
    for start in range(0, values.size - 1, _BLOCK):
        before, after = values[start : start + _BLOCK], values[start + 1 : start + _BLOCK + 1]
        falls = 0
        for i in range(after.size):
            falls += int(after[i] < before[i])
        if falls:
            return False
    return True


@_compiled(int64(_read(int64), int64))
def first_outside(values: Array, limit: int) -> int:
    """Position of the first integer further from 0 than `limit`; -1 if there is none."""
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        outside = 0
        for i in range(block.size):
            outside += int(block[i] > limit) | int(block[i] < -limit)
        if outside:
            for i in range(block.size):
                if block[i] > limit or block[i] < -limit:
                    return start + i
    return -1


@_compiled([int64[::1](_read(kind)) for kind in (int64, int32)])
def bounds_of(keys: Array) -> Array:
    """Where a run of equal keys begins, and the end."""
    found = np.empty(1024, np.int64)
    found[0] = 0
    k = int(keys.size > 0)
    for start in range(0, keys.size - 1, _BLOCK):
        before, after = keys[start : start + _BLOCK], keys[start + 1 : start + _BLOCK + 1]
        changes = 0
        for i in range(after.size):
            changes += int(after[i] != before[i])
        if not changes:
            continue
        if k + changes >= found.size:
            more = np.empty(2 * (k + changes), np.int64)
            more[:k] = found[:k]
            found = more
        for i in range(after.size):
            if after[i] != before[i]:
                found[k] = start + 1 + i
                k += 1
    found[k] = keys.size
    return found[: k + 1].copy()


@_compiled(int64(_read(float64), uint8[::1]))
def valid_bits(values: Array, bits: Array) -> int:
    """Set a bit for each value that is no NaN, as Arrow has them; how many are NaN."""
    for k in range(values.size // 8):
        block = values[8 * k : 8 * k + 8]
        byte = 0
        for i in range(8):
            byte |= int(block[i] == block[i]) << i
        bits[k] = byte
    for i in range(values.size // 8 * 8, values.size):
        bits[i // 8] |= np.uint8(int(values[i] == values[i]) << (i % 8))
    return _missing(values)


@_compiled(int64(_read(int64), int64[::1]))
def first_fall(times: Array, bounds: Array) -> int:
    """First row whose time is before that of the row before it, of the same entity; -1 if there is none."""
    for k in range(bounds.size - 1):
        start, stop = bounds[k], bounds[k + 1]
        before, after = times[start : stop - 1], times[start + 1 : stop]
        falls = 0
        for i in range(after.size):
            falls += int(after[i] < before[i])
        if falls:
            for i in range(after.size):
                if after[i] < before[i]:
                    return int(start + 1 + i)
    return -1


@_compiled(int64[::1](_read(int32), int64))
def grouped(codes: Array, count: int) -> Array:
    """Positions of the rows by code, those of one code in their order; codes are from 0 to `count` - 1."""
    places = np.zeros(count + 1, np.int64)
    for code in codes:
        places[code + 1] += 1
    for k in range(count):
        places[k + 1] += places[k]
    order = np.empty(codes.size, np.int64)
    for i in range(codes.size):
        code = codes[i]
        order[places[code]] = i
        places[code] += 1
    return order


@_compiled(types.void(_read(int64), int64[::1], int64[::1]))
def order_by_time(times: Array, bounds: Array, order: Array) -> None:
    """Sort the positions of each entity's rows by their times; of equal times the earlier position first.

    `times` are those of the rows in `order`.
    """
    for k in range(bounds.size - 1):
        start, stop = bounds[k], bounds[k + 1]
        for i in range(start + 1, stop):
            if times[i] < times[i - 1]:
                order[start:stop] = order[start:stop][np.argsort(times[start:stop], kind="mergesort")]
                break


@_compiled(types.void(int32[::1], int64))
def number_by_appearance(codes: Array, count: int) -> None:
    """Number codes by where they first appear, in place."""
    numbers = np.full(count, -1, np.int32)
    used = np.int32(0)
    for i in range(codes.size):
        code = codes[i]
        if numbers[code] < 0:
            numbers[code] = used
            used += np.int32(1)
        codes[i] = numbers[code]

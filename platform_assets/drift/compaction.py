"""Many small segments of a day become one, so that a day is read and listed at a cost that has a bound.

The one is stored first and names those that it is made of; then they are deleted. Whoever reads in between, or after
a kill in between, counts nothing twice: see `segments.read_segments`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from platform_assets.drift.segments import (
    Kind,
    expiry,
    merged_segment,
    names_taken_up,
    read_segments,
    segment_keys,
    segments_of_day,
)
from resources.locks import Held, Locks
from resources.object_store import ObjectMissingError, ObjectStore
from resources.provenance import code_commit

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

MOST_SEGMENTS: Final = 24
"""Of a day and kind. A monitor writes one a minute."""
_ATTEMPTS: Final = 5


def of_day(
    store: ObjectStore,
    kind: Kind,
    *,
    env: str,
    line: str,
    day: date,
    made: "Callable[[Iterator[pa.Table]], T]",
) -> T:
    """What is made of all segments of a day, one of which is in memory at a time.

    Where one is gone before it was read, because another has taken it up or retention has removed it, it is made anew
    of those that are there then.

    Args:
        store: Has the segments.
        kind: Theirs.
        env: The environment's part of the keys.
        line: The line.
        day: The UTC day.
        made: Takes the rows of each segment, oldest first.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return made(read_segments(store, segments_of_day(store, kind, env=env, line=line, day=day)))
        except ObjectMissingError:
            continue
    return made(read_segments(store, segments_of_day(store, kind, env=env, line=line, day=day)))


def compact(store: ObjectStore, locks: Locks, *, env: str, line: str, now: datetime | None = None) -> int:
    """Puts the segments of each day and kind into one where they are many; how many are there less.

    Killed at any moment and called again, it ends in the same state. A day of which anything is under legal hold
    stays as it is, and so does one of which something has less than a day left.

    Args:
        store: Has the segments.
        locks: Hold apart whoever puts segments of the line together.
        env: The environment's part of the keys.
        line: The line.
        now: The current time, with its time zone.

    Raises:
        ObjectStoreError: The store did not take or remove one; nothing is lost by that.
        LockError: Somebody else is at it, or the lock cannot be asked for, or was lost; nothing is lost by that either.
    """
    kinds: tuple[Kind, ...] = ("verdicts", "labels")
    with locks.hold(f"drift-segments-{line}", timeout_seconds=0) as held:
        return sum(
            _compacted(store, held, keys, now or datetime.now(UTC))
            for kind in kinds
            for keys in segment_keys(store, kind, env=env, line=line).values()
            if len(keys) > MOST_SEGMENTS
        )


def _compacted(store: ObjectStore, held: Held, keys: list[str], now: datetime) -> int:
    try:
        if any(store.info(key).legal_hold for key in keys):
            return 0
        taken_up = names_taken_up(store, keys)
        going = [key for key in keys if key.rsplit("/", 1)[1] in taken_up]
        added = 0
        # What could not be deleted the last time is, and is not put together once more.
        if len(keys) - len(going) > MOST_SEGMENTS and _put_together(store, held, keys, now):
            going, added = keys, 1
    except ObjectMissingError:
        return 0  # retention removes one; the next time
    for each in going:
        try:
            store.delete(each)
        except ObjectMissingError:
            continue
    return len(going) - added


def _put_together(store: ObjectStore, held: Held, keys: list[str], now: datetime) -> bool:
    """Whether it was: no row may stay longer than it would have stayed, and an object stays a day at least."""
    import pyarrow as pa

    expires = min(expiry(store, key) for key in keys)
    days = (expires - now).days
    if days < 1:
        return False
    rows = pa.concat_tables(read_segments(store, keys))
    key, content = merged_segment(keys, rows, expires=expires)
    gdpr_class = store.info(keys[0]).gdpr_class
    held.check()
    store.put(key, content, gdpr_class=gdpr_class, retention_days=days, source_commit=code_commit())
    return True

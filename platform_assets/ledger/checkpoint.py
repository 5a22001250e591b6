"""Checkpoints: what a decision relies on, without reading the chain from its first entry.

A checkpoint is an entry of kind `checkpoint`. It vouches for a *memory* of all entries before it (see
`memory.py`): the hash of the memory's root stands in its body, its nodes lie beside the entries in the
database. So the memory is no more and no less trusted than an entry is: whoever alters a node is found out by
the root's hash, whoever alters the checkpoint by the chain. Who could forge a whole tail of the chain and its
head could forge a verdict there as well, which is what unsigned mode does not protect against.

What is looked up is read from its entry again, and the entries after the checkpoint are replayed. At any doubt
there is no answer, and the caller replays the whole chain. What is not looked at is damage before the
checkpoint in entries that answer nothing that is asked: `Ledger.verify` finds it, and a checkpoint counts for
25 hours only from when the chain was last read from its first entry.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from platform_assets.ledger import memory
from platform_assets.ledger.chain import before, chained, end_of, shortfall
from platform_assets.ledger.entry import Entry, format_time
from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import EMPTY, Head
from platform_assets.ledger.keys import Key, collected, keys_of
from platform_assets.ledger.store import Session, Store, entry_of

if TYPE_CHECKING:
    from platform_assets.ledger.ledger import Writer

_LOG = logging.getLogger(__name__)

KIND: Final = "checkpoint"
SUBJECT: Final = "ledger"
STEP: Final = 1024
"""Entries from one checkpoint to the next."""
VALID_FOR: Final = timedelta(hours=25)
"""How long ago the chain may have been read from its first entry: a nightly reading, and an hour for it."""
_CLOCK_SKEW: Final = timedelta(minutes=5)
_MOST_IN_PASSING: Final = 16 * STEP
"""More entries than these are only read by `renew`, never by somebody who appends."""
_TRIES: Final = 3


class Checkpoint(NamedTuple):
    """What a checkpoint entry says."""

    entry: Entry
    root_hash: str
    """Of the memory of all entries before it."""
    read_whole_at: datetime
    """When the chain was last read from its first entry."""

    @property
    def covers(self) -> Head:
        """The chain whose memory it vouches for."""
        return before(self.entry)

    def is_young(self, now: datetime) -> bool:
        """Whether it may be relied upon."""
        return -_CLOCK_SKEW <= now - self.read_whole_at <= VALID_FOR


def newest(session: Session) -> Checkpoint | None:
    """The newest checkpoint; None where there is none that this program can read.

    Raises:
        LedgerError: Its entry was altered.
    """
    row = session.first({"kind": KIND, "subject": SUBJECT}, newest=True)
    if row is None:
        return None
    entry = entry_of(row)
    body = entry.body
    if body.get("format") != memory.FORMAT:
        return None
    try:
        return Checkpoint(entry, str(body["root"]), datetime.fromisoformat(body["read_whole_at"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"entry {entry.seq} is no checkpoint of format {memory.FORMAT}") from error


def is_usable(session: Session, now: datetime) -> bool:
    """Whether there is a checkpoint that may be relied upon and spares something, as far as a glance can tell."""
    checkpoint = newest(session)
    return (
        checkpoint is not None
        and checkpoint.is_young(now)
        and _distance(session, checkpoint) <= _MOST_IN_PASSING
        and memory.root_hash_of(session.nodes) == checkpoint.root_hash
    )


def _distance(session: Session, checkpoint: Checkpoint) -> int:
    """How many entries there are behind what it covers."""
    row = session.first({}, newest=True)
    return (row[0] if row else 0) - checkpoint.covers.count


def answers(session: Session, keys: Collection[Key], *, now: datetime) -> dict[Key, Entry]:
    """The entry that answers each key, where one does, by the newest checkpoint and what came after it.

    Args:
        session: One that sees a single state of the database.
        keys: What is asked.
        now: The current time.

    Raises:
        LedgerError: There is no checkpoint, it is too old, or anything is not as it vouches: only a reading
            of the whole chain can tell.
    """
    head, checkpoint = session.head(), newest(session)
    if checkpoint is None or not checkpoint.is_young(now):
        raise LedgerError("there is no checkpoint that may be relied upon")
    covers = checkpoint.covers
    if head.count < covers.count or (head.count == covers.count and head != covers):
        raise LedgerError("the head is not one that continues the checkpoint")
    wanted = {key.digest(): key for key in keys}
    places = memory.look_up(session.nodes, checkpoint.root_hash, wanted)
    found = {wanted[digest]: _entry_at(session, place, wanted[digest]) for digest, place in places.items()}
    # The last entry that it covers, and all that came after: the checkpoint itself is the first of those.
    last = None
    for last in chained(
        _entries(session, after=covers.count - 1), after=_before(session, covers), heads=[head]
    ):
        if last.seq == covers.count and last.hash != covers.hash:
            raise LedgerError(f"entry {last.seq} is not the one that the checkpoint covers")
        if last.seq > covers.count:
            note_answers(found, last, keys)
    if problem := shortfall(end_of(last), head):
        raise LedgerError(problem)
    return found


def note_answers(found: dict[Key, Entry], entry: Entry, keys: Collection[Key]) -> None:
    """Takes note of an entry that comes after all those noted before, if it answers one of the keys."""
    for key in keys_of(entry):
        if key in keys:
            collected(found, entry, key)


def extend(session: Session, writer: "Writer", *, now: datetime) -> None:
    """Appends a checkpoint where the last one is a step behind; does nothing where that would take long.

    Args:
        session: An exclusive one.
        writer: Appends in it.
        now: The current time.

    Raises:
        LedgerError: The entries since the last one are damaged.
    """
    last = newest(session)
    if last is not None and memory.root_hash_of(session.nodes) != last.root_hash:
        last = None
    covers = last.covers if last else EMPTY
    if not STEP <= writer.tail.count - covers.count <= _MOST_IN_PASSING:
        return
    if last is None:
        session.clear_nodes()
    _append(session, writer, covers, last.root_hash if last else None, last.read_whole_at if last else now)


def renew(
    store: Store, writer_of: "Callable[[Session], Writer]", *, clock: Callable[[], datetime]
) -> Entry | None:
    """Reads the whole chain from its first entry, and vouches for it with a new checkpoint.

    Nobody waits meanwhile, but for the last moment. None where others appended checkpoints faster than that.

    Raises:
        LedgerError: The chain is damaged, or there is no room for notes.
    """
    # What came behind the last reading is taken under the writers' lock, so it must not be much.
    for _ in range(_TRIES):
        with memory.folder_of_notes() as folder:
            now = clock()
            seen, covers = _read_whole(store, folder)
            root_hash = memory.root_hash_from([folder])
            if seen is not None and covers == seen.covers and root_hash != seen.root_hash:
                _LOG.warning("entry %s is a false checkpoint: a new one is made without it", seen.entry.seq)
                covers = _read_whole(store, folder, anew=True)[1]
                root_hash = memory.root_hash_from([folder])
            is_kept = _is_kept(store, memory.nodes_of([folder]))
            with store.session(exclusive=True) as session:
                found = newest(session)
                if (found and found.entry.hash) == (seen and seen.entry.hash):
                    if not is_kept:
                        session.clear_nodes()
                        session.put_nodes(memory.nodes_of([folder]))
                    return _append(session, writer_of(session), covers, root_hash, now)
    return None


def _read_whole(store: Store, folder: Path, *, anew: bool = False) -> tuple[Checkpoint | None, Head]:
    """The newest checkpoint of a chain that is whole, and up to where the chain is noted in the folder.

    That is what the checkpoint covers, so that the two can be compared; all of it where there is none, where it
    is far behind, or `anew`.
    """
    for leftover in folder.iterdir():
        leftover.unlink()
    notes, last, covers = memory.Notes(folder), None, EMPTY
    with store.session() as session:
        session.keep_still()
        head, seen = session.head(), newest(session)
        notes_all = seen is None or anew or _distance(session, seen) > _MOST_IN_PASSING
        for last in chained(_entries(session), after=EMPTY, heads=[head]):
            if notes_all or (seen is not None and last.seq <= seen.covers.count):
                notes.add(last)
                covers = end_of(last)
    if problem := shortfall(end_of(last), head):
        raise LedgerError(problem)
    notes.close()
    return seen, covers


def _is_kept(store: Store, nodes: Iterable[tuple[int, bytes]]) -> bool:
    with store.session() as session:
        return all(kept == made for kept, made in zip_longest(session.all_nodes(), nodes))


def _append(
    session: Session, writer: "Writer", covers: Head, root_hash: str | None, read_whole_at: datetime
) -> Entry:
    """The checkpoint that covers all there is, made from the memory of what `covers` says."""
    changes: memory.Changes = {}
    tail = writer.tail
    for entry in chained(_entries(session, after=covers.count), after=covers, heads=[tail]):
        memory.note(changes, entry)
    root_hash, nodes = memory.changed(session.nodes, root_hash, changes)
    session.put_nodes(nodes.items())
    body = {"format": memory.FORMAT, "root": root_hash, "read_whole_at": format_time(read_whole_at)}
    return writer.append(KIND, SUBJECT, fingerprint=tail.hash, body=body)


def _entries(session: Session, *, after: int | None = None) -> Iterable[Entry]:
    return map(entry_of, session.stream({}, after=after))


def _before(session: Session, covers: Head) -> Head:
    """What the last entry that a checkpoint covers continues, as that entry says."""
    row = session.at(covers.count)
    if row is None:
        raise LedgerError(f"entry {covers.count}, the last one that the checkpoint covers, is missing")
    return before(entry_of(row))


def _entry_at(session: Session, place: memory.Place, key: Key) -> Entry:
    row = session.at(place.seq)
    if row is None:
        raise LedgerError(f"entry {place.seq} is missing")
    entry = entry_of(row)
    if memory.Place.of(entry) != place or key not in set(keys_of(entry)):
        raise LedgerError(f"entry {place.seq} is not the one that the checkpoint remembers")
    return entry

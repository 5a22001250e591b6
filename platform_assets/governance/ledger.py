"""The ledger: an append-only, hash-chained record of everything that was decided.

What an entry is, `entry.py` says (format 1). Where entries are kept, `ledger_sqlite.py` and
`ledger_postgres.py`. Here they are appended, read and verified.

(kind, subject, fingerprint) is the idempotency key: appending it again returns the entry that is
there. The bytes of an entry are the only truth. Everything else in the database is derived from them
and checked against them whenever it is read. The *head* (count and hash of the chain) is written after
the entry, in a transaction of its own: a killed process may leave it behind, never ahead. A chain that
has outrun its head is therefore sound, one that falls short of it was cut.
"""

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import IO, Self

from platform_assets.governance.entry import (
    GENESIS,
    SCHEMA_VERSION,
    Entry,
    canonical,
    fingerprint_of,
    format_time,
    sha256,
)
from platform_assets.governance.errors import LedgerConflictError, LedgerError
from platform_assets.governance.head import EMPTY, Head, HeadDocument
from platform_assets.governance.ledger_sqlite import SqliteStore
from platform_assets.governance.ledger_store import COLUMNS, Row, Session, Store
from resources.postgres import is_postgres

__all__ = [
    "EMPTY",
    "GENESIS",
    "SCHEMA_VERSION",
    "Entry",
    "Head",
    "Ledger",
    "VerifyReport",
    "Writer",
    "canonical",
    "fingerprint_of",
    "verify_export",
    "verify_file",
]

_UNSIGNED = (
    "Unsigned: this shows that entries were not altered, removed or reordered one by one. It does not "
    "protect against somebody who rewrites the whole chain and its head; keep a head elsewhere for that."
)
_SIGNED = (
    "Signed: whoever holds the key {document.public_key} vouched at {document.time} for the first "
    "{document.count} entries. Whose key that is, only a copy of it from elsewhere can tell."
)
_ENTRIES_WORTH_A_PROCESS = 25_000
_BYTES_WORTH_A_PROCESS = 25_000_000


@dataclass(frozen=True)
class VerifyReport:
    """Whether a chain is whole."""

    ok: bool
    entries: int
    """How many entries are sound, counted from the first."""
    head_hash: str
    """Hash of the last sound entry."""
    ahead_of_head: int
    """Entries behind the recorded head: a process died after its entry and before its head."""
    first_bad_seq: int | None
    problem: str | None
    signed: bool = False
    """Whether it had to reach a head whose signature holds."""
    note: str = _UNSIGNED

    @classmethod
    def refused(cls, problem: str) -> Self:
        """Of a chain that could not be looked at at all."""
        return cls(
            ok=False, entries=0, head_hash=GENESIS, ahead_of_head=0, first_bad_seq=None, problem=problem
        )


class Ledger:
    """The ledger in a SQLite file or a Postgres database, shared by any number of threads and processes.

    An instance may be shared among threads, and survives a fork.

    Example:
        >>> import tempfile
        >>> ledger = Ledger.open(Path(tempfile.mkdtemp()) / "ledger.db", principal="ada")
        >>> entry = ledger.append("note", "line", fingerprint="1", body={"text": "hello"})
        >>> ledger.latest("note", "line") == entry, ledger.verify().ok
        (True, True)
    """

    def __init__(self, store: Store, *, principal: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._principal = principal
        self._clock = clock

    @classmethod
    def open(
        cls,
        location: Path | str,
        *,
        principal: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """The ledger at `location`, created where there is none.

        Args:
            location: A file on a local disk (SQLite's write-ahead log needs shared memory), or the
                `postgresql://` address of a database (which needs the extra `cluster`).
            principal: Who appends, as every entry will say.
            clock: Gives the current time with its time zone.

        Raises:
            LedgerError: The location is something else, or cannot be reached.
        """
        return cls(_open_store(location), principal=principal, clock=clock)

    def append(self, kind: str, subject: str, *, fingerprint: str, body: Mapping[str, object]) -> Entry:
        """The entry with this key, durable when this returns: appended now, or there already.

        Raises:
            LedgerConflictError: The key is there with another body.
            LedgerError: The body is not exactly representable as JSON (NaN, infinity, an integer
                beyond 2^53 − 1, a foreign type), a text is empty, or the chain is damaged.
        """
        with self.exclusive() as writer:
            return writer.append(kind, subject, fingerprint=fingerprint, body=body)

    @contextmanager
    def exclusive(self) -> Iterator["Writer"]:
        """The only writer, for a decision that must still be true when it is appended.

        Until the block ends nobody else can append, so whatever is read inside stays the newest.
        The entries commit together at its end, and not at all when it raises. Append only through
        the writer inside: another append would wait for this one.
        """
        with self._store.session(exclusive=True) as session:
            yield Writer(session, principal=self._principal, clock=self._clock)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Spares every append inside what it costs to open a database first and to close it last.

        SQLite writes its log back into the file, and removes it, when the last connection closes. For a
        process that serves, appends often, and does not fork meanwhile.
        """
        with self._store.session() as session:
            session.head()
            yield

    def entries(self, *, kind: str | None = None, subject: str | None = None) -> Iterator[Entry]:
        """Entries oldest first, streamed, each checked against its hash (the chain is not).

        Raises:
            LedgerError: An entry is not what was written.
        """
        wanted = {"kind": kind, "subject": subject}
        with self._store.session() as session:
            where = {column: value for column, value in wanted.items() if value is not None}
            yield from map(_entry_of, session.stream(where))

    def latest(self, kind: str, subject: str) -> Entry | None:
        """The newest entry of this kind and subject."""
        with self._store.session() as session:
            return _first_entry(session, {"kind": kind, "subject": subject}, newest=True)

    def get(self, entry_hash: str) -> Entry | None:
        """The entry with this hash."""
        with self._store.session() as session:
            return _first_entry(session, {"hash": entry_hash})

    def head(self) -> Head:
        """The recorded head. It may lag behind the chain."""
        with self._store.session() as session:
            return session.head()

    def replay(self) -> Iterator[Entry]:
        """All entries, oldest first, as the chain is verified: trust them once the iteration has ended.

        Raises:
            LedgerError: At the first entry that does not follow from the one before, or at the end
                where the chain falls short of its head.
        """
        # The head is read first: entries that arrive meanwhile can only lengthen the chain.
        head = self.head()
        last: Entry | None = None
        for last in _chained(self.entries(), after=EMPTY, heads=[head]):
            yield last
        if problem := _shortfall(_end(last), head):
            raise LedgerError(problem)

    def verify(self, anchor: HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
        """Whether the whole chain holds, its derived columns agree, and it reaches its heads.

        Args:
            anchor: A head that was kept elsewhere, to be reached besides the recorded one.
            processes: How many may share the work on a long chain. They are forked, so ask for more
                than one only where no other thread runs.

        Raises:
            LedgerError: There is no database, or no head in it, to verify against.
        """
        with self._store.session() as session:
            head = session.head()  # first, as in `replay`
            newest = session.first({}, newest=True)
        shares = _shares(newest[0] if newest else 0, processes, worth=_ENTRIES_WORTH_A_PROCESS)
        reads = [partial(_stored_entries, self._store, after, until) for after, until in shares]
        return _report(reads, heads=[head] if anchor is None else [head, anchor])

    def export(self, stream: IO[bytes]) -> Head:
        """Writes the verbatim entries as JSON Lines, and tells where they end.

        The export carries no head of its own: whoever verifies it against the one returned here
        also notices a missing tail. Nothing is verified, so a damaged ledger can be exported as well.
        """
        end = EMPTY
        with self._store.session() as session:
            for *_, raw in session.stream({}):
                stream.write(raw + b"\n")
                end = Head(end.count + 1, sha256(raw))
        return end


def verify_export(stream: Iterable[bytes], head: Head | HeadDocument | None = None) -> VerifyReport:
    """Verifies exported JSON Lines offline.

    Args:
        stream: The lines with their line ends, e.g. a file opened as binary.
        head: What they must reach, e.g. what `Ledger.export` returned; without it, a missing tail goes
            unnoticed.
    """
    return _report([partial(_exported_entries, stream)], heads=[head or EMPTY])


def verify_file(path: Path, head: Head | HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
    """As `verify_export`, of a file, by as many processes as `Ledger.verify` would use."""
    shares = _shares(path.stat().st_size, processes, worth=_BYTES_WORTH_A_PROCESS)
    reads = [partial(_filed_entries, path, after or 0, until) for after, until in shares]
    return _report(reads, heads=[head or EMPTY])


class Writer:
    """Appends while its holder has the ledger to itself. Comes from `Ledger.exclusive`."""

    def __init__(self, session: Session, *, principal: str, clock: Callable[[], datetime]) -> None:
        self._session = session
        self._principal = principal
        self._clock = clock
        self._tail = self._checked_tail()

    def append(self, kind: str, subject: str, *, fingerprint: str, body: Mapping[str, object]) -> Entry:
        """As `Ledger.append`, within the block."""
        known = _first_entry(self._session, {"kind": kind, "subject": subject, "fingerprint": fingerprint})
        if known is not None:
            if canonical(dict(body), "body") != canonical(known.body, "body"):
                raise LedgerConflictError(
                    f"{kind} of {subject}: entry {known.seq} has the same fingerprint {fingerprint} and another "
                    "body; what differs must be part of the fingerprint, or be the same on a retry"
                )
            return known
        document = {
            "schema_version": SCHEMA_VERSION,
            "seq": self._tail.count + 1,
            "previous_hash": self._tail.hash,
            "time": format_time(self._clock()),
            "kind": kind,
            "subject": subject,
            "fingerprint": fingerprint,
            "principal": self._principal,
            "body": dict(body),
        }
        if empty := [field for field, value in document.items() if value == ""]:
            raise LedgerError(f"{', '.join(empty)} of a ledger entry must not be empty")
        # Parsed back from its bytes, the caller sees what every later reader will see.
        entry = Entry.parse(canonical(document, "entry"))
        self._session.insert(entry[:6])
        self._tail = Head(entry.seq, entry.hash)
        return entry

    def _checked_tail(self) -> Head:
        """The chain's end, which must not fall short of the head: nothing is built on a stump."""
        head = self._session.head()
        last = _first_entry(self._session, {}, newest=True)
        tail = _end(last)
        if tail.count < head.count or (tail.count == head.count and tail != head):
            raise LedgerError(
                f"the chain ends at entry {tail.count}, which is not the head that was recorded at entry "
                f"{head.count}: nothing is appended to a damaged ledger; restore it from a copy"
            )
        return tail


# --- Reading ---------------------------------------------------------------------------------------


def _open_store(location: Path | str) -> Store:
    if isinstance(location, Path):
        return SqliteStore.open(location)
    if not is_postgres(location):
        # The address itself is not told: it may hold a password.
        raise LedgerError("a ledger is a file, or a database at postgresql://…: correct its address")
    try:
        from platform_assets.governance.ledger_postgres import PostgresStore
    except ModuleNotFoundError as missing:
        raise LedgerError("a ledger in Postgres needs psycopg2: install the extra `cluster`") from missing
    return PostgresStore.open(location)


def _entry_of(row: Row) -> Entry:
    """The entry of a row whose derived columns agree with its bytes."""
    try:
        entry = Entry.parse(row[5])
    except LedgerError as error:
        raise LedgerError(f"entry {row[0]} was altered: {error}") from error
    if entry[:6] != row:
        column = next(name for name, told, true in zip(COLUMNS, row, entry, strict=False) if told != true)
        raise LedgerError(f"entry {row[0]} was altered: its column {column} does not match its bytes")
    return entry


def _first_entry(session: Session, where: Mapping[str, str], *, newest: bool = False) -> Entry | None:
    row = session.first(where, newest=newest)
    return None if row is None else _entry_of(row)


def _stored_entries(store: Store, after: int | None, until: int | None) -> Iterator[Entry]:
    with store.session() as session:
        yield from map(_entry_of, session.stream({}, after=after, until=until))


def _exported_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        if not line.endswith(b"\n"):
            raise LedgerError("its line is incomplete")
        try:
            yield Entry.parse(line[:-1])
        except LedgerError as error:
            raise LedgerError(f"its line was altered: {error}") from error


def _filed_entries(path: Path, after: int, until: int | None) -> Iterator[Entry]:
    """The entries of the lines that begin at byte `after` or later, and before byte `until`."""

    def lines() -> Iterator[bytes]:
        with path.open("rb") as stream:
            begin = after
            if after:  # the line that goes on here began before
                stream.seek(after - 1)
                begin += len(stream.readline()) - 1
            for line in stream:
                if until is not None and begin >= until:
                    return
                yield line
                begin += len(line)

    return _exported_entries(lines())


# --- Verification ----------------------------------------------------------------------------------
# A chain is verified stretch by stretch: each may be read by a process of its own, and they must join.


@dataclass(frozen=True)
class _Stretch:
    start: Head | None = None
    """What its first entry continues; None where not even that one is sound."""
    end: Head | None = None
    """Its last sound entry."""
    problem: str | None = None
    """Why it does not go on, if it should."""


def _chained(entries: Iterable[Entry], *, after: Head, heads: Iterable[Head]) -> Iterator[Entry]:
    """The entries, as long as each follows from the one before; raises LedgerError where one does not.

    Args:
        entries: In the order of the chain.
        after: What the first one must continue.
        heads: What the entries with their numbers must be.
    """
    recorded = defaultdict(set)
    for head in heads:
        recorded[head.count].add(head.hash)
    count, last = after.count, after.hash
    for entry in entries:
        if entry.seq != count + 1 or entry.previous_hash != last:
            raise LedgerError(_gap(Head(count, last), _before(entry)))
        count, last = entry.seq, entry.hash
        if count in recorded and recorded[count] != {last}:
            raise LedgerError(f"entry {count} is not the one that the head recorded")
        yield entry


def _before(entry: Entry) -> Head:
    return Head(entry.seq - 1, entry.previous_hash)


def _end(entry: Entry | None) -> Head:
    return Head(entry.seq, entry.hash) if entry else EMPTY


def _gap(end: Head, start: Head) -> str:
    """Why what continues `start` does not continue `end`."""
    if start.count != end.count:
        return f"entry {end.count + 1} is missing: entry {start.count + 1} stands in its place"
    return f"entry {end.count + 1} does not continue the entry before it"


def _shortfall(end: Head, head: Head) -> str | None:
    """Why a chain that ends here does not reach its head."""
    if end.count < head.count:
        return f"the chain ends at entry {end.count}, its head was at entry {head.count}"
    if head.count == 0 and head != EMPTY:
        return "the head has a hash and no entries"
    return None


def _stretch(read: Callable[[], Iterator[Entry]], heads: Sequence[Head]) -> _Stretch:
    start, last, problem = None, None, None
    try:
        entries = read()
        for first in entries:
            start = _before(first)
            for entry in _chained(chain([first], entries), after=start, heads=heads):
                last = entry
    except LedgerError as error:
        problem = str(error)
    return _Stretch(start, last and _end(last), problem)


def _stretches(reads: Sequence[Callable[[], Iterator[Entry]]], heads: Sequence[Head]) -> list[_Stretch]:
    if len(reads) == 1:
        return [_stretch(reads[0], heads)]
    with ProcessPoolExecutor(len(reads), mp_context=multiprocessing.get_context("fork")) as pool:
        return list(pool.map(_stretch, reads, repeat(heads)))


def _shares(total: int, processes: int, *, worth: int) -> list[tuple[int | None, int | None]]:
    """Where each process begins (after) and ends (until); open at both ends of the whole."""
    count = max(1, min(processes, total // worth))
    inner = [total * number // count for number in range(1, count)]
    return list(pairwise([None, *inner, None]))


def _report(
    reads: Sequence[Callable[[], Iterator[Entry]]], *, heads: Sequence[Head | HeadDocument]
) -> VerifyReport:
    """Of consecutive stretches of a chain that must reach all these heads; the first is the recorded one."""
    ends = [each.head if isinstance(each, HeadDocument) else each for each in heads]
    signed = [each for each in heads if isinstance(each, HeadDocument) and each.signature]
    end, problem = EMPTY, None
    for stretch in _stretches(reads, ends):
        if stretch.start not in (None, end):
            problem = _gap(end, stretch.start)
        else:
            end, problem = stretch.end or end, stretch.problem
        if problem is not None:
            break
    else:
        problem = next(filter(None, (_shortfall(end, each) for each in ends)), None)
    return VerifyReport(
        ok=problem is None,
        entries=end.count,
        head_hash=end.hash,
        ahead_of_head=max(0, end.count - ends[0].count),
        first_bad_seq=None if problem is None else end.count + 1,
        problem=problem,
        signed=bool(signed),
        note=_SIGNED.format(document=signed[0]) if signed else _UNSIGNED,
    )

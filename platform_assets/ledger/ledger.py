"""The ledger: an append-only, hash-chained record of everything that was decided.

What an entry is, `entry.py` says (format 1). Where entries are kept, `sqlite_store.py` and
`postgres_store.py`. How the chain is verified, `verification.py`. Here entries are appended and read.

(kind, subject, fingerprint) is the idempotency key: appending it again returns the entry that is
there. The bytes of an entry are the only truth. Everything else in the database is derived from them
and checked against them whenever it is read. The *head* (count and hash of the chain) is written after
the entry, in a transaction of its own: a killed process may leave it behind, never ahead. A chain that
has outrun its head is therefore sound, one that falls short of it was cut.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from platform_assets.ledger import checkpoint
from platform_assets.ledger.chain import chained, end_of, shortfall
from platform_assets.ledger.entry import (
    GENESIS,
    SCHEMA_VERSION,
    Entry,
    canonical,
    fingerprint_of,
    format_time,
    sha256,
)
from platform_assets.ledger.errors import LedgerConflictError, LedgerError
from platform_assets.ledger.head import EMPTY, Head, HeadDocument
from platform_assets.ledger.keys import Key
from platform_assets.ledger.sqlite_store import SqliteStore
from platform_assets.ledger.store import Session, Store, entry_of
from platform_assets.ledger.verification import VerifyReport, verify_export, verify_file, verify_store
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
            writer = self._writer(session)
            found = writer.tail.count
            yield writer
        if writer.tail.count // checkpoint.STEP > found // checkpoint.STEP:
            # The entries are durable by now. Without a checkpoint reading takes longer, and nothing else.
            with suppress(LedgerError), self._store.session(exclusive=True) as session:
                checkpoint.extend(session, self._writer(session), now=self._clock())

    def _writer(self, session: Session) -> "Writer":
        return Writer(session, principal=self._principal, clock=self._clock)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Spares every append inside what it costs to open a database first and to close it last.

        SQLite writes its log back into the file, and removes it, when the last connection closes. For a
        process that serves, appends often, and does not fork meanwhile.
        """
        with self._store.session() as session:
            session.head()
            yield

    def entries(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        fingerprint: str | None = None,
        after: int | None = None,
        until: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Entry]:
        """Entries oldest first, streamed, each checked against its hash (the chain is not).

        Args:
            kind: Only entries of this kind.
            subject: Only entries on this subject.
            fingerprint: Only entries with this fingerprint.
            after: Only entries with a greater `seq`: of those up to it, none is read.
            until: Only entries with no greater `seq`.
            newest_first: Whether to go backwards, for whoever stops at the first that will do.

        Raises:
            LedgerError: An entry is not what was written.
        """
        wanted = {"kind": kind, "subject": subject, "fingerprint": fingerprint}
        with self._store.session() as session:
            where = {column: value for column, value in wanted.items() if value is not None}
            rows = session.stream(where, after=after, until=until, newest_first=newest_first)
            yield from map(entry_of, rows)

    def latest(self, kind: str, subject: str) -> Entry | None:
        """The newest entry of this kind and subject."""
        with self._store.session() as session:
            return _first_entry(session, {"kind": kind, "subject": subject}, newest=True)

    def find(self, kind: str, subject: str, fingerprint: str) -> Entry | None:
        """The entry with this idempotency key."""
        with self._store.session() as session:
            return _first_entry(session, {"kind": kind, "subject": subject, "fingerprint": fingerprint})

    def at(self, seq: int) -> Entry | None:
        """The entry with this number, counted from 1."""
        with self._store.session() as session:
            row = session.at(seq)
            return None if row is None else entry_of(row)

    def tail(self) -> Head:
        """The end of the chain as it is now; the recorded head may lag behind it."""
        with self._store.session() as session:
            return end_of(_first_entry(session, {}, newest=True))

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
        for last in chained(self.entries(), after=EMPTY, heads=[head]):
            yield last
        if problem := shortfall(end_of(last), head):
            raise LedgerError(problem)

    def established(self, keys: Collection[Key]) -> dict[Key, Entry]:
        """The entry that answers each key, where one does: what a decision may rely on.

        By the newest checkpoint and what came after it, if nothing raises a doubt (see `checkpoint.py`);
        otherwise picked from the very entries that a replay of the whole chain has verified.

        Raises:
            LedgerError: As `replay`.
        """
        with suppress(LedgerError), self._store.session() as session:
            session.keep_still()
            return checkpoint.answers(session, keys, now=self._clock())
        found: dict[Key, Entry] = {}
        for entry in self.replay():
            checkpoint.note_answers(found, entry, keys)
        return found

    def renew_checkpoint(self, *, only_if_needed: bool = False) -> Entry | None:
        """Reads the whole chain from its first entry, and vouches for it with a new checkpoint.

        None where the chain is so short that every decision reads it whole, or where others have appended
        checkpoints meanwhile, again and again.

        Args:
            only_if_needed: Only where there is none that counts.

        Raises:
            LedgerError: The chain is damaged.
        """
        with self._store.session() as session:
            session.keep_still()
            if end_of(_first_entry(session, {}, newest=True)).count < checkpoint.STEP:
                return None
            if only_if_needed and checkpoint.is_usable(session, self._clock()):
                return None
        return checkpoint.renew(self._store, self._writer, clock=self._clock)

    def verify(self, anchor: HeadDocument | None = None, *, processes: int = 1) -> VerifyReport:
        """Whether the whole chain holds, its derived columns agree, it reaches its heads, and its checkpoint is true.

        Where it is not so, the checkpoint counts no more.

        Args:
            anchor: A head that was kept elsewhere, to be reached besides the recorded one.
            processes: How many may share the work on a long chain. They are forked, so ask for more
                than one only where no other thread runs.

        Raises:
            LedgerError: There is no database, or no head in it, to verify against.
        """
        report = verify_store(self._store, anchor, processes=processes)
        if not report.ok:
            # Whoever asks from now on has the whole chain read, and is refused what it refuses.
            with suppress(LedgerError), self._store.session() as session:
                session.clear_nodes()
        return report

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


class Writer:
    """Appends while its holder has the ledger to itself. Comes from `Ledger.exclusive`."""

    def __init__(self, session: Session, *, principal: str, clock: Callable[[], datetime]) -> None:
        self._session = session
        self._principal = principal
        self._clock = clock
        self.tail = self._checked_tail()
        """The end of the chain, with what was appended here."""

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
            "seq": self.tail.count + 1,
            "previous_hash": self.tail.hash,
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
        self.tail = Head(entry.seq, entry.hash)
        return entry

    def _checked_tail(self) -> Head:
        """The chain's end, which must not fall short of the head: nothing is built on a stump."""
        head = self._session.head()
        last = _first_entry(self._session, {}, newest=True)
        tail = end_of(last)
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
        from platform_assets.ledger.postgres_store import PostgresStore
    except ModuleNotFoundError as missing:
        raise LedgerError("a ledger in Postgres needs psycopg2: install the extra `cluster`") from missing
    return PostgresStore.open(location)


def _first_entry(session: Session, where: Mapping[str, str], *, newest: bool = False) -> Entry | None:
    row = session.first(where, newest=newest)
    return None if row is None else entry_of(row)

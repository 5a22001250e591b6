"""The ledger: an append-only, hash-chained record of everything that was decided (format 1).

An entry is one RFC 8785 (canonical JSON) object, kept verbatim:

    {"body": {…}, "fingerprint": str, "kind": str, "previous_hash": hex, "principal": str,
     "schema_version": 1, "seq": N, "subject": str, "time": "2026-11-22T15:00:00.123456Z"}

`seq` counts from 1. `previous_hash` is the SHA-256 of the previous entry's bytes, 64 zeros for the
first, so the hash of the last entry vouches for all before it. (kind, subject, fingerprint) is the
idempotency key: appending it again returns the entry that is there.

The bytes are the only truth. Everything else in the database is derived from them and checked
against them whenever it is read. The *head* (count and hash of the chain) is written after the
entry, in a transaction of its own: a killed process may leave it behind, never ahead. A chain that
has outrun its head is therefore sound, one that falls short of it was cut.
"""

import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import rfc8785

from platform_assets.governance.errors import LedgerConflictError, LedgerError

SCHEMA_VERSION = 1
GENESIS = "0" * 64
"""The previous hash of the first entry."""

_FIELDS: dict[str, type] = {
    "schema_version": int,
    "seq": int,
    "previous_hash": str,
    "time": str,
    "kind": str,
    "subject": str,
    "fingerprint": str,
    "principal": str,
    "body": dict,
}
_LARGEST_EXACT_INTEGER = 2**53 - 1

_UNSIGNED = (
    "Unsigned: this shows that entries were not altered, removed or reordered one by one. It does not "
    "protect against somebody who rewrites the whole chain and its head; keep a head elsewhere for that."
)


@dataclass(frozen=True)
class Head:
    """How long a chain is, and the hash of its last entry. Kept elsewhere, it anchors the chain."""

    count: int
    hash: str


EMPTY = Head(0, GENESIS)


@dataclass(frozen=True)
class Entry:
    """One entry. Every field is parsed from `raw`, the verbatim bytes."""

    seq: int
    hash: str
    """SHA-256 of `raw`, hexadecimal."""
    previous_hash: str
    time: datetime
    """UTC, microseconds."""
    kind: str
    subject: str
    fingerprint: str
    principal: str
    body: dict[str, Any]
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The entry that these bytes are.

        Raises:
            LedgerError: They are not exactly one entry of format 1 in canonical form.
        """
        try:
            document = json.loads(raw.decode(), parse_int=_parse_integer)
            is_canonical = rfc8785.dumps(document) == raw
        except (ValueError, RecursionError) as error:
            raise LedgerError(f"not canonical JSON ({error})") from error
        if not is_canonical:
            raise LedgerError("not canonical JSON")
        if not isinstance(document, dict) or {k: type(v) for k, v in document.items()} != _FIELDS:
            raise LedgerError("not the fields of a ledger entry")
        if document.pop("schema_version") != SCHEMA_VERSION:
            raise LedgerError(f"not of schema version {SCHEMA_VERSION}: a newer program may have written it")
        try:
            time = datetime.fromisoformat(document["time"])
        except ValueError:
            time = None
        if time is None or _format_time(time) != document["time"]:
            raise LedgerError(f"time {document['time']!r} is not written as 2026-11-22T15:00:00.123456Z")
        return cls(**document | {"time": time}, hash=_sha256(raw), raw=raw)


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
    note: str = _UNSIGNED


def canonical(value: object, name: str) -> bytes:
    """RFC 8785 bytes of `value`, which `name` stands for in messages.

    Raises:
        LedgerError: JSON cannot hold it exactly; the message names the path to the culprit.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # judging arbitrary values is its task
    except ValueError as error:
        raise LedgerError(f"{_path_to_culprit(value, name)} cannot be recorded: {error}") from error


def fingerprint_of(**parts: object) -> str:
    """SHA-256 over the canonical form of the named parts."""
    return _sha256(canonical(parts, "fingerprint"))


class Ledger:
    """The ledger in a SQLite file, shared by any number of threads and processes of one machine.

    Holds no connection: each call opens its own, so an instance may be shared among threads and
    survive a fork.

    Example:
        >>> import tempfile
        >>> ledger = Ledger.open(Path(tempfile.mkdtemp()) / "ledger.db", principal="ada")
        >>> entry = ledger.append("note", "line", fingerprint="1", body={"text": "hello"})
        >>> ledger.latest("note", "line") == entry, ledger.verify().ok
        (True, True)
    """

    def __init__(self, store: "SqliteStore", *, principal: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._principal = principal
        self._clock = clock

    @classmethod
    def open(
        cls, path: Path, *, principal: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> Self:
        """The ledger at `path`, created where there is none.

        Args:
            path: A file on a local disk: SQLite's write-ahead log needs shared memory.
            principal: Who appends, as every entry will say.
            clock: Gives the current time with its time zone.

        Raises:
            LedgerError: The file is something else.
        """
        return cls(SqliteStore.open(path), principal=principal, clock=clock)

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

    def entries(self, *, kind: str | None = None, subject: str | None = None) -> Iterator[Entry]:
        """Entries oldest first, streamed, each checked against its hash (the chain is not).

        Raises:
            LedgerError: An entry is not what was written.
        """
        with self._store.session() as session:
            yield from map(_entry_of, session.rows(kind=kind, subject=subject))

    def latest(self, kind: str, subject: str) -> Entry | None:
        """The newest entry of this kind and subject."""
        with self._store.session() as session:
            return session.first(newest_first=True, kind=kind, subject=subject)

    def get(self, entry_hash: str) -> Entry | None:
        """The entry with this hash."""
        with self._store.session() as session:
            return session.first(hash=entry_hash)

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
        yield from _chained(self.entries(), head=head)

    def verify(self) -> VerifyReport:
        """Whether the whole chain holds, its derived columns agree, and it reaches its head.

        Raises:
            LedgerError: There is no database, or no head in it, to verify against.
        """
        head = self.head()  # first, as in `replay`
        return _report(self.entries(), head=head)

    def export(self, stream: IO[bytes]) -> Head:
        """Writes the verbatim entries as JSON Lines, and tells where they end.

        The export carries no head of its own: whoever verifies it against the one returned here
        also notices a missing tail. Nothing is verified, so a damaged ledger can be exported as well.
        """
        end = EMPTY
        with self._store.session() as session:
            for row in session.rows():
                stream.write(row.raw + b"\n")
                end = Head(end.count + 1, _sha256(row.raw))
        return end


def verify_export(stream: Iterable[bytes], head: Head | None = None) -> VerifyReport:
    """Verifies exported JSON Lines offline.

    Args:
        stream: The lines with their line ends, e.g. a file opened as binary.
        head: What `Ledger.export` returned; without it, a missing tail goes unnoticed.
    """
    return _report(
        (_entry_of_line(line, number) for number, line in enumerate(stream, 1)), head=head or EMPTY
    )


class Writer:
    """Appends while its holder has the ledger to itself. Comes from `Ledger.exclusive`."""

    def __init__(self, session: "_Session", *, principal: str, clock: Callable[[], datetime]) -> None:
        self._session = session
        self._principal = principal
        self._clock = clock
        self._tail = self._checked_tail()

    def append(self, kind: str, subject: str, *, fingerprint: str, body: Mapping[str, object]) -> Entry:
        """As `Ledger.append`, within the block."""
        known = self._session.first(kind=kind, subject=subject, fingerprint=fingerprint)
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
            "time": _format_time(self._clock()),
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
        self._session.insert(entry)
        self._tail = Head(entry.seq, entry.hash)
        return entry

    def _checked_tail(self) -> Head:
        """The chain's end, which must not fall short of the head: nothing is built on a stump."""
        head = self._session.head()
        last = self._session.first(newest_first=True)
        tail = Head(last.seq, last.hash) if last else EMPTY
        if tail.count < head.count or (tail.count == head.count and tail != head):
            raise LedgerError(
                f"the chain ends at entry {tail.count}, which is not the head that was recorded at entry "
                f"{head.count}: nothing is appended to a damaged ledger; restore it from a copy"
            )
        return tail


# --- Verification ----------------------------------------------------------------------------------


def _chained(entries: Iterable[Entry], *, head: Head) -> Iterator[Entry]:
    """The entries, as long as each follows from the one before; raises LedgerError where one does not."""
    end = EMPTY
    for entry in entries:
        if entry.seq != end.count + 1:
            raise LedgerError(f"entry {end.count + 1} is missing: entry {entry.seq} stands in its place")
        if entry.previous_hash != end.hash:
            raise LedgerError(f"entry {entry.seq} does not continue the entry before it")
        end = Head(entry.seq, entry.hash)
        if end.count == head.count and end != head:
            raise LedgerError(f"entry {end.count} is not the one that the head recorded")
        yield entry
    if end.count < head.count:
        raise LedgerError(f"the chain ends at entry {end.count}, its head was at entry {head.count}")


def _report(entries: Iterable[Entry], *, head: Head) -> VerifyReport:
    end, problem = EMPTY, None
    try:
        for entry in _chained(entries, head=head):
            end = Head(entry.seq, entry.hash)
    except LedgerError as error:
        problem = str(error)
    return VerifyReport(
        ok=problem is None,
        entries=end.count,
        head_hash=end.hash,
        ahead_of_head=max(0, end.count - head.count),
        first_bad_seq=None if problem is None else end.count + 1,
        problem=problem,
    )


def _entry_of(row: "_Row") -> Entry:
    """The entry of a row whose derived columns agree with its bytes."""
    try:
        entry = Entry.parse(row.raw)
    except LedgerError as error:
        raise LedgerError(f"entry {row.seq} was altered: {error}") from error
    for column in ("seq", "hash", "kind", "subject", "fingerprint"):
        if getattr(row, column) != getattr(entry, column):
            raise LedgerError(f"entry {row.seq} was altered: its column {column} does not match its bytes")
    return entry


def _entry_of_line(line: bytes, number: int) -> Entry:
    if not line.endswith(b"\n"):
        raise LedgerError(f"line {number} is incomplete")
    try:
        return Entry.parse(line.removesuffix(b"\n"))
    except LedgerError as error:
        raise LedgerError(f"line {number} was altered: {error}") from error


# --- Bytes -----------------------------------------------------------------------------------------


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _format_time(time: datetime) -> str:
    if time.tzinfo is None:
        raise LedgerError(f"time {time} has no time zone")
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parse_integer(digits: str) -> int | float:
    """RFC 8785 writes the float 1e20 as an integer; no int beyond 2^53 − 1 was ever written."""
    integer = int(digits)
    return integer if abs(integer) <= _LARGEST_EXACT_INTEGER else float(digits)


def _path_to_culprit(value: object, path: str) -> str:
    children: Iterable[tuple[object, str]] = ()
    if isinstance(value, dict):
        children = ((child, f"{path}.{key}") for key, child in value.items())
    elif isinstance(value, list | tuple):
        children = ((child, f"{path}[{index}]") for index, child in enumerate(value))
    for child, child_path in children:
        try:
            rfc8785.dumps(child)  # type: ignore[arg-type]
        except ValueError:
            return _path_to_culprit(child, child_path)
    return path


# --- SQLite ----------------------------------------------------------------------------------------
# All that knows SQL. Another store (Postgres) offers the same `session`, whose exclusive form waits
# its turn, commits as one, and raises the head afterwards.

_APPLICATION_ID = 0x50414C31  # "PAL1", in the file's header: whose file this is
_BUSY_TIMEOUT_SECONDS = 60.0

# REPLACE deletes without firing a DELETE trigger, hence the one on INSERT.
_SCHEMA = """
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    raw BLOB NOT NULL,
    UNIQUE (fingerprint, subject, kind)
) STRICT;
CREATE INDEX entries_of_subject ON entries (subject, kind);
CREATE TRIGGER entries_only_at_the_end BEFORE INSERT ON entries
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM entries)
  OR EXISTS (SELECT 1 FROM entries WHERE hash = NEW.hash
             OR (kind, subject, fingerprint) = (NEW.kind, NEW.subject, NEW.fingerprint))
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_never_updated BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_never_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TABLE head (count INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;
INSERT INTO head VALUES (0, hex(zeroblob(32)));
COMMIT;
"""

_RAISE_HEAD = """
UPDATE head SET (count, hash) = (SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1)
WHERE count < (SELECT max(seq) FROM entries)
"""


class _Row(NamedTuple):
    seq: int
    hash: str
    kind: str
    subject: str
    fingerprint: str
    raw: bytes


class SqliteStore:
    """Keeps entries in a SQLite file: write-ahead log, every commit flushed to disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store at `path`, created where there is none, by however many processes at once."""
        path = path.absolute()
        if not path.exists():
            _create(path)
        store = cls(path)
        with store.session() as session:
            session.check_format()
        return store

    @contextmanager
    def session(self, *, exclusive: bool = False) -> Iterator["_Session"]:
        """A connection. An exclusive one waits for its turn to write, and raises the head when done.

        Raises:
            LedgerError: SQLite failed; nothing was committed.
        """
        try:
            with closing(
                sqlite3.connect(
                    f"{self._path.as_uri()}?mode=rw",  # a ledger that vanished must not come back empty
                    uri=True,
                    timeout=_BUSY_TIMEOUT_SECONDS,
                    isolation_level=None,
                    check_same_thread=False,  # an iterator may be finished by another thread
                )
            ) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                if not exclusive:
                    yield _Session(connection)
                    return
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    yield _Session(connection)
                # The entries are durable by now. If this fails the head lags, and the next writer raises it.
                with suppress(sqlite3.OperationalError):
                    connection.execute(_RAISE_HEAD)
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self._path}: {error}") from error


class _Session:
    """What the ledger asks of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def check_format(self) -> None:
        """Raises LedgerError where the file is not a ledger of this format."""
        if self._connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
            raise LedgerError("the file is a SQLite database, but no ledger: choose another path")

    def rows(self, *, newest_first: bool = False, limit: int = -1, **columns: str | None) -> Iterator[_Row]:
        """Rows whose columns have the given values, in the order of the chain, streamed."""
        given = {column: value for column, value in columns.items() if value is not None}
        where = " AND ".join(f"{column} = :{column}" for column in given) or "TRUE"
        order = "DESC" if newest_first else "ASC"
        query = (
            f"SELECT {', '.join(_Row._fields)} FROM entries WHERE {where} "  # noqa: S608  # names from this file
            f"ORDER BY seq {order} LIMIT {limit}"
        )
        return map(_Row._make, self._connection.execute(query, given))

    def first(self, *, newest_first: bool = False, **columns: str) -> Entry | None:
        """The entry of the first such row, checked."""
        # A list, because a statement left unfinished would hold its snapshot open.
        found = list(self.rows(newest_first=newest_first, limit=1, **columns))
        return _entry_of(found[0]) if found else None

    def head(self) -> Head:
        """The recorded head."""
        heads = self._connection.execute("SELECT count, hash FROM head").fetchall()
        if len(heads) != 1:
            raise LedgerError(f"the ledger has {len(heads)} heads instead of one: it was tampered with")
        return Head(*heads[0])

    def insert(self, entry: Entry) -> None:
        """Adds one row; an exclusive session commits it."""
        self._connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
            (entry.seq, entry.hash, entry.kind, entry.subject, entry.fingerprint, entry.raw),
        )


def _create(path: Path) -> None:
    """Makes an empty ledger aside and links it into place: nobody ever sees half a schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        draft = Path(folder) / "draft"
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        with suppress(FileExistsError):  # another process was faster; its ledger is the ledger
            os.link(draft, path)

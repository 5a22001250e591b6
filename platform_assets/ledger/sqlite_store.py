"""Entries in a SQLite file: write-ahead log, every commit flushed to disk.

Shared by any number of threads and processes of one machine. The triggers stop accidents with SQL;
what they cannot stop, verification finds.
"""

import fcntl
import glob
import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import Head
from platform_assets.ledger.store import Row, select
from resources.sqlite_files import read_only_uri

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

# What came after the first version of the schema; older programs leave it alone.
_ADDITIONS = """
CREATE INDEX IF NOT EXISTS entries_of_kind ON entries (kind);
CREATE TABLE IF NOT EXISTS checkpoint_nodes (number INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
"""

# NORMAL: the log is written and not flushed. A power cut may cost the head, never the entries before it.
_RAISE_HEAD = """
PRAGMA synchronous = NORMAL;
UPDATE head SET (count, hash) = (SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1)
WHERE count < (SELECT max(seq) FROM entries);
"""


class SqliteStore:
    """A `Store` in a file. It holds no connection: each session opens its own."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Looks at nothing yet.

        Args:
            path: Of the file.
            read_only: Whether sessions leave not even the traces that reading leaves.
        """
        self._path = path
        self._read_only = read_only

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store at `path`, created where there is none, by however many processes at once."""
        path = path.absolute()
        if not path.exists():
            _create(path)
        store = cls(path)
        with store.session() as session:
            session.check_format()
            has_additions = session.has_additions()
        # Without them, as where the file is read-only, a ledger is slower and no less right.
        if not has_additions:
            with suppress(LedgerError), store.session() as session:
                session.add_what_is_new()
        return store

    @contextmanager
    def session(self, *, exclusive: bool = False) -> Iterator["_Session"]:
        """As `Store.session`."""
        try:
            with closing(
                sqlite3.connect(
                    self._uri(),
                    uri=True,
                    timeout=_BUSY_TIMEOUT_SECONDS,
                    isolation_level=None,
                    check_same_thread=False,  # an iterator may be finished by another thread
                )
            ) as connection:
                if not self._read_only:
                    connection.execute("PRAGMA synchronous = FULL")
                if not exclusive:
                    yield _Session(connection)
                    return
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    yield _Session(connection)
                # The entries are durable by now. If this fails the head lags, and the next writer raises it.
                with suppress(sqlite3.OperationalError):
                    connection.executescript(_RAISE_HEAD)
        except sqlite3.Error as error:
            raise LedgerError(f"ledger {self._path}: {error}") from error

    def _uri(self) -> str:
        # A ledger that vanished must not come back empty.
        return read_only_uri(self._path) if self._read_only else f"{self._path.as_uri()}?mode=rw"


class _Session:
    """A `Session` on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def check_format(self) -> None:
        """Raises LedgerError where the file is not a ledger of this format."""
        if self._connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION_ID,):
            raise LedgerError("the file is a SQLite database, but no ledger: choose another path")

    def has_additions(self) -> bool:
        """Whether the file has all that a ledger has today."""
        names = "('entries_of_kind', 'checkpoint_nodes')"
        (found,) = self._connection.execute(
            f"SELECT count(*) FROM sqlite_master WHERE name IN {names}"  # noqa: S608  # a constant
        ).fetchone()
        return bool(found == 2)  # noqa: PLR2004

    def add_what_is_new(self) -> None:
        """Adds what is missing, in a transaction of its own."""
        self._connection.executescript(f"BEGIN IMMEDIATE; {_ADDITIONS} COMMIT;")

    def keep_still(self) -> None:
        self._connection.execute("BEGIN")

    def stream(
        self,
        where: Mapping[str, str],
        *,
        after: int | None = None,
        until: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Row]:
        return self._connection.execute(
            *select("entries", "?", where, after=after, until=until, newest_first=newest_first)
        )

    def at(self, seq: int) -> Row | None:
        return self._row(*select("entries", "?", {}, after=seq - 1, until=seq))

    def first(self, where: Mapping[str, str], *, newest: bool = False) -> Row | None:
        query, parameters = select("entries", "?", where, newest_first=newest)
        return self._row(f"{query} LIMIT 1", parameters)

    def _row(self, query: str, parameters: Sequence[object]) -> Row | None:
        # All of it, because a statement left unfinished would hold its snapshot open.
        found: list[Row] = self._connection.execute(query, parameters).fetchall()
        return found[0] if found else None

    def head(self) -> Head:
        heads = self._connection.execute("SELECT count, hash FROM head").fetchall()
        if len(heads) != 1:
            raise LedgerError(f"the ledger has {len(heads)} heads instead of one: it was tampered with")
        return Head(*heads[0])

    def insert(self, row: Row) -> None:
        self._connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)

    def nodes(self, numbers: Collection[int]) -> dict[int, bytes]:
        query = (
            "SELECT number, content FROM checkpoint_nodes WHERE number IN (SELECT value FROM json_each(?))"
        )
        return dict(self._connection.execute(query, [json.dumps(list(numbers))]).fetchall())

    def all_nodes(self) -> Iterator[tuple[int, bytes]]:
        return self._connection.execute("SELECT number, content FROM checkpoint_nodes ORDER BY number")

    def put_nodes(self, nodes: Iterable[tuple[int, bytes]]) -> None:
        self._connection.executemany("REPLACE INTO checkpoint_nodes VALUES (?, ?)", nodes)

    def clear_nodes(self) -> None:
        self._connection.execute("DELETE FROM checkpoint_nodes")


def _create(path: Path) -> None:
    """Makes an empty ledger aside and renames it: nobody ever sees half a schema.

    A lock on the folder lets one process at a time do so. Whatever a killed one left behind, the next
    one clears away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return
        for leftover in path.parent.glob(f"{glob.escape(draft.name)}*"):
            leftover.unlink()
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            connection.executescript(_ADDITIONS)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        draft.rename(path)
        os.fsync(folder)
    finally:
        os.close(folder)

"""Entries in a Postgres database, one ledger each, in a schema of its own.

Shared by any number of threads and processes on any number of machines. The triggers stop accidents
with SQL; what they cannot stop, verification finds. A role that appends needs USAGE on the schema,
SELECT and INSERT on `entries`, SELECT and UPDATE on `head`, and all but TRUNCATE on `checkpoint_nodes`, without
which it makes no checkpoints; one that reads needs SELECT. What a ledger of an older program lacks is added
when its owner opens it.

The password is taken from `PGPASSWORD`, `PGPASSFILE` or the address; no message shows it.
"""

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class
from psycopg2.extras import execute_values

from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.head import Head
from platform_assets.ledger.store import Row, select
from resources.postgres import ADDRESS_ADVICE, address_of

_FORMAT = "platform-assets ledger, format 1"  # comment on the schema: whose schema this is
_TURN = 0x50414C31  # "PAL1": the advisory lock of whoever writes or creates
_ENTRIES = "platform_ledger.entries"
_ROWS_A_FETCH = 500

# ENABLE ALWAYS: a session that poses as a replica would skip ordinary triggers.
# Every text is compared byte by byte, and stored as it is: the database's encoding is UTF-8.
_SCHEMA = """
CREATE SCHEMA platform_ledger;
CREATE TABLE platform_ledger.entries (
    seq BIGINT PRIMARY KEY,
    hash TEXT COLLATE "C" NOT NULL UNIQUE,
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    raw TEXT COLLATE "C" NOT NULL,
    UNIQUE (fingerprint, subject, kind)
);
CREATE INDEX entries_of_subject ON platform_ledger.entries (subject, kind, seq);
CREATE FUNCTION platform_ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE FUNCTION platform_ledger.only_at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM platform_ledger.entries) THEN
        RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_at_the_end BEFORE INSERT ON platform_ledger.entries
FOR EACH ROW EXECUTE FUNCTION platform_ledger.only_at_the_end();
CREATE TRIGGER never_altered BEFORE UPDATE OR DELETE ON platform_ledger.entries
FOR EACH ROW EXECUTE FUNCTION platform_ledger.refuse();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON platform_ledger.entries
FOR EACH STATEMENT EXECUTE FUNCTION platform_ledger.refuse();
ALTER TABLE platform_ledger.entries ENABLE ALWAYS TRIGGER only_at_the_end;
ALTER TABLE platform_ledger.entries ENABLE ALWAYS TRIGGER never_altered;
ALTER TABLE platform_ledger.entries ENABLE ALWAYS TRIGGER never_emptied;
CREATE TABLE platform_ledger.head (count BIGINT NOT NULL, hash TEXT COLLATE "C" NOT NULL);
INSERT INTO platform_ledger.head VALUES (0, repeat('0', 64));
"""

# What came after the first version of the schema; older programs leave it alone.
_ADDITIONS = """
CREATE INDEX IF NOT EXISTS entries_of_kind ON platform_ledger.entries (kind, seq);
CREATE TABLE IF NOT EXISTS platform_ledger.checkpoint_nodes (number INTEGER PRIMARY KEY, content BYTEA NOT NULL);
"""
_FIND_ADDITIONS = """
SELECT count(*) FROM pg_class WHERE relnamespace = 'platform_ledger'::regnamespace
AND relname IN ('entries_of_kind', 'checkpoint_nodes')
"""

_TAKE_TURN = f"""
SET LOCAL synchronous_commit = on;
SET LOCAL lock_timeout = '60s';
SELECT pg_advisory_xact_lock({_TURN});
"""

# Not waiting for the disk may cost the head in a crash, never the entries before it. Of two processes at
# once, the second waits for the row and compares again: the head never falls.
_RAISE_HEAD = """
SET LOCAL synchronous_commit = off;
UPDATE platform_ledger.head
SET (count, hash) = (SELECT seq, hash FROM platform_ledger.entries ORDER BY seq DESC LIMIT 1)
WHERE count < (SELECT max(seq) FROM platform_ledger.entries)
"""

# The table and not to_regnamespace(), whose cache may not know yet what another process has just created.
_FIND_FORMAT = """
SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'platform_ledger'
"""


class PostgresStore:
    """A `Store` in a database. It keeps connections for their next use by the same process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = _name_of(url)
        self._idle: deque[tuple[int, Connection]] = deque()

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._url,)

    @classmethod
    def open(cls, url: str) -> Self:
        """The store in the database at `url`, created where there is none, by however many processes at once."""
        store = cls(url)
        with store.session() as session:
            exists = session.check_format()
        if not exists:
            with store.session(exclusive=True) as session:
                if not session.check_format():
                    session.create()
        with store.session() as session:
            has_additions = session.has_additions()
        # Without them, as where the role may create nothing, a ledger is slower and no less right.
        if not has_additions:
            with suppress(LedgerError), store.session() as session:
                session.add_what_is_new()
        return store

    @contextmanager
    def session(self, *, exclusive: bool = False) -> Iterator["_Session"]:
        """As `Store.session`."""
        process = os.getpid()
        try:
            connection = self._connection()
            try:
                session = _Session(connection)
                if exclusive:
                    session.execute(_TAKE_TURN)
                yield session
                connection.commit()
                if exclusive:
                    # The entries are durable by now. If this fails the head lags, and the next writer raises it.
                    with suppress(psycopg2.OperationalError):
                        session.execute(_RAISE_HEAD)
                        connection.commit()
            finally:
                if process == os.getpid():  # a forked child must not speak on its parent's connection
                    with suppress(psycopg2.Error):
                        connection.rollback()
                        self._idle.append((process, connection))
        except psycopg2.Error as error:
            raise LedgerError(f"ledger {self._name}: {str(error).strip()}") from error

    def _connection(self) -> Connection:
        """One that was used before and still answers, or a new one."""
        with suppress(IndexError):
            while True:
                process, connection = self._idle.pop()
                with suppress(psycopg2.Error):
                    if process == os.getpid():
                        _Session(connection).execute("SELECT 1")
                        return connection
        connection = psycopg2.connect(self._url)
        # Whatever the server's defaults: each statement sees what was committed when the turn came.
        connection.set_session(isolation_level="READ COMMITTED", readonly=False)
        connection.set_client_encoding("UTF8")
        return connection


class _Session:
    """A `Session` within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_format(self) -> bool:
        """Whether the database has a ledger; raises LedgerError where it has something else of that name."""
        found = self.execute(_FIND_FORMAT)
        if found not in ([], [(_FORMAT,)]):
            raise LedgerError(
                "the database has a schema platform_ledger that is no ledger of format 1: choose another database"
            )
        return bool(found)

    def create(self) -> None:
        """Makes an empty ledger; an exclusive session commits it."""
        ((encoding,),) = self.execute("SHOW server_encoding")
        if encoding != "UTF8":
            raise LedgerError(f"the encoding of the ledger's database must be UTF8, it is {encoding}")
        self.execute(_SCHEMA + _ADDITIONS)
        self.execute("COMMENT ON SCHEMA platform_ledger IS %s", (_FORMAT,))

    def has_additions(self) -> bool:
        """Whether the schema has all that a ledger has today."""
        return self.execute(_FIND_ADDITIONS) == [(2,)]

    def add_what_is_new(self) -> None:
        """Adds what is missing; the session commits it."""
        self.execute(_TAKE_TURN)
        self.execute(_ADDITIONS)

    def keep_still(self) -> None:
        self._connection.rollback()  # asking whether a kept connection still answers has begun a transaction
        self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def stream(
        self,
        where: Mapping[str, str],
        *,
        after: int | None = None,
        until: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Row]:
        query, parameters = select(_ENTRIES, "%s", where, after=after, until=until, newest_first=newest_first)
        for seq, entry_hash, kind, subject, fingerprint, raw in self._stream("entries", query, parameters):
            yield seq, entry_hash, kind, subject, fingerprint, raw.encode()

    def _stream(self, name: str, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        # A cursor with a name stays on the server; it ends with the transaction.
        cursor = self._connection.cursor(name=name)
        cursor.itersize = _ROWS_A_FETCH
        try:
            with _text_errors():
                cursor.execute(query, parameters)
                for row in cursor:  # noqa: UP028  # `yield from` closes the cursor of an iterator that is dropped
                    yield row
        finally:
            with suppress(psycopg2.Error):  # of an iterator that outlived its transaction
                cursor.close()

    def at(self, seq: int) -> Row | None:
        return self._row(*select(_ENTRIES, "%s", {}, after=seq - 1, until=seq))

    def first(self, where: Mapping[str, str], *, newest: bool = False) -> Row | None:
        query, parameters = select(_ENTRIES, "%s", where, newest_first=newest)
        return self._row(f"{query} LIMIT 1", parameters)

    def _row(self, query: str, parameters: Sequence[object]) -> Row | None:
        for seq, entry_hash, kind, subject, fingerprint, raw in self.execute(query, parameters):
            return seq, entry_hash, kind, subject, fingerprint, raw.encode()
        return None

    def head(self) -> Head:
        heads = self.execute("SELECT count, hash FROM platform_ledger.head")
        if len(heads) != 1:
            raise LedgerError(f"the ledger has {len(heads)} heads instead of one: it was tampered with")
        return Head(*heads[0])

    def insert(self, row: Row) -> None:
        *derived, raw = row
        values = (*derived, raw.decode())
        self.execute("INSERT INTO platform_ledger.entries VALUES (%s, %s, %s, %s, %s, %s)", values)

    def nodes(self, numbers: Collection[int]) -> dict[int, bytes]:
        query = "SELECT number, content FROM platform_ledger.checkpoint_nodes WHERE number = ANY(%s)"
        return {number: bytes(content) for number, content in self.execute(query, [list(numbers)])}

    def all_nodes(self) -> Iterator[tuple[int, bytes]]:
        query = "SELECT number, content FROM platform_ledger.checkpoint_nodes ORDER BY number"
        for number, content in self._stream("nodes", query):
            yield number, bytes(content)

    def put_nodes(self, nodes: Iterable[tuple[int, bytes]]) -> None:
        with self._connection.cursor() as cursor:
            execute_values(
                cursor,
                "INSERT INTO platform_ledger.checkpoint_nodes VALUES %s "
                "ON CONFLICT (number) DO UPDATE SET content = excluded.content",
                nodes,
                page_size=_ROWS_A_FETCH,
            )

    def clear_nodes(self) -> None:
        self.execute("DELETE FROM platform_ledger.checkpoint_nodes")

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement that has few."""
        with _text_errors(), self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def _text_errors() -> Iterator[None]:
    """psycopg2 raises ValueError for a text that Postgres cannot hold (NUL), and for a stored one that is garbled."""
    try:
        yield
    except ValueError as error:
        raise LedgerError(f"not a text for Postgres: {error}") from error


def _name_of(url: str) -> str:
    """The address for messages, without user and password.

    Raises:
        LedgerError: It has no such form that is safe to show.
    """
    address = address_of(url)
    if address is None:
        raise LedgerError(f"the ledger's address {ADDRESS_ADVICE}")
    return address

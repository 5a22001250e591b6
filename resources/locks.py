"""Locks by name: of all processes that could spoil each other's work, one acts at a time.

| adapter | whom it holds apart | what ends a lock whose holder dies |
|---|---|---|
| `FileLocks` | processes of one machine | the kernel, at once |
| `PostgresLocks` | whoever reaches the database | the server, at once, or within a minute where the machine is gone |

A lock is not re-entrant: whoever holds it and asks for it again waits like anybody else.
"""

import hashlib
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from resources.errors import ResourceError
from resources.postgres import ADDRESS_ADVICE, address_of, is_postgres

_CONNECT_TIMEOUT_SECONDS = 15.0
# Short: nobody queues for a file, and a process that takes it again and again lets it go for milliseconds only.
_POLL_SECONDS = 0.005
# On both ends: either notices within a minute that the other's machine is gone.
_CLIENT_OPTIONS = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_SERVER_OPTIONS = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
    # A holder is silent for as long as its work takes.
    "idle_session_timeout": "0",
    "statement_timeout": "0",
}
# By way of pg_settings, since not every server knows every option.
_SET_OPTIONS = """
SELECT set_config(name, wanted, false)
FROM pg_settings JOIN unnest(%s::text[], %s::text[]) AS given (name, wanted) USING (name)
"""
# pg_locks shows a key of 64 bits as two halves.
_HOLDERS = """
SELECT pid, coalesce(nullif(application_name, ''), 'another client'), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND (classid::bigint << 32 | objid::bigint) = %s
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class LockError(ResourceError):
    """A lock cannot be asked for."""


class LockTimeoutError(LockError):
    """Somebody else held a lock for longer than the caller would wait."""


class LockLostError(LockError):
    """A lock ended before its holder did, so somebody else may have acted at the same time."""

    passes = True


class Held(Protocol):
    """A lock while it is held."""

    def check(self) -> None:
        """Ask before what cannot be taken back: raises LockLostError where the lock is no longer held."""
        ...


class Locks(Protocol):
    """The contract of all locks."""

    def hold(self, name: str, *, timeout_seconds: float | None = None) -> AbstractContextManager[Held]:
        """The lock of this name, from entering to leaving. Locks of other names are other locks.

        Args:
            name: Letters, digits, `-` and `_`.
            timeout_seconds: How long to wait for it; 0 tries once, None waits for as long as it takes.

        Raises:
            LockTimeoutError: On entering, where somebody else held it all the time.
            LockLostError: On leaving, where it was lost in between.
        """
        ...


class FileLocks:
    """Locks between processes of this machine: one file each in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str, *, timeout_seconds: float | None = None) -> Iterator[Held]:
        """See `Locks.hold`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{name}.lock"
        timeout = -1 if timeout_seconds is None else timeout_seconds
        lock = FileLock(file, timeout=timeout, poll_interval=_POLL_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise LockTimeoutError(
                f"lock {name}: not free within {timeout_seconds:g} s; a process of this machine holds {file} "
                f"(`fuser {file}` tells which): wait for it to end, or end it"
            ) from None
        try:
            yield _HeldFile()
        finally:
            lock.release()


class _HeldFile:
    def check(self) -> None:
        """The kernel takes such a lock from nobody."""


class PostgresLocks:
    """Locks between all who reach one Postgres database: advisory locks, each on a connection of its own.

    They need sessions: a pooler that hands out connections by the transaction cannot stand in between.
    """

    def __init__(self, uri: str) -> None:
        """Connects to nothing yet.

        Args:
            uri: `postgresql://…`; a password is better left to PGPASSWORD or PGPASSFILE.

        Raises:
            LockError: It is something else, or psycopg2 is not installed.
        """
        if not is_postgres(uri):
            # The address itself is not told: it may hold a password.
            raise LockError(f"the address of the locks {ADDRESS_ADVICE}: correct PLATFORM_LOCKS_URI")
        if find_spec("psycopg2") is None:
            raise LockError("locks in Postgres need psycopg2: install the extra `cluster`")
        address = address_of(uri)
        if address is None:
            raise LockError(f"the address of the locks {ADDRESS_ADVICE}")
        self._uri = uri
        self._address = address

    @contextmanager
    def hold(self, name: str, *, timeout_seconds: float | None = None) -> Iterator[Held]:
        """See `Locks.hold`."""
        import psycopg2

        try:
            session = _Session(self._uri, lock=f"lock {name} in {self._address}", key=_key(name))
        except psycopg2.Error as problem:
            raise LockError(
                f"lock {name}: {self._address} cannot be asked for it ({_told(problem)}); "
                "check PLATFORM_LOCKS_URI or PLATFORM_LEDGER_URI, PGPASSWORD, and that the server runs"
            ) from problem
        # Closing ends the lock too, should anything go wrong.
        with closing(session):
            session.take(timeout_seconds)
            yield session
            session.release()


class _Session:
    """A connection to the server, and the lock that it holds.

    It is asynchronous: libpq's own waiting would keep a process from its signals, a pod from its end.
    """

    def __init__(self, uri: str, *, lock: str, key: int) -> None:
        import psycopg2

        self._lock = lock
        self._key = key
        self._connection = psycopg2.connect(
            uri, async_=True, application_name=f"{socket.gethostname()}:{os.getpid()}", **_CLIENT_OPTIONS
        )
        try:
            self._wait(time.monotonic() + _CONNECT_TIMEOUT_SECONDS)
            self._answer(_SET_OPTIONS, ([*_SERVER_OPTIONS], [*_SERVER_OPTIONS.values()]))
        except BaseException:
            self.close()
            raise

    def take(self, timeout_seconds: float | None) -> None:
        """Wait for the lock; the server lets those who wait in one after the other."""
        import psycopg2

        try:
            if timeout_seconds == 0:
                ((taken,),) = self._answer("SELECT pg_try_advisory_lock(%s)", (self._key,))
            else:
                # To the server, 0 means without end.
                limit_ms = 0 if timeout_seconds is None else max(1, round(timeout_seconds * 1000))
                self._answer("SELECT set_config('lock_timeout', %s, false)", (str(limit_ms),))
                try:
                    self._answer("SELECT pg_advisory_lock(%s)", (self._key,))
                    taken = True
                except psycopg2.errors.LockNotAvailable:
                    taken = False
            if taken:
                return
            held_by = [
                f"{who} (connected since {since})" for _, who, since in self._answer(_HOLDERS, (self._key,))
            ]
        except psycopg2.Error as problem:
            raise LockError(
                f"{self._lock}: the connection was lost while waiting for it ({_told(problem)}); run it again"
            ) from problem
        raise LockTimeoutError(
            f"{self._lock}: not free within {timeout_seconds:g} s; it is or was held by "
            f"{', '.join(held_by) or 'somebody who has just let go'}: wait for that process to end, or end it"
        )

    def check(self) -> None:
        """See `Held.check`."""
        with self._told_as_lost():
            holders = [pid for pid, *_ in self._answer(_HOLDERS, (self._key,))]
        if self._connection.info.backend_pid not in holders:
            raise self._lost("the server gives it to nobody, or to somebody else")

    def release(self) -> None:
        """Let go of the lock, and tell where it was not there any more."""
        with self._told_as_lost():
            ((released,),) = self._answer("SELECT pg_advisory_unlock(%s)", (self._key,))
        if not released:
            raise self._lost("the server does not know of it")

    def close(self) -> None:
        """End the connection, and with it the lock."""
        self._connection.close()

    @contextmanager
    def _told_as_lost(self) -> Iterator[None]:
        import psycopg2

        try:
            yield
        except psycopg2.Error as problem:
            raise self._lost(_told(problem)) from problem

    def _lost(self, reason: str) -> LockLostError:
        return LockLostError(
            f"{self._lock}: was lost while it was held ({reason}), so another process may have acted at the "
            "same time; run it again: what is done is found, what is not is done"
        )

    def _answer(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        cursor.execute(query, parameters)
        self._wait()
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def _wait(self, deadline: float | None = None) -> None:
        import psycopg2
        from psycopg2.extensions import POLL_OK, POLL_READ

        while (state := self._connection.poll()) != POLL_OK:
            # Made anew each time: while it connects, the socket may change.
            poller = select.poll()
            poller.register(self._connection, select.POLLIN if state == POLL_READ else select.POLLOUT)
            left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poller.poll(left_ms):
                raise psycopg2.OperationalError(f"no answer within {_CONNECT_TIMEOUT_SECONDS:g} s")


def _told(problem: Exception) -> str:
    """What psycopg2 says, in one line; it never repeats an address."""
    return " ".join(str(problem).split())


def _key(name: str) -> int:
    """The signed 64 bits that stand for a name; other programs' locks in the database do not meet them."""
    digest = hashlib.sha256(f"platform-assets lock {name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)

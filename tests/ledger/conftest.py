"""A ledger on a clock that a test moves, wherever it is kept; and whoever tampers with it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from platform_assets.ledger.ledger import Ledger

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self, time: datetime = NOON) -> None:
        self.time = time

    def __call__(self) -> datetime:  # noqa: D102
        return self.time

    def advance(self, **by: float) -> None:
        """Moves on by a `timedelta(**by)`."""
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """The clock of `ledger`."""
    return Clock()


on_both_stores = pytest.mark.parametrize("location", ["sqlite", "postgres"], indirect=True)
"""Marks tests, or a module of tests, that any ledger must pass wherever it is kept."""


@pytest.fixture
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where `ledger` lies: in a SQLite file, unless the test is `on_both_stores`."""
    if getattr(request, "param", "sqlite") == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(location: Path | str, clock: Clock) -> Ledger:
    """An empty ledger."""
    return Ledger.open(location, principal="ada", clock=clock)


class Tamperer:
    """A connection to the ledger's database that no trigger holds back."""

    def __init__(self, location: Path | str) -> None:
        if isinstance(location, Path):
            self.connection = sqlite3.connect(location, isolation_level=None)
            triggers = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers.fetchall():
                self.execute(f"DROP TRIGGER {name}")
        else:
            self.connection = pytest.importorskip("psycopg2").connect(location)
            self.connection.autocommit = True
            self.execute("SET search_path = platform_ledger; ALTER TABLE entries DISABLE TRIGGER ALL")

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> None:
        """Runs it. Parameters stand as `?`; bytes are those of an entry."""
        if not isinstance(self.connection, sqlite3.Connection):
            statement = statement.replace("?", "%s")
            parameters = [each.decode() if isinstance(each, bytes) else each for each in parameters]
        self.connection.cursor().execute(statement, parameters)


@pytest.fixture
def tamper(ledger: Ledger, location: Path | str) -> Iterator[Tamperer]:
    """Alters what nobody may alter."""
    tamperer = Tamperer(location)
    with closing(tamperer.connection):
        yield tamperer

"""What is particular to a ledger in a SQLite file."""

import sqlite3
from contextlib import closing

import pytest

from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import Ledger


@pytest.fixture
def three(ledger):
    """Three entries."""
    return [ledger.append("note", "line", fingerprint=str(number), body={}) for number in range(3)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET raw = x'00' WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 2",
        "REPLACE INTO entries SELECT 2, 'h', kind, subject, fingerprint, raw FROM entries WHERE seq = 1",
        "REPLACE INTO entries SELECT 4, 'h', kind, subject, fingerprint, raw FROM entries WHERE seq = 1",
        "INSERT INTO entries SELECT 9, 'h', 'k', 's', 'f', raw FROM entries WHERE seq = 1",
    ],
)
def test_the_database_itself_only_lets_entries_be_added(ledger, three, location, statement):
    """An accident with SQL is stopped by the triggers."""
    with (
        closing(sqlite3.connect(location)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)
    assert list(ledger.entries()) == three


def test_a_file_that_is_no_ledger_is_refused(location):
    """Opening the wrong file says so, and leaves it alone."""
    with closing(sqlite3.connect(location)) as connection:
        connection.execute("CREATE TABLE entries (x)")
    with pytest.raises(LedgerError, match="no ledger"):
        Ledger.open(location, principal="ada")
    location.write_bytes(b"not a database, " * 64)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger.open(location, principal="ada")


def test_a_ledger_that_vanished_does_not_come_back_empty(ledger, three, location):
    """An open ledger never creates a new file in place of the one it lost."""
    location.unlink()
    with pytest.raises(LedgerError, match="unable to open"):
        ledger.append("note", "a", fingerprint="4", body={})
    assert not location.exists()


def test_a_ledger_that_is_kept_open_is_like_any_other(ledger, location):
    """Its log stays and nothing is written back at every append; others read and append meanwhile."""
    log = location.with_name(f"{location.name}-wal")
    with ledger.kept_open():
        mine = ledger.append("note", "line", fingerprint="1", body={})
        assert log.exists()
        theirs = Ledger.open(location, principal="grace").append("note", "line", fingerprint="2", body={})
        assert list(ledger.entries()) == [mine, theirs]
    assert not log.exists()
    assert ledger.verify().entries == 2


def test_what_a_killed_creation_left_behind_is_cleared_away(location):
    """A draft that never became the ledger does not stay, nor does it become the ledger."""
    leftovers = [location.with_name(f".{location.name}.draft{end}") for end in ("", "-wal", "-shm")]
    for leftover in leftovers:
        leftover.write_bytes(b"half of it")
    assert Ledger.open(location, principal="ada").verify().ok
    assert [each for each in leftovers if each.exists()] == []

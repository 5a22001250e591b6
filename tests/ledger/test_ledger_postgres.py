"""What is particular to a ledger in a Postgres database."""

import pickle
import sys
import traceback
from contextlib import closing

import pytest

from platform_assets.ledger.errors import LedgerError
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings, Principal

psycopg2 = pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")

COLUMNS = "hash, kind, subject, fingerprint, raw"


@pytest.fixture
def location(postgres_url):
    """Where `ledger` lies."""
    return postgres_url


@pytest.fixture
def three(ledger):
    """Three entries."""
    return [ledger.append("note", "line", fingerprint=str(number), body={}) for number in range(3)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET raw = '{}' WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 2",
        "TRUNCATE entries",
        "SET session_replication_role = replica; DELETE FROM entries WHERE seq = 2",
        "INSERT INTO entries SELECT 9, 'h', 'k', 's', 'f', raw FROM entries WHERE seq = 1",
        "INSERT INTO entries SELECT 2, 'h', 'k', 's', 'f', raw FROM entries WHERE seq = 1",
        f"INSERT INTO entries SELECT 4, {COLUMNS} FROM entries WHERE seq = 3 ON CONFLICT (hash) DO UPDATE SET raw = ''",
    ],
)
def test_the_database_itself_only_lets_entries_be_added(ledger, three, location, statement):
    """An accident with SQL is stopped by the triggers, for the superuser too."""
    with closing(psycopg2.connect(location)) as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = platform_ledger")
        with pytest.raises(psycopg2.IntegrityError, match="append-only"):
            cursor.execute(statement)
    assert list(ledger.entries()) == three


def test_both_schemes_and_the_settings_lead_to_the_ledger(ledger, three, location, tmp_path):
    """`postgres://` is the same address."""
    assert list(Ledger.open(location.replace("postgresql:", "postgres:"), principal="ada").entries()) == three
    settings = PlatformSettings(home=tmp_path, ledger_uri=location, principal=Principal(user="grace"))
    assert OutsideSystems(settings).ledger.append("note", "line", fingerprint="4", body={}).seq == 4


def test_connections_are_used_again(ledger, location):
    """One connection serves call after call, and a new one follows where the server closed it."""

    def backends():
        with closing(psycopg2.connect(location)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return {pid for (pid,) in cursor.fetchall()}

    for number in range(3):
        ledger.append("note", "line", fingerprint=str(number), body={})
    before = backends()
    assert len(before) == 1
    with closing(psycopg2.connect(location)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (*before,))
    assert ledger.append("note", "line", fingerprint="4", body={}).seq == 4
    assert backends().isdisjoint(before)


def test_a_ledger_can_be_pickled(ledger, three):
    """For a process that verifies a part of it."""
    store = pickle.loads(pickle.dumps(ledger._store))
    with store.session() as session:
        assert session.first({}, newest=True)[0] == 3


def test_a_schema_that_is_no_ledger_is_refused(location):
    """A foreign schema of the same name is left alone."""
    with closing(psycopg2.connect(location)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA platform_ledger")
        connection.commit()
    with pytest.raises(LedgerError, match="no ledger of format 1"):
        Ledger.open(location, principal="ada")


def test_a_text_that_postgres_cannot_hold_is_refused(ledger):
    """NUL is valid JSON; the refusal is ours, not a crash."""
    with pytest.raises(LedgerError, match="NUL"):
        ledger.append("note", "a\0b", fingerprint="1", body={})
    assert ledger.append("note", "line", fingerprint="1", body={"text": "a\0b"}).body == {"text": "a\0b"}


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/db",
        "postgresql://ada:s3cr%65t@nowhere.invalid/db",
        "postgresql://ada:s3cret@s3cret@127.0.0.1:1/db",
        "postgresql://ada:1/s3cret@127.0.0.1/db",
        "postgresql://ada:s3cret/1@127.0.0.1/db",
        "postgresql://ada:%s3cret@127.0.0.1/db",
        "postgresql://ada@127.0.0.1:s3cret/db",
        "postgresql://ada@127.0.0.1:1/db?passwort=s3cret",
        "mysql://ada:s3cret@127.0.0.1:1/db",
    ],
)
def test_no_message_shows_the_password(address):
    """Neither that of the error nor anything else in its traceback, right or wrong as the address may be."""
    with pytest.raises(LedgerError) as refusal:
        Ledger.open(address, principal="ada")
    told = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value)
    assert "s3cret" not in told.replace(f"{address!r}", "")


def test_no_representation_shows_the_password(location):
    """A ledger may be printed by a debugger or a log."""
    ledger = Ledger.open(location.replace("postgres:@", "postgres:s3cret@"), principal="ada")
    assert "s3cret" not in f"{ledger!r} {ledger._store!r} {ledger!s}"


def test_without_psycopg2_the_extra_is_named(monkeypatch):
    """What is missing is said in terms of this package."""
    monkeypatch.delitem(sys.modules, "platform_assets.ledger.postgres_store", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(LedgerError, match="extra `cluster`"):
        Ledger.open("postgresql://127.0.0.1/db", principal="ada")

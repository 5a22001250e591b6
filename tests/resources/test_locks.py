"""Locks: one contract, whether files or a database keep them; and what is particular to the database."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from platform_assets.outside_systems import open_locks
from resources.locks import FileLocks, LockError, LockLostError, LockTimeoutError, PostgresLocks
from resources.settings import PlatformSettings
from tests.resources.holder import opened
from tests.servers import free_ports

SECONDS = 60
"""Long enough for a busy machine; no test waits so long where the code is right."""


def process(location: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Another process that uses the same locks."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("holder.py"), location, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@contextmanager
def holder(location: str, name: str = "table"):
    """Another process that holds a lock until the block ends, or until it is killed."""
    with process(location, "hold", name) as other:
        try:
            assert other.stdout.readline() == "held\n"
            yield other
        finally:
            other.kill()


class LocksContract:
    """What all locks do."""

    @pytest.fixture
    def location(self):
        """Where the locks are kept."""
        raise NotImplementedError

    @pytest.fixture
    def locks(self, location):
        """The locks, as this process opens them."""
        return opened(location)

    def test_processes_act_one_at_a_time(self, location, tmp_path):
        """Two processes that count in one file lose no number."""
        file = tmp_path / "number"
        file.write_text("0")
        for each in [process(location, "count", "table", file, "40") for _ in range(2)]:
            with each:
                each.communicate()
                assert each.returncode == 0
        assert file.read_text() == "80"

    def test_who_will_not_wait_is_told(self, location, locks):
        """A taken lock is an error at once, or after the given time; the error names the lock and the time."""
        with holder(location):
            for seconds in (0, 0.2):
                with (
                    pytest.raises(
                        LockTimeoutError, match=rf"lock table.*not free within {seconds:g} s.*wait"
                    ),
                    locks.hold("table", timeout_seconds=seconds),
                ):
                    pytest.fail("it was taken")

    @pytest.mark.parametrize("seconds", [SECONDS, None])
    def test_who_waits_comes_next(self, location, locks, seconds):
        """A lock that is let go while somebody waits for it is theirs."""
        with holder(location) as other:
            letting_go = threading.Timer(0.3, other.stdin.close)
            letting_go.start()
            with locks.hold("table", timeout_seconds=seconds) as held:
                held.check()
                assert other.wait(SECONDS) == 0
            letting_go.join()

    def test_a_killed_holder_holds_nothing(self, location, locks):
        """After kill -9 the lock is free for whoever comes next."""
        with holder(location) as other:
            other.kill()
            with locks.hold("table", timeout_seconds=SECONDS):
                assert other.wait(SECONDS) == -signal.SIGKILL

    def test_locks_of_other_names_are_other_locks(self, location, locks):
        """Who holds one does not stop who wants another, in this process or in others."""
        with (
            holder(location, "table"),
            locks.hold("registry", timeout_seconds=0),
            locks.hold("line-reviews", timeout_seconds=0),
        ):
            pass

    def test_a_lock_is_not_taken_twice_in_one_process(self, locks):
        """Neither by the same thread nor by another one."""
        refused = []

        def take() -> None:
            try:
                with locks.hold("table", timeout_seconds=0):
                    pass
            except LockTimeoutError as problem:
                refused.append(problem)

        with locks.hold("table"):
            take()
            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
        assert len(refused) == 2
        take()
        assert len(refused) == 2

    def test_an_error_lets_go_of_the_lock(self, locks):
        """It comes out as it was raised, and the lock is free."""
        with pytest.raises(ZeroDivisionError), locks.hold("table"):
            raise ZeroDivisionError
        # A server may take a moment to see that a connection is closed.
        with locks.hold("table", timeout_seconds=10):
            pass


class TestFileLocks(LocksContract):
    """In a folder that does not exist yet."""

    @pytest.fixture
    def location(self, tmp_path):
        """Where the locks are kept."""
        return str(tmp_path / "state" / "locks")

    def test_the_file_is_named(self, location, locks):
        """Whoever is refused can look up which process holds it."""
        with (
            locks.hold("table"),
            pytest.raises(LockTimeoutError, match=f"fuser {location}/table.lock"),
            locks.hold("table", timeout_seconds=0),
        ):
            pass


class TestPostgresLocks(LocksContract):
    """In a database, where nothing has to be created."""

    @pytest.fixture
    def location(self, postgres_url):
        """Where the locks are kept."""
        return postgres_url

    def end_sessions(self, location: str) -> None:
        """What a restart of the server does to whoever is connected."""
        with closing(pytest.importorskip("psycopg2").connect(location)) as connection:
            connection.cursor().execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def test_the_holder_is_named(self, location, locks):
        """Host and process: on a cluster, the pod."""
        with (
            holder(location) as other,
            pytest.raises(LockTimeoutError, match=rf"held by {os.uname().nodename}:{other.pid} \("),
            locks.hold("table", timeout_seconds=0),
        ):
            pass

    def test_a_lock_that_was_lost_is_told_on_leaving(self, location, locks):
        """What was done under it may have met another's act: whoever did it must know."""
        with (
            pytest.raises(LockLostError, match=r"lock table.*was lost while it was held.*run it again"),
            locks.hold("table"),
        ):
            self.end_sessions(location)

    def test_a_lock_that_was_lost_can_be_asked_about(self, location, locks):
        """Before an act that cannot be taken back; the answer does not hide behind that of leaving."""
        moments = []

        def act() -> None:
            with locks.hold("table") as held:
                held.check()
                moments.append("held")
                self.end_sessions(location)
                held.check()
                moments.append("lost")

        with pytest.raises(LockLostError):
            act()
        assert moments == ["held"]

    def test_a_lock_that_the_server_forgot_is_lost(self, locks):
        """As behind a pooler that gives each transaction another session."""

        def forget(*, asked: bool) -> None:
            with locks.hold("table") as held:
                held._answer("SELECT pg_advisory_unlock_all() IS NULL", ())
                if asked:
                    held.check()

        with pytest.raises(LockLostError, match="gives it to nobody"):
            forget(asked=True)
        with pytest.raises(LockLostError, match="does not know of it"):
            forget(asked=False)

    def test_an_error_under_a_lost_lock_is_not_hidden(self, location, locks):
        """The first thing that went wrong is what is told."""

        def fail() -> None:
            with locks.hold("table"):
                self.end_sessions(location)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()

    def test_a_signal_ends_the_waiting(self, location):
        """A pod that waits for a lock ends when it is told to, not when it is killed."""
        with holder(location), process(location, "hold", "table") as waiting:
            with closing(pytest.importorskip("psycopg2").connect(location)) as connection:
                connection.autocommit = True
                cursor = connection.cursor()
                waits = False
                while not waits:
                    assert waiting.poll() is None
                    cursor.execute(
                        "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    )
                    ((waits,),) = cursor.fetchall()
            waiting.send_signal(signal.SIGINT)
            try:
                assert waiting.wait(SECONDS) == -signal.SIGINT
            finally:
                waiting.kill()

    def test_a_server_that_does_not_answer_is_named(self):
        """Which one, and the settings to look at."""
        (port,) = free_ports(1)
        locks = PostgresLocks(f"postgresql://ada@127.0.0.1:{port}/db")
        with (
            pytest.raises(
                LockError, match=rf"postgresql://127.0.0.1:{port}/db.*PLATFORM_LOCKS_URI.*PGPASSWORD"
            ),
            locks.hold("table"),
        ):
            pass

    def test_settings_choose(self, location, tmp_path):
        """The locks' own address comes first, then the ledger's; without either, files."""
        chosen = [
            open_locks(PlatformSettings(home=tmp_path, **given))
            for given in (
                {},
                {"ledger_uri": location},
                {"ledger_uri": "postgresql://nowhere.invalid/db", "locks_uri": location},
            )
        ]
        assert [type(each) for each in chosen] == [FileLocks, PostgresLocks, PostgresLocks]
        with (
            holder(location),
            pytest.raises(LockTimeoutError),
            chosen[1].hold("table", timeout_seconds=0),
        ):
            pass
        with holder(location), pytest.raises(LockTimeoutError), chosen[2].hold("table", timeout_seconds=0):
            pass


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/db",
        "postgresql://ada:s3cret@s3cret@127.0.0.1:1/db",
        "postgresql://ada:1/s3cret@127.0.0.1/db",
        "postgresql://ada:%s3cret@127.0.0.1/db",
        "postgresql://ada@127.0.0.1:s3cret/db",
        "postgresql://ada@127.0.0.1:1/db?passwort=s3cret",
        "mysql://ada:s3cret@127.0.0.1:1/db",
        "s3cret",
    ],
)
def test_no_message_shows_the_password(address):
    """Neither that of the error nor anything else in its traceback, right or wrong as the address may be."""
    with pytest.raises(LockError) as refusal, PostgresLocks(address).hold("table"):
        pass
    told = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value)
    assert "s3cret" not in told


def test_without_psycopg2_the_extra_is_named(monkeypatch):
    """What is missing is said in terms of this package."""
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(LockError, match="extra `cluster`"):
        PostgresLocks("postgresql://127.0.0.1/db")

"""What is found on machines unlike this one, and how many things are looked at side by side."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.doctor import machine
from platform_assets.doctor.configuration import shown_uri, without_secrets
from platform_assets.doctor.diagnosis import clock
from platform_assets.doctor.findings import Finding, Probe, side_by_side
from platform_assets.ledger.glance import glance
from platform_assets.ledger.ledger import Ledger
from resources.errors import PlatformError


def found(subject="a", status="ok", told="fine", **more):
    """A finding."""
    return Finding("systems", subject, status, told, **more)


def raising(problem):
    """A look that fails."""

    def look():
        raise problem

    return look


def test_probes_run_side_by_side_and_one_that_hangs_is_told():
    """Their order is kept; those that failed are told by what they said, and the others are not kept waiting."""
    forever = threading.Event()
    probes = [
        Probe("systems", "hangs", lambda: forever.wait() and [], "see to it"),
        Probe("systems", "refuses", raising(PlatformError("it is\nshut")), "open it"),
        Probe("systems", "breaks", raising(ValueError("what?"))),
        *(
            Probe("systems", f"slow {number}", lambda: time.sleep(0.1) or [found("slow")])
            for number in range(8)
        ),
    ]
    begun = time.monotonic()
    told = side_by_side(probes, seconds=0.5)
    took = time.monotonic() - begun
    forever.set()
    assert [(each.subject, each.status, each.told) for each in told[:3]] == [
        ("hangs", "problem", "hangs: no answer within 0.5 s"),
        ("refuses", "problem", "it is shut"),
        ("breaks", "problem", "what? (ValueError)"),
    ]
    assert (told[0].advice, told[1].advice) == ("see to it", "open it")
    assert [each.subject for each in told[3:]] == ["slow"] * 8
    assert 0.5 <= took < 0.8


@pytest.mark.parametrize(
    ("skew", "status", "told"),
    [
        (0.4, "ok", "within 5 s of a"),
        (-4.9, "ok", "within 5 s of a"),
        (60, "warning", "60 s behind a"),
        (-60, "warning", "60 s ahead of a"),
        (3600, "problem", "3,600 s behind a"),
        (-300, "problem", "300 s ahead of a"),
    ],
)
def test_the_clock_is_compared_with_whoever_tells_the_time(skew, status, told):
    """The one that is furthest away counts."""
    compared = clock(
        [found(skew_seconds=skew), found("b"), *([found("c", skew_seconds=1.0)] if status != "ok" else [])]
    )
    assert (compared.status, compared.told, compared.skew_seconds) == (status, told, -skew)
    assert bool(compared.advice) is (status != "ok")
    assert clock([found()]).status == "not used"


def test_a_ledger_of_the_future_tells_that_this_clock_is_behind(tmp_path):
    """Who wrote the newest entry had a clock, too."""
    from datetime import UTC, datetime, timedelta

    from platform_assets.doctor.systems import probes_of_systems
    from resources.settings import PlatformSettings

    settings = PlatformSettings(home=tmp_path)
    later = datetime.now(UTC) + timedelta(hours=2)
    Ledger.open(settings.ledger_path, principal="tests", clock=lambda: later).append(
        "a", "b", fingerprint="c", body={}
    )
    (told,) = (each for each in side_by_side(probes_of_systems(settings, {})[:1]))
    assert clock([told]).status == "problem"
    assert 7100 < told.skew_seconds < 7300


def test_packages_that_differ_from_the_lock_are_told(tmp_path):
    """By name, with both versions; builds of one release, and what is not installed, are no difference."""
    lock = tmp_path / "constraints.lock"
    lock.write_text("# a comment\npytest==0.0.1\nTyper==999\nno-such-package==1\ntorch==2.13.0\n")
    (told,) = machine.packages(lock)
    assert told.status == "warning"
    assert "2 of 3 differ" in told.told
    assert "pytest" in told.told
    assert "(999 was tested)" in told.told
    assert "no-such-package" not in told.told
    (none,) = machine.packages(tmp_path / "gone")
    assert none.status == "not used"


@pytest.mark.parametrize(
    ("limit", "total_kib", "status", "told"),
    [
        ("max", 16 << 20, "ok", "16.0 GiB"),
        (str(8 << 30), 16 << 20, "ok", "8.0 GiB, of 16.0 in the machine"),
        (str(1 << 30), 16 << 20, "warning", "1.0 GiB, of 16.0 in the machine"),
        (None, 2 << 20, "warning", "2.0 GiB"),
        (None, None, "not used", "this system does not say how much there is"),
    ],
)
def test_memory_is_what_the_cgroup_leaves_of_the_machine(tmp_path, limit, total_kib, status, told):
    """Whichever is less."""
    meminfo = tmp_path / "meminfo"
    if total_kib is not None:
        meminfo.write_text(f"MemTotal:       {total_kib} kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
    (seen,) = machine.memory(tmp_path, meminfo)
    assert (seen.status, seen.told) == (status, told)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ada:secret@host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://ada@host/db?password=secret", "set, a postgresql address that is not shown"),
        ("postgresql://ada:se/cret@host/db", "set, a postgresql address that is not shown"),
        ("postgresql://ada:se#cret@host/db", "set, a postgresql address that is not shown"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("https://token@host", "https://host"),
        ("/data/platform", "/data/platform"),
        ("ada:secret@host", "set, a ada address that is not shown"),
        ("host=h password=secret", "set, a strange address that is not shown"),
    ],
)
def test_addresses_are_shown_without_what_may_be_secret(uri, shown):
    """Nothing of one is shown where a stray character makes it unsure which part is the password."""
    assert shown_uri(uri) == shown
    assert "secret" not in shown_uri(uri)


@given(
    password=st.text(min_size=4, max_size=12),
    around=st.sampled_from(
        ["postgresql://u:{}@h/d", "https://{}@h/d", "u:{}@h", "s3://u:{}@b", "host=h password={}"]
    ),
)
def test_no_password_gets_through(password, around):
    """Whatever signs it has."""
    shown = shown_uri(around.format(password))
    assert (
        password not in shown
        or password in "postgresql://h/d https://h/d s3://b set, a strange address that is not shown"
    )


def test_secrets_are_taken_out_of_what_others_say():
    """Also those of other programs; what is too short to be one would tear words apart."""
    environment = {
        "PGPASSWORD": "hunter2",
        "MY_TOKEN": "abc",
        "A": "http://u:pass1234@h",
        "GIT_KEY": "/path/to/key",
    }
    told = without_secrets("hunter2 abc pass1234 /path/to/key", environment)
    assert told == "… abc … /path/to/key"


def test_only_the_end_of_a_long_ledger_is_read(tmp_path):
    """Each of its entries is checked, and that it follows from the one before; damage before that, others find."""
    file = tmp_path / "ledger.sqlite"
    assert glance(file) is None
    ledger = Ledger.open(file, principal="tests")
    assert (glance(file).entries, glance(file).problem) == (0, None)
    for number in range(30):
        ledger.append("note", str(number), fingerprint=str(number), body={})
    seen = glance(file, newest=7)
    assert (seen.entries, seen.read, seen.problem) == (30, 7, None)
    assert glance(file, newest=30).read == 30
    assert glance(file, newest=31).read == 30


@pytest.mark.parametrize("lost", [30, 26, 24])
def test_a_ledger_whose_end_is_not_whole_is_found_out(tmp_path, lost):
    """Cut off, or with a gap."""
    import sqlite3
    from contextlib import closing

    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file, principal="tests")
    for number in range(30):
        ledger.append("note", str(number), fingerprint=str(number), body={})
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TRIGGER entries_never_deleted")
        connection.execute("DELETE FROM entries WHERE seq = ?", (lost,))
    assert str(lost) in glance(file, newest=7).problem


def test_a_ledger_that_somebody_has_open_is_read_with_what_waits_in_its_log(tmp_path):
    """Which is not in the file yet; and one that nobody has open is read without making a log."""
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(file, principal="tests")
    ledger.append("note", "a", fingerprint="a", body={})
    assert {path.name for path in tmp_path.iterdir()} == {file.name}
    assert glance(file).entries == 1
    assert {path.name for path in tmp_path.iterdir()} == {file.name}
    with ledger.kept_open():
        ledger.append("note", "b", fingerprint="b", body={})
        assert file.with_name("ledger.sqlite-wal").stat().st_size > 0
        assert (glance(file).entries, glance(file).problem) == (2, None)
    assert glance(file).entries == 2


def test_a_file_with_a_rollback_journal_is_read_under_its_locks(tmp_path):
    """As MLflow's is: a reader makes nothing beside it, and must not read what is half written."""
    import sqlite3
    from contextlib import closing

    from resources.sqlite_files import read_only_uri

    file = tmp_path / "mlflow.sqlite"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE a (b)")
    assert read_only_uri(file).endswith("mlflow.sqlite?mode=ro")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert read_only_uri(file).endswith("mlflow.sqlite?mode=ro&immutable=1")

"""An object about a subject that is written while the subject is erased: it is refused, or it is found. Nothing between."""

import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance.errors import ErasureError
from platform_assets.governance.release import ERASURE
from platform_assets.governance.suppression import PERSONAL_OBJECTS
from platform_assets.ledger.ledger import Ledger
from resources.locks import FileLocks, LockLostError, LockTimeoutError
from resources.object_store import LocalObjectStore
from tests.governance.eraser import erase_subject, systems
from tests.governance.object_writer import ROWS, put

APPLICANT, KEY = "applicant:4711", "reports/dev/credit/1/scores.parquet"
LEFT = {"applicant_id": [4712], "score": [0.2]}


@pytest.fixture
def home(tmp_path):
    """A home whose table holds the applicant."""
    fill(tmp_path)
    return tmp_path


def fill(home: Path) -> None:
    """Publish a table that holds the applicant."""
    rows = pa.table({"applicant_id": [4711, 4712]})
    warehouse = systems(home)["warehouse"]
    staged = warehouse.stage(
        "datasets.credit",
        rows,
        content_hash=content_hash(rows),
        gdpr_class="personal",
        retention_days=30,
        source_commit="0c0ffee",
        subject_column="applicant_id",
        subject_namespace="applicant",
    )
    warehouse.publish(staged)


def stored(home: Path) -> dict[str, list[object]] | None:
    """The object's rows; None where it is not there."""
    store = systems(home)["store"]
    return pq.read_table(io.BytesIO(store.get(KEY))).to_pydict() if store.exists(KEY) else None


def recorded(home: Path) -> int:
    """How many erasures are recorded."""
    return len(list(systems(home)["ledger"].entries(kind=ERASURE)))


def held_in_files(home: Path) -> list[Path]:
    """The files of the object store in which the applicant is: tables whole, and what a killed writer has left."""
    tables = [
        path for path in (home / "objects").rglob("*") if path.is_file() and path.read_bytes()[:4] == b"PAR1"
    ]
    return [path for path in tables if 4711 in pq.read_table(path)["applicant_id"].to_pylist()]


def is_held(home: Path) -> bool:
    """Whether somebody has the lock."""
    try:
        with FileLocks(home / "locks").hold(PERSONAL_OBJECTS, timeout_seconds=0):
            return False
    except LockTimeoutError:
        return True


class Acting(LocalObjectStore):
    """A store in which something happens right before a put, and right after it."""

    before = after = staticmethod(lambda: None)

    def put(self, *given, **named):
        """As ever."""
        self.before()
        info = super().put(*given, **named)
        self.after()
        return info


class ActingLocks(FileLocks):
    """Locks where something happens whenever one is asked for, or only the first time."""

    asked = first_asked = staticmethod(lambda: None)

    def hold(self, name, *, timeout_seconds=None):
        """As ever."""
        first, self.first_asked = self.first_asked, lambda: None
        first()
        self.asked()
        return super().hold(name, timeout_seconds=timeout_seconds)


# --- The two orders ------------------------------------------------------------------------------------


def test_an_erasure_before_the_look_refuses_the_object(home):
    """The rows were read before it; they are not put after it, and each of them is counted."""
    erase_subject(home, APPLICANT)
    with pytest.raises(
        ErasureError, match=f"object {KEY}: 2 of 3 rows are about subjects that were erased meanwhile"
    ):
        put(home, KEY)
    assert stored(home) is None


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_erasure_that_comes_between_look_and_put_waits_and_finds_the_object(home, moment):
    """It asks for the lock right before the put, when its first search has found nothing of it, or right after it."""
    store, locks = Acting(home / "objects"), ActingLocks(home / "locks")
    asked = Event()
    locks.asked = asked.set
    with ThreadPoolExecutor(1) as pool:
        erasing = []

        def erase():
            assert is_held(home)
            erasing.append(pool.submit(erase_subject, home, APPLICANT, locks=locks))
            assert asked.wait(60), "the erasure has not asked for the lock"
            assert recorded(home) == 0

        setattr(store, moment, erase)
        put(home, KEY, store=store)
        report = erasing[0].result(timeout=60)

    assert (report.outcome, report.left) == ("pass", ())
    assert stored(home) == LEFT
    assert held_in_files(home) == []


def test_an_object_that_is_put_between_an_erasures_search_and_its_entry_is_found(home):
    """The erasure searched before there was anything; its second entry names the object, and its last search is clean."""
    locks = ActingLocks(home / "locks")
    locks.first_asked = lambda: put(home, KEY)

    report = erase_subject(home, APPLICANT, locks=locks)

    assert (report.outcome, report.left) == ("pass", ())
    assert stored(home) == LEFT
    assert report.plan.search.objects == [{"key": KEY, "rows": 2}]
    assert [entry.body["objects"] for entry in systems(home)["ledger"].entries(kind=ERASURE)] == [
        [],
        [{"key": KEY, "rows": 2}],
    ]
    assert report.verdict.body["evidence"]["rows_removed"] == 3


def test_a_late_object_under_legal_hold_is_left_and_named(home):
    """What was put and held meanwhile must not be touched; the outcome is no pass."""
    locks = ActingLocks(home / "locks")

    def put_and_hold():
        put(home, KEY)
        systems(home)["store"].set_legal_hold(KEY, held=True)

    locks.first_asked = put_and_hold
    report = erase_subject(home, APPLICANT, locks=locks)
    assert (report.outcome, report.left, stored(home)) == ("error", (f"{KEY} (2 rows)",), ROWS)


def test_an_erasure_is_recorded_under_the_lock(home):
    """Else a writer could have looked before the entry, and put after the last search."""
    held = []

    class Watched(Ledger):
        def append(self, kind, *given, **named):
            if kind == ERASURE:
                held.append(is_held(home))
            return super().append(kind, *given, **named)

    erase_subject(home, APPLICANT, ledger=Watched.open(home / "ledger.db", principal="ada"))
    assert held == [True]
    assert not is_held(home)


def test_nothing_is_put_after_the_last_search(home):
    """Once the last search lists the objects, a writer that comes now is refused."""

    class Listing(LocalObjectStore):
        listed = 0

        def list(self, prefix=""):
            self.listed += 1
            yield from super().list(prefix)
            if self.listed == 2:
                with pytest.raises(ErasureError, match="erased meanwhile"):
                    put(home, KEY)

    store = Listing(home / "objects")
    assert erase_subject(home, APPLICANT, store=store).outcome == "pass"
    assert (store.listed, stored(home)) == (2, None)


def test_a_writer_waits_while_an_object_is_written_again(home):
    """Else its new rows would be replaced by the older ones that the erasure has read: the newest rows stay."""
    put(home, KEY)
    younger = {"applicant_id": [1], "score": [0.9]}
    store = Acting(home / "objects")
    asked, locks = Event(), ActingLocks(home / "locks")
    locks.asked = asked.set
    with ThreadPoolExecutor(1) as pool:
        writing = []

        def write():
            if not writing:
                writing.append(pool.submit(put, home, KEY, rows=younger, locks=locks))
                assert asked.wait(60), "the writer has not asked for the lock"

        store.before = write
        assert erase_subject(home, APPLICANT, store=store).outcome == "pass"
        writing[0].result(timeout=60)
    assert stored(home) == younger


def test_namesakes_of_the_erased_may_be_put(home):
    """The look goes by namespace."""
    erase_subject(home, APPLICANT)
    put(home, KEY, namespace="patient")
    assert stored(home) == ROWS


# --- Processes -----------------------------------------------------------------------------------------


def race(folder: Path, rounds: int) -> set[int]:
    """Races a writer and an eraser so often; what the writer came to. Nothing of the applicant may be left."""
    for number in range(rounds):
        fill(folder / str(number))
    told = subprocess.run(
        [sys.executable, Path(__file__).with_name("racers.py"), folder, KEY, APPLICANT, str(rounds)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ).stdout
    writers = set()
    for number, line in enumerate(told.splitlines()):
        writer, eraser = map(int, line.split())
        home = folder / str(number)
        assert eraser == 0
        assert (writer, stored(home)) in [(0, LEFT), (3, None)]
        assert held_in_files(home) == []
        writers.add(writer)
    return writers


def test_two_processes_that_race_leave_nothing(tmp_path):
    """Whoever is first: the object is refused, or its rows are found."""
    assert race(tmp_path, rounds=3) <= {0, 3}


@pytest.mark.long
def test_many_races_leave_nothing_either_way(tmp_path):
    """Both orders come up."""
    assert race(tmp_path, rounds=200) == {0, 3}


# --- Kills ---------------------------------------------------------------------------------------------


def killed_writer(home: Path, moment: str) -> int:
    """Exit status of a writer that is killed at a moment."""
    return subprocess.run(
        [sys.executable, Path(__file__).with_name("object_writer.py"), home, KEY, moment],
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ).returncode


def killed_eraser(home: Path, *moments: str) -> list[int]:
    """Exit statuses of erasures that are killed at their moments."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("eraser.py"), home, APPLICANT, *moments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return [int(status) for status in done.stdout.split()]


@pytest.mark.parametrize(
    ("moment", "there", "after"), [("before", None, None), ("within", None, None), ("after", ROWS, LEFT)]
)
def test_a_writer_that_is_killed_under_the_lock_leaves_it_free_and_nothing_behind(home, moment, there, after):
    """It has put the whole object or none; the erasure takes the object's rows, and what lies half written, with it."""
    assert killed_writer(home, moment) == -signal.SIGKILL
    assert stored(home) == there
    assert len(held_in_files(home)) == {"before": 0, "within": 1, "after": 1}[moment]

    report = erase_subject(home, APPLICANT)

    assert (report.outcome, stored(home), held_in_files(home)) == ("pass", after, [])
    with pytest.raises(ErasureError):
        put(home, KEY)


def test_a_writer_killed_within_its_put_while_the_erasure_waits(home):
    """The erasure that had searched before goes on at once, and sweeps away what was half written."""
    locks = ActingLocks(home / "locks")
    statuses = []
    locks.first_asked = lambda: statuses.append(killed_writer(home, "within"))
    report = erase_subject(home, APPLICANT, locks=locks)
    assert statuses == [-signal.SIGKILL]
    assert (report.outcome, stored(home), held_in_files(home)) == ("pass", None, [])


def test_an_erasure_that_is_killed_after_its_entry_refuses_writers_all_the_same(home):
    """The entry counts from the moment it is there; the next run finishes what the killed one began."""
    put(home, KEY)
    assert killed_eraser(home, "recorded in entry", f"object {KEY} is written again") == [-signal.SIGKILL] * 2
    with pytest.raises(ErasureError):
        put(home, "reports/dev/credit/2/scores.parquet")
    assert erase_subject(home, APPLICANT).outcome == "pass"
    assert (stored(home), recorded(home), held_in_files(home)) == (LEFT, 1, [])


# --- A lock that is lost -------------------------------------------------------------------------------


class LosingLocks(FileLocks):
    """Locks that are lost while they are held, as one in a database can be."""

    @contextmanager
    def hold(self, name, *, timeout_seconds=None):
        """Held by nobody."""
        yield None
        raise LockLostError(f"lock {name}: was lost while it was held")


def test_an_object_that_was_put_without_the_lock_is_taken_back(home):
    """The whole erasure fits between look and put: the second look finds it."""
    store = Acting(home / "objects")
    store.before = lambda: erase_subject(home, APPLICANT)
    with pytest.raises(ErasureError, match="2 of 3 rows"):
        put(home, KEY, store=store, locks=LosingLocks(home / "locks"))
    assert (recorded(home), stored(home), held_in_files(home)) == (1, None, [])


def test_a_lost_lock_takes_nothing_from_others(home):
    """Where nobody was erased, the object stays: a report may name an equal one that was there before."""
    put(home, KEY)
    with pytest.raises(LockLostError, match=PERSONAL_OBJECTS):
        put(home, KEY, locks=LosingLocks(home / "locks"))
    assert stored(home) is not None

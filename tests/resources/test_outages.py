"""Errors of libraries that come from a full disk, a database or a store that is away, and those that do not."""

import errno
import sqlite3
from contextlib import closing

import pytest

from platform_assets.step import foreseen_failures
from resources.errors import PlatformError
from resources.object_store import LocalObjectStore, ObjectStoreError
from resources.outages import DiskFullError, OutageError, outage_of
from tests.full_disk import fill
from tests.servers import free_ports

CLASSED = {"gdpr_class": "internal", "retention_days": 1, "source_commit": "0c0ffee"}
MORE_THAN_THERE_IS = 1 << 20


def raised(act) -> Exception:
    """What it raises."""
    with pytest.raises(Exception) as caught:
        act()
    return caught.value


def fill_sqlite(disk) -> None:
    """Put more into a database than there is room for."""
    with closing(sqlite3.connect(disk / "database")) as database:
        database.execute("CREATE TABLE numbers (content BLOB)")
        database.execute("INSERT INTO numbers VALUES (zeroblob(?))", (MORE_THAN_THERE_IS,))
        database.commit()


def fill_through_sqlalchemy(disk) -> None:
    """The same, as Dagster's storage does it, with a value that nobody may see."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(f"sqlite:///{disk / 'database'}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE numbers (content TEXT)"))
        connection.execute(
            sqlalchemy.text("INSERT INTO numbers VALUES (:content)"),
            {"content": "secret" * MORE_THAN_THERE_IS},
        )


def fill_parquet(disk) -> None:
    """A table of Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"number": list(range(MORE_THAN_THERE_IS))}), disk / "table.parquet")


def fill_safetensors(disk) -> None:
    """Weights."""
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(MORE_THAN_THERE_IS)}, disk / "model.safetensors")


def fill_store(disk) -> None:
    """An object."""
    LocalObjectStore(disk / "objects").put("models/a", bytes(MORE_THAN_THERE_IS), **CLASSED)


def fill_file(disk) -> None:
    """Plain bytes."""
    (disk / "file").write_bytes(bytes(MORE_THAN_THERE_IS))


@pytest.mark.parametrize(
    "fill", [fill_file, fill_sqlite, fill_through_sqlalchemy, fill_parquet, fill_safetensors, fill_store]
)
def test_a_full_disk_is_one_error_whoever_finds_it(small_disk, fill):
    """It says that there is no space, and what to do; no value of what was written is told."""
    found = outage_of(raised(lambda: fill(small_disk(1 << 18))))
    assert isinstance(found, DiskFullError)
    assert not found.passes
    assert str(found).startswith("no space is left: ")
    assert "free some space there" in str(found)
    assert "secret" not in str(found)
    assert "\n" not in str(found)


def test_an_object_that_finds_no_room_leaves_the_one_before(small_disk):
    """Neither half an object nor a file that takes the room of others stays."""
    disk = small_disk(1 << 18)
    store = LocalObjectStore(disk)
    store.put("models/a", b"before", **CLASSED)
    with pytest.raises(ObjectStoreError, match=r"models/a cannot be stored.*No space left"):
        store.put("models/a", bytes(MORE_THAN_THERE_IS), **CLASSED)
    assert store.get("models/a") == b"before"
    assert list(store.list()) == ["models/a"]
    assert list((disk / "incoming").iterdir()) == []
    store.put("models/b", b"after", **CLASSED)


def test_a_database_that_is_away():
    """Through any layer on top of the driver; neither address nor statement is told."""
    import sqlalchemy

    (port,) = free_ports(1)
    engine = sqlalchemy.create_engine(f"postgresql+psycopg2://user:secret@127.0.0.1:{port}/db")
    found = outage_of(raised(engine.connect))
    assert isinstance(found, OutageError)
    assert found.passes
    assert str(found).startswith("the database does not answer")
    assert "Connection refused" in str(found)
    assert "secret" not in str(found)


def test_a_store_of_tables_that_is_away():
    """Arrow's own client of S3 has no error of its own for it."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    (port,) = free_ports(1)
    files = S3FileSystem(
        access_key="a",
        secret_key="b",
        region="us-east-1",
        endpoint_override=f"http://127.0.0.1:{port}",
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )
    found = outage_of(raised(lambda: files.get_file_info("bucket/key")))
    assert str(found).startswith("the object store does not answer")


@pytest.mark.parametrize(
    "problem",
    [
        ValueError("x"),
        OSError(errno.EACCES, "no"),
        sqlite3.OperationalError("no such table: a"),
        PlatformError("wrong"),
        PlatformError("said: no space left on device"),
    ],
)
def test_other_errors_are_none(problem):
    """What is no outage stays what it is."""
    assert outage_of(problem) is None


def test_an_error_of_ours_about_an_outage_stays_ours():
    """It says already what is away."""
    import psycopg2

    told = PlatformError("the ledger is away")
    told.__cause__ = psycopg2.OperationalError("Connection refused")
    assert outage_of(told) is None


def test_a_step_ends_with_the_outage_alone():
    """One message, and nothing is tried again before somebody has made room; a bug is none, and names its class."""
    import dagster as dg

    with pytest.raises(dg.Failure) as failed, foreseen_failures():
        raise OSError(errno.ENOSPC, "No space left on device", "/data/scores.parquet")
    assert failed.value.allow_retries is False
    assert failed.value.description.startswith(
        "no space is left: [Errno 28] No space left on device: '/data/scores.parquet'; free some space"
    )
    with pytest.raises(dg.Failure, match=r"^KeyError\n"), foreseen_failures():
        raise KeyError("a bug")


def test_a_journal_that_cannot_grow_is_a_full_disk(small_disk):
    """SQLite tells it as an error of the disk, which it may also be."""
    disk = small_disk(1 << 18)
    with closing(sqlite3.connect(disk / "database")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE numbers (content BLOB)")
        database.commit()
        fill(disk / "filler")
        with closing(sqlite3.connect(disk / "database")) as other:
            problem = raised(
                lambda: (other.execute("INSERT INTO numbers VALUES (zeroblob(65536))"), other.commit())
            )
    assert str(outage_of(problem)).startswith("no space is left")

"""The warehouse: write, audit, publish; whatever is killed, readers see whole versions."""

import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.datasets.snapshots import content_hash
from resources.settings import PlatformSettings
from resources.warehouse import IcebergWarehouse, Snapshot, WarehouseError

TABLE = "datasets.reviews"


def rows(version: int, count: int = 5) -> pa.Table:
    """A small table whose every row tells its version."""
    return pa.table(
        {
            "version": pa.array([version] * count, pa.int64()),
            "text": [f"row {row}" for row in range(count)],
            "token_ids": pa.array([list(range(row)) for row in range(count)], pa.list_(pa.int32())),
            "label": pa.array([None, *[0] * (count - 1)], pa.int32()),
        }
    )


def stage(warehouse: IcebergWarehouse, version: int, table: str = TABLE) -> Snapshot:
    """Stage the rows of this version."""
    return warehouse.stage(table, rows(version), content_hash=content_hash(rows(version)))


def publish(warehouse: IcebergWarehouse, version: int) -> Snapshot:
    """Stage and publish the rows of this version."""
    return warehouse.publish(stage(warehouse, version))


def opened(home: Path) -> IcebergWarehouse:
    """The warehouse of a home, as another process would open it."""
    return IcebergWarehouse(
        f"sqlite:///{home / 'catalog.sqlite'}", str(home / "warehouse"), locks=home / "locks"
    )


def files_of(home: Path) -> set[Path]:
    """Every file of the home's tables."""
    return {path for path in (home / "warehouse").rglob("*") if path.is_file()}


def referenced(home: Path, table: str = TABLE) -> set[Path]:
    """Every file that the table's metadata names, found by pyiceberg's own inspection."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog(
        "platform", uri=f"sqlite:///{home / 'catalog.sqlite'}", warehouse=str(home / "warehouse")
    )
    inspect = catalog.load_table(table).inspect
    named = (
        inspect.all_files()["file_path"].to_pylist()
        + inspect.all_manifests()["path"].to_pylist()
        + inspect.snapshots()["manifest_list"].to_pylist()
        + inspect.metadata_log_entries()["file"].to_pylist()
    )
    return {Path(name.removeprefix("file://")) for name in named}


@pytest.fixture
def warehouse(tmp_path):
    """An empty warehouse on this machine."""
    return opened(tmp_path)


@pytest.fixture(params=["local", "s3"])
def any_warehouse(request, tmp_path):
    """An empty warehouse: files on this machine, and files behind a real S3 server."""
    if request.param == "local":
        return opened(tmp_path)
    bucket = request.getfixturevalue("s3_bucket")
    return IcebergWarehouse(
        f"sqlite:///{tmp_path / 'catalog.sqlite'}",
        f"s3://{bucket}/warehouse",
        locks=tmp_path / "locks",
        properties={"s3.endpoint": os.environ["AWS_ENDPOINT_URL"], "s3.region": "us-east-1"},
    )


@contextmanager
def stager(home: Path, first: int):
    """A process that publishes one version after the other until it is killed."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("stager.py"), home, TABLE, str(first)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_staged_version_is_seen_by_audits_only(any_warehouse):
    """Staged rows lie on the branch; current() moves when they are published, and old versions stay readable."""
    assert any_warehouse.current(TABLE) is None
    assert any_warehouse.staged(TABLE) is None
    first = stage(any_warehouse, 1)
    assert not first.published
    assert any_warehouse.current(TABLE) is None
    assert any_warehouse.staged(TABLE) == first
    assert any_warehouse.read(TABLE, first.snapshot_id).equals(rows(1))
    published = any_warehouse.publish(first)
    assert published.published
    assert any_warehouse.current(TABLE) == published
    second = stage(any_warehouse, 2)
    assert any_warehouse.current(TABLE) == published
    assert any_warehouse.staged(TABLE) == second
    any_warehouse.publish(second)
    assert any_warehouse.current(TABLE).snapshot_id == second.snapshot_id
    assert any_warehouse.read(TABLE, first.snapshot_id).equals(rows(1))
    assert any_warehouse.read(TABLE, second.snapshot_id).equals(rows(2))


def test_a_sweep_keeps_what_is_published_and_what_was_staged_last(any_warehouse):
    """Refused versions go, the newest stays to be looked into, published ones stay for good."""
    first = publish(any_warehouse, 1)
    refused = stage(any_warehouse, 2)
    second = publish(any_warehouse, 3)
    newest = stage(any_warehouse, 4)
    assert any_warehouse.sweep() > 0
    assert any_warehouse.sweep() == 0
    assert any_warehouse.current(TABLE) == second
    assert any_warehouse.staged(TABLE) == newest
    for snapshot, version in ((first, 1), (second, 3), (newest, 4)):
        assert any_warehouse.read(TABLE, snapshot.snapshot_id).equals(rows(version))
    with pytest.raises(WarehouseError, match=f"table {TABLE} has no snapshot {refused.snapshot_id}"):
        any_warehouse.read(TABLE, refused.snapshot_id)


def test_a_version_carries_what_was_written(warehouse):
    """Row count and content hash belong to the snapshot; rows keep their order, nulls and lists."""
    staged = stage(warehouse, 1)
    assert (staged.rows, staged.content_hash) == (5, content_hash(rows(1)))
    found = warehouse.read(TABLE, staged.snapshot_id)
    assert found.equals(rows(1))
    assert content_hash(found) == staged.content_hash
    assert warehouse.read(TABLE, staged.snapshot_id, columns=["label", "text"]).column_names == [
        "label",
        "text",
    ]


def test_many_rows_keep_their_order(warehouse):
    """A version of several record batches is read as it was written."""
    many = pa.table({"number": list(range(300_000))})
    staged = warehouse.stage(TABLE, many, content_hash=content_hash(many))
    assert content_hash(warehouse.read(TABLE, staged.snapshot_id)) == staged.content_hash


@pytest.mark.parametrize("published", [False, True])
def test_equal_rows_are_not_written_again(warehouse, tmp_path, published):
    """Staging what is there already returns the version that holds it, and leaves the disk alone."""
    first = publish(warehouse, 1) if published else stage(warehouse, 1)
    before = files_of(tmp_path)
    assert stage(warehouse, 1) == first
    assert stage(opened(tmp_path), 1) == first
    assert files_of(tmp_path) == before


def test_an_old_version_can_become_current_again(warehouse):
    """Rows that return to an earlier state are that earlier version, and publishing it moves current() back."""
    first, second = publish(warehouse, 1), publish(warehouse, 2)
    assert warehouse.current(TABLE) == second
    assert publish(warehouse, 1) == first
    assert warehouse.current(TABLE) == first


def test_publishing_twice_changes_nothing(warehouse, tmp_path):
    """Publishing is idempotent: a retried step finds its version current."""
    staged = stage(warehouse, 1)
    first, again = warehouse.publish(staged), opened(tmp_path).publish(staged)
    assert first == again == warehouse.current(TABLE)


def test_a_table_without_rows_can_be_published(warehouse):
    """Nothing is a version too."""
    none = rows(1).slice(0, 0)
    published = warehouse.publish(warehouse.stage(TABLE, none, content_hash=content_hash(none)))
    assert published.rows == 0
    assert warehouse.current(TABLE) == published
    assert len(warehouse.read(TABLE, published.snapshot_id)) == 0


def test_a_new_column_leaves_old_versions_as_they_were(warehouse):
    """A table may gain a column; a version that was written before is still read by its id."""
    first = publish(warehouse, 1)
    wider = rows(2).append_column("words", pa.array([3] * 5, pa.int32()))
    second = warehouse.publish(warehouse.stage(TABLE, wider, content_hash=content_hash(wider)))
    assert warehouse.read(TABLE, second.snapshot_id).equals(wider)
    assert warehouse.read(TABLE, first.snapshot_id).equals(rows(1))


def test_tables_do_not_touch_each_other(warehouse):
    """Two tables have versions, branches and sweeps of their own."""
    stage(warehouse, 1, "features.tokens")
    publish(warehouse, 2)
    warehouse.sweep()
    assert warehouse.current("features.tokens") is None
    assert warehouse.read("features.tokens", warehouse.staged("features.tokens").snapshot_id).equals(rows(1))


@pytest.mark.parametrize("snapshot_id", ["1", "latest"])
def test_what_does_not_exist_is_named(warehouse, snapshot_id):
    """An unknown table or version is told by name, to a reader and to a publisher."""
    with pytest.raises(WarehouseError, match=r"table datasets\.other does not exist"):
        warehouse.read("datasets.other", snapshot_id)
    staged = stage(warehouse, 1)
    with pytest.raises(WarehouseError, match=f"table {TABLE} has no snapshot {snapshot_id}"):
        warehouse.read(TABLE, snapshot_id)
    unknown = Snapshot(TABLE, snapshot_id, "hash", 1, staged.committed_at, published=False)
    with pytest.raises(WarehouseError, match=f"table {TABLE} has no snapshot {snapshot_id}"):
        warehouse.publish(unknown)


@pytest.mark.parametrize("name", ["my home", "100% naïve", "take#2"])
def test_a_home_may_have_any_name(tmp_path, monkeypatch, name):
    """Blanks and signs in the path of the home are kept: files lie under it, and a sweep spares them."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / name))
    settings = PlatformSettings()
    warehouse = IcebergWarehouse(
        settings.resolved_catalog_uri, settings.resolved_warehouse_uri, locks=settings.locks_path
    )
    published = publish(warehouse, 1)
    stage(warehouse, 2)
    stage(warehouse, 3)
    assert warehouse.sweep() > 0
    assert warehouse.read(TABLE, published.snapshot_id).equals(rows(1))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_writer_leaves_the_last_good_version(tmp_path, kills):
    """Killed at any moment: what it reported is current, and a sweep leaves exactly the files that are needed."""
    for number in range(kills):
        with stager(tmp_path, 1000 * number) as process:
            reported = [process.stdout.readline() for _ in range(random.randint(1, 3))]
            try:
                process.wait(timeout=random.uniform(0, 0.3))
            except subprocess.TimeoutExpired:
                process.kill()
            reported += process.stdout.readlines()
        warehouse = opened(tmp_path)
        current = warehouse.current(TABLE)
        found = warehouse.read(TABLE, current.snapshot_id)
        assert content_hash(found) == current.content_hash
        # The kill may fall between a publication and its report, so one more may be current.
        assert found["version"][0].as_py() - int(reported[-1]) in {0, 1}
        warehouse.sweep()
        assert files_of(tmp_path) == referenced(tmp_path)
        assert warehouse.current(TABLE) == current
        assert warehouse.read(TABLE, current.snapshot_id).equals(found)


def test_readers_see_the_old_version_or_the_new_one(tmp_path):
    """While a writer publishes, every read is one whole version, and versions never go back."""
    warehouse = opened(tmp_path)
    seen: list[int] = []
    with stager(tmp_path, 1) as process:
        process.stdout.readline()
        while len(set(seen)) < 4:
            current = warehouse.current(TABLE)
            found = warehouse.read(TABLE, current.snapshot_id)
            (version,) = set(found["version"].to_pylist())
            assert content_hash(found) == current.content_hash
            seen.append(version)
    assert seen == sorted(seen)

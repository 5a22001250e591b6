"""The warehouse: write, audit, publish; whatever is killed, readers see whole versions."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.outside_systems import OutsideSystems
from resources import iceberg_rows
from resources.iceberg_files import TableFiles
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks, LockLostError
from resources.row_batches import RowBatches
from resources.settings import PlatformSettings
from resources.warehouse import Snapshot, TablePolicy, WarehouseError
from tests.warehouse_factory import (
    COMMIT,
    TABLE,
    files_of,
    local,
    opened,
    publish,
    referenced,
    rewrite,
    rows,
    stage,
    text_of,
    without,
    write,
)


@pytest.fixture
def warehouse(tmp_path):
    """An empty warehouse on this machine."""
    return opened(tmp_path)


@pytest.fixture
def place_of(tmp_path):
    """Where it is."""
    return local(tmp_path)


@pytest.fixture(params=["local", "shared"])
def place(request, tmp_path):
    """Where a warehouse is to be: on this machine, or as pods share it, with catalogue and locks in Postgres."""
    if request.param == "local":
        return local(tmp_path)
    database = request.getfixturevalue("postgres_database")
    return PlatformSettings(
        home=tmp_path,
        catalog_uri=database,
        locks_uri=database,
        warehouse_uri=f"s3://{request.getfixturevalue('s3_bucket')}/warehouse",
        s3_endpoint=request.getfixturevalue("s3_endpoint"),
    )


@pytest.fixture
def any_warehouse(place):
    """An empty warehouse, in either place."""
    return OutsideSystems(place).warehouse


@contextmanager
def stager(place: PlatformSettings, first: int, count: int | None = None, *, program: str = "stager.py"):
    """A process that publishes one version after the other, so many or until it is killed."""
    led = place.model_dump(
        include={"home", "catalog_uri", "locks_uri", "warehouse_uri", "s3_endpoint"}, exclude_none=True
    )
    with subprocess.Popen(
        [
            *(sys.executable, Path(__file__).with_name(program), TABLE, str(first)),
            *([] if count is None else [str(count)]),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            **{f"PLATFORM_{field.upper()}": str(value) for field, value in led.items()},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
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
    staged = write(warehouse, many)
    assert content_hash(warehouse.read(TABLE, staged.snapshot_id)) == staged.content_hash


@pytest.mark.parametrize("published", [False, True])
def test_equal_rows_are_not_written_again(warehouse, tmp_path, published):
    """Staging what is there already returns the version that holds it, and leaves the disk alone."""
    first = publish(warehouse, 1) if published else stage(warehouse, 1)
    before = files_of(local(tmp_path))
    assert stage(warehouse, 1) == first
    assert stage(opened(tmp_path), 1) == first
    assert files_of(local(tmp_path)) == before


def test_an_old_version_can_become_current_again(any_warehouse):
    """Rows that return to an earlier state are that earlier version, and publishing it moves current() back."""
    first, second = publish(any_warehouse, 1), publish(any_warehouse, 2)
    assert any_warehouse.current(TABLE) == second
    assert publish(any_warehouse, 1) == first
    assert any_warehouse.current(TABLE) == first


def test_publishing_twice_changes_nothing(warehouse, tmp_path):
    """Publishing is idempotent: a retried step finds its version current."""
    staged = stage(warehouse, 1)
    first, again = warehouse.publish(staged), opened(tmp_path).publish(staged)
    assert first == again == warehouse.current(TABLE)


def test_a_table_without_rows_can_be_published(warehouse):
    """Nothing is a version too."""
    none = rows(1).slice(0, 0)
    published = warehouse.publish(write(warehouse, none))
    assert published.rows == 0
    assert warehouse.current(TABLE) == published
    assert len(warehouse.read(TABLE, published.snapshot_id)) == 0


def test_a_new_column_leaves_old_versions_as_they_were(any_warehouse):
    """A table may gain a column; a version that was written before is still read by its id."""
    first = publish(any_warehouse, 1)
    wider = rows(2).append_column("words", pa.array([3] * 5, pa.int32()))
    second = any_warehouse.publish(write(any_warehouse, wider))
    assert any_warehouse.read(TABLE, second.snapshot_id).equals(wider)
    assert any_warehouse.read(TABLE, first.snapshot_id).equals(rows(1))


def test_tables_do_not_touch_each_other(any_warehouse):
    """Two tables have versions, branches and sweeps of their own."""
    stage(any_warehouse, 1, "features.tokens")
    publish(any_warehouse, 2)
    any_warehouse.sweep()
    assert any_warehouse.current("features.tokens") is None
    assert any_warehouse.read("features.tokens", any_warehouse.staged("features.tokens").snapshot_id).equals(
        rows(1)
    )


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
    warehouse = OutsideSystems(settings).warehouse
    published = publish(warehouse, 1)
    stage(warehouse, 2)
    stage(warehouse, 3)
    assert warehouse.sweep() > 0
    assert warehouse.read(TABLE, published.snapshot_id).equals(rows(1))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("place", "kills"),
    [
        ("local", 3),
        pytest.param("local", 20, marks=pytest.mark.long),
        pytest.param("shared", 20, marks=pytest.mark.long),
    ],
    indirect=["place"],
)
def test_a_killed_writer_leaves_the_last_good_version(place, kills):
    """Killed at any moment: what it reported is current, and a sweep leaves exactly the files that are needed."""
    for number in range(kills):
        with stager(place, 1000 * number) as process:
            reported = [process.stdout.readline() for _ in range(random.randint(1, 3))]
            try:
                process.wait(timeout=random.uniform(0, 0.3))
            except subprocess.TimeoutExpired:
                process.kill()
            reported += process.stdout.readlines()
        warehouse = OutsideSystems(place).warehouse
        current = warehouse.current(TABLE)
        found = warehouse.read(TABLE, current.snapshot_id)
        assert content_hash(found) == current.content_hash
        # The kill may fall between a publication and its report, so one more may be current.
        assert found["version"][0].as_py() - int(reported[-1]) in {0, 1}
        warehouse.sweep()
        assert files_of(place) == referenced(place)
        assert warehouse.current(TABLE) == current
        assert warehouse.read(TABLE, current.snapshot_id).equals(found)


def test_readers_see_the_old_version_or_the_new_one(place):
    """While a writer publishes and others sweep, every read is one whole version, and versions never go back."""
    warehouse = OutsideSystems(place).warehouse
    seen: list[int] = []
    with stager(place, 1) as process:
        process.stdout.readline()
        while len(set(seen)) < 4:
            current = warehouse.current(TABLE)
            found = warehouse.read(TABLE, current.snapshot_id)
            (version,) = set(found["version"].to_pylist())
            assert content_hash(found) == current.content_hash
            seen.append(version)
            warehouse.sweep()
            # Whoever lost a file to a sweep would be gone.
            assert process.poll() is None
    assert seen == sorted(seen)
    for each in warehouse.versions(TABLE):
        assert content_hash(warehouse.read(TABLE, each.snapshot_id)) == each.content_hash


@pytest.mark.parametrize("place", ["shared"], indirect=True)
def test_two_writers_at_once_lose_nothing(place):
    """Two processes that begin without a catalogue publish into one table: every version is there, and is whole."""
    with stager(place, 0, 3) as one, stager(place, 100, 3) as other:
        reported = [int(number) for process in (one, other) for number in process.communicate()[0].split()]
        assert (one.returncode, other.returncode) == (0, 0)
    warehouse = OutsideSystems(place).warehouse
    versions = warehouse.versions(TABLE)
    found = [warehouse.read(TABLE, each.snapshot_id) for each in versions]
    assert [content_hash(rows) for rows in found] == [each.content_hash for each in versions]
    assert sorted(rows["version"][0].as_py() for rows in found) == sorted(reported)
    assert len(reported) == 6


def day(number: int) -> date:
    """A day of November."""
    return date(2026, 11, number)


def stage_days(
    warehouse: IcebergWarehouse,
    days: dict[int, int],
    *,
    keep: tuple[int, ...] = (),
    on: Snapshot | None = None,
) -> Snapshot:
    """Stage days of November, each with the rows of a version, on what is current."""
    current = warehouse.current(TABLE) if TABLE in warehouse.tables() else None
    return warehouse.stage_days(
        TABLE,
        {day(number): rows(version) for number, version in days.items()},
        on=on or current,
        keep=[day(number) for number in keep],
        content_hash=content_hash,
        gdpr_class="internal",
        retention_days=365,
        source_commit=COMMIT,
    )


def expire(warehouse: IcebergWarehouse) -> int:
    """Forget all versions that may go."""
    return warehouse.expire(TABLE, written_before=datetime.now(UTC) + timedelta(seconds=1))


class LostLocks(FileLocks):
    """Locks that are lost as soon as they are held, as after a restart of the server that keeps them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.lost = False

    @contextmanager
    def hold(self, name, *, timeout_seconds=None):  # noqa: D102
        with super().hold(name, timeout_seconds=timeout_seconds):
            yield self

    def check(self) -> None:  # noqa: D102
        if self.lost:
            raise LockLostError("the lock was lost")


@pytest.mark.parametrize(
    "act",
    [
        lambda warehouse: stage(warehouse, 3),
        lambda warehouse: rewrite(warehouse, "row 1"),
        lambda warehouse: warehouse.drop(TABLE, [warehouse.current(TABLE).snapshot_id]),
        lambda warehouse: stage_days(warehouse, {3: 1}),
        expire,
        IcebergWarehouse.sweep,
    ],
    ids=["stage", "rewrite", "drop", "stage_days", "expire", "sweep"],
)
def test_whoever_lost_the_lock_commits_and_removes_nothing(tmp_path, act):
    """Others may be acting by now: the act stops before anybody could see it."""
    locks, place = LostLocks(tmp_path / "locks"), local(tmp_path)
    warehouse = IcebergWarehouse(place.resolved_catalog_uri, place.resolved_warehouse_uri, locks=locks)
    publish(warehouse, 0)
    publish(warehouse, 1)
    stage(warehouse, 2)
    before, files = warehouse.versions(TABLE, unpublished=True), files_of(place)
    locks.lost = True
    with pytest.raises(LockLostError):
        act(warehouse)
    assert warehouse.versions(TABLE, unpublished=True) == before
    assert files_of(place) >= files


# --- Policy, versions, tags ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"gdpr_class": "secret"}, "GDPR class 'secret' is unknown"),
        ({"retention_days": 0}, "retention_days is 0"),
        ({"subject_column": "patient"}, "subject column 'patient' is not among its columns"),
        ({"subject_namespace": "review"}, "subject namespace 'review' comes without a subject column"),
        ({"subject_column": "text", "subject_namespace": " "}, "' ' is no namespace of subjects"),
        ({"subject_column": "text", "subject_namespace": "Kunde"}, "'Kunde' is no namespace of subjects"),
        ({"subject_column": "text", "subject_namespace": "a\n"}, r"'a\\n' is no namespace of subjects"),
        ({"time_column": "created"}, "time column 'created' is not among its columns"),
        ({"time_column": "text"}, "time column 'text' holds string"),
    ],
)
def test_a_write_without_a_sound_policy_is_refused(warehouse, given, problem):
    """What a table must carry is checked before anything is written."""
    with pytest.raises(WarehouseError, match=problem):
        write(warehouse, rows(1), **given)
    assert warehouse.tables() == []


def test_the_policy_of_a_table_is_that_of_its_newest_publication(any_warehouse):
    """Class, retention and time column hold for older versions too, also when the rows are there already."""
    publish(any_warehouse, 1)
    publish(any_warehouse, 2)
    timed = rows(2).append_column("seen", pa.array([date(2026, 12, 1)] * 5))
    any_warehouse.publish(
        write(any_warehouse, timed, gdpr_class="sensitive", retention_days=7, time_column="seen")
    )
    assert any_warehouse.policy(TABLE) == TablePolicy("sensitive", 7, time_column="seen")
    assert {
        (each.gdpr_class, each.retention_days, each.time_column) for each in any_warehouse.versions(TABLE)
    } == {("sensitive", 7, "seen")}
    publish(any_warehouse, 2)
    assert any_warehouse.policy(TABLE) == TablePolicy("personal", 30)


def test_a_write_that_is_never_published_changes_nothing(any_warehouse):
    """Who is refused by a contract has changed neither the policy of what is published nor whose rows it holds."""
    first = any_warehouse.publish(
        write(any_warehouse, rows(1), subject_column="text", subject_namespace="author")
    )
    refused = {
        "gdpr_class": "public",
        "retention_days": 1,
        "subject_column": "label",
        "subject_namespace": "client",
    }
    for content in (rows(2), rows(1)):
        staged = write(any_warehouse, content, **refused)
        assert any_warehouse.policy(TABLE) == TablePolicy("personal", 30)
        assert any_warehouse.versions(TABLE) == [first] == [any_warehouse.current(TABLE)]
        assert any_warehouse.versions(TABLE, unpublished=True) == [first, staged]
        assert (staged.gdpr_class, staged.retention_days, staged.subject_namespace) == ("public", 1, "client")


def test_a_table_without_a_publication_has_the_policy_of_its_newest_write(any_warehouse):
    """Nothing that anybody reads stands against it; equal rows under another policy count as well."""
    for days in (30, 7):
        staged = write(any_warehouse, rows(1), retention_days=days)
        assert any_warehouse.policy(TABLE) == TablePolicy("personal", days)
        assert any_warehouse.versions(TABLE, unpublished=True) == [staged]


def test_each_version_keeps_whose_rows_it_holds(any_warehouse):
    """Equal rows about somebody else are another version; written again, each is about the same as before."""
    told = [("text", "author"), ("label", "author"), ("text", "client"), (None, None)]
    published = [
        any_warehouse.publish(
            write(any_warehouse, rows(1), subject_column=column, subject_namespace=namespace)
        )
        for column, namespace in told
    ]
    again = write(any_warehouse, rows(1), subject_column="label", subject_namespace="author")
    assert again == published[1]
    assert any_warehouse.versions(TABLE) == published
    rewrites = rewrite(any_warehouse, "row 3")
    assert [each.old for each in rewrites] == published
    assert [(each.new.subject_column, each.new.subject_namespace) for each in rewrites] == told
    assert [each.new for each in rewrites] == any_warehouse.versions(TABLE)


def test_a_column_that_a_version_lacks_is_an_error(warehouse):
    """What was to be looked at and is not there is never taken for nothing."""
    publish(warehouse, 1)
    for act in (warehouse.affected, partial(warehouse.rewrite, content_hash=content_hash)):
        with pytest.raises(WarehouseError, match=r"has no column 'person'; it has version, text"):
            act(TABLE, without("gone"), columns=lambda _: ["person"])


def test_tables_of_earlier_versions_stay_readable(warehouse, tmp_path):
    """A table that carries no policy and no commit has the defaults."""
    from pyiceberg.catalog.sql import SqlCatalog

    old = SqlCatalog(
        "platform", uri=f"sqlite:///{tmp_path / 'catalog.sqlite'}", warehouse=str(tmp_path / "warehouse")
    )
    old.create_namespace("datasets")
    table = old.create_table(TABLE, schema=rows(1).schema)
    table.append(rows(1), snapshot_properties={"platform.content-hash": content_hash(rows(1))})
    with table.manage_snapshots() as refs:
        refs.create_tag(table.current_snapshot().snapshot_id, f"v-{content_hash(rows(1))[:16]}")
    (version,) = warehouse.versions(TABLE)
    assert (version.gdpr_class, version.retention_days, version.source_commit) == (
        "internal",
        3650,
        "unversioned",
    )
    assert warehouse.read(TABLE, version.snapshot_id).equals(rows(1))
    assert warehouse.policy(TABLE) == TablePolicy()


def test_a_table_of_an_earlier_version_names_subjects_without_a_namespace(warehouse, tmp_path):
    """Its column is known, and nobody invents a namespace for it."""
    from pyiceberg.catalog.sql import SqlCatalog

    old = SqlCatalog(
        "platform", uri=f"sqlite:///{tmp_path / 'catalog.sqlite'}", warehouse=str(tmp_path / "warehouse")
    )
    old.create_namespace("datasets")
    table = old.create_table(TABLE, schema=rows(1).schema, properties={"platform.subject-column": "text"})
    table.append(rows(1), snapshot_properties={"platform.content-hash": content_hash(rows(1))})
    with table.manage_snapshots() as refs:
        refs.create_tag(table.current_snapshot().snapshot_id, f"v-{content_hash(rows(1))[:16]}")
    new = warehouse.publish(write(warehouse, rows(2), subject_column="version", subject_namespace="author"))
    (before, _) = warehouse.versions(TABLE)
    assert (before.subject_column, before.subject_namespace) == ("text", None)
    assert (new.subject_column, new.subject_namespace) == ("version", "author")


def test_versions_are_listed_and_found_by_content_or_commit(any_warehouse):
    """A published version is found by 8 digits of its hash, and by its producer's commit; staged ones are not."""
    first = any_warehouse.publish(write(any_warehouse, rows(1), source_commit="a" * 40))
    second = any_warehouse.publish(write(any_warehouse, rows(2), source_commit="b" * 40 + "+dirty"))
    staged = stage(any_warehouse, 3)
    assert any_warehouse.versions(TABLE) == [first, second]
    assert any_warehouse.versions(TABLE, unpublished=True) == [first, second, staged]
    for name in (first.content_hash, first.content_hash[:8], "a" * 40, "a" * 7):
        assert any_warehouse.at(TABLE, name) == first
    assert any_warehouse.at(TABLE, "b" * 12 + "+dirty") == second
    for name in (first.content_hash[:5], "b" * 12, staged.content_hash, "main", "v-*"):
        with pytest.raises(
            WarehouseError, match=f"does not exist.*{first.content_hash[:12]} .*{second.content_hash[:12]}"
        ):
            any_warehouse.at(TABLE, name)


def test_a_commit_that_produced_two_versions_is_ambiguous(warehouse):
    """It is refused, and both versions are named."""
    first, second = publish(warehouse, 1), publish(warehouse, 2)
    with pytest.raises(
        WarehouseError, match=f"ambiguous.*{first.content_hash[:12]}.*{second.content_hash[:12]}"
    ):
        warehouse.at(TABLE, COMMIT)


def test_a_version_that_a_newer_commit_produces_again_has_both_tags(warehouse):
    """Equal rows are one version, found under every commit that made them."""
    first = publish(warehouse, 1)
    again = warehouse.publish(write(warehouse, rows(1), source_commit="d" * 40))
    assert again.snapshot_id == first.snapshot_id
    assert warehouse.at(TABLE, "d" * 40) == warehouse.at(TABLE, COMMIT) == first


@pytest.mark.parametrize("commit", ["unversioned", "platform-assets==0.1.0"])
def test_what_is_no_commit_makes_no_tag(warehouse, tmp_path, commit):
    """An unversioned producer is not found by a commit that never was."""
    warehouse.publish(write(warehouse, rows(1), source_commit=commit))
    with pytest.raises(WarehouseError, match="does not exist"):
        warehouse.at(TABLE, commit)
    assert "git-" not in "".join(path.read_text() for path in tmp_path.rglob("*.metadata.json"))


# --- Taking out ----------------------------------------------------------------------------------------


def test_rows_leave_every_version_and_nothing_else_changes(any_warehouse):
    """Versions that hold the row are written again under new ids, their tags move; the other stays as it is."""
    plain = pa.table({"text": ["a", "gone", "b"], "number": pa.array([1, 2, 3], pa.int32())})
    wider = plain.append_column("words", pa.array([1, 1, 1], pa.int32()))
    untouched = pa.table({"text": ["c"], "number": pa.array([4], pa.int32())})
    first, second, third, staged = (
        any_warehouse.publish(write(any_warehouse, content, source_commit=commit * 40))
        if commit != "e"
        else write(any_warehouse, content, source_commit=commit * 40)
        for content, commit in ((plain, "a"), (untouched, "b"), (wider, "c"), (wider.slice(1), "e"))
    )
    assert any_warehouse.affected(TABLE, without("gone"), columns=text_of) == [
        (first, 1),
        (third, 1),
        (staged, 1),
    ]

    rewrites = rewrite(any_warehouse, "gone")

    assert [(each.old, each.rows_removed) for each in rewrites] == [(first, 1), (third, 1), (staged, 1)]
    new_first, new_third, new_staged = (each.new for each in rewrites)
    assert any_warehouse.read(TABLE, new_first.snapshot_id).equals(plain.take([0, 2]))
    assert any_warehouse.read(TABLE, new_third.snapshot_id).equals(wider.take([0, 2]))
    assert any_warehouse.read(TABLE, new_staged.snapshot_id).equals(wider.slice(2))
    assert any_warehouse.versions(TABLE) == [new_first, second, new_third]
    assert any_warehouse.current(TABLE) == new_third
    assert any_warehouse.staged(TABLE) == new_staged
    assert any_warehouse.at(TABLE, "a" * 40) == new_first
    assert any_warehouse.at(TABLE, new_third.content_hash) == new_third
    assert (new_first.committed_at, new_first.source_commit) == (first.committed_at, "a" * 40)
    assert new_first.content_hash == content_hash(plain.take([0, 2]))
    with pytest.raises(
        WarehouseError, match=f"{first.snapshot_id} was erased.* is snapshot {new_first.snapshot_id}"
    ):
        any_warehouse.read(TABLE, first.snapshot_id)
    assert rewrite(any_warehouse, "gone") == []


def test_nothing_of_a_rewritten_version_is_left_on_disk(warehouse, tmp_path):
    """Data, manifests with their bounds and old metadata go: only what the table refers to remains."""
    content = pa.table({"text": ["keep me", "zzz-erase-me"]})
    warehouse.publish(write(warehouse, content))
    rewrite(warehouse, "zzz-erase-me")
    rewrite(warehouse, "keep me")
    assert files_of(local(tmp_path)) == referenced(local(tmp_path))
    left = b"".join(Path(path).read_bytes() for path in files_of(local(tmp_path)))
    assert b"zzz-erase" not in left
    assert warehouse.current(TABLE).rows == 0


def test_a_version_that_becomes_equal_to_another_is_that_one(warehouse):
    """Two published versions that differ by the removed row end as one, with the tags of both."""
    both = pa.table({"text": ["a", "gone"]})
    first = warehouse.publish(write(warehouse, both, source_commit="a" * 40))
    second = warehouse.publish(write(warehouse, both.slice(0, 1), source_commit="b" * 40))
    (only,) = rewrite(warehouse, "gone")
    assert (only.old, only.new.snapshot_id) == (first, second.snapshot_id)
    assert warehouse.versions(TABLE) == [second]
    assert warehouse.at(TABLE, "a" * 40) == warehouse.at(TABLE, "b" * 40) == second


def test_a_version_that_was_rewritten_twice_tells_what_is_left(any_warehouse):
    """Whoever still holds the first id is led to the last one."""
    first = any_warehouse.publish(write(any_warehouse, pa.table({"text": ["a", "b", "c"]})))
    rewrite(any_warehouse, "a")
    (last,) = rewrite(any_warehouse, "b")
    with pytest.raises(WarehouseError, match=f"erased.* is snapshot {last.new.snapshot_id}"):
        any_warehouse.read(TABLE, first.snapshot_id)
    assert any_warehouse.left_of(TABLE, first.snapshot_id) == last.new.snapshot_id
    assert any_warehouse.left_of(TABLE, last.new.snapshot_id) == last.new.snapshot_id
    any_warehouse.drop(TABLE, [last.new.snapshot_id])
    assert any_warehouse.left_of(TABLE, first.snapshot_id) is None
    with pytest.raises(WarehouseError, match="has no snapshot 1"):
        any_warehouse.left_of(TABLE, "1")


def test_dropped_versions_are_gone_and_the_table_begins_anew(warehouse, tmp_path):
    """An old version leaves the current one alone; without its current version a table has none, and can be written again."""
    first, second = publish(warehouse, 1), publish(warehouse, 2)
    warehouse.drop(TABLE, [first.snapshot_id])
    assert warehouse.current(TABLE) == second
    assert warehouse.versions(TABLE, unpublished=True) == [second]
    warehouse.drop(TABLE, [second.snapshot_id])
    assert warehouse.current(TABLE) is None
    assert warehouse.staged(TABLE) is None
    assert warehouse.versions(TABLE, unpublished=True) == []
    assert files_of(local(tmp_path)) == referenced(local(tmp_path))
    with pytest.raises(WarehouseError, match=f"{second.snapshot_id} was erased.*nothing is left"):
        warehouse.read(TABLE, second.snapshot_id)
    again = publish(warehouse, 2)
    assert warehouse.current(TABLE) == again
    assert warehouse.read(TABLE, again.snapshot_id).equals(rows(2))


def test_under_legal_hold_nothing_of_a_table_is_removed(warehouse, tmp_path):
    """Rewriting, dropping and sweeping wait until the hold is lifted; reading and writing go on."""
    first = publish(warehouse, 1)
    stage(warehouse, 2)
    publish(warehouse, 3)
    assert warehouse.set_legal_hold(TABLE, held=True).legal_hold
    before = files_of(local(tmp_path))
    with pytest.raises(WarehouseError, match="under legal hold"):
        rewrite(warehouse, "row 1")
    with pytest.raises(WarehouseError, match="under legal hold"):
        warehouse.drop(TABLE, [first.snapshot_id])
    assert warehouse.sweep() == 0
    assert files_of(local(tmp_path)) == before
    publish(warehouse, 4)
    assert warehouse.policy(TABLE).legal_hold
    warehouse.set_legal_hold(TABLE, held=False)
    assert warehouse.sweep() > 0
    assert len(rewrite(warehouse, "row 1")) == 3


def test_a_reader_meets_whole_rows_or_a_clear_error(tmp_path):
    """While rows are taken out of the version that it reads, a reader sees all of them, or is told."""
    content = pa.table({"text": [f"row {row}" for row in range(2000)]})
    warehouse = opened(tmp_path)
    version = warehouse.publish(write(warehouse, content))
    outcomes = []

    def read() -> None:
        reader = opened(tmp_path)
        while True:
            try:
                outcomes.append(reader.read(TABLE, version.snapshot_id).num_rows)
            except WarehouseError as problem:
                outcomes.append(str(problem))
                return

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        while len(outcomes) < 4:
            wait(readers, timeout=0.01)
        for row in range(3):
            rewrite(warehouse, f"row {row}")
        for reader in readers:
            reader.result(timeout=60)
    told = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert {outcome for outcome in outcomes if not isinstance(outcome, str)} == {2000}
    assert len(told) == 2
    assert all("was erased" in problem for problem in told)


def test_settings_lead_table_files_to_the_same_s3_server(tmp_path, s3_bucket, s3_endpoint, monkeypatch):
    """A warehouse_uri on s3:// needs no other setting than the object store's: write, read, take out, sweep."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    settings = PlatformSettings(
        home=tmp_path, warehouse_uri=f"s3://{s3_bucket}/tables", s3_endpoint=s3_endpoint
    )
    warehouse = OutsideSystems(settings).warehouse
    published = publish(warehouse, 1)
    stage(warehouse, 2)
    stage(warehouse, 3)
    assert warehouse.read(TABLE, published.snapshot_id).equals(rows(1))
    assert warehouse.sweep() > 0
    (first, _) = rewrite(warehouse, "row 1")
    assert warehouse.read(TABLE, first.new.snapshot_id).num_rows == 4
    assert warehouse.sweep() == 0
    assert not (tmp_path / "warehouse" / "datasets").exists()


@pytest.mark.parametrize(("known", "expected"), [({}, "eu-west-1"), ({"AWS_REGION": "us-west-2"}, None)])
def test_the_aws_sdk_need_not_ask_the_machine_for_its_region(tmp_path, monkeypatch, known, expected):
    """It would, for seconds, wherever no metadata service answers; what somebody has set stays."""
    for variable in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.setenv(variable, "")  # so that it is put back
        monkeypatch.delenv(variable)
    for variable, value in known.items():
        monkeypatch.setenv(variable, value)

    assert OutsideSystems(
        PlatformSettings(home=tmp_path, warehouse_uri="s3://bucket/tables", s3_region="eu-west-1")
    ).warehouse

    assert os.environ.get("AWS_DEFAULT_REGION") == expected


# --- By day ----------------------------------------------------------------------------------------


def test_versions_by_day_share_what_they_have_alike(any_warehouse, place):
    """Only new days are written; every version reads as one table, in the order of its days."""
    first = any_warehouse.publish(stage_days(any_warehouse, {2: 2, 1: 1}))
    before = {path for path in files_of(place) if path.endswith(".parquet")}
    second = any_warehouse.publish(stage_days(any_warehouse, {3: 3, 2: 20}, keep=(1,)))
    assert len({path for path in files_of(place) if path.endswith(".parquet")} - before) == 2
    assert any_warehouse.read(TABLE, first.snapshot_id).equals(pa.concat_tables([rows(1), rows(2)]))
    assert any_warehouse.read(TABLE, second.snapshot_id).equals(
        pa.concat_tables([rows(1), rows(20), rows(3)])
    )
    schema = rows(1).schema
    assert any_warehouse.days(second, schema) == {day(1): 5, day(2): 5, day(3): 5}
    assert any_warehouse.read_days(second, schema, [day(3), day(1)]).equals(
        pa.concat_tables([rows(1), rows(3)])
    )
    assert second.rows == 15
    any_warehouse.sweep()
    assert files_of(place) == referenced(place)
    expire(any_warehouse)
    any_warehouse.sweep()
    assert any_warehouse.read(TABLE, second.snapshot_id).equals(
        pa.concat_tables([rows(1), rows(20), rows(3)])
    )


def test_equal_days_are_one_version(warehouse):
    """Whether they are written or kept, nothing is written twice."""
    first = warehouse.publish(stage_days(warehouse, {1: 1, 2: 2}))
    assert stage_days(warehouse, {2: 2}, keep=(1,)) == first
    assert stage_days(warehouse, {1: 1, 2: 2}) == first
    # A day that goes is a difference, and so is one that has come.
    assert stage_days(warehouse, {2: 2}).content_hash != first.content_hash


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_writer_of_days_loses_none(tmp_path, kills):
    """Killed between a day's files, its staging, its publication and the end of old versions.

    Every day is whole, that of the last version which was reported, or of the next, is there, and a sweep leaves what
    is needed.
    """
    place = local(tmp_path)
    for number in range(kills):
        with stager(place, 1000 * number, program="day_stager.py") as process:
            reported = [process.stdout.readline() for _ in range(random.randint(5, 8))]
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=random.uniform(0, 0.3))
            process.kill()
            reported += process.stdout.readlines()
        warehouse, last = OutsideSystems(place).warehouse, int(reported[-1])
        current = warehouse.current(TABLE)
        found = warehouse.read(TABLE, current.snapshot_id)
        days = {
            versions[0] % 5 + 1: versions
            for versions in (found["version"].to_pylist()[at : at + 10] for at in range(0, 50, 10))
        }
        assert sorted(days) == [1, 2, 3, 4, 5]
        assert all(len(set(versions)) == 1 for versions in days.values())
        newest = max(found["version"].to_pylist())
        assert newest - last in {0, 1}
        assert set(found["version"].to_pylist()) == set(range(newest - 4, newest + 1))
        warehouse.sweep()
        assert files_of(place) == referenced(place)
        assert warehouse.read(TABLE, current.snapshot_id).equals(found)


def test_what_does_not_go_on_from_the_current_version_is_refused(warehouse):
    """Another was published meanwhile, a day has no file of its own, days are of several schemas, or there is none."""
    one = warehouse.publish(stage_days(warehouse, {1: 1}))
    with pytest.raises(WarehouseError, match="no file of 2026-11-02 by itself"):
        stage_days(warehouse, {1: 1}, keep=(2,))
    warehouse.publish(stage_days(warehouse, {1: 2}))
    with pytest.raises(WarehouseError, match="another version has become current"):
        stage_days(warehouse, {2: 3}, keep=(1,), on=one)
    with pytest.raises(WarehouseError, match="has no file of 2026-11-05"):
        warehouse.read_days(one, rows(1).schema, [day(5)])
    with pytest.raises(WarehouseError, match="no day is to be written"):
        stage_days(warehouse, {})
    mixed = {day(1): rows(1), day(2): rows(2).drop_columns(["label"])}
    with pytest.raises(WarehouseError, match="one schema"):
        warehouse.stage_days(
            TABLE,
            mixed,
            on=warehouse.current(TABLE),
            content_hash=content_hash,
            gdpr_class="internal",
            retention_days=1,
            source_commit=COMMIT,
        )


def test_what_lies_otherwise_has_no_days(warehouse):
    """A version of one file, and one of another schema: they have to be written by day first."""
    schema = rows(1).schema
    assert warehouse.days(publish(warehouse, 1), schema) is None
    by_day = warehouse.publish(stage_days(warehouse, {1: 1, 2: 2}))
    assert warehouse.days(by_day, schema) is not None
    assert warehouse.days(by_day, rows(1).drop_columns(["label"]).schema) is None
    assert warehouse.marks(warehouse.versions(TABLE)[0]) is None


def test_a_rewritten_version_stays_by_day(any_warehouse, place):
    """Only the day that loses rows is written again, under its mark; one that loses all of them is there and empty."""
    named = rows(1).append_column("who", [["a", "b", "a", "c", "a"]])
    lost = rows(2).append_column("who", [["d"] * 5])
    given = {
        "content_hash": content_hash,
        "gdpr_class": "internal",
        "retention_days": 365,
        "source_commit": COMMIT,
    }
    marks = {day(1): "1" * 64, day(2): "2" * 64, day(3): "3" * 64}
    warehouse = any_warehouse
    first = warehouse.publish(
        warehouse.stage_days(
            TABLE,
            {day(1): named, day(2): lost, day(3): named},
            on=None,
            marks=marks,
            subject_column="who",
            subject_namespace="person",
            **given,
        )
    )
    assert (first.subject_column, first.subject_namespace) == ("who", "person")
    before = {path for path in files_of(place) if path.endswith(".parquet")}
    (done,) = warehouse.rewrite(
        TABLE,
        lambda _, ids: pc.not_equal(ids["who"], "d"),
        columns=lambda _: ["who"],
        content_hash=content_hash,
    )
    assert done.rows_removed == 5
    current = warehouse.current(TABLE)
    assert warehouse.marks(current) == marks
    assert warehouse.days(current, named.schema) == {day(1): 5, day(2): 0, day(3): 5}
    assert warehouse.read(TABLE, current.snapshot_id).equals(pa.concat_tables([named, named]))
    after = {path for path in files_of(place) if path.endswith(".parquet")}
    assert len(after - before) == 1
    assert len(before - after) == 1
    assert current.subject_column == "who"
    assert current.content_hash != first.content_hash
    # Whoever goes on from it keeps what is left.
    second = warehouse.stage_days(
        TABLE,
        {day(2): named},
        on=current,
        keep=[day(1), day(3)],
        marks={day(2): "4" * 64},
        subject_column="who",
        subject_namespace="person",
        **given,
    )
    assert warehouse.marks(second) == marks | {day(2): "4" * 64}


def test_a_mark_is_a_difference(warehouse):
    """Equal rows under another mark are another version; a mark that is none is refused."""
    given = {
        "content_hash": content_hash,
        "gdpr_class": "internal",
        "retention_days": 365,
        "source_commit": COMMIT,
    }

    def stage(mark: str) -> Snapshot:
        current = warehouse.current(TABLE) if TABLE in warehouse.tables() else None
        return warehouse.stage_days(TABLE, {day(1): rows(1)}, on=current, marks={day(1): mark}, **given)

    first = warehouse.publish(stage("a" * 64))
    assert stage("a" * 64) == first
    second = warehouse.publish(stage("b" * 64))
    assert second.content_hash != first.content_hash
    assert warehouse.marks(second) == {day(1): "b" * 64}
    with pytest.raises(WarehouseError, match="a mark of 64 hexadecimal digits"):
        stage("b" * 63)


@pytest.mark.parametrize("unit", ["us", "date", "text"])
def test_rows_of_a_span_are_all_there(warehouse, monkeypatch, unit):
    """What lies in row groups of other times may be left out; a text tells no time, and is read whole."""
    moments = [datetime(2026, 11, 1 + number // 4, 6 * (number % 4), tzinfo=UTC) for number in range(40)]
    values = {
        "us": pa.array(moments, pa.timestamp("us", "UTC")),
        "date": pa.array([each.date() for each in moments], pa.date32()),
        "text": pa.array([each.isoformat() for each in moments]),
    }
    table = pa.table({"at": values[unit], "number": range(40), "other": range(40)})
    monkeypatch.setattr(iceberg_rows, "_ROW_GROUP_ROWS", 4)
    snapshot = warehouse.publish(
        warehouse.stage(
            TABLE,
            table,
            content_hash="1" * 64,
            gdpr_class="internal",
            retention_days=365,
            source_commit=COMMIT,
        )
    )
    found = warehouse.read_between(
        TABLE, snapshot.snapshot_id, "at", moments[8], moments[16], columns=["number", "at"]
    )
    assert found.column_names == ["number", "at"]
    numbers = found["number"].to_pylist()
    assert numbers == (list(range(40)) if unit == "text" else list(range(8, 20)))
    assert found.equals(table.select(["number", "at"]).filter(pc.is_in(table["number"], pa.array(numbers))))
    with pytest.raises(WarehouseError, match="has no column 'none'"):
        warehouse.read_between(TABLE, snapshot.snapshot_id, "at", moments[0], moments[1], columns=["none"])


def test_versions_expire_but_for_those_in_use(warehouse):
    """The current one and the newest write stay, under legal hold all; the table grows by no word about the others."""
    old = [warehouse.publish(stage_days(warehouse, {number: number})) for number in (1, 2, 3)]
    staged = stage_days(warehouse, {4: 4})
    assert warehouse.expire(TABLE, written_before=old[0].committed_at) == 0
    warehouse.set_legal_hold(TABLE, held=True)
    assert expire(warehouse) == 0
    warehouse.set_legal_hold(TABLE, held=False)
    assert expire(warehouse) == 2
    assert [each.snapshot_id for each in warehouse.versions(TABLE, unpublished=True)] == [
        old[2].snapshot_id,
        staged.snapshot_id,
    ]
    with pytest.raises(WarehouseError, match="it was expired or never written"):
        warehouse.read(TABLE, old[0].snapshot_id)
    target = warehouse._catalog.load_table(TABLE)
    assert not [name for name in target.properties if name.startswith("platform.gone")]
    assert set(target.metadata.refs) == {
        "main",
        "audit",
        *(tag for tag in target.metadata.refs if "-" in tag),
    }
    assert expire(warehouse) == 0


def test_many_versions_expire_in_several_goes(warehouse, monkeypatch):
    """Others wait for the lock; the oldest go first."""
    monkeypatch.setattr("resources.iceberg_removal._MOST_EXPIRED_AT_ONCE", 2)
    for number in range(1, 7):
        warehouse.publish(stage_days(warehouse, {number: number}))
    assert [expire(warehouse) for _ in range(4)] == [2, 2, 1, 0]


def test_a_sweep_reads_no_manifest_while_others_wait(warehouse, monkeypatch):
    """Each is read once, before the lock is held, and each of a version that comes in between with it."""
    from pyiceberg.manifest import ManifestFile

    for number in range(1, 6):
        warehouse.publish(stage_days(warehouse, {number: number}))
    read, held = [], []
    fetch, locked = ManifestFile.fetch_manifest_entry, warehouse._locked

    def counted(self, *arguments, **named):
        read.append((self.manifest_path, bool(held)))
        return fetch(self, *arguments, **named)

    @contextmanager
    def watched():
        with locked() as lock:
            held.append(lock)
            yield lock
            held.clear()

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", counted)
    monkeypatch.setattr(warehouse, "_locked", watched)
    warehouse.sweep()
    assert len(read) == len(set(read)) == 5
    assert not any(while_held for _, while_held in read)


def test_a_sweep_spares_what_comes_while_it_looks(warehouse, place_of, monkeypatch):
    """A version that is published between its look and the lock keeps all of its files."""
    warehouse.publish(stage_days(warehouse, {1: 1}))
    look = TableFiles.there

    def there(self):
        found = look(self)
        warehouse.publish(stage_days(warehouse, {2: 2}, keep=(1,)))
        return found

    monkeypatch.setattr(TableFiles, "there", there)
    warehouse.sweep()
    monkeypatch.undo()
    current = warehouse.current(TABLE)
    assert warehouse.read(TABLE, current.snapshot_id).equals(pa.concat_tables([rows(1), rows(2)]))
    warehouse.sweep()
    assert files_of(place_of) == referenced(place_of)


def batches_of(table: pa.Table, *, broken: Exception | None = None) -> RowBatches:
    """The rows of a table two by two; with an error, it comes after the last one the second time they are read."""
    scans = []

    def scan(columns):
        scans.append(columns)
        yield from table.select(columns).to_batches(max_chunksize=2)
        if broken is not None and len(scans) > 1:
            raise broken

    return RowBatches(table.schema, table.num_rows, scan)


def stage_unhashed(warehouse: IcebergWarehouse, content: RowBatches) -> Snapshot:
    """Stage rows that are looked at once, and then written."""
    carried = {"gdpr_class": "personal", "retention_days": 30, "source_commit": COMMIT}
    return warehouse.stage(TABLE, content, content_hash="0" * 64, **carried)


def test_rows_in_batches_are_the_version_that_their_table_is(any_warehouse, monkeypatch):
    """Written as they come, in several row groups, read back whole or in batches, and never written twice."""
    content = rows(1, 7)
    monkeypatch.setattr("resources.iceberg_rows._ROW_GROUP_ROWS", 3)
    staged = write(any_warehouse, batches_of(content))
    assert any_warehouse.read(TABLE, staged.snapshot_id).equals(content)
    assert write(any_warehouse, content).snapshot_id == staged.snapshot_id
    monkeypatch.setattr("resources.iceberg_rows._BATCH_ROWS", 2)
    found = any_warehouse.batches(TABLE, any_warehouse.publish(staged).snapshot_id)
    assert (found.schema, found.num_rows) == (content.schema, 7)
    assert found.read().equals(content)
    assert found.read(["label", "version"]).equals(content.select(["label", "version"]))
    assert [len(batch) for batch in found.batches(["text"])] == [2, 2, 2, 1]
    assert content_hash(found) == staged.content_hash


def test_a_table_of_an_earlier_release_comes_in_batches_too(warehouse, monkeypatch):
    """Without an Arrow schema of its own it is read whole."""
    staged = stage(warehouse, 1)
    monkeypatch.setattr("resources.iceberg_rows.arrow_schema_of", lambda snapshot: None)
    assert warehouse.batches(TABLE, staged.snapshot_id).read().to_pylist() == rows(1).to_pylist()


def test_batches_that_end_in_an_error_are_no_version(warehouse, place_of):
    """Whatever was written of them is nobody's: the last version stays, and a sweep leaves its files alone."""
    published = publish(warehouse, 1)
    warehouse.sweep()
    before = files_of(place_of)
    with pytest.raises(OSError, match="No space left"):
        stage_unhashed(warehouse, batches_of(rows(2), broken=OSError(28, "No space left on device")))
    assert warehouse.current(TABLE) == published == warehouse.staged(TABLE)
    warehouse.sweep()
    assert files_of(place_of) == before


def test_a_value_in_the_last_batch_that_cannot_be_kept_is_found_before_anything_is_written(
    warehouse, tmp_path
):
    """Not even a table is there."""
    fine = pa.table({"at": pa.array([1000, 2000, 1], pa.timestamp("ns"))})
    with pytest.raises(WarehouseError, match="cannot be kept as it is"):
        stage_unhashed(warehouse, batches_of(fine))
    assert warehouse.tables() == []
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_writer_that_is_killed_in_the_middle_of_its_batches_leaves_nothing(place_of):
    """The file that it was writing is nobody's, and goes with the next sweep."""
    warehouse = OutsideSystems(place_of).warehouse
    published = publish(warehouse, 1)
    warehouse.sweep()
    with stager(place_of, 2, program="batch_stager.py") as process:
        assert process.stdout.readline() == "half\n"
        assert len(files_of(place_of) - referenced(place_of)) == 1
        process.kill()
        process.wait()
    assert warehouse.current(TABLE) == published
    assert warehouse.sweep() == 1
    assert files_of(place_of) == referenced(place_of)
    assert publish(warehouse, 3).published

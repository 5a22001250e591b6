"""Retention: what is past its days goes, what is held or in use stays, and a verdict tells."""

import io
import json
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from platform_assets.cli import retention as cli
from platform_assets.governance import housekeeping
from platform_assets.governance import release as releases
from platform_assets.governance.errors import ReleaseError, RetentionError
from platform_assets.governance.release import RETENTION, Release, Stage
from platform_assets.governance.retention import (
    LEGAL_HOLD,
    Expired,
    RetentionReport,
    expired,
    retain,
    set_legal_hold,
)
from platform_assets.governance.verdict import latest_verdict
from platform_assets.ledger import checkpoint
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import (
    CardVersion,
    DatasetVersion,
    FeaturesVersion,
    ModelVersion,
    RegisteredVersion,
    ReportVersion,
    TableSnapshot,
    TransformerVersion,
)
from resources.iceberg_warehouse import IcebergWarehouse
from resources.locks import FileLocks
from resources.object_store import LocalObjectStore, ObjectStoreError
from resources.s3_object_store import S3ObjectStore
from resources.settings import PlatformSettings
from resources.warehouse import Snapshot, WarehouseError
from tests.governance.conftest import example
from tests.outside import outside_with

TABLE, LINE = "datasets.reviews", "reviews"
MODEL = f"{LINE}_model@feed"


@pytest.fixture
def warehouse(tmp_path):
    """An empty warehouse."""
    return opened(tmp_path)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    """An empty object store, of either kind."""
    if request.param == "local":
        return LocalObjectStore(tmp_path / "objects")
    return S3ObjectStore(
        f"s3://{request.getfixturevalue('s3_bucket')}/objects",
        endpoint=request.getfixturevalue("s3_endpoint"),
        region="us-east-1",
        cache=tmp_path / "cache",
    )


local_only = pytest.mark.parametrize("store", ["local"], indirect=True)
"""For tests that break something behind the store's back."""


@pytest.fixture
def sweep(store, warehouse, ledger):
    """A sweep `days` from now."""

    def sweep(days: float = 0) -> RetentionReport:
        return retain(
            store,
            warehouse,
            ledger,
            content_hash=content_hash,
            by="the schedule",
            environment="dev",
            now=now(days),
        )

    return sweep


def content_hash(rows: pa.Table) -> str:
    """Identity of rows that may hold times."""
    return sha256(str(rows.to_pylist()).encode()).hexdigest()


def opened(home: Path) -> IcebergWarehouse:
    """The warehouse of a home."""
    return IcebergWarehouse(
        f"sqlite:///{home / 'catalog.sqlite'}", str(home / "warehouse"), locks=FileLocks(home / "locks")
    )


def now(days: float = 0) -> datetime:
    """The time in so many days: stores stamp what they keep with the real one."""
    return datetime.now(UTC) + timedelta(days=days)


def put(store: LocalObjectStore, key: str, *, days: int, gdpr_class: str = "internal") -> None:
    """Put an object that may stay so many days."""
    store.put(key, key.encode(), gdpr_class=gdpr_class, retention_days=days, source_commit="0c0ffee")


def write(
    warehouse: IcebergWarehouse, rows: pa.Table, *, days: int, table: str = TABLE, **given: object
) -> Snapshot:
    """Publish a version of a table whose versions may stay so many days."""
    policy = {"gdpr_class": "personal", "source_commit": "0c0ffee"} | given
    return warehouse.publish(
        warehouse.stage(table, rows, content_hash=content_hash(rows), retention_days=days, **policy)
    )


def texts(*values: str) -> pa.Table:
    """A table of these texts."""
    return pa.table({"text": list(values)})


def release_of(
    snapshot: Snapshot,
    ledger: Ledger,
    judge,
    require,
    *,
    transformers: tuple[TransformerVersion, ...] = (),
    stage: Stage = "production",
) -> Release:
    """The active release, made of this version with these transformers."""
    rows = TableSnapshot(
        table=snapshot.table,
        snapshot_id=snapshot.snapshot_id,
        content_hash=snapshot.content_hash,
        rows=snapshot.rows,
    )
    dataset = example(DatasetVersion, line=LINE, snapshot=rows)
    model = example(
        ModelVersion,
        features=example(FeaturesVersion, dataset=dataset, transformers=transformers),
        fingerprint="feed",
        object_prefix="models/dev/reviews/feed",
    )
    report = example(ReportVersion, model=model, report_key="reports/dev/reviews/report.json")
    card = example(CardVersion, registered=example(RegisteredVersion, report=report))
    made = Release(line=LINE, card=card, deployment={}, verdicts=(judge(subject=MODEL).hash,))
    releases.record(ledger, made)
    activate(ledger, made, require, stage)
    return made


def activate(ledger: Ledger, release: Release, require, stage: Stage = "production") -> None:
    """Make it the active one."""
    releases.activate(
        ledger,
        LINE,
        release.release_id,
        reason="test",
        requirements=[require(subject=MODEL)],
        stage=stage,
        now=next(ledger.entries()).time,
    )


def told(found: list[Expired]) -> list[tuple[str, str, str]]:
    """Kind, name and why it stays."""
    return sorted((each.kind, each.name, each.spared) for each in found)


def test_what_is_within_its_days_stays(store, warehouse, ledger, sweep):
    """Nothing is past its days, nothing goes, and the verdict says so."""
    put(store, "reports/dev/a", days=10)
    version = write(warehouse, texts("a"), days=10)
    report = sweep(9.9)
    assert (report.outcome, report.deleted, report.spared) == ("pass", (), ())
    assert store.exists("reports/dev/a")
    assert warehouse.current(TABLE) == version
    assert list(ledger.entries(kind=RETENTION)) == []


def test_what_is_past_its_days_goes(store, warehouse, ledger, sweep):
    """Objects and versions by their own days, counted by class in a verdict; the current personal version too."""
    put(store, "reports/short", days=5)
    put(store, "reports/sensitive", days=5, gdpr_class="sensitive")
    put(store, "reports/long", days=50)
    first = write(warehouse, texts("a"), days=5)
    second = write(warehouse, texts("b"), days=5)
    other = write(warehouse, texts("c"), days=50, table="features.tokens")

    report = sweep(6)

    assert list(store.list()) == ["reports/long"]
    assert warehouse.versions(TABLE) == []
    assert warehouse.current(TABLE) is None
    assert warehouse.current("features.tokens") == other
    assert report.counts == {"internal_object": 1, "personal_version": 2, "sensitive_object": 1}
    _, verdict = latest_verdict(ledger, report.verdict.subject, "retention")
    assert verdict.outcome == "pass"
    assert verdict.evidence["deleted"] == {
        "internal": {"object": 1},
        "personal": {"version": 2},
        "sensitive": {"object": 1},
    }
    (entry,) = ledger.entries(kind=RETENTION)
    assert {each["snapshot_id"] for each in entry.body["versions"]} == {first.snapshot_id, second.snapshot_id}
    assert sweep(7).deleted == ()


def test_files_of_what_went_are_gone(warehouse, tmp_path, sweep):
    """No file of the table holds the text any more."""
    write(warehouse, texts("zebra zebra zebra"), days=5)
    sweep(6)
    assert not any(b"zebra" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_legal_hold_is_never_touched(store, warehouse, ledger, sweep):
    """Held objects and tables are listed as held, whatever their class; lifted, they go."""
    put(store, "reports/dev/a", days=5, gdpr_class="sensitive")
    version = write(warehouse, texts("a"), days=5)
    for name in ("reports/dev/a", TABLE):
        set_legal_hold(
            name, held=True, by="grace", reason="case 3", store=store, warehouse=warehouse, ledger=ledger
        )
    report = sweep(6)
    assert report.deleted == ()
    assert told(report.spared) == [
        ("object", "reports/dev/a", "legal hold"),
        ("version", TABLE, "legal hold"),
    ]
    assert report.verdict.body["evidence"]["held"] == [TABLE, "reports/dev/a"]
    assert warehouse.current(TABLE).snapshot_id == version.snapshot_id
    assert [entry.body["held"] for entry in ledger.entries(kind=LEGAL_HOLD, subject=TABLE)] == [True]
    for name in ("reports/dev/a", TABLE):
        set_legal_hold(
            name, held=False, by="grace", reason="closed", store=store, warehouse=warehouse, ledger=ledger
        )
    assert len(sweep(6).deleted) == 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [({"name": "reports/none"}, "neither a table nor an object"), ({"reason": " "}, "names who")],
)
def test_a_hold_names_what_who_and_why(store, warehouse, ledger, given, problem):
    """Otherwise nothing is held, and nothing is recorded."""
    put(store, "reports/dev/a", days=5)
    asked = {"name": "reports/dev/a", "by": "grace", "reason": "case 3"} | given
    with pytest.raises(RetentionError, match=problem):
        set_legal_hold(asked.pop("name"), held=True, store=store, warehouse=warehouse, ledger=ledger, **asked)
    assert list(ledger.entries()) == []


@pytest.mark.parametrize("stage", ["production", "staging"])
def test_what_is_internal_and_in_use_stays(store, warehouse, ledger, sweep, judge, require, stage):
    """The current version, and what a release in a stage names, stay; personal data of the same release goes."""
    used = write(warehouse, texts("a"), days=5, gdpr_class="internal")
    current = write(warehouse, texts("b"), days=5, gdpr_class="internal")
    unused = write(warehouse, texts("c"), days=5, gdpr_class="internal")
    warehouse.publish(current)
    release_of(used, ledger, judge, require, stage=stage)
    for key in (
        "models/dev/reviews/feed/weights",
        "reports/dev/reviews/report.json",
        "reports/dev/reviews/old.json",
    ):
        put(store, key, days=5)
    put(store, "models/dev/reviews/feed/scores", days=5, gdpr_class="personal")

    report = sweep(6)

    assert told(report.spared) == [
        ("object", "models/dev/reviews/feed/weights", "in use"),
        ("object", "reports/dev/reviews/report.json", "in use"),
        ("version", TABLE, "in use"),
        ("version", TABLE, "in use"),
    ]
    assert {version.snapshot_id for version in warehouse.versions(TABLE)} == {
        used.snapshot_id,
        current.snapshot_id,
    }
    assert told(report.deleted) == [
        ("object", "models/dev/reviews/feed/scores", ""),
        ("object", "reports/dev/reviews/old.json", ""),
        ("version", TABLE, ""),
    ]
    assert unused.snapshot_id not in {version.snapshot_id for version in warehouse.versions(TABLE)}


def test_what_says_what_a_transformer_is_stays_with_its_state(
    store, warehouse, ledger, sweep, judge, require
):
    """A release names the state; the manifest beside it stays as long, and other versions go."""
    used = write(warehouse, texts("a"), days=50, gdpr_class="internal")
    version = example(TransformerVersion, name="some_woe", object_key="models/dev/some_woe/v2/fitted.json")
    release_of(used, ledger, judge, require, transformers=(version,))
    for number in (1, 2, 21):
        for name in ("fitted.json", "manifest.json"):
            put(store, f"models/dev/some_woe/v{number}/{name}", days=5)

    report = sweep(6)

    assert told(report.spared) == [
        ("object", "models/dev/some_woe/v2/fitted.json", "in use"),
        ("object", "models/dev/some_woe/v2/manifest.json", "in use"),
    ]
    assert len(report.deleted) == 4


def test_a_release_of_expired_personal_data_is_erased(warehouse, ledger, sweep, judge, require):
    """It serves on, and never becomes active again; the same rows, read in anew, make a release that may."""
    version = write(warehouse, texts("a"), days=5)
    release = release_of(version, ledger, judge, require)
    sweep(6)
    assert set(releases.erased(ledger, LINE)) == {release.release_id}
    assert releases.active(ledger, LINE).release_id == release.release_id
    with pytest.raises(ReleaseError, match=r"is erased: entry \d+ \(retention"):
        activate(ledger, release, require)
    again = release_of(write(warehouse, texts("a"), days=5), ledger, judge, require)
    assert set(releases.erased(ledger, LINE)) == {release.release_id}
    assert releases.active(ledger, LINE).release_id == again.release_id


@pytest.mark.parametrize("kind", ["timestamp", "timestamp with zone", "date"])
def test_single_rows_go_by_their_own_time(warehouse, ledger, sweep, kind):
    """Where a table has a time column, old rows leave every version; rows without a time stay."""
    ages = [100, 3, None, 40, 1]
    at = [None if age is None else datetime.now(UTC) - timedelta(days=age) for age in ages]
    times = {
        "timestamp": pa.array([each and each.replace(tzinfo=None) for each in at], pa.timestamp("us")),
        "timestamp with zone": pa.array(at, pa.timestamp("us", "UTC")),
        "date": pa.array([each and date(each.year, each.month, each.day) for each in at], pa.date32()),
    }[kind]
    rows = pa.table({"number": [0, 1, 2, 3, 4], "seen": times})
    first = write(warehouse, rows, days=30, time_column="seen")
    second = write(warehouse, rows.slice(1, 2), days=30, time_column="seen")

    report = sweep()

    assert [(each.kind, each.rows, each.version) for each in report.deleted] == [("rows", 2, first)]
    new, untouched = warehouse.versions(TABLE)
    assert warehouse.read(TABLE, new.snapshot_id)["number"].to_pylist() == [1, 2, 4]
    assert (untouched, warehouse.current(TABLE)) == (second, second)
    (entry,) = ledger.entries(kind=RETENTION)
    assert [each["snapshot_id"] for each in entry.body["versions"]] == [first.snapshot_id]
    assert sweep().deleted == ()


@local_only
def test_rows_of_versions_in_which_the_column_told_no_time_stay(warehouse, sweep):
    """An older version may have had numbers or texts under the name: they are no times, and go with their version."""
    texts = write(warehouse, pa.table({"seen": ["2001-01-01", "long ago"]}), days=30)
    numbers = write(warehouse, pa.table({"seen": [0, 1]}), days=30)
    lacking = write(warehouse, pa.table({"number": [0, 1]}), days=30)
    long_ago = pa.array([datetime.now(UTC) - timedelta(days=40)], pa.timestamp("s", "Asia/Tokyo"))
    times = write(warehouse, pa.table({"seen": long_ago}), days=30, time_column="seen")

    report = sweep()

    assert [(each.kind, each.rows, each.version) for each in report.deleted] == [("rows", 1, times)]
    left = [each.snapshot_id for each in warehouse.versions(TABLE)]
    assert left[:3] == [each.snapshot_id for each in (texts, numbers, lacking)]


@local_only
def test_a_version_that_was_never_published_goes_by_its_own_days(warehouse, sweep):
    """It may be of a stricter class than the table, whose policy it has not become."""
    published = write(warehouse, texts("a"), days=30, gdpr_class="internal")
    given = {"gdpr_class": "sensitive", "retention_days": 5, "source_commit": "0c0ffee"}
    refused = warehouse.stage(TABLE, texts("b"), content_hash=content_hash(texts("b")), **given)

    report = sweep(6)

    assert [(each.kind, each.gdpr_class, each.version) for each in report.deleted] == [
        ("version", "sensitive", refused)
    ]
    assert warehouse.versions(TABLE, unpublished=True) == [published]


@local_only
def test_what_cannot_be_deleted_is_an_error_and_keeps_nothing_else(store, ledger, warehouse):
    """A store that refuses one deletion: the rest goes, and the verdict names the problem."""

    class Refusing(LocalObjectStore):
        def delete(self, key: str) -> None:
            if key == "reports/dev/a":
                raise ObjectStoreError("object reports/dev/a: the disk is read-only")
            super().delete(key)

    refusing = Refusing(store._objects.parent)
    put(store, "reports/dev/a", days=5)
    put(store, "reports/b", days=5)
    report = retain(
        refusing,
        warehouse,
        ledger,
        content_hash=content_hash,
        by="the schedule",
        environment="dev",
        now=now(6),
    )
    assert (report.outcome, report.problems) == ("error", ("object reports/dev/a: the disk is read-only",))
    assert [each.name for each in report.deleted] == ["reports/b"]
    assert report.verdict.body["evidence"]["problems"] == ["object reports/dev/a: the disk is read-only"]
    assert list(store.list()) == ["reports/dev/a"]


@local_only
def test_a_sweep_that_died_is_finished_by_the_next(store, warehouse, ledger, sweep, monkeypatch):
    """It dies after the ledger knows and before anything went: the next sweep removes all, under the same entry."""
    put(store, "reports/dev/a", days=5)
    write(warehouse, texts("a"), days=5)
    with monkeypatch.context() as patch:
        patch.setattr(LocalObjectStore, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sweep(6)
    assert len(list(ledger.entries(kind=RETENTION))) == 1
    assert len(sweep(6).deleted) == 2
    assert len(list(ledger.entries(kind=RETENTION))) == 1


def test_looking_changes_nothing(store, warehouse, ledger):
    """`expired` lists, and removes nothing."""
    put(store, "reports/dev/a", days=5)
    write(warehouse, texts("a"), days=5)
    assert told(expired(store, warehouse, ledger, now=now(6))) == [
        ("object", "reports/dev/a", ""),
        ("version", TABLE, ""),
    ]
    assert told(expired(store, warehouse, ledger, now=now(6))) == [
        ("object", "reports/dev/a", ""),
        ("version", TABLE, ""),
    ]
    assert list(ledger.entries()) == []


# --- The asset -----------------------------------------------------------------------------------------


def materialize(store, warehouse, ledger, tmp_path) -> dg.ExecuteInProcessResult:
    """Run the asset."""
    return dg.materialize(
        [housekeeping.retention_asset(content_hash)],
        resources={
            "outside": outside_with(
                PlatformSettings(home=tmp_path), object_store=store, warehouse=warehouse, ledger=ledger
            )
        },
        raise_on_error=False,
    )


@local_only
def test_the_asset_sweeps_and_shows_its_counts(store, warehouse, ledger, tmp_path):
    """Its metadata are the counts, what killed runs have left among them, and the verdict."""
    put(store, "reports/dev/a", days=1)
    (store._objects / "reports" / "dev" / "half_put").write_bytes(b"by a killed run")
    stale = store._metadata / "reports" / "dev" / "a.json"
    stale.write_text(stale.read_text().replace(str(now().year), "1999"))
    result = materialize(store, warehouse, ledger, tmp_path)
    assert result.success
    (materialization,) = result.asset_materializations_for_node(housekeeping.RETENTION_SWEEP)
    shown = {name: value.value for name, value in materialization.metadata.items()}
    assert (shown["internal_object"], shown["deleted"], shown["stays"]) == (1, 1, 0)
    assert shown["leftovers"] == 1
    assert ledger.get(shown["verdict"]).body["outcome"] == "pass"


@local_only
def test_the_asset_reads_the_whole_ledger_and_vouches_for_it(
    store, warehouse, ledger, tamper, tmp_path, monkeypatch
):
    """Decisions of the next day rely on that reading; on damage that no decision has noticed, it fails."""
    monkeypatch.setattr(checkpoint, "STEP", 4)
    entries = [ledger.append("note", "line", fingerprint=str(number), body={}) for number in range(4)]
    assert materialize(store, warehouse, ledger, tmp_path).success
    before = ledger.latest(checkpoint.KIND, checkpoint.SUBJECT)
    assert materialize(store, warehouse, ledger, tmp_path).success
    assert ledger.latest(checkpoint.KIND, checkpoint.SUBJECT).seq > before.seq
    tamper.execute("DELETE FROM entries WHERE seq = ?", (entries[1].seq,))
    assert not materialize(store, warehouse, ledger, tmp_path).success


def test_the_schedule_runs_every_night_from_the_start():
    """Nobody has to switch it on."""
    definitions = dg.Definitions(
        assets=[housekeeping.retention_asset(content_hash)],
        schedules=[housekeeping.retention_schedule()],
        resources={"outside": io.StringIO()},
    )
    schedule = definitions.resolve_schedule_def("retention_every_night")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "30 2 * * *"
    assert schedule.job_name == "retention"
    assert definitions.resolve_job_def("retention").asset_layer.executable_asset_keys == {
        dg.AssetKey(housekeeping.RETENTION_SWEEP)
    }


# --- The command line ----------------------------------------------------------------------------------


def test_the_commands_list_hold_and_sweep(tmp_path, monkeypatch):
    """What is due is listed; held it stays; let go it goes."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    store = OutsideSystems(PlatformSettings()).object_store
    put(store, "reports/dev/a", days=1)
    described = tmp_path / "objects" / "metadata" / "reports" / "dev" / "a.json"
    described.write_text(described.read_text().replace(str(now().year), "1999"))

    def run(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(cli.app, [*arguments, *(["--json"] if arguments[0] != "hold" else [])])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if arguments[0] != "hold" else {}

    asked = ("reports/dev/a", "--by", "grace", "--reason", "case 3")
    assert [(each["name"], each["stays"]) for each in run("due")["expired"]] == [("reports/dev/a", None)]
    run("hold", *asked)
    assert [each["stays"] for each in run("sweep")["expired"]] == ["legal hold"]
    assert store.exists("reports/dev/a")
    run("hold", *asked, "--lift")
    assert run("sweep", "--by", "grace")["outcome"] == "pass"
    assert not store.exists("reports/dev/a")
    assert run("due")["expired"] == []


def test_a_version_that_has_become_current_meanwhile_stays(warehouse):
    """What was judged unused and then published anew is not dropped: nothing at all is."""
    old = write(warehouse, texts("old"), days=1, gdpr_class="internal")
    write(warehouse, texts("new"), days=1, gdpr_class="internal")
    warehouse.publish(old)

    with pytest.raises(WarehouseError, match="has become current meanwhile"):
        warehouse.drop(TABLE, [old.snapshot_id], also_current=False)

    assert warehouse.current(TABLE).snapshot_id == old.snapshot_id
    assert len(warehouse.versions(TABLE)) == 2


@local_only
def test_a_hold_is_in_force_before_the_ledger_says_so(store, warehouse, ledger):
    """A hold that could not be placed is not recorded, and a recorded one is in force."""
    put(store, "reports/dev/a", days=5)

    class Refusing(LocalObjectStore):
        def set_legal_hold(self, key, *, held):
            raise ObjectStoreError("the disk is read-only")

    asked = {"by": "grace", "reason": "case 4", "warehouse": warehouse, "ledger": ledger}
    with pytest.raises(ObjectStoreError):
        set_legal_hold("reports/dev/a", held=True, store=Refusing(store._objects.parent), **asked)

    assert list(ledger.entries(kind="legal-hold")) == []
    set_legal_hold("reports/dev/a", held=True, store=store, **asked)
    assert store.info("reports/dev/a").legal_hold


@local_only
def test_one_unreadable_object_does_not_keep_the_rest(store, ledger, sweep):
    """What cannot be judged makes the verdict an error; everything else that is due goes all the same."""
    put(store, "reports/dev/a", days=5)
    put(store, "reports/dev/b", days=5)
    (store._metadata / "reports" / "dev" / "a.json").write_text("garbled")

    report = sweep(6)

    assert report.outcome == "error"
    assert [each.name for each in report.deleted] == ["reports/dev/b"]
    assert "reports/dev/a" in report.problems[0]

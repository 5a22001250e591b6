"""State as pods share it: all of it behind servers, which are let in by what the environment holds."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.outside_systems import OutsideSystems, open_locks
from resources.dagster_home import prepare_dagster_home
from resources.errors import PlatformError
from resources.settings import PlatformSettings
from resources.warehouse import Snapshot
from tests import servers
from tests.line_factory import materialize_alone, write_spec

PASSWORD = "s3cret/of@the%tests"
TABLE = "datasets.reviews_small"
STRICT = """\
name: strict
raw: {columns: {text: string, label: integer, source: string}, keys: [text, label]}
expectations:
  - {type: expect_column_values_to_be_in_set, kwargs: {column: label, value_set: [7]},
     meta: {domain: core_text, owner: tests}, severity: critical}
"""
"""A contract that no review keeps."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """`host:port` of a Postgres that lets nobody in without a password."""
    if os.geteuid() != 0:
        pytest.skip("NO POSTGRES WITH A PASSWORD: run as root, which may start it as another user")
    pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    # Not in pytest's folder: the server's own user must be able to enter.
    with (
        tempfile.TemporaryDirectory(prefix="platform-assets-postgres-") as folder,
        servers.postgres(Path(folder) / "postgres", "127.0.0.1", PASSWORD) as address,
    ):
        yield address


@pytest.fixture
def settings(guarded: str, tmp_path: Path) -> PlatformSettings:
    """Ledger, locks and catalogue in it; no address holds the password."""
    address = f"postgresql://platform@{guarded}/platform"
    return PlatformSettings(home=tmp_path, ledger_uri=address, catalog_uri=address)


def write(settings: PlatformSettings, number: int) -> Snapshot:
    """Stage and publish a table of one row."""
    rows = pa.table({"number": [number]})
    warehouse = OutsideSystems(settings).warehouse
    staged = warehouse.stage(
        "datasets.numbers",
        rows,
        content_hash=content_hash(rows),
        gdpr_class="internal",
        retention_days=30,
        source_commit="0c0ffee",
    )
    return warehouse.publish(staged)


@pytest.mark.parametrize("variable", ["PGPASSWORD", "PGPASSFILE"])
def test_the_password_comes_from_the_environment(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """Ledger, locks and catalogue are let in by what every Postgres client reads."""
    if variable == "PGPASSWORD":
        monkeypatch.setenv(variable, PASSWORD)
    else:
        file = tmp_path / "passwords"
        file.write_text(f"*:*:*:platform:{PASSWORD}\n")
        file.chmod(stat.S_IRUSR)
        monkeypatch.setenv(variable, str(file))

    entry = OutsideSystems(settings).ledger.append("note", "line", fingerprint=variable, body={})
    with open_locks(settings).hold("line-numbers", timeout_seconds=0) as held:
        held.check()
    version = write(settings, len(variable))

    assert OutsideSystems(settings).ledger.get(entry.hash) == entry
    for scheme in ("postgres", "postgresql"):
        address = str(settings.catalog_uri).replace("postgresql", scheme)
        other = OutsideSystems(settings.model_copy(update={"catalog_uri": address})).warehouse
        assert other.current("datasets.numbers") == version


def test_a_wrong_password_is_told_and_not_shown(
    settings: PlatformSettings, guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three says which server refused whom, and where passwords come from."""
    monkeypatch.setenv("PGPASSWORD", "an0ther")
    files = settings.model_copy(update={"ledger_uri": None})

    def hold() -> None:
        with open_locks(settings).hold("line-numbers"):
            pytest.fail("it was let in")

    for act in (
        lambda: OutsideSystems(settings).ledger,
        hold,
        OutsideSystems(files).warehouse.tables,
    ):
        with pytest.raises(PlatformError, match=f"{guarded}/platform.*authentication failed") as refusal:
            act()
        assert "an0ther" not in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/db",
        "postgresql://ada:s3cret@s3cret@127.0.0.1:1/db",
        "postgresql://ada:%s3cret@127.0.0.1/db",
        "postgresql://ada@127.0.0.1:s3cret/db",
        "mysql://ada:s3cret@127.0.0.1:1/db",
        "s3cret",
    ],
)
def test_no_message_of_the_catalogue_shows_a_password(tmp_path: Path, address: str) -> None:
    """Right or wrong as the address may be."""
    warehouse = OutsideSystems(PlatformSettings(home=tmp_path, catalog_uri=address)).warehouse
    with pytest.raises(PlatformError, match="catalogue") as refusal:
        warehouse.tables()
    assert "s3cret" not in str(refusal.value)


def test_the_server_soon_notices_that_a_holder_is_gone(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock outlives the machine of its holder by a minute, not by the two hours of TCP's own default."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with open_locks(settings).hold("line-numbers") as held:
        (idle, interval, count) = (
            int(
                held._answer(f"SELECT setting FROM pg_settings WHERE name = 'tcp_keepalives_{name}'", ())[0][
                    0
                ]
            )
            for name in ("idle", "interval", "count")
        )
    assert idle + interval * count <= 60


def test_a_dataset_is_written_audited_and_published_outside_the_pod(
    guarded: str,
    s3_bucket: str,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A version whose contract fails is never current; nothing that a later pod needs lies on this one's disk."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PLATFORM_ROW_SALT", "a salt of the tests only")
    home, address = tmp_path / "pod", f"postgresql://platform@{guarded}/platform"
    settings = PlatformSettings(
        profile="cluster",
        home=home,
        ledger_uri=address,
        catalog_uri=address,
        warehouse_uri=f"s3://{s3_bucket}/warehouse",
        objects_uri=f"s3://{s3_bucket}/objects",
        s3_endpoint=s3_endpoint,
        tracking_uri="http://mlflow.invalid:5000",
    )
    monkeypatch.setenv("DAGSTER_HOME", str(prepare_dagster_home(settings)))
    (tmp_path / "strict.yaml").write_text(STRICT)
    strict = write_spec(
        tmp_path,
        "strict-spec.yaml",
        contract="strict.yaml",
        train_rows=300,
        gates={"auc": "> 0.55"},
        requires={
            "deploy": [
                {"subject": "dataset", "rule_set": "contract.core_text"},
                {"subject": "model", "rule_set": "gate.auc"},
            ]
        },
    )

    done, failure = materialize_alone(settings, write_spec(tmp_path), "dataset")
    refused, refusal = materialize_alone(settings, strict, "dataset")

    assert done.success, failure
    assert not refused.success
    assert "contract.core_text" in str(refusal)
    warehouse = OutsideSystems(settings).warehouse
    current, staged = warehouse.current(TABLE), warehouse.staged(TABLE)
    assert current
    assert staged
    assert (current.published, staged.published) == (True, False)
    assert content_hash(warehouse.read(TABLE, current.snapshot_id)) == current.content_hash
    assert {entry.body["outcome"] for entry in OutsideSystems(settings).ledger.entries(kind="verdict")} == {
        "pass",
        "fail",
    }
    assert {path.name for path in home.iterdir()} <= {"dagster", "objects-cache"}

"""Two releases, and the way back: predictions, ledger and registry all say the older one."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from platform_assets.datasets.snapshots import content_hash
from platform_assets.governance import release
from platform_assets.governance.release import ACTIVATION
from platform_assets.ledger.ledger import Ledger
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.line_factory import FinishedHome, command, environment, platform_assets, write_spec

LINE = "reviews_small"


@pytest.fixture(scope="module")
def two_releases(finished: FinishedHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a second release, made of other rows, has taken the place of the first."""
    home = finished.restore()
    spec = write_spec(tmp_path_factory.mktemp("second"), train_rows=400)
    done = platform_assets(home, "run", "--spec", spec)
    assert done.returncode == 0, done.stderr
    saved = home.with_name("two-releases")
    shutil.copytree(home / "ledger", saved)
    return saved


@pytest.fixture
def second(two_releases: Path, finished: FinishedHome, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That home, its ledger as it was after the second release."""
    home = finished.path
    shutil.rmtree(home / "ledger")
    shutil.copytree(two_releases, home / "ledger")
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    return home


def predicted(home: Path) -> dict[str, object]:
    """What `predict` answers about one sentence."""
    done = platform_assets(home, "predict", LINE, "A wonderful film.", "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    return answer


def test_rolling_back_the_dataset_brings_the_older_model_back(second: Path) -> None:
    """Dry-run shows; the act moves everything; predict answers from the older model; trace shows who and why."""
    ledger = Ledger.open(second / "ledger" / "ledger.sqlite", principal="tests")
    older, newer = release.releases(ledger, LINE)
    version = f"{LINE}_dataset@{older.versions['dataset'][:12]}"

    before = predicted(second)
    shown = platform_assets(second, "rollback", version, "--dry-run", "--json")
    unmoved = release.active(ledger, LINE)
    done = platform_assets(second, "rollback", version, "--reason", "labels were wrong")
    after = predicted(second)
    traced = platform_assets(second, "trace", json.dumps(after), "--json")

    assert newer.versions["dataset"] != older.versions["dataset"]
    numbers = [each.card.registered.number for each in (newer, older)]
    assert [before["model_version"], after["model_version"]] == numbers
    assert unmoved.release_id == newer.release_id
    changes = json.loads(shown.stdout)["changes"]
    assert changes["model"] == [newer.versions["model"], older.versions["model"]]
    assert set(changes) == {"dataset", "features", "model", "validation", "version", "card", "deployment"}
    assert done.returncode == 0, done.stderr
    act = json.loads(traced.stdout)["release"]["activations"][-1]
    assert act["reason"] == f"rollback to {version}: labels were wrong"
    assert act["pinned"] is True
    found = json.loads(traced.stdout)
    model = older.card.registered.report.model
    assert found["commits"]["source_commit"] == model.source_commit
    assert found["tables"]["dataset"]["content_hash"] == older.versions["dataset"]
    assert found["ge_run_id"] == model.features.dataset.ge_run_id
    assert {verdict["outcome"] for verdict in found["verdicts"]} == {"pass"}
    assert ledger.verify().ok


def test_killed_in_the_middle_and_run_again_it_is_consistent(second: Path) -> None:
    """Killed the moment the pointer has moved: ledger, registry and predictions agree after the second run."""
    ledger = Ledger.open(second / "ledger" / "ledger.sqlite", principal="tests")
    settings = PlatformSettings(home=second)
    older, newer = release.releases(ledger, LINE)
    registry = OutsideSystems(settings).model_registry
    registry.point(LINE, "deployed", newer.card.registered.number)
    arguments = command("rollback", f"{LINE}_version@1", "--reason", "killed")
    process = subprocess.Popen(arguments, env=environment(second), stdout=subprocess.PIPE)
    while process.poll() is None and not ledger.latest(ACTIVATION, LINE).body["pinned"]:
        pass
    process.kill()
    process.communicate()

    again = platform_assets(second, "rollback", f"{LINE}_version@1", "--reason", "killed")

    assert again.returncode == 0, again.stderr
    assert release.active(ledger, LINE).release_id == older.release_id
    assert [entry.body["pinned"] for entry in ledger.entries(kind=ACTIVATION)].count(True) == 1
    client = registry._client
    assert client.get_model_version_by_alias(LINE, "deployed").version in (1, "1")
    assert ledger.verify().ok


def test_readers_see_the_older_or_the_newer_release_and_nothing_else(second: Path) -> None:
    """While a rollback happens, every reader gets one whole release."""
    ledger = Ledger.open(second / "ledger" / "ledger.sqlite", principal="tests")
    older, newer = release.releases(ledger, LINE)
    whole = {each.release_id: each for each in (older, newer)}
    process = subprocess.Popen(command("rollback", f"{LINE}_version@1"), env=environment(second))

    def read() -> set[str]:
        seen = set()
        while process.poll() is None:
            active = release.active(ledger, LINE)
            assert active == whole[active.release_id]
            seen.add(active.release_id)
        return seen

    with ThreadPoolExecutor(2) as pool:
        seen = set.union(*(reader.result() for reader in [pool.submit(read), pool.submit(read)]))

    assert process.returncode == 0
    assert newer.release_id in seen
    assert release.active(ledger, LINE).release_id == older.release_id


def test_every_published_version_can_be_listed_and_read(second: Path, tmp_path: Path) -> None:
    """Both datasets are there, with the commit that made them; the older one is read as it was."""
    ledger = Ledger.open(second / "ledger" / "ledger.sqlite", principal="tests")
    older, newer = release.releases(ledger, LINE)
    asset = f"{LINE}_dataset"

    listed = platform_assets(second, "versions", asset, "--json")
    done = platform_assets(
        second, "read", f"{asset}@{older.versions['dataset'][:12]}", tmp_path / "rows.parquet"
    )
    unknown = platform_assets(second, "read", f"{asset}@00000000", tmp_path / "none.parquet")

    found = json.loads(listed.stdout)
    assert [row["version"] for row in found] == [older.versions["dataset"], newer.versions["dataset"]]
    assert [row["current"] for row in found] == [False, True]
    assert all(row["source_commit"] and row["gdpr_class"] == "personal" for row in found)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert content_hash(rows) == older.versions["dataset"]
    assert unknown.returncode == 1
    assert not (tmp_path / "none.parquet").exists()

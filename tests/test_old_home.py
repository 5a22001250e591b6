"""A home that an older version made is read, traced, rolled back, answered from, erased from and gone on with.

`fixtures/old_home` holds the home of a tiny line with two releases, made by the code of commit 0ca0525, and what
that code said about it. Iceberg's metadata holds absolute paths, so the home must lie where it was made; only one
process at a time may have it there. The tests speak the command line, which outlives the modules behind it.
"""

import hashlib
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.drift.profiles import released_profiles
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.line_factory import ROOT, platform_assets

FIXTURE = ROOT / "tests" / "fixtures" / "old_home"
PLACE = Path("/tmp/platform-assets-old-home")
SPEC = PLACE / "home" / "line" / "training-spec.yaml"
EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text(encoding="utf-8"))
LINE: str = EXPECTED["line"]
OLDER, ACTIVE = EXPECTED["releases"]
TRACED = ("commits", "tables", "ge_run_id", "tracking_run_id", "sources")

Told = Callable[..., Any]
"""Runs a command that must succeed, and gives what it prints with `--json`."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where the home was made, kept from other processes."""
    PLACE.mkdir(exist_ok=True)
    with FileLock(PLACE / "tests.lock"):
        yield PLACE
        shutil.rmtree(PLACE / "home", ignore_errors=True)


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home as it was left, and this process pointed at it."""
    path = place / "home"
    shutil.rmtree(path, ignore_errors=True)
    with tarfile.open(FIXTURE / "home.tar.xz") as archive:
        archive.extractall(place, filter="data")
    monkeypatch.delenv("PLATFORM_ROW_SALT", raising=False)
    monkeypatch.setenv("PLATFORM_HOME", str(path))
    monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(SPEC)]))
    monkeypatch.setenv("DAGSTER_HOME", str(path / "dagster"))
    return path


@pytest.fixture
def told(home: Path) -> Told:
    """Commands on the home, within this process."""

    def run(*arguments: str | Path) -> Any:
        result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def exported(home: Path, folder: Path) -> bytes:
    """The ledger, byte for byte."""
    file = folder / "export.jsonl"
    CliRunner().invoke(app, ["ledger", "export", str(file)], catch_exceptions=False)
    return file.read_bytes()


def rows_of(asset: str, version: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of a table as they were in a version."""
    file = folder / "rows.parquet"
    result = CliRunner().invoke(app, ["read", f"{asset}@{version}", str(file)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return pq.read_table(file).to_pylist()


def assert_answers_from(release: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    """The answers to the expected texts are those of a release."""
    assert {answer["release_id"] for answer in answers} == {release["release_id"]}
    assert {answer["model_version"] for answer in answers} == {release["model_version"]}
    assert [answer["score"] for answer in answers] == pytest.approx(release["scores"], abs=1e-6)


def test_the_ledger_verifies_and_every_entry_is_byte_for_byte_what_it_was(
    home: Path, told: Told, tmp_path: Path
) -> None:
    """One unbroken chain with the head that it had; its export has not changed by a byte."""
    verified = told("ledger", "verify")

    assert verified["ok"]
    assert verified["entries"] == EXPECTED["ledger"]["entries"]
    assert verified["head_hash"] == EXPECTED["ledger"]["head_hash"]
    assert hashlib.sha256(exported(home, tmp_path)).hexdigest() == EXPECTED["ledger"]["export_sha256"]


def test_status_tells_the_old_release_its_data_and_its_metrics(told: Told) -> None:
    """Deployed version, rows, metrics and drift are those that the older version recorded."""
    status = told("status")["lines"][LINE]

    assert status["deployed_version"] == {
        "release_id": ACTIVE["release_id"],
        "model_version": ACTIVE["model_version"],
        "model_fingerprint": ACTIVE["versions"]["model"],
        "data_version": ACTIVE["versions"]["dataset"],
        **ACTIVE["commits"],
    }
    assert status["data_version"] == ACTIVE["versions"]["dataset"]
    assert status["model_fingerprint"] == ACTIVE["versions"]["model"]
    assert status["model_version"] == ACTIVE["model_version"]
    assert status["rows_by_split"] == EXPECTED["rows_by_split"]
    assert status["metrics"] == EXPECTED["metrics"]
    assert status["drift"] == EXPECTED["drift"]
    assert status["pinned"] is None


def test_releases_are_listed_oldest_first(told: Told) -> None:
    """Both releases, which of them is active, and the data that each was made of."""
    assert told("releases", LINE) == [
        {
            "release_id": release["release_id"],
            "model_version": release["model_version"],
            "data_version": release["versions"]["dataset"],
            "created_at": release["created_at"],
            "active": release["active"],
            "staged": False,
        }
        for release in (OLDER, ACTIVE)
    ]


@pytest.mark.parametrize("release", [OLDER, ACTIVE], ids=["older", "active"])
def test_whatever_names_a_release_leads_back_to_commit_snapshot_and_ge_run(
    told: Told, release: dict[str, Any]
) -> None:
    """Release id, registered number, versions and a prediction lead to the same origin, whose verdicts passed."""
    prediction = {
        "line": LINE,
        "model_version": release["model_version"],
        "release_id": release["release_id"],
    }
    targets = [
        release["release_id"],
        f"{LINE}/{release['model_version']}",
        *(f"{LINE}_{stage}@{version}" for stage, version in release["versions"].items()),
        json.dumps(prediction),
    ]

    for target in targets:
        traced = told("trace", target)

        assert traced["chain"]["ok"]
        assert traced["release"]["release_id"] == release["release_id"]
        assert traced["release"]["erased"] is False
        assert {each["release_id"] for each in traced["release"]["activations"]} == {release["release_id"]}
        assert traced["versions"] == release["versions"]
        assert {name: traced[name] for name in TRACED} == {name: release[name] for name in TRACED}
        assert {each["rule_set"]: each["outcome"] for each in traced["verdicts"]} == release["verdicts"]


def test_the_deployed_model_answers_as_it_did(told: Told) -> None:
    """The saved model and its tokenizer give the scores that they gave, and an answer leads back to its release."""
    answers = told("predict", LINE, *EXPECTED["texts"])

    assert_answers_from(ACTIVE, answers)
    assert told("trace", json.dumps(answers))["release"]["release_id"] == ACTIVE["release_id"]


@pytest.mark.parametrize("stage", ["model", "dataset"])
def test_rolled_back_the_line_answers_from_the_older_release(home: Path, told: Told, stage: str) -> None:
    """By model or by dataset: verdicts still stand; ledger, registry and predictions say the older one."""
    version = f"{LINE}_{stage}@{OLDER['versions'][stage][:12]}"

    done = platform_assets(home, "rollback", version, "--reason", "the older was better", "--json")

    assert done.returncode == 0, done.stderr
    back = json.loads(done.stdout)
    assert (back["release_id"], back["problems"]) == (OLDER["release_id"], [])
    assert back["changes"]["model"] == [ACTIVE["versions"]["model"], OLDER["versions"]["model"]]
    assert_answers_from(OLDER, told("predict", LINE, *EXPECTED["texts"]))
    assert [each["active"] for each in told("releases", LINE)] == [True, False]
    assert told("status")["lines"][LINE]["pinned"]["release_id"] == OLDER["release_id"]
    with sqlite3.connect(home / "mlflow" / "mlflow.sqlite") as registry:
        aliases = registry.execute("SELECT alias, version FROM registered_model_aliases").fetchall()
    registry.close()
    assert dict(aliases)["deployed"] == OLDER["model_version"]
    assert told("ledger", "verify")["ok"]


def test_reference_profiles_of_old_releases_are_loaded(home: Path) -> None:
    """Each release has its profile: these columns, of so many held-out rows."""
    outside = OutsideSystems(PlatformSettings(home=home))
    profile_of = released_profiles(outside.ledger, outside.object_store)

    for release in (OLDER, ACTIVE):
        release_id, profile = profile_of(LINE, release["model_version"])

        assert release_id == release["release_id"]
        rows = {name: column.rows for name, column in profile.columns.items()}
        assert rows == EXPECTED["profile_columns"]


def test_answers_of_an_old_release_are_watched_and_its_drift_is_told(told: Told, tmp_path: Path) -> None:
    """Events of the deployed model are held against its profile; the alarm of then is still there."""
    events = tmp_path / "events.jsonl"
    told("predict", LINE, *EXPECTED["texts"], "--events", events, "--source", "made_up")

    watched = CliRunner().invoke(
        app, ["drift", "watch", LINE, "--replay", str(events)], catch_exceptions=False
    )
    drift = told("drift", "status", LINE)

    assert watched.exit_code == 0, watched.output
    assert f"version {ACTIVE['model_version']}: 5 received, 5 absorbed" in watched.output
    assert {name: column["state"] for name, column in drift["columns"].items()} == EXPECTED["drift"]
    assert drift["newest_alarm"]["release_id"] == ACTIVE["release_id"]


@pytest.mark.parametrize("stage", ["dataset", "features"])
def test_old_table_versions_are_listed_and_read(told: Told, tmp_path: Path, stage: str) -> None:
    """Every version with the commit that made it, and its very rows."""
    asset, tables = f"{LINE}_{stage}", EXPECTED["tables"][stage]

    listed = told("versions", asset)

    for found, expected in zip(listed, tables, strict=True):
        told_of_it = ("version", "rows", "current", "source_commit")
        assert {name: found[name] for name in told_of_it} == {name: expected[name] for name in told_of_it}
        rows = rows_of(asset, found["version"], tmp_path)
        assert list(rows[0]) == expected["columns"]
        digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        assert digest == expected["rows_sha256"]


@pytest.mark.parametrize(("split", "scores"), [("train", 0), ("test", 2)])
def test_a_subject_is_erased_from_everything_that_is_old(
    home: Path, told: Told, tmp_path: Path, split: str, scores: int
) -> None:
    """Its row leaves every version of every table and the scores; both releases are spent; a plan trains anew."""
    subject, before = EXPECTED["subjects"][split], exported(home, tmp_path)
    erase = ("erase", "--subject", subject, "--by", "grace", "--reason", "request 17")

    shown = told(*erase, "--dry-run")
    erased = told(*erase)
    left = told(*erase, "--dry-run")
    refused = platform_assets(home, "rollback", f"{LINE}_version@{OLDER['model_version']}")
    status, steps = told("status")["lines"][LINE], told("plan", LINE)

    released = [{"line": LINE, "release_id": each["release_id"]} for each in (OLDER, ACTIVE)]
    assert shown["releases"] == erased["releases"] == released
    assert len(shown["versions"]) == 4
    assert [each["rows"] for each in shown["objects"]] == [1] * scores
    assert (erased["outcome"], erased["left"]) == ("pass", [])
    assert (left["versions"], left["objects"], left["mentions"]) == ([], [], [])
    for stage, tables in EXPECTED["tables"].items():
        for old, new in zip(tables, told("versions", f"{LINE}_{stage}"), strict=True):
            rows = rows_of(f"{LINE}_{stage}", new["version"], tmp_path)
            assert new["version"] != old["version"]
            assert len(rows) == new["rows"] == old["rows"] - 1
            assert subject not in {row["review_id"] for row in rows}
    assert all(told("trace", each["release_id"])["release"]["erased"] for each in (OLDER, ACTIVE))
    assert refused.returncode == 1
    assert "is erased" in refused.stderr
    assert any("retrain required" in problem for problem in status["blocked_by"])
    assert {step["asset"] for step in steps if step["runs"]} >= {f"{LINE}_dataset", f"{LINE}_model"}
    after = exported(home, tmp_path)
    assert after.startswith(before)
    assert subject.encode() not in after
    assert told("ledger", "verify")["ok"]


def test_a_new_release_takes_its_place_beside_the_old_ones(home: Path, told: Told, tmp_path: Path) -> None:
    """The line goes on: tables, registry and ledger are continued, and what is old stays as it was."""
    before = exported(home, tmp_path)
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8")) | {"train_rows": 100, "seed": 9}
    SPEC.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")

    done = platform_assets(home, "run", "--spec", SPEC, "--json")

    assert done.returncode == 0, done.stderr
    status, releases = json.loads(done.stdout)["status"], told("releases", LINE)
    assert {verdict["outcome"] for verdict in status["verdicts"]} == {"pass"}
    old_ids = [each["release_id"] for each in (OLDER, ACTIVE)]
    assert [each["release_id"] for each in releases[:2]] == old_ids
    assert [each["active"] for each in releases] == [False, False, True]
    assert releases[2]["model_version"] == ACTIVE["model_version"] + 1
    for stage, tables in EXPECTED["tables"].items():
        versions = [each["version"] for each in told("versions", f"{LINE}_{stage}")]
        assert versions[:2] == [each["version"] for each in tables]
        assert len(versions) == 3
    assert told("predict", LINE, *EXPECTED["texts"])[0]["release_id"] == releases[2]["release_id"]
    assert exported(home, tmp_path).startswith(before)

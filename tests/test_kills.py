"""kill -9 at any moment, then run again: it always ends well, and nothing is lost, doubled or left behind."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter, deque
from pathlib import Path

import dagster as dg
import pytest
from mlflow import MlflowClient
from pyiceberg.catalog.sql import SqlCatalog

from platform_assets.governance.release import ACTIVATION
from platform_assets.ledger.ledger import Ledger
from resources.settings import PlatformSettings
from tests.line_factory import ROOT, SMALL_SPEC, command, environment, platform_assets, write_spec

LINE = "reviews_small"
MOMENTS = (
    "contract_core_text",
    "step 10 of",
    "gate_auc",
    f"▶ {LINE}_deployment",
)
"""What a run tells, in order, when it has come so far."""


def start(home: Path, spec: Path) -> subprocess.Popen[str]:
    """A run of the line in a process group of its own, its progress on a pipe."""
    return subprocess.Popen(
        command("run", "--spec", spec),
        env=environment(home),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the whole group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def kill_when_told(home: Path, spec: Path, moment: str) -> None:
    """Kill a run as soon as it tells that it has come to `moment`."""
    process, told = start(home, spec), deque[str](maxlen=30)
    for line in process.stderr:
        told.append(line)
        if moment in line:
            break
    else:
        pytest.fail(f"the run ended without telling {moment!r}; the last that it told:\n{''.join(told)}")
    kill(process)


def assert_whole(home: Path) -> None:
    """Ledger, registry, warehouse, object store and run history agree, and nothing lies about."""
    settings = PlatformSettings(home=home)
    ledger = Ledger.open(settings.ledger_path, principal="tests")
    report = ledger.verify()
    assert report.ok, report.problem
    assert report.ahead_of_head == 0
    versions = MlflowClient(settings.resolved_tracking_uri).search_model_versions(f"name = '{LINE}'")
    doubled = [
        value
        for value, count in Counter(version.tags["fingerprint"] for version in versions).items()
        if count > 1
    ]
    assert doubled == []
    assert unreferenced(settings) == []
    assert list((settings.objects_path / "incoming").iterdir()) == []
    data, metadata = settings.objects_path / "data", settings.objects_path / "metadata"
    objects = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    described = {
        path.relative_to(metadata).as_posix().removesuffix(".json")
        for path in metadata.rglob("*")
        if path.is_file()
    }
    assert objects == described
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        statuses = Counter(run.status.value for run in instance.get_runs())
    assert set(statuses) <= {"SUCCESS", "FAILURE"}
    assert ledger.latest(ACTIVATION, LINE) is not None


def unreferenced(settings: PlatformSettings) -> list[str]:
    """Files of the warehouse that no table's metadata names, found by pyiceberg's own inspection."""
    catalog = SqlCatalog(
        "tests", uri=settings.resolved_catalog_uri, warehouse=settings.resolved_warehouse_uri
    )
    left: list[str] = []
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            table = catalog.load_table(identifier)
            named = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
            named |= {snapshot.manifest_list for snapshot in table.metadata.snapshots}
            named |= set(table.inspect.all_manifests()["path"].to_pylist())
            if any(snapshot.summary["total-data-files"] != "0" for snapshot in table.metadata.snapshots):
                # pyiceberg cannot inspect the files of a table that has none.
                named |= set(table.inspect.all_files()["file_path"].to_pylist())
            folder = Path(table.location())
            left += [str(path) for path in folder.rglob("*") if path.is_file() and str(path) not in named]
    return left


def test_killed_at_each_named_moment_in_turn(tmp_path: Path) -> None:
    """Each start goes on where the killed one stopped; the last one finishes the work once."""
    home, spec = tmp_path / "platform", SMALL_SPEC
    for moment in MOMENTS:
        kill_when_told(home, spec, moment)

    finished = platform_assets(home, "run", "--spec", spec, "--json")
    again = platform_assets(home, "run", "--spec", spec, "--json")

    assert finished.returncode == 0, finished.stderr
    outcomes = {step["stage"]: step["outcome"] for step in json.loads(finished.stdout)["run"]["steps"]}
    assert outcomes["model"] == "reused"
    assert outcomes["deployment"] == "done"
    assert {step["outcome"] for step in json.loads(again.stdout)["run"]["steps"]} == {"reused"}
    assert_whole(home)


@pytest.mark.long
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    """Twenty runs, each of a new model, each killed at a random moment and then run again to its end."""
    home, chance = tmp_path / "platform", random.Random(20)
    assert platform_assets(home, "run", "--spec", SMALL_SPEC).returncode == 0
    # The first run also makes the dataset: it lasts longer than the runs that are killed, so another one is timed.
    began = time.monotonic()
    assert platform_assets(home, "run", "--spec", write_spec(tmp_path, seed=99)).returncode == 0
    whole_run_seconds = time.monotonic() - began
    killed = 0
    for seed in range(100, 120):
        spec = write_spec(tmp_path, seed=seed)
        process = start(home, spec)
        try:
            process.communicate(timeout=chance.uniform(0.5, whole_run_seconds))
        except subprocess.TimeoutExpired:
            killed += 1
            kill(process)

        finished = platform_assets(home, "run", "--spec", spec)

        assert finished.returncode == 0, finished.stderr
        assert_whole(home)
    assert killed >= 15

"""Each outside system killed in the middle of a whole run: it ends well or with one clear error, and the next goes on."""

import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests import servers
from tests.full_disk import fill
from tests.line_factory import ROOT, command, environment, write_spec
from tests.test_kills import assert_whole
from tests.waiting import wait_for

LINE = "reviews_small"
PASSWORD, KEY, SECRET = "a password of the tests only", "test", "secret"
DATASET, CONTRACT, MODEL, STEP, VALIDATION, VERSION, CARD, DEPLOYMENT = MOMENTS = (
    f"▶ {LINE}_dataset",
    "contract_core_text",
    f"▶ {LINE}_model",
    "step 10 of",
    f"▶ {LINE}_validation",
    f"▶ {LINE}_version",
    f"▶ {LINE}_card",
    f"▶ {LINE}_deployment",
)
"""What a run tells, in order, when it has come so far."""
KILLED = [
    *(("mlflow", moment) for moment in (MODEL, STEP, VERSION)),
    *(("postgres", moment) for moment in (DATASET, CONTRACT, STEP, VERSION, DEPLOYMENT)),
    *(("s3", moment) for moment in (DATASET, CONTRACT, MODEL, STEP, VALIDATION, CARD)),
]
DISK_BYTES = 1 << 30
INSTANCE = """\
telemetry: {enabled: false}
nux: {enabled: false}
python_logs: {managed_python_loggers: [platform_assets, resources], python_log_level: INFO}
storage:
  postgres:
    postgres_db: {hostname: %s, port: %s, username: platform, password: {env: PGPASSWORD}, db_name: dagster}
"""


@dataclass
class Systems:
    """The outside systems of one platform, each a server of its own that can be killed and started again."""

    folder: Path
    starts: dict[str, Callable[[], Any]]
    running: dict[str, ExitStack] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one; again, at the same address and with what it had."""
        self.running[name] = ExitStack()
        self.addresses[name] = self.running[name].enter_context(self.starts[name]())

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.running.pop(name).close()

    def close(self) -> None:
        """All of them."""
        for name in [*self.running]:
            self.kill(name)

    def environment(self) -> dict[str, str]:
        """Of a platform process that has all of its state in them."""
        address = f"postgresql://platform@{self.addresses['postgres']}/platform"
        return environment(
            self.folder / "home",
            PGPASSWORD=PASSWORD,
            AWS_ACCESS_KEY_ID=KEY,
            AWS_SECRET_ACCESS_KEY=SECRET,
            PLATFORM_ROW_SALT="a salt of the tests only",
            PLATFORM_LEDGER_URI=address,
            PLATFORM_CATALOG_URI=address,
            PLATFORM_WAREHOUSE_URI="s3://platform/warehouse",
            PLATFORM_OBJECTS_URI="s3://platform/objects",
            PLATFORM_S3_ENDPOINT=self.addresses["s3"],
            PLATFORM_TRACKING_URI=self.addresses["mlflow"],
            DAGSTER_HOME=str(self.folder / "dagster"),
        )


@pytest.fixture(scope="module")
def systems() -> Iterator[Systems]:
    """Postgres, an S3 store and MLflow, and a platform that lives in them."""
    if os.geteuid() != 0:
        pytest.skip("NO POSTGRES WITH A PASSWORD: run as root, which may start it as another user")
    pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    # Not in pytest's folder: the database's own user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="platform-assets-outages-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        host = "127.0.0.1"
        made = Systems(
            folder,
            {
                "postgres": partial(servers.postgres, folder / "postgres", host, PASSWORD),
                "s3": partial(servers.s3, folder / "s3", host, KEY, SECRET),
                "mlflow": partial(_mlflow, folder / "mlflow", host),
            },
        )
        try:
            for system in made.starts:
                made.start(system)
            _make_bucket(made.addresses["s3"])
            (folder / "dagster").mkdir()
            (folder / "dagster" / "dagster.yaml").write_text(
                INSTANCE % tuple(made.addresses["postgres"].split(":"))
            )
            yield made
        finally:
            made.close()


@contextmanager
def _mlflow(folder: Path, host: str) -> Iterator[str]:
    with servers.mlflow(folder, host, f"sqlite:///{folder / 'mlflow.sqlite'}", {}) as url:
        wait_for(servers.answers(f"{url}/health"), "MLflow is up", seconds=300)
        yield url


def _make_bucket(endpoint: str) -> None:
    import boto3

    boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    ).create_bucket(Bucket="platform")


def run(
    environment: dict[str, str], spec: Path, *, moment: str = "", then: Callable[[], None] = lambda: None
) -> tuple[int, str, str]:
    """A whole run of the line, at one moment of which something happens: status, answer, and what it told."""
    process = subprocess.Popen(
        command("run", "--spec", spec, "--json"),
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = []
    assert process.stderr is not None
    assert process.stdout is not None
    for line in process.stderr:
        told.append(line)
        if moment and moment in line:
            # However long that takes: it stands still meanwhile.
            process.send_signal(signal.SIGSTOP)
            then()
            process.send_signal(signal.SIGCONT)
            moment = ""
    answer = process.stdout.read()
    process.wait()
    assert not moment, "".join(told)
    return process.returncode, answer, "".join(told)


def assert_ended_well_or_with_one_error(status: int, told: str) -> None:
    """Nobody is shown the insides of a library."""
    assert status in {0, 1}, told
    assert not re.search("Traceback|Stack Trace", told), told
    assert len(re.findall("^error: ", told, re.MULTILINE)) == status, told


def assert_goes_on(environment: dict[str, str], spec: Path) -> None:
    """The next run finishes the work, and the one after it finds nothing to do."""
    status, _, told = run(environment, spec)
    assert status == 0, told
    again = json.loads(run(environment, spec)[1])
    assert {step["outcome"] for step in again["run"]["steps"]} == {"reused"}


def assert_sound(outside: OutsideSystems) -> None:
    """The ledger verifies, no model stands in the registry twice, and every model in the store is whole."""
    from mlflow import MlflowClient

    report = outside.ledger.verify()
    assert report.ok, report.problem
    found = MlflowClient(outside.settings.resolved_tracking_uri).search_model_versions(f"name = '{LINE}'")
    fingerprints = [version.tags["fingerprint"] for version in found]
    assert len(fingerprints) == len(set(fingerprints))
    for key in outside.object_store.list():
        assert (
            hashlib.sha256(outside.object_store.get(key)).hexdigest() == outside.object_store.info(key).sha256
        )


@pytest.mark.long
@pytest.mark.parametrize(("system", "moment"), KILLED)
def test_a_system_that_is_killed_in_the_middle(
    systems: Systems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, moment: str
) -> None:
    """One clear error at most, without a traceback; once the system is back, the next run finishes the work."""
    case = KILLED.index((system, moment))
    spec, variables = write_spec(tmp_path, seed=case, train_rows=320 + case), systems.environment()
    try:
        status, _, told = run(variables, spec, moment=moment, then=lambda: systems.kill(system))
    finally:
        systems.start(system)
    assert_ended_well_or_with_one_error(status, told)
    assert_goes_on(variables, spec)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert_sound(OutsideSystems(PlatformSettings()))


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_is_full_in_the_middle(
    small_disk: Callable[[int], Path], tmp_path: Path, moment: str
) -> None:
    """All of a platform's state lies on it; one clear error, and with some room the next run finishes the work."""
    home = small_disk(DISK_BYTES) / "home"
    variables, spec = environment(home), write_spec(tmp_path)
    filler = home.parent / "filler"
    status, _, told = run(variables, spec, moment=moment, then=lambda: fill(filler))
    filler.unlink()
    assert status == 1, told
    assert_ended_well_or_with_one_error(status, told)
    assert "no space is left" in told
    assert_goes_on(variables, spec)
    assert_whole(home)


def test_a_command_that_finds_no_room_ends_with_one_error(
    small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    """From its first write on."""
    home = small_disk(64 << 20) / "home"
    fill(home.parent / "filler")
    status, _, told = run(environment(home), write_spec(tmp_path))
    assert status == 1
    assert_ended_well_or_with_one_error(status, told)
    assert "no space is left" in told


def test_a_command_whose_run_storage_is_away_ends_with_one_error(tmp_path: Path) -> None:
    """Dagster's own database is an outside system like others."""
    pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    (port,) = servers.free_ports(1)
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(INSTANCE % ("127.0.0.1", port))
    variables = environment(tmp_path / "home", PGPASSWORD=PASSWORD, DAGSTER_HOME=str(tmp_path / "dagster"))
    status, _, told = run(variables, write_spec(tmp_path))
    assert status == 1
    assert_ended_well_or_with_one_error(status, told)
    assert "the database does not answer" in told
    assert PASSWORD not in told

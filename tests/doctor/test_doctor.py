"""The command `doctor`: what it says of a machine, of settings and of systems that are away, hang or are damaged."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.doctor.configuration import known_variables
from platform_assets.doctor.findings import side_by_side
from platform_assets.doctor.systems import probes_of_systems
from platform_assets.ledger.ledger import Ledger
from resources.settings import PlatformSettings
from tests.full_disk import fill
from tests.git_factory import run_git
from tests.line_factory import ROOT, command, environment, platform_assets
from tests.servers import free_ports
from tests.waiting import wait_for

STATUSES = {"ok", "warning", "problem", "not used"}


def examined(home, *, process=False, **variables):
    """The findings by subject, the exit status and all that was printed; by a process of its own, or in this one."""
    if process:
        done = platform_assets(home, "doctor", "--json", **variables)
        status, shown, told = done.returncode, done.stdout, done.stdout + done.stderr
    else:
        kept = {name: None for name in os.environ if name.startswith(("PLATFORM_", "DAGSTER_HOME"))}
        ended = CliRunner().invoke(
            app, ["doctor", "--json"], env={**kept, "PLATFORM_HOME": str(home), **variables}
        )
        status, shown, told = ended.exit_code, ended.stdout, ended.output
    assert shown, told
    report = json.loads(shown)
    assert status == (0 if report["ok"] else 1)
    found = {}
    for each in report["findings"]:
        found.setdefault(each["subject"], each)
    return found, status, told


@contextmanager
def silent_server():
    """A port that takes connections and never answers, and those that it has taken."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as ears:
        kept = []

        def listen():
            try:
                while True:
                    kept.append(ears.accept()[0])
            except OSError:
                return

        threading.Thread(target=listen, daemon=True).start()
        yield ears.getsockname()[1], kept
        for each in kept:
            each.close()


def tree(folder: Path):
    """Every file below a folder, with its bytes and its time."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


# --- Nothing wrong -------------------------------------------------------------------------------------


def test_a_fresh_machine_is_well_and_stays_untouched(tmp_path):
    """No home is made, no table, no key; what a first run would make is no problem."""
    home = tmp_path / "home"
    found, status, told = examined(home, process=True)
    assert status == 0, told
    assert list(tmp_path.iterdir()) == []
    for subject in ("ledger", "dagster storage", "catalogue", "mlflow"):
        assert (found[subject]["status"], "yet" in found[subject]["told"]) == ("ok", True)
    assert found["cluster"]["status"] == "not used"
    assert found["policy"]["status"] == "ok"


def test_the_shape_of_its_json(tmp_path):
    """Each finding is one line of one area; what is not well says what to do."""
    _, _, printed = examined(tmp_path / "home", PLATFORM_HOEM="x")
    told = json.loads(printed)
    assert set(told) == {"ok", "findings"}
    for each in told["findings"]:
        assert set(each) == {"area", "subject", "status", "told", "advice", "skew_seconds"}
        assert (each["area"] in {"machine", "settings", "systems"}, each["status"] in STATUSES) == (
            True,
            True,
        )
        assert each["told"]
        assert "\n" not in each["told"] + each["advice"]
        if each["status"] in {"warning", "problem"}:
            assert each["advice"], each
    subjects = {each["subject"] for each in told["findings"]}
    assert {"python", "packages", "torch", "processors", "memory", "home", "temporary", "clock"} <= subjects


def test_people_are_told_line_by_line(tmp_path):
    """A line for each finding, one below with what to do, and the sum; exit status 0 for mere warnings."""
    done = platform_assets(tmp_path / "home", "doctor", PLATFORM_HOEM="x")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "PLATFORM_HOEM" in line)
    assert lines[at].startswith("  warning ")
    assert "did you mean PLATFORM_HOME?" in lines[at]
    assert lines[at + 1].strip() == "→ unset it, and set PLATFORM_HOME"
    assert re.fullmatch(r"\d+ ok, \d+ warning, 0 problem, \d+ not used", lines[-1])


def test_a_used_home_is_read_and_left_as_it_was(tmp_path):
    """Not even the files that SQLite makes beside a database that is merely read."""
    home = tmp_path / "home"
    ledger = Ledger.open(home / "ledger" / "ledger.sqlite", principal="tests")
    for number in range(5):
        ledger.append("note", str(number), fingerprint=str(number), body={})
    before = tree(home)
    found, status, told = examined(home, process=True)
    assert status == 0, told
    assert found["ledger"]["told"].endswith("ledger.sqlite: 5 entries, one chain")
    assert found["clock"]["status"] == "not used"  # an entry of the past says nothing of today's clock
    assert tree(home) == before


# --- Settings ------------------------------------------------------------------------------------------


def test_a_broken_setting_is_told_and_keeps_nobody_from_the_rest(tmp_path):
    """Without its value; the machine is looked at all the same."""
    found, status, told = examined(tmp_path / "home", PLATFORM_PROFILE="s3cret-value")
    assert status == 1
    assert found["settings"]["told"] == "PLATFORM_PROFILE: Input should be 'local' or 'cluster'"
    assert found["python"]["status"] == "ok"
    assert "ledger" not in found
    assert "s3cret-value" not in told


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"PLATFORM_SPECS": "no JSON"}, "it is to be JSON"),
        ({"PLATFORM_PROFILE": "cluster"}, "set ledger_uri (PLATFORM_LEDGER_URI"),
        ({"PLATFORM_HOME": "/what?"}, "home (PLATFORM_HOME) is '/what?'"),
    ],
)
def test_settings_that_cannot_be_read_are_one_sentence(tmp_path, variables, told):
    """Whichever way they are wrong."""
    found, status, _ = examined(tmp_path / "home", **variables)
    assert status == 1
    assert told in found["settings"]["told"]


def test_settings_are_told_with_where_they_come_from(tmp_path):
    """A variable, a part of one, or the default; a spec that is not there is a problem."""
    found, status, _ = examined(
        tmp_path / "home",
        PLATFORM_PRINCIPAL__USER="ada@example.org",
        PLATFORM_SPECS=json.dumps([str(tmp_path / "gone.yaml")]),
        PLATFORM_GIT_REPOSITORIES="[]",
    )
    assert "user ada@example.org" in found["principal"]["told"]
    assert found["principal"]["told"].endswith("(from PLATFORM_PRINCIPAL__USER)")
    assert found["profile"]["told"] == "local  (from the default)"
    assert (found["specs"]["status"], "gone.yaml" in found["specs"]["told"], status) == ("problem", True, 1)


def test_misspelt_variables_are_told_with_what_was_meant(tmp_path):
    """Those of ours are not, nor those that Kubernetes makes of the Services beside a pod."""
    found, status, _ = examined(
        tmp_path / "home",
        PLATFORM_LEGDER_URI="x",
        PLATFORM_XYZZY_PLUGH_FROTZ="x",
        PLATFORM_SECRET_GITHUB_WEBHOOK_TOKEN="hunter22",
        PLATFORM_ASSETS_POSTGRES_SERVICE_HOST="10.0.0.1",
        PLATFORM_ASSETS_MLFLOW_PORT_5000_TCP_ADDR="10.0.0.1",
    )
    assert status == 0
    assert "did you mean PLATFORM_LEDGER_URI?" in found["PLATFORM_LEGDER_URI"]["told"]
    assert found["PLATFORM_XYZZY_PLUGH_FROTZ"]["told"] == "is no setting, and has no effect"
    assert found["PLATFORM_SECRET_GITHUB_WEBHOOK_TOKEN"]["told"] == "set"
    assert not {each for each in found if each.startswith("PLATFORM_ASSETS_")}


def test_a_misspelt_part_of_a_setting_is_told_with_what_was_meant(tmp_path):
    """Although the settings as a whole are refused for it."""
    found, status, _ = examined(tmp_path / "home", PLATFORM_PRINCIPAL__USR="x")
    assert (status, found["settings"]["status"]) == (1, "problem")
    assert "did you mean PLATFORM_PRINCIPAL__USER?" in found["PLATFORM_PRINCIPAL__USR"]["told"]


def test_every_variable_that_the_platform_reads_is_known():
    """Else the doctor would call a right one misspelt."""
    mentioned = set()
    for folder in ("platform_assets", "resources", "sensors"):
        for file in (ROOT / folder).rglob("*.py"):
            mentioned |= set(re.findall(r'"(PLATFORM_[A-Z0-9_]*[A-Z0-9])"', file.read_text()))
    mentioned |= set(
        re.findall(r"^(PLATFORM_\w+)=", (ROOT / "k8s/base/settings.env").read_text(), re.MULTILINE)
    )
    assert mentioned - {"PLATFORM_SECRET_RETRAIN_TOKEN"} <= known_variables()


def test_no_secret_is_ever_printed(tmp_path):
    """Neither where it stands by itself, nor in an address, nor where a library repeats it."""
    (port,) = free_ports(1)
    secrets = {
        "PLATFORM_ROW_SALT": "salt-of-thirty-two-characters-xx",
        "PLATFORM_LEDGER_SIGNING_KEY": "c2lnbmluZy1rZXk",
        "PLATFORM_DECISION_TOKEN": "decision-tok",
        "PLATFORM_EVENTS_TOKEN": "events-tok",
        "PLATFORM_SECRET_RETRAIN_TOKEN": "retrain-tok",
        "PGPASSWORD": "pg-passw0rd",
        "AWS_SECRET_ACCESS_KEY": "aws-s3cret",
        "MLFLOW_TRACKING_PASSWORD": "mlflow-passw0rd",
    }
    _, status, told = examined(
        tmp_path / "home",
        PLATFORM_LEDGER_URI=f"postgresql://ada:in-addre55@127.0.0.1:{port}/platform",
        PLATFORM_CATALOG_URI=f"postgresql://ada:p@ss@127.0.0.1:{port}/pl at?form",
        PLATFORM_OBJECTS_URI="s3://bucket/objects",
        PLATFORM_S3_ENDPOINT=f"http://key:endp0int@127.0.0.1:{port}",
        PLATFORM_TRACKING_URI=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="AKIAKEYID",
        **secrets,
    )
    assert status == 1
    for secret in (*secrets.values(), "in-addre55", "p@ss", "endp0int", "AKIAKEYID"):
        assert secret not in told


# --- The machine ---------------------------------------------------------------------------------------


def test_a_full_disk_is_a_problem(tmp_path, small_disk):
    """It says how full, and what to do."""
    home = small_disk(1 << 20)
    fill(home / "filler")
    found, status, _ = examined(home)
    assert status == 1
    assert (found["home"]["status"], "0.0 GiB free" in found["home"]["told"]) == ("problem", True)
    assert "df -h" in found["home"]["advice"]
    assert list(home.iterdir()) == [home / "filler"]


def test_a_home_that_cannot_be_written_to_is_a_problem(tmp_path, small_disk):
    """Where its disk is mounted read-only, also for root."""
    home = small_disk(1 << 20)
    os.system(f"mount -o remount,ro {home}")
    found, status, _ = examined(home / "home")
    assert (status, found["home"]["status"]) == (1, "problem")
    assert found["home"]["told"].endswith("cannot be written to")


def test_a_home_that_is_a_file_is_a_problem(tmp_path):
    """Told as what it is."""
    (tmp_path / "home").write_text("")
    found, status, _ = examined(tmp_path / "home")
    assert (status, found["home"]["told"]) == (1, f"{tmp_path / 'home'} is a file")


GPU = "NVIDIA H200, 580.65.06, 143771 MiB"


@pytest.mark.parametrize(
    ("build", "smi", "devices", "status", "told"),
    [
        ("None", f"echo '{GPU}'", "()", "warning", f"(no GPU support) cannot use the 1 GPU here: {GPU}"),
        ("'13.0'", f"echo '{GPU}'", "('NVIDIA H200',)", "ok", "(CUDA 13.0) sees NVIDIA H200"),
        ("'13.0'", f"echo '{GPU}'", "()", "problem", f"(CUDA 13.0) sees no GPU; here are {GPU}"),
        ("'13.0'", "exit 9", "()", "ok", "(CUDA 13.0); no GPU here"),
        ("'13.0'", "exec sleep 30", "()", "warning", "nvidia-smi does not answer"),
    ],
    ids=["no build for it", "seen", "not seen", "no driver", "hangs"],
)
def test_torch_and_the_gpus_are_held_against_each_other(tmp_path, build, smi, devices, status, told):
    """By a program that says what nvidia-smi would, and a torch that sees so many."""
    programs, torch = tmp_path / "bin", tmp_path / "python" / "torch"
    programs.mkdir()
    torch.mkdir(parents=True)
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
    (programs / "nvidia-smi").chmod(0o755)
    (torch / "version.py").write_text(
        f"__version__ = '2.13.0'\ncuda: Optional[str] = {build}\nhip: Optional[str] = None\n"
    )
    (torch / "__init__.py").write_text(
        f"class cuda:\n  names = {devices}\n  device_count = lambda: len(cuda.names)\n  get_device_name = lambda at: cuda.names[at]\n"
    )
    found, _, _ = examined(
        tmp_path / "home",
        process=True,
        PYTHONPATH=f"{torch.parent}:{ROOT}",
        PATH=f"{programs}:{os.environ['PATH']}",
    )
    assert (found["torch"]["status"], told in found["torch"]["told"]) == (status, True), found["torch"]


# --- Systems -------------------------------------------------------------------------------------------


def altered(home):
    """A ledger of which somebody has changed an entry, past its triggers."""
    file = home / "ledger" / "ledger.sqlite"
    ledger = Ledger.open(file, principal="tests")
    for number in range(9):
        ledger.append("note", str(number), fingerprint=str(number), body={"text": "true"})
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TRIGGER entries_never_updated")
        connection.execute(
            "UPDATE entries SET raw = CAST(replace(CAST(raw AS TEXT), 'true', 'lies') AS BLOB) WHERE seq = 4"
        )


def test_an_altered_ledger_is_a_problem(tmp_path):
    """The entry is named."""
    altered(tmp_path / "home")
    found, status, _ = examined(tmp_path / "home")
    assert (status, found["ledger"]["status"]) == (1, "problem")
    assert "entry 4 was altered" in found["ledger"]["told"]
    assert "platform-assets ledger verify" in found["ledger"]["advice"]


def test_databases_that_are_no_databases_are_problems(tmp_path):
    """Each by its file; one does not keep the others from being looked at."""
    home = tmp_path / "home"
    for file in (
        "ledger/ledger.sqlite",
        "warehouse/catalog.sqlite",
        "dagster/history/runs.db",
        "mlflow/mlflow.sqlite",
    ):
        (home / file).parent.mkdir(parents=True)
        (home / file).write_text("not what it was" * 100)
    found, status, _ = examined(home)
    assert status == 1
    for subject in ("ledger", "catalogue", "dagster storage", "mlflow"):
        assert found[subject]["status"] == "problem", found[subject]
        assert "file is not a database" in found[subject]["told"]


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("storage: [", "problem", "dagster.yaml: while parsing"),
        ("storage: {mysql: {}}", "not used", "names another kind of storage"),
        ("storage: {sqlite: {base_dir: /nowhere}}", "ok", "no /nowhere/history/runs.db yet"),
        ("telemetry: {enabled: false}", "ok", "history/runs.db yet"),
        (
            "storage: {postgres: {postgres_db: {hostname: 127.0.0.1, port: 1, password: it's, db_name: d}}}",
            "problem",
            "postgresql://127.0.0.1:1/d: ",
        ),
        (
            "storage: {postgres: {postgres_url: {env: DAGSTER_URL}}}",
            "problem",
            "postgresql://127.0.0.1:1/dagster",
        ),
    ],
)
def test_dagsters_own_storage_is_the_one_that_its_file_names(tmp_path, monkeypatch, text, status, told):
    """Read without Dagster."""
    (tmp_path / "dagster.yaml").write_text(text)
    variables = {"DAGSTER_HOME": str(tmp_path), "DAGSTER_URL": "postgresql://ada@127.0.0.1:1/dagster"}
    probes = probes_of_systems(PlatformSettings(home=tmp_path / "home"), variables)
    (found,) = side_by_side([probe for probe in probes if probe.subject == "dagster storage"])
    assert (found.status, told in found.told) == (status, True), found


def test_a_diagnosis_loads_nothing_that_is_heavy(tmp_path):
    """Neither Dagster, which takes a second, nor what it looks at; so it is quick where all is well."""
    probe = (
        "import sys; from platform_assets.cli import main\n"
        "sys.argv = ['platform-assets', 'doctor', '--json']\n"
        "try: main()\n"
        "finally: print([each for each in ('dagster', 'torch', 'mlflow', 'pandas', 'numpy', 'pyiceberg', 'kubernetes')"
        " if each in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_servers_that_are_away_are_told_at_once(tmp_path):
    """A closed port: refused, and what to look at."""
    (port,) = free_ports(1)
    dagster = tmp_path / "dagster"
    dagster.mkdir()
    (dagster / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_db: {hostname: {env: PGHOST}, port: {env: PGPORT}, username: ada, password: {env: PGPASSWORD}, db_name: dagster}}}"
    )
    found, status, _ = examined(
        tmp_path / "home",
        PLATFORM_LEDGER_URI=f"postgresql://ada@127.0.0.1:{port}/platform",
        PLATFORM_CATALOG_URI=f"postgresql+psycopg2://ada@127.0.0.1:{port}/platform",
        PLATFORM_OBJECTS_URI="s3://bucket/objects",
        PLATFORM_WAREHOUSE_URI="s3://bucket/warehouse",
        PLATFORM_S3_ENDPOINT=f"http://127.0.0.1:{port}",
        PLATFORM_TRACKING_URI=f"http://127.0.0.1:{port}",
        PLATFORM_GIT_REPOSITORIES=json.dumps([{"url": f"https://127.0.0.1:{port}/team/repo.git"}]),
        DAGSTER_HOME=str(dagster), PGHOST="127.0.0.1", PGPORT=str(port), PGPASSWORD="x",
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="secret",
    )  # fmt: skip
    assert status == 1
    for subject in (
        "ledger",
        "catalogue",
        "dagster storage",
        "objects",
        "warehouse",
        "mlflow",
        f"git 127.0.0.1:{port}/team/repo",
    ):
        assert found[subject]["status"] == "problem", (subject, found)
        assert found[subject]["advice"]
    assert "Connection refused" in found["ledger"]["told"]
    assert f"postgresql://127.0.0.1:{port}/platform" in found["ledger"]["told"]


def test_servers_that_take_connections_and_never_answer_are_told_as_such(tmp_path):
    """All of them at once, in the time of one."""
    with silent_server() as (port, _):
        begun = time.monotonic()
        found, status, _ = examined(
            tmp_path / "home",
            process=True,
            PLATFORM_LEDGER_URI=f"postgresql://ada@127.0.0.1:{port}/platform",
            PLATFORM_CATALOG_URI=f"postgresql://ada@127.0.0.1:{port}/platform",
            PLATFORM_OBJECTS_URI="s3://bucket/objects",
            PLATFORM_S3_ENDPOINT=f"http://127.0.0.1:{port}",
            PLATFORM_TRACKING_URI=f"http://127.0.0.1:{port}",
            PLATFORM_GIT_REPOSITORIES=json.dumps([{"url": f"https://127.0.0.1:{port}/team/repo.git"}]),
            AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="secret",
        )  # fmt: skip
    assert status == 1
    for subject in ("ledger", "catalogue", "objects", "mlflow", f"git 127.0.0.1:{port}/team/repo"):
        assert (found[subject]["status"], "hangs" in found[subject]["told"]) == ("problem", True), subject
    assert time.monotonic() - begun < 15  # one after another they would take 24


def test_a_diagnosis_that_waits_can_be_ended(tmp_path):
    """At once, whatever its probes wait for."""
    with silent_server() as (port, taken):
        waiting = subprocess.Popen(
            command("doctor"),
            env=environment(tmp_path / "home", PLATFORM_LEDGER_URI=f"postgresql://ada@127.0.0.1:{port}/platform"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(lambda: taken, "it asks", every=0.05)
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert told.startswith("error: ended by SIGINT")


def test_a_real_postgres_is_told_with_its_version_and_clock(tmp_path, postgres_database):
    """An empty database stays empty; one with a ledger is told with how many entries it has."""
    pytest.importorskip("psycopg2")
    import psycopg2

    variables = {"PLATFORM_LEDGER_URI": postgres_database, "PLATFORM_CATALOG_URI": postgres_database}
    found, status, told = examined(tmp_path / "home", **variables)
    assert status == 0, told
    assert re.search(r"version \d+", found["ledger"]["told"])
    assert abs(found["ledger"]["skew_seconds"]) < 1
    assert found["catalogue"]["told"].endswith("without tables yet")
    assert (found["clock"]["status"], "ledger" in found["clock"]["told"]) == ("ok", True)
    with closing(psycopg2.connect(postgres_database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'platform_ledger'")
        assert cursor.fetchone() == (0,)
    Ledger.open(postgres_database, principal="tests").append("note", "a", fingerprint="1", body={})
    done = platform_assets(tmp_path / "home", "doctor", **variables)
    assert "in Postgres: 1 entries, one chain" in done.stdout


def test_a_real_bucket_is_told_with_its_clock(tmp_path, s3_endpoint, s3_bucket):
    """It is listed, and nothing is put there; one that is not there is a problem."""
    variables = {
        "PLATFORM_S3_ENDPOINT": s3_endpoint, "PLATFORM_OBJECTS_URI": f"s3://{s3_bucket}/objects",
        "PLATFORM_WAREHOUSE_URI": "s3://no-such-bucket/warehouse",
    }  # fmt: skip
    found, status, _ = examined(tmp_path / "home", **variables)
    assert (found["objects"]["status"], found["warehouse"]["status"], status) == ("ok", "problem", 1)
    assert found["objects"]["told"].endswith("empty")
    assert "NoSuchBucket" in found["warehouse"]["told"]
    assert found["clock"]["status"] == "ok"


@pytest.mark.long
def test_a_real_mlflow_is_told_with_its_version_and_clock(tmp_path, mlflow_server):
    """Of the client's own major version."""
    found, status, told = examined(tmp_path / "home", PLATFORM_TRACKING_URI=mlflow_server)
    assert status == 0, told
    assert found["mlflow"]["told"] == f"{mlflow_server}, version {metadata.version('mlflow')}"
    assert found["clock"]["status"] == "ok"


@contextmanager
def answering(status, body, **headers):
    """A server that has one answer to everything; yields its address, and the headers that it was asked with."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_an_mlflow_of_another_time_and_version_is_told(tmp_path):
    """Its clock is this machine's problem where it is hours away; credentials are sent as MLflow sends them."""
    with answering(200, b"2.9.2", Date="Sun, 29 Nov 2020 12:00:00 GMT") as (address, asked):
        found, status, _ = examined(
            tmp_path / "home",
            PLATFORM_TRACKING_URI=address,
            MLFLOW_TRACKING_USERNAME="ada",
            MLFLOW_TRACKING_PASSWORD="s3cret",
        )
    assert "is version 2.9.2, the client 3." in found["mlflow"]["told"]
    assert (found["mlflow"]["status"], found["clock"]["status"], status) == ("warning", "problem", 1)
    assert "ahead of mlflow" in found["clock"]["told"]
    assert asked[0]["Authorization"] == "Basic YWRhOnMzY3JldA=="


@pytest.mark.parametrize(
    ("remote", "more"), [("sc://127.0.0.1", "/;user_id=me"), ("k8s://https://127.0.0.1", "")]
)
def test_spark_is_looked_at_where_it_was_asked_for(tmp_path, remote, more):
    """By default nothing is; somebody who is away is told with what to do."""
    assert examined(tmp_path / "home")[0]["spark"]["status"] == "not used"
    pytest.importorskip("pyspark", reason="NO SPARK: install the extra `spark`")
    (port,) = free_ports(1)
    found, status, _ = examined(tmp_path / "home", PLATFORM_SPARK_REMOTE=f"{remote}:{port}{more}")
    assert (found["spark"]["status"], status) == ("problem", 1)
    assert found["spark"]["told"].startswith(f"Spark does not answer at {remote}:{port} (")


def test_executors_elsewhere_need_a_folder_for_assets(tmp_path):
    """Without it each transformer's step would fail; commands name their files themselves."""
    pytest.importorskip("pyspark", reason="NO SPARK: install the extra `spark`")
    variables = {"PLATFORM_FEATURES_ENGINE": "spark", "PLATFORM_SPARK_REMOTE": "sc://127.0.0.1:1"}
    found, status, _ = examined(tmp_path / "home", **variables)
    assert (found["spark"]["told"], status) == ("PLATFORM_SPARK_FOLDER is not set", 1)
    found, _, _ = examined(tmp_path / "home", **variables, PLATFORM_SPARK_FOLDER=str(tmp_path))
    assert found["spark"]["told"].startswith("Spark does not answer at sc://127.0.0.1:1 (")


@pytest.mark.parametrize(
    ("asked", "value"), [("PLATFORM_SPARK_REMOTE", "local[2]"), ("PLATFORM_FEATURES_ENGINE", "spark")]
)
def test_spark_of_this_machine_is_told_with_the_version_of_java(tmp_path, asked, value):
    """Nothing is started; an old Java, or none, is a problem that names the package."""
    pytest.importorskip("pyspark", reason="NO SPARK: install the extra `spark`")
    program = tmp_path / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    for told, expected in (
        ('version "17.0.15"', "Java 17"),
        ('version "11.0.2"', "too old"),
        ("", "no Java"),
    ):
        program.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
        program.chmod(0o755)
        variables = {asked: value, "JAVA_HOME": str(tmp_path / "java")}
        found, _, _ = examined(tmp_path / "home", **variables)
        assert expected in found["spark"]["told"]
        is_well = expected == "Java 17"
        assert found["spark"]["status"] == ("ok" if is_well else "problem")
        assert is_well or "openjdk-17-jre-headless" in found["spark"]["advice"]


def test_an_mlflow_that_refuses_is_a_problem(tmp_path):
    """With what it said."""
    with answering(401, b"") as (address, _):
        found, status, _ = examined(tmp_path / "home", PLATFORM_TRACKING_URI=address)
    assert (status, found["mlflow"]["told"]) == (1, f"{address}: HTTP Error 401: Unauthorized")


def test_repositories_are_asked_for_their_branches(tmp_path):
    """By Git; no mirror is made. One that is not there is a problem."""
    (tmp_path / "repo").mkdir()
    run_git(tmp_path / "repo", "init", "-q", "-b", "master")
    run_git(tmp_path / "repo", "commit", "-q", "--allow-empty", "-m", "a")
    urls = [str(tmp_path / "repo"), str(tmp_path / "gone")]
    found, status, _ = examined(
        tmp_path / "home", PLATFORM_GIT_REPOSITORIES=json.dumps([{"url": url} for url in urls])
    )
    there, gone = [each for subject, each in found.items() if subject.startswith(("git /", "git file"))]
    assert (there["status"], there["told"], gone["status"], status) == ("ok", "1 branch", "problem", 1)
    assert not (tmp_path / "home").exists()

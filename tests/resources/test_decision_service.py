"""The decision service: what OPA's Data API answers, and nothing that a caller could take for an allowance."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from platform_assets.cli.policy import app
from platform_assets.ledger.denial_log import DenialLog
from platform_assets.ledger.denials import Denials
from platform_assets.ledger.ledger import Ledger
from resources.decision_service import decision_service
from resources.http_token import OpenServerError
from resources.policy_engine import RegoEngine
from tests.servers import free_ports

ALLOWED = {
    "method": "GET",
    "path": "/models/prod/line/1/model.json",
    "user": {"groups": ["ml-engineers"], "labels": {"env": "prod"}, "consent": {"gdpr": True}},
}
PLUGIN = {
    "account": "root",
    "groups": ["ml-engineers"],
    "action": "s3:GetObject",
    "bucket": "models",
    "object": "prod/line/1/model.json",
    "owner": True,
    "claims": {"env": "prod", "consent": True},
    "conditions": {"SourceIp": ["127.0.0.1"]},
    "denyOnly": False,
}


@pytest.fixture
def recorded():
    """The requests that were denied."""
    return []


@pytest.fixture
def open_client(recorded):
    """A client of the service; arguments go to the service."""
    engine = RegoEngine()

    def record(request, decision):
        recorded.append((request, decision.reasons))

    return lambda **arguments: TestClient(
        decision_service(engine, **({"record": record} | arguments)), raise_server_exceptions=False
    )


@pytest.fixture
def client(open_client):
    """A client of a service that asks for no token."""
    return open_client()


@pytest.mark.parametrize("asked", [ALLOWED, PLUGIN])
def test_allowed_requests_of_both_forms(client, recorded, asked):
    """Both addresses of the Data API say so, and nothing is recorded."""
    answer = client.post("/v1/data/minio/auth", json={"input": asked})
    assert (answer.status_code, answer.json()) == (200, {"result": {"allow": True, "reasons": []}})
    assert client.post("/v1/data/minio/auth/allow", json={"input": asked}).json() == {"result": True}
    assert recorded == []


@pytest.mark.parametrize("asked", [ALLOWED | {"path": "/models/dev/a"}, PLUGIN | {"object": "dev/a"}])
def test_denied_requests_of_both_forms(client, recorded, asked):
    """The answer carries the reasons, and each denial is recorded before it is answered."""
    reason = "label env prod does not match dev"
    answer = client.post("/v1/data/minio/auth", json={"input": asked})
    assert answer.json() == {"result": {"allow": False, "reasons": [reason]}}
    assert client.post("/v1/data/minio/auth/allow", json={"input": asked}).json() == {"result": False}
    assert recorded == [(asked, (reason,))] * 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"true",
        b'"allow"',
        b"{}",
        b'{"input": null}',
        b'{"input": []}',
        b'{"input": true}',
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"input": {"x": ' + b"9" * 5_000 + b"}}",
    ],
    ids=lambda body: str(body[:20]),
)
@pytest.mark.parametrize("path", ["/v1/data/minio/auth", "/v1/data/minio/auth/allow"])
def test_a_malformed_body_is_no_decision(client, path, body):
    """It is refused as a bad request whose answer holds neither a result nor an allowance."""
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert "result" not in answer.json()
    assert "allow" not in answer.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused(client, chunked):
    """Whether or not it says beforehand how large it is."""
    body = json.dumps({"input": ALLOWED | {"padding": "x" * 100_000}}).encode()
    answer = client.post("/v1/data/minio/auth", content=iter([body]) if chunked else body)
    assert answer.status_code == 413
    assert "result" not in answer.json()


def test_a_token_is_demanded_where_one_is_set(open_client):
    """Without it, with another, and with one that is not ASCII: no decision; health needs none."""
    client = open_client(token="s3cret")
    body = {"input": ALLOWED}
    for sent in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "s3cret"},
        {"Authorization": "Bearer s3crét".encode()},
    ):
        answer = client.post("/v1/data/minio/auth", json=body, headers=sent)
        assert answer.status_code == 401
        assert "result" not in answer.json()
    answer = client.post("/v1/data/minio/auth", json=body, headers={"Authorization": "Bearer s3cret"})
    assert answer.json()["result"]["allow"] is True
    assert client.get("/health").status_code == 200


def test_a_recorder_that_fails_allows_nothing(open_client):
    """Recorders never raise; should one do so, a caller that gets no answer denies."""

    def record(request, decision):
        raise OSError("ledger is full")

    client = open_client(record=record)
    answer = client.post("/v1/data/minio/auth", json={"input": {}})
    assert answer.status_code == 500
    assert "allow" not in answer.text
    assert client.post("/v1/data/minio/auth", json={"input": ALLOWED}).json()["result"]["allow"] is True


def test_a_full_disk_blocks_no_answer(open_client, tmp_path):
    """Denied is denied and allowed is allowed, whether or not the log can be written."""
    in_the_way = tmp_path / "home"
    in_the_way.write_text("")
    ledger = Ledger.open(tmp_path / "ledger.sqlite", principal="test")
    denials = Denials(DenialLog(in_the_way / "denials"), lambda: ledger)
    client = open_client(record=denials.record)
    for _ in range(2):
        assert client.post("/v1/data/minio/auth/allow", json={"input": {}}).json() == {"result": False}
    assert client.post("/v1/data/minio/auth/allow", json={"input": ALLOWED}).json() == {"result": True}
    in_the_way.unlink()
    assert denials.summarise().body["denials"] == 2


def test_the_service_sums_up_before_it_ends(open_client):
    """What it denied does not wait for the next one."""
    ends = []
    with open_client(summarise=lambda: ends.append("summed up")) as client:
        assert client.get("/health").status_code == 200
        assert ends == []
    assert ends == ["summed up"]


def test_strangers_are_not_served_without_a_token(tmp_path, monkeypatch):
    """Whoever may ask may fill the log, and learn who may do what: the command refuses before it listens."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.delenv("PLATFORM_DECISION_TOKEN", raising=False)
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])
    assert isinstance(result.exception, OpenServerError)
    assert "set PLATFORM_DECISION_TOKEN" in str(result.exception)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/data/minio/auth"),
        ("POST", "/v1/data/minio"),
        ("POST", "/v1/query"),
        ("PUT", "/v1/policies/x"),
        ("GET", "/docs"),
    ],
)
def test_nothing_else_is_served(client, method, path):
    """The policy cannot be read or changed through the service."""
    assert client.request(method, path, json={"input": ALLOWED}).status_code in (404, 405)


def test_the_command_serves(tmp_path):
    """`platform-assets policy serve` answers a plugin's request; its end tells the ledger what was denied."""
    (port,) = free_ports(1)
    program = "from platform_assets.cli.policy import app; app()"
    environment = os.environ | {
        "PLATFORM_HOME": str(tmp_path),
        "PLATFORM_DECISION_TOKEN": "s3cret",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--port", str(port)], env=environment
    ) as service:
        try:
            _wait_for(port)
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/data/minio/auth",
                data=json.dumps({"input": PLUGIN | {"claims": {"env": "dev", "token": "hush"}}}).encode(),
                headers={"Authorization": "Bearer s3cret"},
            )
            with urllib.request.urlopen(asked, timeout=10) as answer:
                assert json.load(answer)["result"]["allow"] is False
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(asked.full_url, data=b"{}", timeout=10)
        finally:
            service.terminate()
    (line,) = (tmp_path / "denials" / "00000001.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == "/models/prod/line/1/model.json"
    (entry,) = Ledger.open(tmp_path / "ledger" / "ledger.sqlite", principal="test").entries()
    assert [(each["principal"], each["denials"]) for each in entry.body["counts"]] == [("root", 1)]
    assert "hush" not in line
    assert b"hush" not in entry.raw


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the service does not listen")

"""The event listener: what is answered, what reaches the queue, and what never does."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from ipaddress import ip_network
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from platform_assets.ledger.ledger import Ledger
from resources.settings import WatchedRepository
from sensors.event_listener import Result, RetrainParams, event_listener, secret_variable, without_secret
from sensors.push_queue import PUSH, Push, push_of
from sensors.rate_limit import Rate, RateLimit, RateLimits
from sensors.tekton import SecretRef
from sensors.triggers import TriggerError, read_triggers, triggers_folder
from tests.sensors.webhooks import PUSHES, SECRETS, SHA, delivery, payload, secret_of
from tests.servers import free_ports

TRIGGERS = read_triggers(triggers_folder())
GITHUB = RetrainParams(*PUSHES["github"], SHA)
RETRAIN = {"repository": GITHUB.repository, "ref": GITHUB.ref, "sha": SHA}
WATCHED = [WatchedRepository(url=repository) for repository, _ in PUSHES.values()]
BEARER = {"Authorization": f"Bearer {SECRETS['retrain']}"}


@pytest.fixture
def taken():
    """The pushes that were accepted, in order."""
    return []


@pytest.fixture
def open_client(taken):
    """A client of the listener; arguments go to the listener."""

    def accept(params):
        if push_of(params.repository, params.ref, params.sha, WATCHED) is None:
            return Result.IGNORED
        taken.append(params)
        return Result.QUEUED if taken.count(params) == 1 else Result.DUPLICATE

    given = {"accept": accept, "secrets": secret_of}
    return lambda **arguments: TestClient(
        event_listener(TRIGGERS, **(given | arguments)), raise_server_exceptions=False
    )


@pytest.fixture
def client(open_client):
    """A client of a listener that knows every secret."""
    return open_client()


def deliver(client, name, body=None, *, secret=None, headers=None):
    """The answer to a recorded webhook."""
    raw, sent = delivery(name, body, secret=secret)
    return client.post("/", content=raw, headers=sent | (headers or {}))


@pytest.mark.parametrize("forge", PUSHES)
def test_a_signed_push_is_queued(client, taken, forge):
    """Of every forge: 202, with the trigger that took it and an id of the event."""
    answer = deliver(client, f"{forge}_push")
    assert answer.status_code == 202
    told = answer.json()
    assert told.pop("eventID")
    assert told == {
        "eventListener": "retrain",
        "result": "queued",
        "triggers": [{"name": forge, "result": "queued"}],
    }
    assert taken == [RetrainParams(*PUSHES[forge], SHA)]


@pytest.mark.parametrize(
    "name",
    [
        "github_ping",
        "github_merge_group",
        "github_tag",
        "github_deletion",
        "github_merge_queue_push",
        "gitea_deletion",
        "gitea_deletion_push",
        "gitea_tag",
        "gitlab_tag",
        "gitlab_deletion",
    ],
)
def test_what_is_no_push_is_ignored_and_answered(client, taken, name):
    """202, since the forge did nothing wrong, with the reason; nothing is queued."""
    answer = deliver(client, name)
    assert answer.status_code == 202
    assert answer.json()["result"] == "ignored"
    assert all(trigger["reason"] for trigger in answer.json()["triggers"])
    assert taken == []


@pytest.mark.parametrize("secret", ["", "wrong", "github secret "])
@pytest.mark.parametrize("forge", PUSHES)
def test_a_wrong_signature_is_refused(client, taken, forge, secret):
    """401 before the body is looked at."""
    assert deliver(client, f"{forge}_push", secret=secret).status_code == 401
    assert deliver(client, f"{forge}_push", b"{", secret=secret).status_code == 401
    assert taken == []


def test_a_missing_signature_is_refused(client, taken):
    """And so is another forge's, another header's, or a token where an HMAC is demanded."""
    raw, headers = delivery("github_push")
    signature = headers.pop("X-Hub-Signature-256")
    for sent in (
        {},
        {"X-Hub-Signature": signature},
        {"X-Gitea-Signature": signature},
        {"X-Hub-Signature-256": SECRETS["github-webhook"]},
        {"X-Gitlab-Token": SECRETS["github-webhook"]},
        {"X-Hub-Signature-256": ""},
    ):
        assert client.post("/", content=raw, headers=headers | sent).status_code == 401
    assert taken == []


@pytest.mark.parametrize("missing", PUSHES)
def test_a_trigger_without_secret_refuses_everything(open_client, missing):
    """It is named at the start, an empty secret opens nothing, and the other triggers go on."""

    def secrets(ref):
        return "" if ref.secret_name == f"{missing}-webhook" else secret_of(ref)

    client = open_client(secrets=secrets)
    assert without_secret(TRIGGERS, secrets) == [missing]
    for forge in PUSHES:
        assert deliver(client, f"{forge}_push").status_code == (401 if forge == missing else 202)
    assert deliver(client, f"{missing}_push", secret="").status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"payload=%7B%7D", b"\xff", b"[" * 50_000])
def test_a_signed_body_that_is_no_json_is_told_so(client, taken, body):
    """400: a webhook with another content type is a mistake that somebody must see."""
    answer = deliver(client, "github_push", body)
    assert answer.status_code == 400
    assert "the body" in answer.json()["detail"]
    assert taken == []


def test_half_an_emoji_is_no_reason_to_refuse_a_push(client, taken):
    """A forge that cuts a commit message may cut it there."""
    body = json.dumps(payload("github_push", head_commit__message="MESSAGE"))
    assert deliver(client, "github_push", body.replace("MESSAGE", "cut \\ud83d").encode()).status_code == 202
    assert taken == [GITHUB]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused(open_client, taken, chunked):
    """Whether or not it says beforehand how large it is; one byte less is taken."""
    raw, headers = delivery("github_push")
    for largest, status in ((len(raw) - 1, 413), (len(raw), 202)):
        client = open_client(largest_body_bytes=largest)
        content = iter([raw[:100], raw[100:]]) if chunked else raw
        assert client.post("/", content=content, headers=headers).status_code == status
    assert taken == [GITHUB]


def test_a_push_of_as_many_commits_as_github_lists_is_taken(client, taken):
    """2,048 commits fit below the default limit."""
    body = payload("github_push")
    body["commits"] = body["commits"] * 2_048
    assert deliver(client, "github_push", body).status_code == 202
    assert taken == [GITHUB]


def test_a_replay_changes_nothing(client, taken):
    """The same body is known by its digest, the same push in another body by the queue."""
    assert deliver(client, "github_push").json()["result"] == "queued"
    again = deliver(client, "github_push")
    assert (again.status_code, again.json()["result"]) == (202, "duplicate")
    assert len(taken) == 1
    other = deliver(client, "github_push", payload("github_push", size=2))
    assert (other.status_code, other.json()["result"]) == (202, "duplicate")


def test_a_replay_needs_a_signature(client):
    """A body that was taken is no pass."""
    raw, headers = delivery("github_push")
    assert client.post("/", content=raw, headers=headers).status_code == 202
    assert (
        client.post("/", content=raw, headers=headers | {"X-Hub-Signature-256": "sha256="}).status_code == 401
    )


def test_a_repository_that_nobody_watches_is_ignored(client, taken):
    """202 with the reason, and it is looked up again when it comes again."""
    body = payload("github_push", repository__clone_url="https://github.com/acme/unwatched.git")
    for _ in range(2):
        answer = deliver(client, "github_push", body)
        assert (answer.status_code, answer.json()["result"]) == (202, "ignored")
        assert "watches" in answer.json()["triggers"][0]["reason"]
    assert taken == []


def test_a_push_that_cannot_be_recorded_is_asked_for_again(open_client, taken, caplog):
    """503 with Retry-After, and nothing is remembered: the next delivery of the same body is queued.

    The operator reads the cause, the sender does not.
    """
    broken = [True]

    def accept(params):
        if broken:
            raise OSError("disk is full")
        taken.append(params)
        return Result.QUEUED

    client = open_client(accept=accept)
    for answer in (deliver(client, "github_push"), client.post("/v1/retrain", json=RETRAIN, headers=BEARER)):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "disk" not in answer.text
    assert caplog.text.count("OSError: disk is full") == 2
    broken.clear()
    assert deliver(client, "github_push").json()["result"] == "queued"
    assert taken == [GITHUB]


def test_too_many_requests_of_one_client_wait(open_client):
    """429 says for how long; after that the client may go on."""
    now = [0.0]
    limits = RateLimits.of(
        per_client=Rate(per_second=0.5, burst=2), overall=Rate(per_second=9, burst=9), clock=lambda: now[0]
    )
    client = open_client(limits=limits)
    assert [deliver(client, "github_push").status_code for _ in range(3)] == [202, 202, 429]
    assert deliver(client, "github_push").headers["Retry-After"] == "2"
    assert client.post("/v1/retrain", json=RETRAIN, headers=BEARER).status_code == 429
    assert client.get("/health").status_code == 200
    now[0] = 2.0
    assert [deliver(client, "github_push").status_code for _ in range(2)] == [202, 429]


STRANGERS = [
    ("/", {}),
    ("/", {"X-Hub-Signature-256": f"sha256={'0' * 64}"}),
    ("/", {"X-Gitlab-Token": "guess"}),
    ("/v1/retrain", {"Authorization": "Bearer guess"}),
]
"""Paths and headers of those who know no secret."""


def test_a_flood_of_strangers_stops_no_forge(client, taken):
    """A thousand at once from the very address that the forge has: they wait, and the signed push is queued."""
    flood = [STRANGERS[at % len(STRANGERS)] for at in range(1_000)]
    statuses = {client.post(path, content=b"{}", headers=headers).status_code for path, headers in flood}
    assert statuses == {401, 429}
    assert deliver(client, "github_push").json()["result"] == "queued"
    assert client.post("/v1/retrain", json=RETRAIN, headers=BEARER).json()["result"] == "duplicate"
    assert taken == [GITHUB, GITHUB]


def test_clients_behind_a_trusted_proxy_are_told_apart(open_client):
    """One that asks too often waits alone; what a client itself writes into the header names nobody else."""
    limits = RateLimits.of(per_client=Rate(per_second=0.01, burst=1), overall=Rate(per_second=9, burst=99))
    given = {"limits": limits, "trusted_proxies": [ip_network("10.0.0.0/8")]}
    client = TestClient(open_client(**given).app, client=("10.1.2.3", 4711))

    def status(forwarded_for):
        return deliver(client, "github_push", headers={"X-Forwarded-For": forwarded_for}).status_code

    assert [status("192.0.2.1"), status("192.0.2.1"), status("192.0.2.2")] == [202, 429, 202]
    assert status("192.0.2.3, 192.0.2.2") == 429
    stranger = TestClient(open_client(**given).app, client=("198.51.100.1", 4711))
    statuses = [
        deliver(stranger, "github_push", headers={"X-Forwarded-For": f"192.0.2.{at}"}).status_code
        for at in range(5, 7)
    ]
    assert statuses == [202, 429]


def test_large_bodies_of_strangers_leave_room_for_ordinary_ones(open_client, taken):
    """While they arrive, what is larger than usual is asked for again; an ordinary push is queued, and then all are."""
    client = open_client(large_bodies_bytes=0)
    large = payload("github_push", filler="x" * (300 << 10))
    answer = deliver(client, "github_push", large)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert deliver(client, "github_push").status_code == 202
    roomy = open_client(large_bodies_bytes=64 << 10)
    assert [deliver(roomy, "github_push", large).status_code for _ in range(3)] == [202, 202, 202]
    assert taken


def test_too_many_requests_of_all_clients_wait():
    """One client that is stopped takes nothing from the others, and is forgotten with time."""
    now = [0.0]
    limit = RateLimit(
        per_client=Rate(per_second=1, burst=2), overall=Rate(per_second=1, burst=3), clock=lambda: now[0]
    )
    assert [limit.wait_seconds("a") for _ in range(4)] == [0, 0, 1, 1]
    assert [limit.wait_seconds("b") for _ in range(2)] == [0, 1]
    now[0] = 100.0
    assert [limit.wait_seconds(client) for client in "cdef"] == [0, 0, 0, 1]


def test_the_retrain_address_takes_what_the_run_posts(client, taken):
    """The same push by webhook and by the run of a cluster is one push."""
    answer = client.post("/v1/retrain", json=RETRAIN, headers=BEARER)
    assert (answer.status_code, answer.json()) == (202, {"result": "queued"})
    assert taken == [GITHUB]
    assert deliver(client, "github_push").json()["result"] == "duplicate"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": SECRETS["retrain"]},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer é".encode()},
    ],
)
def test_the_retrain_address_demands_the_token(client, open_client, taken, headers):
    """And where there is no token, or an empty one, nobody has it."""
    assert client.post("/v1/retrain", json=RETRAIN, headers=headers).status_code == 401
    without = open_client(secrets=lambda ref: "")
    assert without.post("/v1/retrain", json=RETRAIN, headers=headers).status_code == 401
    assert taken == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        json.dumps(RETRAIN | {"sha": "main"}).encode(),
        json.dumps(RETRAIN | {"sha": SHA[:7]}).encode(),
        json.dumps(RETRAIN | {"ref": None}).encode(),
        json.dumps(RETRAIN | {"force": True}).encode(),
        json.dumps(RETRAIN | {"repository": ["a"]}).encode(),
        b'{"repository": "\\ud800", "ref": "", "sha": "' + SHA.encode() + b'"}',
    ],
    ids=lambda body: str(body[:24]),
)
def test_the_retrain_address_takes_nothing_else(client, taken, body):
    """Exactly the three fields, and a whole commit id."""
    assert client.post("/v1/retrain", content=body, headers=BEARER).status_code == 400
    assert client.post("/v1/retrain", content=b" " * 20_000, headers=BEARER).status_code == 413
    assert taken == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("PUT", "/"),
        ("GET", "/v1/retrain"),
        ("POST", "/health"),
        ("GET", "/docs"),
        ("POST", "/x"),
    ],
)
def test_nothing_else_is_served(client, method, path):
    """Neither other methods nor other addresses."""
    assert client.request(method, path).status_code in (404, 405)


def test_a_template_of_other_parameters_is_refused_at_the_start(tmp_path):
    """Rather than every push later."""
    for path in triggers_folder().glob("*.yaml"):
        text = path.read_text().replace(
            "- name: git-ref\n            value", "- name: git-branch\n            value"
        )
        (tmp_path / path.name).write_text(text)
    with pytest.raises(TriggerError, match="git-ref"):
        event_listener(read_triggers(tmp_path), accept=lambda params: Result.QUEUED, secrets=secret_of)


def test_names_of_secrets_in_the_environment():
    """`PLATFORM_SECRET_<NAME>_<KEY>`, in capitals, with _ for what a variable cannot have."""
    ref = SecretRef(secretName="github-webhook", secretKey="hook.token")
    assert secret_variable(ref) == "PLATFORM_SECRET_GITHUB_WEBHOOK_HOOK_TOKEN"


def test_the_command_listens(tmp_path):
    """`platform-assets listen` queues a push in the ledger once, and says what it refuses for want of a secret."""
    (port,) = free_ports(1)
    environment = os.environ | {
        "PLATFORM_HOME": str(tmp_path),
        "PLATFORM_GIT_REPOSITORIES": json.dumps([{"url": "git@github.com:acme/reviews.git"}]),
        "PLATFORM_SECRET_GITHUB_WEBHOOK_TOKEN": SECRETS["github-webhook"],
        "PLATFORM_SECRET_RETRAIN_TOKEN": SECRETS["retrain"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    program = "import typer; from platform_assets.cli.listen import listen; typer.run(listen)"
    with subprocess.Popen(
        [sys.executable, "-c", program, "--port", str(port)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/health")
            raw, headers = delivery("github_push")
            assert _post(address, raw, headers)["result"] == "queued"
            assert (
                _post(f"{address}/v1/retrain", json.dumps(RETRAIN).encode(), BEARER)["result"] == "duplicate"
            )
            with pytest.raises(urllib.error.HTTPError, match="401"):
                _post(address, *delivery("gitlab_push"))
        finally:
            service.terminate()
            told = service.communicate()[1]
    assert "gitlab refuses everything: PLATFORM_SECRET_GITLAB_WEBHOOK_TOKEN" in told
    assert "github refuses" not in told
    (entry,) = Ledger.open(tmp_path / "ledger" / "ledger.sqlite", principal="test").entries(kind=PUSH)
    assert Push.of(entry) == Push("github.com/acme/reviews", "refs/heads/main", SHA)


def test_files_are_found_beside_the_installed_package():
    """In a checkout that is the folder at its root."""
    assert triggers_folder() == Path(__file__).parents[2] / "k8s" / "triggers"


def _post(address, body, headers):
    with urllib.request.urlopen(
        urllib.request.Request(address, data=body, headers=headers), timeout=10
    ) as answer:
        assert answer.status == 202
        return json.load(answer)


def _wait_for(address):
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the listener does not answer")

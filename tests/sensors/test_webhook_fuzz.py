"""Whatever is sent: never an error of the listener, and nothing is queued that was not signed."""

import asyncio
import hashlib
import hmac
import json
import random
from collections import Counter

import httpx
import pytest

from sensors.event_listener import Result, event_listener
from sensors.rate_limit import Rate, RateLimits
from sensors.triggers import read_triggers, triggers_folder
from tests.sensors.webhooks import PUSHES, SECRETS, SHA, delivery, secret_of

SEEDS = [
    *(f"{forge}_push" for forge in PUSHES),
    *("github_ping", "github_tag", "github_deletion", "gitea_deletion", "gitlab_tag", "gitlab_deletion"),
]
ODD_VALUES = [
    None,
    True,
    -1,
    1e308,
    10**400,
    "",
    "\ud800",
    "$(uid)$(tt.params.git-ref)",
    '"}]}',
    "\x00",
    "é" * 300,
    [],
    {},
    [[[[]]]],
    {"": {"": None}},
    ["x"] * 50,
    "refs/heads/main",
    SHA,
]
ODD_HEADERS = [
    b"",
    b" ",
    b"push",
    b"Push Hook",
    b"sha256=",
    b"sha256=" + b"0" * 64,
    b"\xff\xfe",
    b"a" * 5_000,
    b"{}",
]
HEADER_NAMES = [
    *("X-GitHub-Event", "X-Gitea-Event", "X-Gitlab-Event", "X-Hub-Signature-256", "X-Gitlab-Token"),
    *("Content-Type", "Authorization", "Host", "X-Forwarded-For", "x-hub-signature-256"),
]
Headers = list[tuple[bytes, bytes]]


def mutated_json(chance: random.Random, document):
    """The document with a value replaced, removed or added somewhere."""
    nodes = [document]
    for node in nodes:
        nodes += [
            each
            for each in (node.values() if isinstance(node, dict) else node)
            if isinstance(each, dict | list) and each
        ]
    node = chance.choice(nodes)
    key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
    if chance.random() < 0.25:
        del node[key]
    else:
        node[key] = chance.choice(ODD_VALUES)
    return document


def mutated_bytes(chance: random.Random, raw: bytes) -> bytes:
    """The bytes with a piece changed, cut out, put in or repeated."""
    at = chance.randrange(len(raw) + 1)
    until = min(len(raw), at + chance.choice([1, 2, 20, 500]))
    piece = chance.choice([b"", chance.randbytes(3), b"[" * 3_000, b'"', b"\\", raw[at:until] * 2])
    return raw[:at] + piece + raw[until:]


def request(chance: random.Random) -> tuple[str, str, bytes, Headers]:
    """Method, path, body and headers of one request: a recorded webhook, more or less spoilt."""
    name = chance.choice(SEEDS)
    raw, _ = delivery(name)
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        if chance.random() < 0.7:
            try:
                raw = json.dumps(mutated_json(chance, json.loads(raw))).encode()
                continue
            except (ValueError, TypeError, IndexError, RecursionError):
                pass  # an earlier change left nothing to change in it
        raw = mutated_bytes(chance, raw)
    # Signed by its forge as it is now, by another secret, or not at all any more.
    _, sent = delivery(name, raw, secret=chance.choice([None, None, None, "", "wrong"]))
    headers = [(key.encode(), value.encode("latin-1")) for key, value in sent.items()]
    for _ in range(chance.choice([0, 0, 1, 3])):
        header = (chance.choice(HEADER_NAMES).encode(), chance.choice(ODD_HEADERS))
        headers.insert(chance.randrange(len(headers) + 1), header)
        if chance.random() < 0.5:
            headers.pop(chance.randrange(len(headers)))
    path = "/"
    if chance.random() < 0.1:
        path = chance.choice(["/v1/retrain", "/health", "/?x=%ff", "//", "/v1/../"])
        if chance.random() < 0.5:
            headers.append((b"Authorization", f"Bearer {SECRETS['retrain']}".encode()))
    method = chance.choice(["GET", "PUT", "DELETE"]) if chance.random() < 0.03 else "POST"
    return method, path, raw, headers


def is_signed(path: str, raw: bytes, headers: Headers) -> bool:
    """Whether the sender knows a secret, decided without the listener's code."""
    first: dict[bytes, bytes] = {}
    for key, value in headers:
        first.setdefault(key.lower(), value)
    if path == "/v1/retrain":
        return first.get(b"authorization") == f"Bearer {SECRETS['retrain']}".encode()
    known = {
        b"sha256=" + hmac.new(SECRETS[name].encode(), raw, hashlib.sha256).hexdigest().encode()
        for name in ("github-webhook", "gitea-webhook")
    }
    return (
        first.get(b"x-hub-signature-256") in known
        or first.get(b"x-gitlab-token") == SECRETS["gitlab-webhook"].encode()
    )


async def fuzz(count: int, seed: int) -> tuple[Counter[int], int]:
    """Statuses of so many requests, and how many pushes were accepted."""
    chance = random.Random(seed)
    accepted = []

    def accept(params):
        accepted.append(params)
        return Result.QUEUED

    unlimited = Rate(per_second=1e9, burst=10**9)
    app = event_listener(
        read_triggers(triggers_folder()),
        accept=accept,
        secrets=secret_of,
        limits=RateLimits.of(per_client=unlimited, overall=unlimited),
    )
    statuses: Counter[int] = Counter()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://listener") as client:
        for number in range(count):
            method, path, raw, headers = request(chance)
            before = len(accepted)
            answer = await client.request(method, path, content=raw, headers=headers)
            what = f"seed {seed}, request {number}: {method} {path} {headers} {raw[:300]!r}"
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, what
            assert len(accepted) == before or is_signed(path, raw, headers), what
            if method == "POST" and path in {"/", "/v1/retrain"}:
                refused = answer.status_code == 401
                assert refused is not is_signed(path, raw, headers), what
    return statuses, len(accepted)


def check(count: int, seed: int) -> None:
    """Fuzzes, and sees that every way was gone."""
    statuses, accepted = asyncio.run(fuzz(count, seed))
    assert accepted > count / 50
    assert {202, 400, 401} <= set(statuses)


def test_three_hundred_spoilt_webhooks():
    """No 5xx, 401 exactly for what is not signed, nothing queued without a signature."""
    check(300, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_thousand_spoilt_webhooks(seed):
    """The same, ten thousand for each of ten seeds."""
    check(10_000, seed=100 + seed)

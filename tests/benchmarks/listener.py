"""How long a forge waits for the event listener: signed pushes, each of another commit, into a real ledger."""

import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from platform_assets.ledger.ledger import Ledger
from sensors.push_queue import PUSH
from tests.benchmarks.measure import BenchmarkError
from tests.sensors.webhooks import PUSHES, SECRETS, delivery, payload
from tests.servers import free_ports

GOAL_MILLISECONDS = 50
_WARM_UP = 50
_PAUSE_SECONDS = 0.051
"""Below the rate limit of one client."""
_PROGRAM = "import typer; from platform_assets.cli.listen import listen; typer.run(listen)"
_COMMIT_FIELDS = {
    "github": ("head_commit__id", "after"),
    "gitea": ("after",),
    "gitlab": ("checkout_sha", "after"),
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Milliseconds from a request to its 202, wall clock, one connection, one request at a time."""

    answers: int
    start_ms: float
    """Until the listener answers, once a process."""
    median_ms: dict[str, float]
    p99_ms: dict[str, float]

    def __str__(self) -> str:
        rows = "\n".join(
            f"  {name:<10}{self.median_ms[name]:8.2f} {self.p99_ms[name]:8.2f}" for name in self.median_ms
        )
        return f"""\
listener: {self.answers:,} answers of each kind, ms, goal: p99 <= {GOAL_MILLISECONDS}; start {self.start_ms:.0f} ms
              median      p99
{rows}"""


def measure_listener(folder: Path, *, answers: int = 200) -> Answers:
    """Time the answers to pushes that are queued, delivered again, and ignored.

    Raises:
        BenchmarkError: an answer or the queue is not what it should be.
    """
    (port,) = free_ports(1)
    watched = [{"url": repository} for repository, _ in PUSHES.values()]
    environment = os.environ | {
        "PLATFORM_HOME": str(folder),
        "PLATFORM_GIT_REPOSITORIES": json.dumps(watched),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **{
            f"PLATFORM_SECRET_{name.upper().replace('-', '_')}_TOKEN": secret
            for name, secret in SECRETS.items()
        },
    }
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, "--port", str(port)], env=environment) as listener:
        try:
            connection = _connected(port)
            start_ms = 1_000 * (time.perf_counter() - begin)
            commits = iter(range(10**9))
            kinds = {
                **{forge: [_push(forge, next(commits)) for _ in range(answers)] for forge in PUSHES},
                "replayed": [_push("github", 0)] * answers,
                "ignored": [delivery("github_ping")] * answers,
            }
            for request in [delivery("github_tag")] * _WARM_UP:
                _answer(connection, request, "ignored")
            expected = {"replayed": "duplicate", "ignored": "ignored"}
            times = {
                kind: sorted(_answer(connection, each, expected.get(kind, "queued")) for each in requests)
                for kind, requests in kinds.items()
            }
        finally:
            listener.terminate()
    queued = sum(
        1 for _ in Ledger.open(folder / "ledger" / "ledger.sqlite", principal="bench").entries(kind=PUSH)
    )
    if queued != answers * len(PUSHES):
        raise BenchmarkError(f"{answers * len(PUSHES)} pushes were answered, and {queued} are in the queue")
    return Answers(
        answers=answers,
        start_ms=start_ms,
        median_ms={kind: statistics.median(each) for kind, each in times.items()},
        p99_ms={kind: each[int(0.99 * (len(each) - 1))] for kind, each in times.items()},
    )


def _push(forge: str, number: int) -> tuple[bytes, dict[str, str]]:
    sha = hashlib.sha1(str(number).encode()).hexdigest()
    return delivery(f"{forge}_push", payload(f"{forge}_push", **dict.fromkeys(_COMMIT_FIELDS[forge], sha)))


def _answer(
    connection: http.client.HTTPConnection, request: tuple[bytes, dict[str, str]], result: str
) -> float:
    """Milliseconds until the whole answer is there."""
    time.sleep(_PAUSE_SECONDS)
    begin = time.perf_counter()
    connection.request("POST", "/", *request)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    elapsed_ms = 1_000 * (time.perf_counter() - begin)
    if (answer.status, told.get("result")) != (202, result):
        raise BenchmarkError(f"the answer is {answer.status} {told}, and should be 202 {result}")
    return elapsed_ms


def _connected(port: int) -> http.client.HTTPConnection:
    for _ in range(300):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            return connection
    raise BenchmarkError("the listener does not answer")

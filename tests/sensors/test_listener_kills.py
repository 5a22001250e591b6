"""kill -9 at any moment: a push that was answered with 202 is in the queue, and each is there once."""

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from platform_assets.ledger.ledger import Ledger
from sensors.push_queue import PUSH, Push
from tests.sensors.webhooks import SECRETS, delivery, payload
from tests.servers import free_ports

PROGRAM = "import typer; from platform_assets.cli.listen import listen; typer.run(listen)"
SENDERS = 2


class Forge(threading.Thread):
    """Delivers one push after the other, each until it is answered with 202."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._chance = random.Random(number)
        self._stopped = threading.Event()
        self.delivered: list[str] = []
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        """Until it is stopped."""
        while not self._stopped.is_set():
            sha = self._chance.randbytes(20).hex()
            raw, headers = delivery("github_push", payload("github_push", head_commit__id=sha, after=sha))
            while self._status(raw, headers) != 202:
                if self._stopped.wait(0.01):
                    return
            self.delivered.append(sha)
            self._stopped.wait(0.02)

    def stop(self) -> None:
        """Ends after the request under way."""
        self._stopped.set()
        self.join(timeout=30)

    def _status(self, raw: bytes, headers: dict[str, str]) -> int | None:
        """None where the listener was not there, or died before it answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/", raw, headers)
            status = connection.getresponse().status
            self.statuses[status] += 1
            return status
        return None


def kill_often(home, *, kills: int) -> None:
    """Kills the listener so often while pushes are delivered, then compares the queue with the answers."""
    (port,) = free_ports(1)
    chance = random.Random(kills)
    environment = os.environ | {
        "PLATFORM_HOME": str(home),
        "PLATFORM_GIT_REPOSITORIES": json.dumps([{"url": "https://github.com/acme/reviews.git"}]),
        "PLATFORM_SECRET_GITHUB_WEBHOOK_TOKEN": SECRETS["github-webhook"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    forges = [Forge(port, number) for number in range(SENDERS)]
    for forge in forges:
        forge.start()
    for life in range(kills + 1):
        told = sum(len(forge.delivered) for forge in forges)
        listener = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--port", str(port)], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            # It lives until it has taken some pushes, and then for a random time more.
            for _ in range(3_000):
                if sum(len(forge.delivered) for forge in forges) >= told + 3:
                    break
                assert listener.poll() is None, "the listener ended by itself"
                time.sleep(0.01)
            else:
                pytest.fail("the listener takes no push")
            time.sleep(chance.uniform(0, 0.1))
            if life == kills:
                for forge in forges:
                    forge.stop()
        finally:
            listener.kill()
            listener.wait()
    ledger = Ledger.open(home / "ledger" / "ledger.sqlite", principal="tests")
    assert ledger.verify().ok
    queued = Counter(Push.of(entry).sha for entry in ledger.entries(kind=PUSH))
    delivered = [sha for forge in forges for sha in forge.delivered]
    assert set(delivered) <= set(queued)
    assert set(queued.values()) == {1}
    # A push may be queued and its answer lost, by the last kill of each sender at most.
    assert len(queued) <= len(delivered) + SENDERS
    assert set().union(*(forge.statuses for forge in forges)) <= {202, 429}


def test_two_kills_lose_and_double_no_push(tmp_path):
    """The forge delivers again what was not answered."""
    kill_often(tmp_path, kills=2)


@pytest.mark.long
def test_seventeen_kills_lose_and_double_no_push(tmp_path):
    """The same, more often."""
    kill_often(tmp_path, kills=17)

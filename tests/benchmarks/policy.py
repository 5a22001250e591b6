"""How long the object store waits for the policy, which it asks before every access."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from resources.policy_engine import RegoEngine
from tests.benchmarks.measure import BenchmarkError

GOAL_MILLISECONDS = 1.0
_WARM_UP = 200
_REQUEST = {
    "method": "GET",
    "path": "/models/dev/reviews_sentiment/3f2a91c04b7e5d68/model.safetensors",
    "user": {
        "name": "ada",
        "groups": ["ml-engineers"],
        "roles": ["trainer"],
        "labels": {"env": "dev", "region": None},
        "consent": {"gdpr": True},
    },
    "object": {"gdpr_class": "internal", "region": None},
}
_PLUGIN = {
    "account": "9fQxA0",
    "groups": None,
    "action": "s3:GetObject",
    "bucket": "models",
    "owner": False,
    "denyOnly": False,
    "claims": {"groups": ["ml-engineers"], "env": "dev", "consent": True, "sub": "4711"},
    "conditions": {
        "CurrentTime": ["2026-11-29T20:00:00Z"],
        "SourceIp": ["127.0.0.1"],
        "env": ["dev"],
        "groups": ["ml-engineers"],
        "userid": ["9fQx"],
    },
}
_REQUESTS = {
    "read": _REQUEST,
    "write": _REQUEST | {"method": "PUT"},
    "denied": _REQUEST | {"path": "/models/prod/reviews_sentiment/3f2a91c04b7e5d68/model.safetensors"},
    "server": _PLUGIN | {"object": "dev/reviews_sentiment/3f2a91c04b7e5d68/model.safetensors"},
}


@dataclass(frozen=True, slots=True)
class Decisions:
    """Milliseconds of one in-process decision, one thread.

    Median and 99th percentile by the wall clock, and the 99th percentile of processor time, which leaves out what else
    the machine does.
    """

    decisions: int
    start_ms: float
    """To compile the policy and test it, once a process."""
    first_ms: dict[str, tuple[float, float, float]]
    """Of requests that were never asked before: each is of another object."""
    again_ms: dict[str, tuple[float, float, float]]
    """Of one request that is asked again and again."""

    def __str__(self) -> str:
        rows = "\n".join(
            f"  {name:<8}" + "".join(f"{each:10.4f}" for each in (*self.first_ms[name], *self.again_ms[name]))
            for name in self.first_ms
        )
        return f"""\
policy: {self.decisions:,} decisions of each kind, ms, goal: p99 <= {GOAL_MILLISECONDS:g}; start {self.start_ms:.0f} ms
            for the first time            again
             median       p99   p99 cpu    median       p99   p99 cpu
{rows}"""


def measure_policy(folder: Path, *, decisions: int = 5_000) -> Decisions:
    """Time what the object store asks most; first and repeated requests take turns, so that load meets both alike.

    Raises:
        BenchmarkError: a decision is not what it should be.
    """
    begin = time.perf_counter()
    engine = RegoEngine()
    start_ms = 1000 * (time.perf_counter() - begin)
    first_ms, again_ms = {}, {}
    for name, request in _REQUESTS.items():
        first, again = [], []
        for number in range(_WARM_UP + decisions):
            field = "object" if "action" in request else "path"
            new = request | {field: f"{request[field]}-{number}"}
            for asked, times in ((new, first), (request, again)):
                begin, cpu = time.perf_counter(), time.thread_time()
                decision = engine.decide(asked)
                used, passed = time.thread_time() - cpu, time.perf_counter() - begin
                times.append((1000 * passed, 1000 * used))
                if decision.allow is (name == "denied"):
                    raise BenchmarkError(f"{name}: {decision}")
        first_ms[name], again_ms[name] = _percentiles(first), _percentiles(again)
    return Decisions(decisions=decisions, start_ms=start_ms, first_ms=first_ms, again_ms=again_ms)


def _percentiles(times: list[tuple[float, float]]) -> tuple[float, float, float]:
    wall, cpu = zip(*times[_WARM_UP:], strict=True)
    return (
        statistics.median(wall),
        statistics.quantiles(wall, n=100)[-1],
        statistics.quantiles(cpu, n=100)[-1],
    )

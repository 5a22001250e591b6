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
_REQUESTS = {
    "read": _REQUEST,
    "write": _REQUEST | {"method": "PUT"},
    "denied": _REQUEST | {"path": "/models/prod/reviews_sentiment/3f2a91c04b7e5d68/model.safetensors"},
}


@dataclass(frozen=True, slots=True)
class Decisions:
    """Milliseconds of one in-process decision, wall clock, one thread."""

    decisions: int
    start_ms: float
    """To compile the policy and test it, once a process."""
    median_ms: dict[str, float]
    p99_ms: dict[str, float]

    def __str__(self) -> str:
        rows = "\n".join(
            f"  {name:<8}{self.median_ms[name]:8.3f} {self.p99_ms[name]:8.3f}" for name in self.median_ms
        )
        return f"""\
policy: {self.decisions:,} decisions of each kind, ms, goal: p99 <= {GOAL_MILLISECONDS:g}; start {self.start_ms:.0f} ms
            median      p99
{rows}"""


def measure_policy(folder: Path, *, decisions: int = 5_000) -> Decisions:
    """Time what the object store asks most.

    Raises:
        BenchmarkError: a decision is not what it should be.
    """
    begin = time.perf_counter()
    engine = RegoEngine()
    start_ms = 1000 * (time.perf_counter() - begin)
    median_ms, p99_ms = {}, {}
    for name, request in _REQUESTS.items():
        times = []
        for _ in range(_WARM_UP + decisions):
            begin = time.perf_counter()
            decision = engine.decide(request)
            times.append(1000 * (time.perf_counter() - begin))
            if decision.allow is (name == "denied"):
                raise BenchmarkError(f"{name}: {decision}")
        times = times[_WARM_UP:]
        median_ms[name] = statistics.median(times)
        p99_ms[name] = statistics.quantiles(times, n=100)[-1]
    return Decisions(decisions=decisions, start_ms=start_ms, median_ms=median_ms, p99_ms=p99_ms)

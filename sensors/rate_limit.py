"""Token buckets: how often somebody may ask."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST_CLIENTS = 10_000


@dataclass(frozen=True)
class Rate:
    """So many requests a second in the long run, and so many at once."""

    per_second: float
    burst: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float

    def wait_seconds(self, rate: Rate, now: float) -> float:
        """Seconds until there is a token; 0 where there is one."""
        self.tokens = min(float(rate.burst), self.tokens + (now - self.filled_at) * rate.per_second)
        self.filled_at = now
        return max(0.0, (1 - self.tokens) / rate.per_second)


class RateLimit:
    """A bucket for each client, of which the latest 10,000 are remembered, and one for all of them."""

    def __init__(
        self, *, per_client: Rate, overall: Rate, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Full buckets; `clock` tells seconds."""
        self._per_client = per_client
        self._overall = overall
        self._clock = clock
        self._lock = threading.Lock()
        self._all = _Bucket(overall.burst, clock())
        self._clients: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_seconds(self, client: str) -> int:
        """0 where the client may ask now, which counts as having asked; else whole seconds to wait."""
        with self._lock:
            now = self._clock()
            own = self._clients.setdefault(client, _Bucket(self._per_client.burst, now))
            self._clients.move_to_end(client)
            if len(self._clients) > _MOST_CLIENTS:
                self._clients.popitem(last=False)
            wait = max(own.wait_seconds(self._per_client, now), self._all.wait_seconds(self._overall, now))
            if wait > 0:
                return math.ceil(wait)
            own.tokens -= 1
            self._all.tokens -= 1
            return 0


@dataclass(frozen=True)
class RateLimits:
    """Who has proved to know a secret and who has not draw from different buckets: no flood of strangers stops a forge."""

    signed: RateLimit
    unsigned: RateLimit

    @classmethod
    def of(
        cls, *, per_client: Rate, overall: Rate, clock: Callable[[], float] = time.monotonic
    ) -> "RateLimits":
        """The same rates for both."""
        return cls(*(RateLimit(per_client=per_client, overall=overall, clock=clock) for _ in range(2)))

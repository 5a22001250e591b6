"""Latency in fixed memory: log-spaced buckets, and the newest of them over a rolling window."""

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BUCKETS_PER_DOUBLING: Final = 32
_DOUBLINGS: Final = 20
BUCKET_EDGES_MS: Final[NDArray[np.float64]] = np.concatenate(
    ([0.0], 2.0 ** (np.arange(_DOUBLINGS * _BUCKETS_PER_DOUBLING + 1) / _BUCKETS_PER_DOUBLING))
)
"""Bucket i is [edge i, edge i+1), 2.2 % wide from 1 ms to 17 minutes; the last has no upper edge."""


class LatencyHistogram:
    """Counts of latencies per bucket."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(len(BUCKET_EDGES_MS), np.int64)
        self.sum_ms = 0.0

    def add(self, latency_ms: ArrayLike, times: ArrayLike = 1) -> None:
        """Count each of these latencies so many times; a negative one counts as 0."""
        latency_ms = np.maximum(np.asarray(latency_ms, np.float64), 0.0)
        buckets = np.searchsorted(BUCKET_EDGES_MS, latency_ms, side="right") - 1
        np.add.at(self.counts, buckets, np.asarray(times, np.int64))
        self.sum_ms += float((latency_ms * times).sum())

    @property
    def count(self) -> int:
        """How many."""
        return int(self.counts.sum())

    @property
    def p50_ms(self) -> float:
        """The median; NaN without any."""
        return self.quantile_ms(0.5)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile; NaN without any."""
        return self.quantile_ms(0.99)

    def quantile_ms(self, q: float) -> float:
        """The latency that the share `q` does not exceed, linear within a bucket; NaN without any.

        Beyond the last edge it is that edge: at least so much.
        """
        up_to = np.cumsum(self.counts)
        if not up_to[-1]:
            return math.nan
        rank = q * up_to[-1]
        bucket = int(np.searchsorted(up_to, max(rank, 1e-9)))
        lower = BUCKET_EDGES_MS[bucket]
        upper = BUCKET_EDGES_MS[min(bucket + 1, len(BUCKET_EDGES_MS) - 1)]
        inside = (rank - (up_to[bucket] - self.counts[bucket])) / self.counts[bucket]
        return float(lower + max(0.0, inside) * (upper - lower))


class RollingLatency:
    """Latencies of the last `periods` × `period_ms` of the clock."""

    def __init__(self, *, period_ms: int = 5_000, periods: int = 12) -> None:
        self.periods = periods
        self._period_ms = period_ms
        self._ring = [LatencyHistogram() for _ in range(periods)]
        self._period = 0

    def add(self, latency_ms: ArrayLike, times: ArrayLike = 1) -> None:
        """Count each of these latencies so many times in the period of the last `turn`."""
        self._ring[self._period % len(self._ring)].add(latency_ms, times)

    def turn(self, *, now_ms: int) -> bool:
        """Forget the periods that have passed; whether a new one has begun."""
        period = now_ms // self._period_ms
        begun = max(0, period - self._period)
        for back in range(min(begun, len(self._ring))):
            self._ring[(period - back) % len(self._ring)] = LatencyHistogram()
        self._period = max(period, self._period)
        return begun > 0

    @property
    def histogram(self) -> LatencyHistogram:
        """All periods together."""
        total = LatencyHistogram()
        for each in self._ring:
            total.counts += each.counts
            total.sum_ms += each.sum_ms
        return total

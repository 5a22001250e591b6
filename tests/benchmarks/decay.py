"""Concept drift, seen in the stream of errors |label - score|: our count window beside river's ADWIN.

Both see the same streams. Ours compares distributions with the errors on held-out rows, ADWIN the means of
two parts of the stream; so ours knows the reference, and ADWIN adapts without one.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from platform_assets.sketch.count_window import CountWindow, threshold
from platform_assets.sketch.sketch import ColumnProfile
from tests.benchmarks.measure import BenchmarkError

_WINDOW = 250
_RUN_LENGTH = 100_000
_REFERENCE_ROWS = 5_000
_CHANGE_AT, _LENGTH = 2_000, 8_000
_NULL_LENGTH = 50_000

Errors = NDArray[np.float64]
Detector = Callable[[Errors], list[int]]
"""Positions at which it alarms."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One detector on all streams."""

    ns_per_value: float
    """Processor time, from Python."""
    false_alarms_per_100_000: float
    median_delay: dict[str, float]
    """Values from the change to the first alarm, by change; infinite where more than half were missed."""
    missed: dict[str, int]


@dataclass(frozen=True, slots=True)
class DecayFigures:
    """Both detectors."""

    streams: int
    null_values: int
    detectors: dict[str, Detection]

    def __str__(self) -> str:
        changes = list(next(iter(self.detectors.values())).median_delay)
        rows = [f"  {'':<24}{'ns/value':>10}{'false/1e5':>11}" + "".join(f"{each:>22}" for each in changes)]
        for name, found in self.detectors.items():
            delays = (f"{found.median_delay[each]:.0f} ({found.missed[each]} missed)" for each in changes)
            rows.append(
                f"  {name:<24}{found.ns_per_value:>10.0f}{found.false_alarms_per_100_000:>11.2f}"
                + "".join(f"{each:>22}" for each in delays)
            )
        told = f"decay: median delay in values over {self.streams} streams; {self.null_values:,} null values"
        return "\n".join([told, *rows])


def measure_decay(folder: Path, *, streams: int = 50, null_streams: int = 20) -> DecayFigures:
    """Let both follow the same errors.

    Raises:
        BenchmarkError: ours misses a model that has become wrong about every fourth label.
    """
    found = {}
    for name, make in (("count window 250, KS", _count_window), ("river ADWIN, mean", _adwin)):
        seconds, values, alarms = 0.0, 0, 0
        for random, detect in _fresh(make, null_streams):
            errors = _errors(random, _NULL_LENGTH)
            begin = time.process_time()
            alarms += len(detect(errors))
            seconds += time.process_time() - begin
            values += errors.size
        delays = {change: _delays(make, change, streams) for change in _CHANGES}
        found[name] = Detection(
            ns_per_value=1e9 * seconds / values,
            false_alarms_per_100_000=1e5 * alarms / values,
            median_delay={change: statistics.median(each) for change, each in delays.items()},
            missed={change: sum(map(math.isinf, each)) for change, each in delays.items()},
        )
    if missed := found["count window 250, KS"].missed["25 % labels flipped"]:
        raise BenchmarkError(
            f"{missed} of {streams} streams with every fourth label flipped were not noticed"
        )
    return DecayFigures(streams, null_streams * _NULL_LENGTH, found)


def _delays(make: Callable[[Errors], Detector], change: str, streams: int) -> list[float]:
    delays = []
    for random, detect in _fresh(make, streams):
        before = _errors(random, _CHANGE_AT)
        after = _CHANGES[change](random, _LENGTH - _CHANGE_AT)
        alarms = [at for at in detect(np.concatenate([before, after])) if at >= _CHANGE_AT]
        delays.append(alarms[0] - _CHANGE_AT + 1 if alarms else math.inf)
    return delays


def _fresh(
    make: Callable[[Errors], Detector], streams: int
) -> Iterator[tuple[np.random.Generator, Detector]]:
    """The random numbers of each stream, the same for every detector, and a detector with a reference of its own."""
    for seed in range(streams):
        random = np.random.default_rng(seed)
        yield random, make(_errors(random, _REFERENCE_ROWS))


def _errors(
    random: np.random.Generator, count: int, *, flipped: float = 0.0, sharpened: float = 1.0
) -> Errors:
    """|label - score| of a calibrated model, AUC about 0.9; or of one that has decayed.

    Args:
        random: Random numbers.
        count: How many.
        flipped: Share of the labels that are no longer what they were.
        sharpened: Factor on the log-odds that the model tells: it ranks as before, and is surer of it.
    """
    log_odds = random.normal(scale=2.5, size=count)
    labels = random.random(count) < 1 / (1 + np.exp(-log_odds))
    labels ^= random.random(count) < flipped
    return np.abs(labels - 1 / (1 + np.exp(-sharpened * log_odds)))


_CHANGES: dict[str, Callable[[np.random.Generator, int], Errors]] = {
    "10 % labels flipped": lambda random, count: _errors(random, count, flipped=0.10),
    "25 % labels flipped": lambda random, count: _errors(random, count, flipped=0.25),
    "twice as sure": lambda random, count: _errors(random, count, sharpened=2.0),
}


def _count_window(reference: Errors) -> Detector:
    profile = ColumnProfile.of(reference)
    bound = threshold(window=_WINDOW, reference_rows=reference.size, expected_run_length=_RUN_LENGTH)

    def detect(errors: Errors) -> list[int]:
        alarms: list[int] = []
        for at in np.flatnonzero(CountWindow(profile, _WINDOW).push(errors) > bound).tolist():
            # An alarm counts once a window, as its threshold is calibrated.
            if not alarms or at - alarms[-1] >= _WINDOW:
                alarms.append(at)
        return alarms

    return detect


def _adwin(_: Errors) -> Detector:
    from river.drift import ADWIN

    def detect(errors: Errors) -> list[int]:
        detector: Any = ADWIN()
        alarms = []
        for at, error in enumerate(errors.tolist()):
            detector.update(error)
            if detector.drift_detected:
                alarms.append(at)
        return alarms

    return detect

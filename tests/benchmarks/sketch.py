"""What the drift sketch costs and finds, beside the libraries that do the same.

datasketches and river are measured in this process where they are installed. nannyml, alibi-detect and evidently pin
other versions than the platform, so each needs a virtual environment of its own: `DRIFT_PEERS` names the folder that
holds them as `nannyml/`, `alibi-detect/` and `evidently/`, each with pyarrow. A peer that is not there is left out.
"""

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.sketch import kernels
from platform_assets.sketch.count_window import CountWindow, threshold
from platform_assets.sketch.sketch import ColumnProfile, KsResult, compare
from tests.benchmarks.measure import BenchmarkError
from tests.line_factory import ROOT

PEERS_VARIABLE = "DRIFT_PEERS"
SHAPES = ("normal", "cauchy", "lognormal", "atoms", "mixed", "bimodal")
CHANGES: dict[str, Callable[[Any], Any]] = {
    "0.25σ": lambda x: x + 0.25,
    "0.5σ": lambda x: x + 0.5,
    "1σ": lambda x: x + 1,
    "σ × 1.5": lambda x: 1.5 * x,
}
WINDOW, RUN_LENGTH, REFERENCE_ROWS = 250, 100_000, 10_000
_ROUNDS = 7
_KLL_ERROR = 0.03
"""Of a rank: more than twice what KLL promises at k = 200."""
_SECONDS_OF_A_REPORT = 3_000
_FEW_STREAMS = 10


def drawn(shape: str, random: np.random.Generator, rows: int) -> Any:
    """Values as streams have them."""
    match shape:
        case "normal":
            return random.normal(size=rows)
        case "cauchy":
            return random.standard_cauchy(rows)
        case "lognormal":
            return random.lognormal(0, 2, rows)
        case "atoms":
            return random.integers(0, 50, rows) / 10
        case "mixed":
            return np.where(
                random.random(rows) < 0.3, random.normal(size=rows).round(1), random.normal(size=rows)
            )
        case _:
            return np.where(
                random.random(rows) < 0.5, random.normal(-4, 1, rows), random.normal(4, 0.5, rows)
            )


def _interleaved(**sides: Callable[[], object]) -> dict[str, float]:
    """Median processor seconds of each side, in turns, so that whatever else the machine does meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(_ROUNDS):
        for name, side in sides.items():
            begin = time.process_time()
            side()
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def _distance(profile: ColumnProfile, values: Any) -> KsResult:
    histogram = profile.histogram()
    histogram.add(values)
    return compare(profile, histogram)


@dataclass(frozen=True, slots=True)
class Ingest:
    """Nanoseconds a value, median of seven."""

    sketch: dict[str, float]
    float32: dict[str, float]
    kll: dict[str, float]

    def __str__(self) -> str:
        rows = [
            f"  {name:<24}" + "".join(f"{figures[shape]:>11.2f}" for shape in SHAPES)
            for name, figures in (
                ("sketch, 1,024 bins", self.sketch),
                ("  of float32", self.float32),
                ("datasketches KLL k=200", self.kll),
            )
            if figures
        ]
        spread = max(self.sketch.values()) / min(self.sketch.values())
        ratio = ""
        if self.kll:
            ratios = [self.kll[shape] / self.sketch[shape] for shape in SHAPES]
            ratio = f"; KLL takes {statistics.geometric_mean(ratios):.1f} times as long, {min(ratios):.1f} at least"
        heads = f"{'':26}" + "".join(f"{shape:>11}" for shape in SHAPES)
        return "\n".join([f"ingest, ns a value (spread {spread:.2f}{ratio})", heads, *rows])


def measure_ingest(*, rows: int = 2_000_000) -> Ingest:
    """Count the same values by bins and into a KLL sketch."""
    random = np.random.default_rng(1)
    found = Ingest({}, {}, {})
    for shape in SHAPES:
        profile = ColumnProfile.of(drawn(shape, random, 100_000))
        for name, seconds in _ingest(shape, profile, drawn(shape, random, rows)).items():
            getattr(found, name)[shape] = 1e9 * seconds / rows
    return found


def _ingest(shape: str, profile: ColumnProfile, values: Any) -> dict[str, float]:
    histogram = profile.histogram()
    histogram.add(values)
    by_search = np.bincount(np.searchsorted(profile.binning.edges, values), minlength=profile.bins)
    if not np.array_equal(histogram.counts, by_search):
        raise BenchmarkError(f"{shape}: the counts are not those of a binary search")
    narrow = values.astype(np.float32)
    sides: dict[str, Callable[[], object]] = {
        "sketch": lambda: profile.histogram().add(values),
        "float32": lambda: profile.histogram().add(narrow),
    }
    if datasketches := _optional("datasketches"):
        kll = datasketches.kll_doubles_sketch(200)
        kll.update(values)
        middle = float(np.median(values))
        if abs(kll.get_rank(middle, inclusive=True) - (values <= middle).mean()) > _KLL_ERROR:
            raise BenchmarkError(f"{shape}: the median of the KLL sketch is elsewhere")
        sides["kll"] = lambda: datasketches.kll_doubles_sketch(200).update(values)
    return _interleaved(**sides)


@dataclass(frozen=True, slots=True)
class Detection:
    """Of a window that has been counted, against scipy on its 10,000 values and 100,000 of the reference."""

    sketch_us: float
    count_and_detect_us: float
    scipy_us: float
    every_value_ns: dict[int, float]
    """By window, after every value."""

    def __str__(self) -> str:
        windows = "; ".join(f"window {window:,}: {ns:.0f} ns" for window, ns in self.every_value_ns.items())
        return f"""\
detection, 1,024 bins: {self.sketch_us:.1f} µs; counting the 10,000 values too: {self.count_and_detect_us:.0f} µs
  scipy.stats.ks_2samp: {self.scipy_us:,.0f} µs, {self.scipy_us / self.sketch_us:,.0f} times as long
  after every value: {windows}"""


def measure_detection() -> Detection:
    """Compare a window with its reference, once and after every value."""
    from scipy.stats import ks_2samp

    random = np.random.default_rng(2)
    reference, values = random.normal(size=100_000), random.normal(0.02, 1, 10_000)
    profile = ColumnProfile.of(reference)
    histogram = profile.histogram()
    histogram.add(values)
    found, exact = compare(profile, histogram), ks_2samp(reference, values, method="asymp").statistic
    if not found.ks_lower - 1e-12 <= exact <= found.ks_upper + 1e-12:
        raise BenchmarkError(f"the interval {found} does not hold scipy's {exact}")
    repeats = 1_000
    seconds = _interleaved(
        sketch=lambda: [compare(profile, histogram) for _ in range(repeats)],
        both=lambda: [_distance(profile, values) for _ in range(repeats)],
        scipy=lambda: ks_2samp(reference, values, method="asymp"),
    )
    return Detection(
        sketch_us=1e6 * seconds["sketch"] / repeats,
        count_and_detect_us=1e6 * seconds["both"] / repeats,
        scipy_us=1e6 * seconds["scipy"],
        every_value_ns={size: _every_value_ns(profile, size, random) for size in (1_000, 100_000)},
    )


def _every_value_ns(profile: ColumnProfile, size: int, random: np.random.Generator) -> float:
    window = CountWindow(profile, size)
    window.push(random.normal(size=size))
    stream = random.normal(size=300_000)
    seconds = _interleaved(push=lambda: window.push(stream))["push"]
    if not math.isclose(window.ks, _distance(profile, stream[-size:]).ks_lower, abs_tol=1e-12):
        raise BenchmarkError(f"window {size}: not the distance of its newest values")
    return 1e9 * seconds / stream.size


@dataclass(frozen=True, slots=True)
class Certificate:
    """Of random cases: shapes, sizes, bins and shifts."""

    cases: int
    violations: int
    widest_in_bins: float
    """Width of the interval times the number of bins."""
    mean_error: float
    """Of the midpoint, times the number of bins."""

    def __str__(self) -> str:
        return (
            f"certified interval: {self.violations} violations in {self.cases:,} cases; widest {self.widest_in_bins:.2f}"
            f" / bins, midpoint off by {self.mean_error:.2f} / bins on average"
        )


def measure_certificate(*, cases: int = 6_000) -> Certificate:
    """Look for a distance outside its interval."""
    from scipy.stats import ks_2samp

    random = np.random.default_rng(3)
    violations, widths, errors = 0, [], []
    for case in range(cases):
        shape = SHAPES[case % len(SHAPES)]
        reference = drawn(shape, random, int(random.integers(2, 5_000)))
        values = drawn(shape, random, int(random.integers(2, 2_000))) + random.choice([0.0, 0.1, 1.0])
        bins = int(random.integers(2, 1_025))
        found = _distance(ColumnProfile.of(reference, bins=bins), values)
        exact = ks_2samp(reference, values, method="asymp").statistic
        violations += not found.ks_lower - 1e-12 <= exact <= found.ks_upper + 1e-12
        widths.append((found.ks_upper - found.ks_lower) * bins)
        errors.append(abs(found.ks - exact) * bins)
    if violations:
        raise BenchmarkError(f"{violations} of {cases} distances lie outside their intervals")
    return Certificate(cases, violations, max(widths), statistics.mean(errors))


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector on null streams and on changes after 2,000 values."""

    name: str
    ns_a_value: float
    null_values: int
    false_alarms: int
    streams: int
    """For each change."""
    delay: dict[str, float | None]
    """Median values until an alarm; none where half of the streams had no alarm before their end."""
    missed: dict[str, int]

    @property
    def false_alarms_in_100_000(self) -> float:
        """As a rate."""
        return 1e5 * self.false_alarms / self.null_values

    def __str__(self) -> str:
        delays = "".join(f"{self._delay(change):>13}" for change in CHANGES)
        return (
            f"  {self.name:<24}{self.ns_a_value:>10,.0f}{self.null_values:>12,}{self.false_alarms_in_100_000:>9.2f}"
            f"{self.streams:>6}{delays}"
        )

    def _delay(self, change: str) -> str:
        delay, missed = self.delay[change], self.missed[change]
        return ("-" if delay is None else f"{delay:.0f}") + (f" ({missed})" if missed else "")


@dataclass(frozen=True, slots=True)
class Detectors:
    """All of them."""

    threshold: float
    rows: tuple[Detector, ...]

    def __str__(self) -> str:
        heads = "".join(f"{change:>13}" for change in CHANGES)
        return "\n".join(
            [
                f"detectors; the sketch: window {WINDOW}, nominal 1 false alarm in {RUN_LENGTH:,}, bound {self.threshold:.4f}",
                f"  {'':<24}{'ns/value':>10}{'null values':>12}{'per 1e5':>9}{'runs':>6}{heads} median delay (missed)",
                *map(str, self.rows),
            ]
        )


def measure_detectors(*, null_values: int = 5_000_000, streams: int = 300) -> Detectors:
    """Count false alarms and the values until a change is found; the sketch has a fresh reference for each stream."""
    bound = threshold(window=WINDOW, reference_rows=REFERENCE_ROWS, expected_run_length=RUN_LENGTH)

    def sketch(random: np.random.Generator) -> Callable[[Any], Any]:
        return lambda values: _alarms_of_sketch(bound, random, values)

    found = [_measured_detector("KS after every value", sketch, null_values=null_values, streams=streams)]
    if river := _optional("river.drift"):
        for name, make, share in (
            ("river ADWIN", river.ADWIN, 5),
            ("river PageHinkley", river.PageHinkley, 5),
            ("river KSWIN", lambda: river.KSWIN(seed=1), 250),
        ):
            found.append(
                _measured_detector(
                    name,
                    lambda _, make=make: lambda values: _alarms_of_river(make(), values),
                    null_values=null_values // share,
                    streams=max(10, streams // share),
                )
            )
    return Detectors(bound, tuple(found))


def _alarms_of_sketch(bound: float, random: np.random.Generator, values: Any) -> Any:
    window = CountWindow(ColumnProfile.of(random.normal(size=REFERENCE_ROWS)), WINDOW)
    window.push([math.nan])  # which builds the table of the profile
    begin = time.process_time()
    above = np.flatnonzero(window.push(values) > bound)
    seconds = time.process_time() - begin
    alarms: list[int] = []
    for position in above:
        if not alarms or position >= alarms[-1] + WINDOW:
            alarms.append(int(position))
    return alarms, seconds, above


def _alarms_of_river(detector: Any, values: Any) -> Any:
    begin = time.process_time()
    alarms = []
    for position, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            alarms.append(position)
    return alarms, time.process_time() - begin, np.array(alarms, dtype=np.int64)


def _measured_detector(
    name: str,
    make: Callable[[np.random.Generator], Callable[[Any], Any]],
    *,
    null_values: int,
    streams: int,
    length: int = 20_000,
) -> Detector:
    random = np.random.default_rng(4)
    false_alarms, seconds = 0, 0.0
    null_streams = max(1, null_values // length)
    for _ in range(null_streams):
        alarms, took, _ = make(random)(random.normal(size=length))
        false_alarms += len(alarms)
        seconds += took
    delay, missed = {}, {}
    before, after = 2_000, 8_000
    if null_streams < _FEW_STREAMS:
        after = 3_000
    for change, apply in CHANGES.items():
        delays = []
        for _ in range(streams):
            values = random.normal(size=before + after)
            values[before:] = apply(values[before:])
            _, _, raised = make(random)(values)
            later = raised[raised >= before]
            delays.append(int(later[0]) - before + 1 if later.size else math.inf)
        missed[change] = sum(map(math.isinf, delays))
        delay[change] = float(np.median(delays)) if 2 * missed[change] < streams else None
    return Detector(
        name=name,
        ns_a_value=1e9 * seconds / (null_streams * length),
        null_values=null_streams * length,
        false_alarms=false_alarms,
        streams=streams,
        delay=delay,
        missed=missed,
    )


@dataclass(frozen=True, slots=True)
class Reported:
    """A report over 50 columns by one tool."""

    tool: str
    rows: int
    cpu_seconds: float
    """Of the comparison; the reference was prepared before."""
    memory_mib: float
    """Peak over the data."""
    largest_error: float | None
    """Of a column's distance; none where the tool does not tell it."""
    ratio: float
    """Processor seconds over those of the sketch on the same rows."""

    def __str__(self) -> str:
        error = "-" if self.largest_error is None else f"{self.largest_error:.5f}"
        return (
            f"  {self.tool:<18}{self.rows:>10,}{self.cpu_seconds:>10.2f}{self.ratio:>8.1f}{self.memory_mib:>10.0f}"
            f"{error:>12}"
        )


@dataclass(frozen=True, slots=True)
class Reports:
    """All tools."""

    rows: tuple[Reported, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        heads = f"  {'':<18}{'rows':>10}{'CPU s':>10}{'ratio':>8}{'MiB':>10}{'KS error':>12}"
        return "\n".join(
            ["report over 50 columns, kept reference", heads, *map(str, self.rows), *self.left_out]
        )


def measure_reports(folder: Path, *, rows: int = 1_000_000, columns: int = 50) -> Reports:
    """Let each tool compare the same files, one column in five of which has drifted."""
    random = np.random.default_rng(5)
    reference, events = folder / "reference.parquet", folder / "events.parquet"
    exact = {}
    tables: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for column in range(columns):
        shape, name = SHAPES[column % len(SHAPES)], f"{SHAPES[column % len(SHAPES)]}_{column}"
        tables[0][name] = drawn(shape, random, rows)
        tables[1][name] = drawn(shape, random, rows) + (0.0 if column % 5 else 0.05)
        exact[name] = _exact(tables[0][name], tables[1][name])
    pq.write_table(pa.table(tables[0]), reference, compression="none")
    pq.write_table(pa.table(tables[1]), events, compression="none")
    del tables
    own = _report("platform-assets", sys.executable, reference, events)
    found, left_out = [_reported("platform-assets", rows, own, own, exact)], []
    for tool in ("nannyml", "alibi-detect", "evidently"):
        python = Path(os.environ.get(PEERS_VARIABLE, "/nowhere"), tool, "bin", "python")
        if not python.exists():
            left_out.append(f"  {tool}: left out, {PEERS_VARIABLE} names no folder with {tool}/bin/python")
            continue
        try:
            found.append(_reported(tool, rows, _report(tool, str(python), reference, events), own, exact))
        except subprocess.TimeoutExpired:
            left_out.append(f"  {tool}: no result within {_SECONDS_OF_A_REPORT} s")
    return Reports(tuple(found), tuple(left_out))


def _exact(reference: Any, values: Any) -> float:
    reference, values = np.sort(reference), np.sort(values)
    at = np.concatenate([reference, values])
    gap = (
        np.searchsorted(reference, at, "right") / reference.size
        - np.searchsorted(values, at, "right") / values.size
    )
    return float(np.abs(gap).max())


def _report(tool: str, python: str, reference: Path, events: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, Path(__file__).with_name("sketch_report.py"), tool, reference, events],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(reference.parent),
            "PYTHONPATH": str(ROOT),
            "NML_DISABLE_USAGE_LOGGING": "1",
        },
        capture_output=True,
        text=True,
        timeout=_SECONDS_OF_A_REPORT,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{tool} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _reported(
    tool: str, rows: int, told: dict[str, Any], own: dict[str, Any], exact: dict[str, float]
) -> Reported:
    errors = [abs(told["ks"][name] - exact[name]) for name in told["ks"]]
    if tool == "platform-assets" and max(errors) > 2 / 1024:
        raise BenchmarkError(f"a distance is off by {max(errors)}")
    return Reported(
        tool=tool,
        rows=rows,
        cpu_seconds=told["cpu_seconds"],
        memory_mib=told["memory_mib"],
        largest_error=max(errors) if errors else None,
        ratio=told["cpu_seconds"] / own["cpu_seconds"],
    )


@dataclass(frozen=True, slots=True)
class SketchFigures:
    """All of the sketch."""

    ingest: Ingest
    detection: Detection
    certificate: Certificate
    detectors: Detectors
    reports: Reports

    def __str__(self) -> str:
        return "\n\n".join(
            map(str, (self.ingest, self.detection, self.certificate, self.detectors, self.reports))
        )


def measure_sketch(folder: Path) -> SketchFigures:
    """Measure everything.

    Raises:
        BenchmarkError: a result is not what it should be.
    """
    assert kernels.count.nopython_signatures  # compiled before any clock runs
    return SketchFigures(
        ingest=measure_ingest(),
        detection=measure_detection(),
        certificate=measure_certificate(),
        detectors=measure_detectors(),
        reports=measure_reports(folder),
    )

"""One report over many columns, by one tool, measured from inside: run by each tool's own Python.

    python sketch_report.py TOOL REFERENCE.parquet EVENTS.parquet

prints JSON: processor seconds of the comparison alone (the reference is prepared before), peak memory over the
data, and the distance found for each column.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

Compare = Callable[[], dict[str, float]]


def _platform_assets(reference, events) -> Compare:
    from platform_assets.drift.report import report
    from platform_assets.sketch import kernels  # noqa: F401 - as a process that reports more than once has them
    from platform_assets.sketch.sketch import ReferenceProfile

    profile = ReferenceProfile.of({name: reference[name].to_numpy() for name in reference.column_names})
    columns = {name: events[name].to_numpy() for name in events.column_names}

    def compare() -> dict[str, float]:
        histograms = {name: column.histogram() for name, column in profile.columns.items()}
        for name, histogram in histograms.items():
            histogram.add(columns[name])
        return {name: found.ks for name, found in report(histograms).items()}

    return compare


def _nannyml(reference, events) -> Compare:
    import nannyml

    names = reference.column_names
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=names, continuous_methods=["kolmogorov_smirnov"], chunk_number=1
    ).fit(reference.to_pandas())
    frame = events.to_pandas()

    def compare() -> dict[str, float]:
        found = calculator.calculate(frame).filter(period="analysis").to_df()
        return {name: float(found[name, "kolmogorov_smirnov", "value"].iloc[0]) for name in names}

    return compare


def _alibi_detect(reference, events) -> Compare:
    from alibi_detect.cd import KSDrift

    names = reference.column_names
    detector = KSDrift(reference.to_pandas()[names].to_numpy(), p_val=0.01)
    values = events.to_pandas()[names].to_numpy()

    def compare() -> dict[str, float]:
        found = detector.predict(values, return_distance=True)["data"]["distance"]
        return dict(zip(names, map(float, found), strict=True))

    return compare


def _evidently(reference, events) -> Compare:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    before, now = reference.to_pandas(), events.to_pandas()

    def compare() -> dict[str, float]:
        # Its report tells p-values, not distances.
        Report([DataDriftPreset(num_method="ks")]).run(now, before)
        return {}

    return compare


TOOLS = {
    "platform-assets": _platform_assets,
    "nannyml": _nannyml,
    "alibi-detect": _alibi_detect,
    "evidently": _evidently,
}


def main() -> None:
    """Compare once and tell what it took."""
    tool, reference, events = sys.argv[1:]
    compare = TOOLS[tool](pq.read_table(reference), pq.read_table(events))
    before = _reset_peak_memory()
    cpu = time.process_time()
    distances = compare()
    cpu = time.process_time() - cpu
    print(json.dumps({"cpu_seconds": cpu, "memory_mib": _peak_memory() - before, "ks": distances}))


def _reset_peak_memory() -> float:
    # So that the peak of reading the data does not hide that of comparing them.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak_memory()


def _peak_memory() -> float:
    """MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()

"""Benchmarks: ratios measured on this machine, printed, never asserted.

    python -m tests.benchmarks [NAME|all] [--train-rows N] [--json]

Everything runs in a temporary folder. The exit status is 1 where a measured process fails or the two
sides of a comparison disagree about the result; how fast they were never decides.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.contracts import measure_contracts
from tests.benchmarks.days import measure_days
from tests.benchmarks.decay import measure_decay
from tests.benchmarks.dicom import measure_dicom
from tests.benchmarks.drift_table import measure_drift_table
from tests.benchmarks.executor import measure_executors
from tests.benchmarks.images import measure_images
from tests.benchmarks.imports import measure_imports
from tests.benchmarks.join import measure_join
from tests.benchmarks.ledger import measure_ledger
from tests.benchmarks.listener import measure_listener
from tests.benchmarks.long_ledger import measure_long_ledger
from tests.benchmarks.measure import BenchmarkError
from tests.benchmarks.monitor import measure_monitor
from tests.benchmarks.overhead import measure_overhead
from tests.benchmarks.peers import feast_python, peers_python
from tests.benchmarks.pods import measure_pods
from tests.benchmarks.policy import measure_policy
from tests.benchmarks.scale_out import measure_scale_out
from tests.benchmarks.sketch import measure_sketch
from tests.benchmarks.spark import measure_spark
from tests.benchmarks.transformer_files import measure_transformer_files
from tests.benchmarks.windows import measure_windows
from tests.benchmarks.woe import measure_woe
from tests.cluster.deployment import reachable_host

_TOLD_PACKAGES = ("dagster", "torch", "transformers", "mlflow", "great-expectations", "pyiceberg")


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    described = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    described = {name.strip(): value.strip() for name, value in described.items()}
    flags = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(described.get("flags", "").split())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": described.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": " ".join(sorted(flags)),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{package: version(package) for package in _TOLD_PACKAGES},
    }


def main() -> int:
    """Measure what was asked for."""
    # Each gives a frozen dataclass that prints itself.
    benchmarks: dict[str, Callable[[Path], Any]] = {
        "imports": measure_imports,
        "executor": measure_executors,
        "ledger": measure_ledger,
        "long_ledger": measure_long_ledger,
        "policy": measure_policy,
        "sketch": measure_sketch,
        "transformer_files": measure_transformer_files,
        "spark": measure_spark,
        "monitor": measure_monitor,
        "decay": measure_decay,
        "drift_table": lambda folder: measure_drift_table(folder, versions=options.versions),
        "listener": measure_listener,
        "pods": measure_pods,
        "scale_out": measure_scale_out,
        "woe": lambda folder: measure_woe(folder, rows=options.woe_rows),
        "windows": measure_windows,
        "days": measure_days,
        "contracts": lambda folder: measure_contracts(folder, large_rows=options.contract_rows),
        "join": measure_join,
        "dicom": measure_dicom,
        "images": measure_images,
        "overhead": lambda folder: measure_overhead(folder, train_rows=options.train_rows),
    }
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.split("\n", 1)[0])
    parser.add_argument("which", nargs="?", default="all", choices=(*benchmarks, "all"))
    parser.add_argument(
        "--train-rows", type=int, default=500, help="of `overhead`; the main job trains on 4,000"
    )
    parser.add_argument("--versions", type=int, default=400, help="of `drift_table`")
    parser.add_argument("--woe-rows", type=int, default=1_000_000, help="of `woe`")
    parser.add_argument(
        "--contract-rows", type=int, default=100_000_000, help="of `contracts`, of its large table"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {"machine": machine()}
    if options.which == "all" and reachable_host() is None:
        print("pods are left out: no cluster", file=sys.stderr)
        del benchmarks["pods"]
    if options.which == "all" and find_spec("pydicom") is None:
        print("dicom is left out: install the extra imaging", file=sys.stderr)
        del benchmarks["dicom"]
    if options.which == "all":
        try:
            peers_python()
        except BenchmarkError as problem:
            print(f"woe, windows and join are left out: {problem}", file=sys.stderr)
            del benchmarks["woe"], benchmarks["windows"], benchmarks["join"]
        else:
            try:
                feast_python()
            except BenchmarkError as problem:
                print(f"join is left out: {problem}", file=sys.stderr)
                del benchmarks["join"]
    if not options.json:
        print(", ".join(f"{name} {value}" for name, value in found["machine"].items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="platform-assets-bench-") as temporary:
        for name, benchmark in benchmarks.items():
            if options.which in (name, "all"):
                folder = Path(temporary, name)
                folder.mkdir()
                try:
                    report = benchmark(folder)
                except BenchmarkError as problem:
                    print(f"error: {name}: {problem}", file=sys.stderr)
                    return 1
                found[name] = asdict(report)
                if not options.json:
                    print(f"\n{report}", flush=True)
    if options.json:
        print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

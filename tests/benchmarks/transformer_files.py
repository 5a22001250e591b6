"""What features of files cost, as files grow far beyond the memory: ns a row, and the most memory that the process took.

Rows are read from Parquet and written to Parquet, four columns with a feature each. Small sizes are measured several
times; 10^8 rows (9 GB on disk while it is measured) where BENCHMARK_LONG is set.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.features.engine import run_transformer
from platform_assets.features.transformer_spec import FeatureTransformer
from tests.benchmarks.measure import BenchmarkError, measure

LONG_VARIABLE = "BENCHMARK_LONG"
LIMIT_BYTES = 2_000_000_000
GOAL_GROWTH = 1.2
_COLUMNS = ("a", "b", "c", "d")
_CHUNK_ROWS = 1_000_000
_ROWS_OF_AN_ENTITY = 1_000
_SPAN_US = 2 * 365 * 86_400_000_000
_ROUNDS = {1_000_000: 3}
_SPECS: dict[str, dict[str, Any]] = {
    "zscore": {"transformerType": "zscore", "entityKey": "entity", "timestampColumn": "time"},
    "lag": {"transformerType": "lag", "entityKey": "entity", "timestampColumn": "time"},
    "woe": {"transformerType": "woe", "target": "bad"},
}


def transformer(kind: str) -> FeatureTransformer:
    """Of four columns, all else by default."""
    return FeatureTransformer.model_validate(
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "FeatureTransformer",
            "metadata": {"name": f"measured-{kind}"},
            "spec": {"inputSource": "rows.parquet", "columns": list(_COLUMNS), **_SPECS[kind]},
        }
    )


def chunks(rows: int, *, ordered: bool) -> Iterator[pa.Table]:
    """Rows of entities of a thousand events in two years; ordered, or as they happen, entities mixed."""
    rng = np.random.default_rng(1)
    entities = max(1, rows // _ROWS_OF_AN_ENTITY)
    for start in range(0, rows, _CHUNK_ROWS):
        count = min(_CHUNK_ROWS, rows - start)
        if ordered:
            entity = np.arange(start, start + count) // _ROWS_OF_AN_ENTITY
            times = rng.integers(0, _SPAN_US, count)
            times = times[np.lexsort((times, entity))]
        else:
            entity = rng.integers(0, entities, count)
            times = np.sort(rng.integers(_SPAN_US * start // rows, _SPAN_US * (start + count) // rows, count))
        columns = {name: rng.normal(size=count) for name in _COLUMNS}
        yield pa.table(
            {
                "entity": pa.array(entity.astype(np.int32)),
                "time": pa.array(times, pa.timestamp("us", "UTC")),
                **columns,
                "bad": pa.array((columns["a"] + rng.normal(size=count) > 1).astype(np.int8)),
            }
        )


def write_rows(file: Path, rows: int, *, ordered: bool) -> Path:
    """A Parquet file of them, written in chunks."""
    writer = None
    for chunk in chunks(rows, ordered=ordered):
        writer = writer or pq.ParquetWriter(file, chunk.schema, use_dictionary=["entity", "bad"])
        writer.write_table(chunk)
    if writer is not None:
        writer.close()
    return file


@dataclass(frozen=True, slots=True)
class FileRun:
    """One kind of transformer over one file."""

    kind: str
    rows: int
    ordered: bool
    sorting: str
    runs: int
    ns_a_row: float
    """Of the wall, reading and writing included; the median of rounds."""
    cpu_ns_a_row: float
    peak_bytes: int
    """Of the process, by the kernel's account."""

    def __str__(self) -> str:
        order = "ordered" if self.ordered else "mixed"
        runs = f" ({self.runs} runs)" if self.runs else ""
        return (
            f"  {self.kind:<7}{self.rows:>12,}  {order:<8}{self.ns_a_row:>8,.0f}{self.cpu_ns_a_row:>10,.0f}"
            f"{self.peak_bytes / 1e9:>9.2f}  {self.sorting}{runs}"
        )


@dataclass(frozen=True, slots=True)
class TransformerFiles:
    """All of them."""

    limit_bytes: int
    runs: tuple[FileRun, ...]

    @property
    def growth(self) -> dict[str, float]:
        """Ns a row of the largest ordered file, as part of those of the smallest, by kind."""
        ordered = [run for run in self.runs if run.ordered]
        return {
            kind: max(of_kind, key=lambda run: run.rows).cpu_ns_a_row
            / min(of_kind, key=lambda run: run.rows).cpu_ns_a_row
            for kind in dict.fromkeys(run.kind for run in ordered)
            if (of_kind := [run for run in ordered if run.kind == kind])
        }

    def __str__(self) -> str:
        growth = ", ".join(f"{kind} {value:.2f}" for kind, value in self.growth.items())
        return "\n".join(
            [
                f"features of files, four columns, at most {self.limit_bytes / 1e9:.0f} GB of memory",
                f"  {'':<7}{'rows':>12}  {'':<8}{'ns/row':>8}{'CPU ns':>10}{'peak GB':>9}",
                *map(str, self.runs),
                f"  CPU ns a row, largest by smallest ordered file (goal: at most {GOAL_GROWTH}): {growth}",
            ]
        )


def measure_transformer_files(folder: Path) -> TransformerFiles:
    """Measure each kind over files of growing size, in a process of its own."""
    sizes = [1_000_000, 10_000_000] + [100_000_000] * bool(os.environ.get(LONG_VARIABLE))
    found = []
    for rows in sizes:
        for ordered in (True, False):
            source = write_rows(folder / "rows.parquet", rows, ordered=ordered)
            kinds = [kind for kind in _SPECS if ordered or kind == "zscore"]
            found += [_measured(folder, source, kind, rows, ordered=ordered) for kind in kinds]
            source.unlink()
    report = TransformerFiles(LIMIT_BYTES, tuple(found))
    for run in found:
        if run.peak_bytes > LIMIT_BYTES:
            raise BenchmarkError(f"{run.kind} over {run.rows:,} rows took {run.peak_bytes:,} bytes of memory")
    return report


def _measured(folder: Path, source: Path, kind: str, rows: int, *, ordered: bool) -> FileRun:
    told = []
    for _ in range(_ROUNDS.get(rows, 1)):
        target = folder / "features.parquet"
        process = measure(
            "-m", "tests.benchmarks.transformer_files", kind, source, target, folder=folder
        ).succeeded()
        told.append(json.loads(process.output))
        if pq.ParquetFile(target).metadata.num_rows != rows:
            raise BenchmarkError(f"{kind} over {rows:,} rows lost some")
        target.unlink()
    return FileRun(
        kind,
        rows,
        ordered,
        told[0]["sorting"],
        told[0]["runs"],
        statistics.median(each["seconds"] for each in told) * 1e9 / rows,
        statistics.median(each["cpu_seconds"] for each in told) * 1e9 / rows,
        max(each["peak_bytes"] for each in told),
    )


def _run(kind: str, source: Path, target: Path) -> None:
    """In a process of its own: what it took, as JSON. Compiled code is loaded before the clock starts."""
    made = transformer(kind)
    small = write_rows(target.with_name("small.parquet"), 2_000, ordered=True)
    run_transformer(made, small, target)
    small.unlink()
    began = time.process_time()
    summary = run_transformer(made, source, target, memory_limit_bytes=LIMIT_BYTES)
    told = asdict(summary) | {
        "cpu_seconds": time.process_time() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    _run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

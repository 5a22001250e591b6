"""Transformers on Spark against the local engine, as commands: wall and processor seconds, and that their files are equal.

Spark is `local-cluster[2,1,2048]`: two workers of a core each on this machine, so what is measured is what it costs to hand
rows to somebody else, not what more machines would bring. Processor seconds are those of Java and of Python workers, too:
all that the command has started and that ended with it. 10^8 rows where BENCHMARK_LONG is set.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from resources.spark import java
from tests.benchmarks.measure import BenchmarkError, Cost, measure
from tests.benchmarks.transformer_files import LONG_VARIABLE, transformer, write_rows

CLUSTER: Final = "local-cluster[2,1,2048]"
KINDS: Final = ("zscore", "woe")
_SIZES: Final = (1_000_000, 10_000_000)
_LONG_ROWS: Final = 100_000_000
ENGINES: Final = ("local", "spark")
_SUBREAPER: Final = 36
_COMMAND: Final = f"""
import ctypes, os, sys
os.environ["PLATFORM_SPARK_REMOTE"] = {CLUSTER!r}
ctypes.CDLL(None).prctl({_SUBREAPER}, 1, 0, 0, 0)  # whose parents end first become ours, and their seconds are counted
from platform_assets.cli import app
sys.argv = ["platform-assets", "features", "run", *sys.argv[1:]]
try:
    app()
finally:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of transformer over one file, by both."""

    kind: str
    rows: int
    costs: dict[str, Cost]
    ns_a_row: dict[str, float]
    """Without the start of a session; as the command tells."""

    def __str__(self) -> str:
        local, spark = (self.costs[engine] for engine in ENGINES)
        return (
            f"  {self.kind:<7}{self.rows:>12,}"
            + "".join(
                f"{self.costs[engine].wall_seconds:>9.1f}{self.costs[engine].cpu_seconds:>9.1f}"
                for engine in ENGINES
            )
            + f"{spark.wall_seconds / local.wall_seconds:>9.2f}{spark.cpu_seconds / local.cpu_seconds:>9.2f}"
            + "".join(f"{self.ns_a_row[engine]:>9,.0f}" for engine in ENGINES)
        )


@dataclass(frozen=True, slots=True)
class SparkFigures:
    """All of them."""

    runs: tuple[Compared, ...]

    def __str__(self) -> str:
        heads = "".join(
            f"{head:>9}"
            for head in ("local s", "CPU s", "Spark s", "CPU s", "wall ×", "CPU ×", "ns/row", "ns/row")
        )
        told = f"features of files, four columns, mixed entities: the local engine and Spark ({CLUSTER})"
        return "\n".join([told, f"  {'':<7}{'rows':>12}{heads}", *map(str, self.runs)])


def measure_spark(folder: Path) -> SparkFigures:
    """Let both compute the same features of files of growing size.

    Raises:
        BenchmarkError: there is no Java, a command fails, or files differ.
    """
    if java() is None:
        raise BenchmarkError("no Java: apt-get install openjdk-17-jre-headless")
    found = []
    for rows in (*_SIZES, *([_LONG_ROWS] if os.environ.get(LONG_VARIABLE) else ())):
        source = write_rows(folder / "rows.parquet", rows, ordered=False)
        found += [_compared(folder, source, kind, rows) for kind in KINDS]
        source.unlink()
    return SparkFigures(tuple(found))


def _compared(folder: Path, source: Path, kind: str, rows: int) -> Compared:
    spec = folder / f"{kind}.yaml"
    spec.write_text(
        yaml.safe_dump(transformer(kind).model_dump(mode="json", by_alias=True, exclude_none=True))
    )
    costs, ns_a_row, targets = {}, {}, {}
    for engine in ENGINES:
        targets[engine] = folder / f"{engine}.parquet"
        done = measure(
            "-c", _COMMAND, spec, "--input", source, "--output", targets[engine], "--engine", engine, "--json",
            folder=folder / engine,
        ).succeeded()  # fmt: skip
        costs[engine], ns_a_row[engine] = done.cost, json.loads(done.output)["ns_a_row"]
    _refuse_different(*targets.values())
    return Compared(kind, rows, costs, ns_a_row)


def _refuse_different(left: Path, right: Path) -> None:
    """Compared row group by row group, which both write alike or not: rows are matched, not groups."""
    one, other = pq.ParquetFile(left), pq.ParquetFile(right)
    if one.metadata.num_rows != other.metadata.num_rows or not one.schema_arrow.equals(other.schema_arrow):
        raise BenchmarkError("Spark's file has other rows or columns than the local engine's")
    rows = (batch for batch in other.iter_batches(batch_size=1 << 16))
    for batch in one.iter_batches(batch_size=1 << 16):
        if not pa.Table.from_batches([batch]).equals(pa.Table.from_batches([next(rows)])):
            raise BenchmarkError("a row of Spark's file is another one than the local engine's")

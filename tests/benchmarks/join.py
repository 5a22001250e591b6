"""The point-in-time join against feast, polars and DuckDB: processor seconds, rows that come back, and what they hold."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks import join_worker
from tests.benchmarks.measure import BenchmarkError
from tests.benchmarks.peers import FEAST, OWN, feast_python, peers_python, told_by

FILES: Final = f"{OWN}, files"
"""From Parquet to Parquet; feast reads Parquet, too."""
TOOLS: Final = (OWN, FILES, "polars", "DuckDB", FEAST)
ROWS_AN_ENTITY: Final = 100
_YEAR_US: Final = 365 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class JoinFigures:
    """What each tool took and gave."""

    labels: int
    features: int
    entities: int
    seconds: dict[str, float]
    """Of processors, by tool."""
    rows: dict[str, int]
    """That came back, of all labels."""
    in_order: dict[str, bool]
    """Whether they came back as the labels stand."""

    def __str__(self) -> str:
        own = self.seconds[OWN]
        head = (
            f"point-in-time join of {self.labels:,} labels with {self.features:,} rows of features, "
            f"{self.entities:,} entities, in no order, CPU, medians"
        )
        return "\n".join(
            [
                head,
                *(
                    f"  {tool:<24}{1e3 * seconds:>9.1f} ms{seconds / own:>8.1f}×   {self.rows[tool]:,} rows"
                    + ("" if self.rows[tool] == self.labels else f", {self.labels - self.rows[tool]:,} lost")
                    + ("" if self.in_order[tool] else ", in another order")
                    for tool, seconds in self.seconds.items()
                ),
            ]
        )


def _table(rows: int, entities: int, seed: int, name: str) -> pa.Table:
    """Rows of a year, in no order."""
    random = np.random.default_rng(seed)
    names = pa.array([f"customer-{number:07}" for number in range(entities)])
    values = {"i": np.arange(rows)} if name == "labels" else {"x": random.normal(size=rows)}
    times = random.integers(0, _YEAR_US, rows)
    return pa.table(
        {
            "e": names.take(pa.array(random.integers(0, entities, rows))),
            "t": pa.array(times, pa.timestamp("us", "UTC")),
            **values,
        }
    )


def _refuse_difference(ours: pa.Table, theirs: pa.Table, tool: str) -> None:
    """Rows that both have must hold the same; those that one lost must hold nothing."""
    places = theirs["i"].to_numpy()
    if np.unique(places).size != places.size:
        raise BenchmarkError(f"{tool}: a row came back twice")
    own = ours["x"].to_numpy()
    found = np.full(own.size, np.nan)
    found[places] = theirs["x"].to_numpy()
    if not np.array_equal(own, found, equal_nan=True):
        different = int((~((own == found) | (np.isnan(own) & np.isnan(found)))).sum())
        raise BenchmarkError(f"{tool}: {different:,} rows hold something else than ours")


def measure_join(
    folder: Path, *, labels: int = 100_000, features: int = 1_000_000, rounds: int = 3
) -> JoinFigures:
    """Let each tool join the same tables, in turns.

    Raises:
        BenchmarkError: there are no peers, one fails, or a row that two tools have holds different values.
    """
    peers_python()
    feast_python()
    worker, entities = Path(join_worker.__file__), features // ROWS_AN_ENTITY
    files = [folder / "labels.parquet", folder / "features.parquet"]
    for seed, (file, rows) in enumerate(zip(files, (labels, features), strict=True)):
        pq.write_table(_table(rows, entities, seed, file.stem), file)
    seconds: dict[str, list[float]] = {tool: [] for tool in TOOLS}
    for _ in range(rounds):
        for tool, each in seconds.items():
            told: dict[str, Any] = told_by(worker, tool, *files, folder / f"{tool}.parquet")
            each.append(told["seconds"])
    made = {tool: pq.read_table(folder / f"{tool}.parquet") for tool in TOOLS}
    if made[OWN].num_rows != labels:
        raise BenchmarkError(f"{labels - made[OWN].num_rows:,} rows of ours are lost")
    for tool in TOOLS:
        _refuse_difference(made[OWN], made[tool], tool)
    return JoinFigures(
        labels,
        features,
        entities,
        {tool: statistics.median(each) for tool, each in seconds.items()},
        {tool: table.num_rows for tool, table in made.items()},
        {tool: bool((np.diff(table["i"].to_numpy()) > 0).all()) for tool, table in made.items()},
    )

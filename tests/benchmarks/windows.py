"""Sliding z-score and lag against polars and DuckDB: processor seconds, and that all find the same."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.windows import WindowStream, WindowTransformer
from tests.benchmarks import windows_worker
from tests.benchmarks.measure import BenchmarkError
from tests.benchmarks.peers import OWN, peers_python, told_by

PEERS: Final = ("polars", "DuckDB")
KINDS: Final = ("zscore", "lag")
ROWS_AN_ENTITY: Final = 1_000
_YEAR_US: Final = 365 * 86_400_000_000
_NEAR: Final = 1e-9
"""So far may two tools' answers to ordinary values be apart."""
_EVENTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Slid:
    """One kind of window."""

    kind: str
    ns_a_row: dict[str, float]
    """By tool, sorted by entity and time."""
    apart: dict[str, float]
    """The largest difference of a peer's answers from ours."""
    ns_by_rows: dict[int, float]
    """Of ours, by how many rows there are; 1,000 of each entity."""
    sorting_ns: dict[str, float]
    """What rows in another order take besides."""
    event_us: dict[str, float]
    """Of one entity's state, from Python."""

    def __str__(self) -> str:
        own = self.ns_a_row[OWN]
        return "\n".join(
            [
                f"{self.kind}, ns a row",
                *(
                    f"  {tool:<18}{ns:>8.1f}{ns / own:>8.1f}×"
                    + (f"   apart at most {self.apart[tool]:.1e}" if tool in self.apart else "")
                    for tool, ns in self.ns_a_row.items()
                ),
                "  by rows: " + "; ".join(f"{rows:,}: {ns:.1f}" for rows, ns in self.ns_by_rows.items()),
                "  sorting: " + "; ".join(f"{order}: {ns:.1f}" for order, ns in self.sorting_ns.items()),
                "  one event: " + "; ".join(f"{what} {us:.2f} µs" for what, us in self.event_us.items()),
            ]
        )


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """Both kinds on one table."""

    rows: int
    entities: int
    kinds: tuple[Slid, ...]

    def __str__(self) -> str:
        heads = f"windows of {windows_worker.DAYS} days, {self.rows:,} rows, {self.entities:,} entities, CPU, medians"
        return "\n".join([heads, *map(str, self.kinds)])


def readings(rows: int) -> pa.Table:
    """A year of each entity, sorted by entity and time."""
    random = np.random.default_rng(13)
    entities = rows // ROWS_AN_ENTITY
    times = np.sort(random.integers(0, _YEAR_US, (entities, ROWS_AN_ENTITY)), axis=1).ravel()
    return pa.table(
        {
            "i": np.arange(rows),
            "e": np.repeat(np.arange(entities), ROWS_AN_ENTITY),
            "t": pa.array(times, pa.timestamp("us")),
            "x": random.normal(size=rows),
        }
    )


def _transformer(kind: str) -> WindowTransformer:
    return WindowTransformer(
        TransformerSpec.model_validate(
            {
                "inputSource": "rows.parquet",
                "transformerType": kind,
                "columns": ["x"],
                "entityKey": "e",
                "timestampColumn": "t",
            }
        )
    )


def _apart(ours: pa.ChunkedArray, theirs: pa.ChunkedArray, tool: str) -> float:
    left, right = ours.to_numpy(), theirs.to_numpy()
    if (np.isnan(left) != np.isnan(right)).any():
        raise BenchmarkError(f"{tool}: other rows than ours have no answer")
    apart = float(np.nanmax(np.abs(left - right)))
    if apart > _NEAR:
        raise BenchmarkError(f"{tool}: an answer is {apart:.1e} from ours")
    return apart


def _ns(transformer: WindowTransformer, rows: pa.Table, rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        begun = time.process_time()
        transformer.transform(rows)
        seconds.append(time.process_time() - begun)
    return 1e9 * statistics.median(seconds) / rows.num_rows


def _orders(kind: str, rows: pa.Table, rounds: int) -> dict[str, float]:
    """What it takes to sort, by the order in which rows come; the answers are those of the sorted rows."""
    transformer = _transformer(kind)
    right = transformer.transform(rows).column(0).to_numpy()
    sorted_ns = _ns(transformer, rows, rounds)
    found = {}
    for order, places in (
        ("by time", np.argsort(rows["t"].to_numpy(), kind="stable")),
        ("in no order", np.random.default_rng(1).permutation(rows.num_rows)),
    ):
        shuffled = rows.take(pa.array(places)).combine_chunks()
        answers = transformer.transform(shuffled).column(0).to_numpy()
        if not np.array_equal(answers, right[places], equal_nan=True):
            raise BenchmarkError(f"{kind}, {order}: the answers are others than those of sorted rows")
        found[order] = _ns(transformer, shuffled, rounds) - sorted_ns
    return found


def _event_us(kind: str, rounds: int) -> dict[str, float]:
    """Of events of one entity, ten a day, one after the other."""
    random = np.random.default_rng(2)
    times = np.cumsum(random.integers(0, 2 * 8_640_000_000, _EVENTS)).tolist()
    values = [(value,) for value in random.normal(size=_EVENTS).tolist()]
    seconds: dict[str, list[float]] = {"update": [], "query": []}
    for _ in range(rounds):
        entity = WindowStream(_transformer(kind).spec).entity("one")
        for name, step in (("update", entity.update), ("query", entity.query)):
            last = times[-1]
            begun = time.process_time()
            for at, value in zip(times, values, strict=True):
                step(at if name == "update" else last, value)
            seconds[name].append(time.process_time() - begun)
    return {name: 1e6 * statistics.median(each) / _EVENTS for name, each in seconds.items()}


def measure_windows(folder: Path, *, rows: int = 10_000_000, rounds: int = 3) -> WindowFigures:
    """Let each tool compute both kinds of window of the same table, in turns.

    Raises:
        BenchmarkError: there are no peers, one fails, or its answers are others.
    """
    peers_python()
    table, file, worker = readings(rows), folder / "rows.parquet", Path(windows_worker.__file__)
    pq.write_table(table, file, compression="none")
    few = table.slice(0, max(rows // 10, ROWS_AN_ENTITY)).combine_chunks()
    kinds = []
    for kind in KINDS:
        seconds: dict[str, list[float]] = {tool: [] for tool in (OWN, *PEERS)}
        for _ in range(rounds):
            for tool, each in seconds.items():
                told: dict[str, Any] = told_by(worker, tool, file, folder / f"{tool}.parquet", kind)
                each.append(told["seconds"])
        ours = pq.read_table(folder / f"{OWN}.parquet")["answer"]
        ns = {tool: 1e9 * statistics.median(each) / rows for tool, each in seconds.items()}
        kinds.append(
            Slid(
                kind=kind,
                ns_a_row=ns,
                apart={
                    tool: _apart(ours, pq.read_table(folder / f"{tool}.parquet")["answer"], tool)
                    for tool in PEERS
                },
                ns_by_rows={few.num_rows: _ns(_transformer(kind), few, 2 * rounds + 1), rows: ns[OWN]},
                sorting_ns=_orders(kind, few, rounds),
                event_us=_event_us(kind, rounds),
            )
        )
    return WindowFigures(rows, rows // ROWS_AN_ENTITY, tuple(kinds))

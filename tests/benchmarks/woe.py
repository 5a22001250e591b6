"""Weight of evidence against its peers: processor seconds, and what the bins keep."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.woe import fit_woe
from tests.benchmarks import woe_worker
from tests.benchmarks.measure import BenchmarkError
from tests.benchmarks.peers import OWN, peers_python, told_by

TOOLS: Final = (OWN, "fastbinning", "category_encoders", "optbinning")
LEVELS: Final = (5, 10, 20, 30, 40, 50, 80, 100, 150, 200)
MOST_BINS: Final = 10
_SIGN: Final = {"category_encoders": -1.0, "fastbinning": -1.0}
"""Theirs are positive where events are frequent."""
_NEAR: Final = 0.02
"""A tool's weight may differ by that from the plain logarithm: each smooths in its own way."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What one tool took and found."""

    tool: str
    fit_seconds: float
    transform_seconds: float
    ratio: float
    """Processor seconds over those of ours."""
    bins: float
    """Of a column of numbers, on average."""
    information: float
    """Information value of the columns of numbers, added up."""

    @property
    def seconds(self) -> float:
        """Of fit and transformation."""
        return self.fit_seconds + self.transform_seconds

    def __str__(self) -> str:
        return (
            f"  {self.tool:<18}{self.fit_seconds:>9.2f}{self.transform_seconds:>11.2f}{self.seconds:>9.2f}"
            f"{self.ratio:>8.1f}{self.bins:>8.1f}{self.information:>10.4f}"
        )


@dataclass(frozen=True, slots=True)
class WoeFigures:
    """All tools on one table."""

    rows: int
    tools: tuple[Weighed, ...]
    information_ratio: tuple[float, ...]
    """Of each column of numbers: information of ours over that of optbinning, with as many bins as that has."""

    def __str__(self) -> str:
        heads = (
            f"  {'CPU s, median':<18}{'fit':>9}{'transform':>11}{'sum':>9}{'ratio':>8}{'bins':>8}{'IV':>10}"
        )
        low, middle = min(self.information_ratio), statistics.median(self.information_ratio)
        return "\n".join(
            [
                f"weight of evidence, {self.rows:,} rows × {2 * len(LEVELS)} columns",
                heads,
                *map(str, self.tools),
                f"  IV over that of optbinning at the same number of bins: {middle:.4f} (least {low:.4f})",
            ]
        )


def applications(rows: int) -> pa.Table:
    """Ten columns of numbers of several shapes, ten of categories, and a target that follows all of them."""
    random = np.random.default_rng(13)
    columns: dict[str, Any] = {}
    odds = np.full(rows, -1.5)
    for at in range(len(LEVELS)):
        values = (
            random.normal(size=rows),
            random.lognormal(size=rows),
            random.gamma(2, size=rows),
            random.poisson(6, rows).astype(np.float64),
            random.standard_t(3, rows),
        )[at % 5]
        steepness = (0.2 + 0.05 * at) * (-1) ** at
        odds += steepness * np.tanh((values - np.median(values)) / values.std())
        columns[f"number_{at}"] = values
    for at, levels in enumerate(LEVELS):
        codes = random.integers(0, levels, rows)
        odds += random.normal(0, 0.3, levels)[codes]
        columns[f"category_{at}"] = pa.DictionaryArray.from_arrays(
            codes.astype(np.int32), [f"level {level}" for level in range(levels)]
        ).cast(pa.string())
    return pa.table({**columns, "bad": (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)})


def information(weights: Any, bad: Any) -> tuple[float, int, float]:
    """Recomputed from which rows have one weight: information value, bins, and how far the weights are off at most."""
    values, codes = np.unique(weights, return_inverse=True)
    events = np.bincount(codes, bad) / bad.sum()
    others = np.bincount(codes, 1 - bad) / (1 - bad).sum()
    plain = np.log(others / events)
    return float(((others - events) * plain).sum()), values.size, float(np.abs(values - plain).max())


def _checked(tool: str, weights: pa.Table, bad: Any) -> dict[str, tuple[float, int]]:
    found = {}
    for name in weights.column_names:
        value, bins, off = information(_SIGN.get(tool, 1.0) * weights[name].to_numpy(), bad)
        if off > _NEAR:
            raise BenchmarkError(f"{tool}: weights of {name} are off by {off:.4f}")
        found[name] = value, bins
    return found


def _ours_with(rows: pa.Table, name: str, bins: int, bad: Any) -> float:
    """Information value of ours with so many bins at most."""
    spec = TransformerSpec.model_validate(
        {
            "inputSource": "rows.parquet",
            "transformerType": "woe",
            "columns": [name],
            "target": "bad",
            "woe": {"maxBins": max(2, bins), "minBinShare": woe_worker.LEAST_SHARE},
        }
    )
    weights = fit_woe(spec, rows).transform(rows)[f"{name}_woe"].to_numpy()
    value, used, _ = information(weights, bad)
    if used > max(2, bins):
        raise BenchmarkError(f"{name}: {used} bins where {bins} were allowed")
    return value


def measure_woe(folder: Path, *, rows: int = 1_000_000, rounds: int = 3) -> WoeFigures:
    """Let each tool fit and transform the same table, in turns.

    Raises:
        BenchmarkError: there are no peers, one fails, or its weights are not what its bins say.
    """
    peers_python()
    table, file, worker = applications(rows), folder / "rows.parquet", Path(woe_worker.__file__)
    pq.write_table(table, file, compression="none")
    bad = table["bad"].to_numpy()
    told: dict[str, list[dict[str, Any]]] = {tool: [] for tool in TOOLS}
    found = {}
    for _ in range(rounds):
        for tool in TOOLS:
            weights = folder / f"{tool}.parquet"
            told[tool].append(told_by(worker, tool, file, weights, str(MOST_BINS)))
            found[tool] = _checked(tool, pq.read_table(weights), bad)
    numbers = [name for name in table.column_names if name.startswith("number")]
    seconds = {
        tool: [statistics.median(one[step] for one in told[tool]) for step in ("fit", "transform")]
        for tool in TOOLS
    }
    peer = found["optbinning"]
    return WoeFigures(
        rows=rows,
        tools=tuple(
            Weighed(
                tool=tool,
                fit_seconds=seconds[tool][0],
                transform_seconds=seconds[tool][1],
                ratio=sum(seconds[tool]) / sum(seconds[OWN]),
                bins=statistics.mean(found[tool][name][1] for name in numbers),
                information=sum(found[tool][name][0] for name in numbers),
            )
            for tool in TOOLS
        ),
        information_ratio=tuple(
            _ours_with(table, name, peer[name][1], bad) / peer[name][0] for name in numbers
        ),
    )

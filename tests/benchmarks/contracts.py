"""Contracts judged in one pass over batches, against Great Expectations on pandas; and a table that no memory holds."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import contracts_worker
from tests.benchmarks.measure import BenchmarkError, measure

_WORKER: Final = Path(contracts_worker.__file__)
_BROKEN: Final = 2
"""Promises that the table breaks."""


@dataclass(frozen=True, slots=True)
class ContractFigures:
    """Processor seconds of both engines on one table, and what a large one takes."""

    rows: int
    ge_seconds: float
    batch_seconds: float
    ratio: float
    large_rows: int
    large_seconds: float
    """With the making of the rows, twice: those that a report names are read again."""
    large_wall_seconds: float
    large_peak_bytes: int

    def __str__(self) -> str:
        return "\n".join(
            [
                f"contracts, 15 expectations on {self.rows:,} rows × 10 columns, equal verdicts, counts and row hashes",
                f"  Great Expectations on pandas {self.ge_seconds:8.2f} CPU s",
                f"  one pass over batches        {self.batch_seconds:8.2f} CPU s   {self.ratio:.1f} × less",
                (
                    f"  {self.large_rows:,} rows: {self.large_seconds:.0f} CPU s with the making of the rows, "
                    f"{self.large_wall_seconds:.0f} s, peak {self.large_peak_bytes / 1e9:.2f} GB"
                ),
            ]
        )


def measure_contracts(
    folder: Path, *, rows: int = 1_000_000, large_rows: int = 100_000_000
) -> ContractFigures:
    """Let both engines judge one table in turns, and the batches a large one.

    Raises:
        BenchmarkError: a process fails, the two disagree, or the broken promises were not found.
    """
    both, _ = _told("both", rows, folder / "both")
    if both["ge"] != both["batches"]:
        raise BenchmarkError("the two engines disagree")
    large, wall = _told("large", large_rows, folder / "large")
    for found in (both["batches"], large["batches"]):
        failed = [each["type"] for each in found if each["outcome"] != "pass"]
        if len(failed) != _BROKEN:
            raise BenchmarkError(f"two promises are broken, and these were found to be: {', '.join(failed)}")
    ge, batches = (statistics.median(both["seconds"][engine]) for engine in ("ge", "batches"))
    return ContractFigures(
        rows=rows,
        ge_seconds=ge,
        batch_seconds=batches,
        ratio=ge / batches,
        large_rows=large_rows,
        large_seconds=large["seconds"]["batches"][0],
        large_wall_seconds=wall,
        large_peak_bytes=large["peak_bytes"],
    )


def _told(which: str, rows: int, folder: Path) -> tuple[dict[str, Any], float]:
    folder.mkdir()
    measured = measure(_WORKER, which, str(rows), folder, folder=folder).succeeded()
    told: dict[str, Any] = json.loads(measured.output.splitlines()[-1])
    return told, measured.cost.wall_seconds

"""What an executor costs for each asset: a chain of assets that do nothing, long and short."""

import statistics
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.chain import LONGEST
from tests.benchmarks.measure import BenchmarkError, Cost, measure

EXECUTORS = {
    "platform": "forkserver, definitions preloaded (the UI's)",
    "spawn": "spawn (Dagster's default)",
    "in_process": "in process (the command line's)",
}


@dataclass(frozen=True, slots=True)
class Executors:
    """Cost by executor: of a whole run of one asset, and of each further asset."""

    runs: int
    first: dict[str, Cost]
    further: dict[str, Cost]

    def __str__(self) -> str:
        lines = [
            f"executor: {LONGEST} trivial assets against one, median of {self.runs} runs",
            f"  {'':50}  each further asset      run of one asset, with its start",
            f"  {'':50}   CPU s    wall s         CPU s    wall s",
        ]
        for name, title in EXECUTORS.items():
            further, first = self.further[name], self.first[name]
            lines.append(
                f"  {title:50}  {further.cpu_seconds:6.3f}    {further.wall_seconds:6.3f}"
                f"        {first.cpu_seconds:6.2f}    {first.wall_seconds:6.2f}"
            )
        return "\n".join(lines)


def measure_executors(folder: Path, *, runs: int = 3) -> Executors:
    """Time every executor; the difference of two lengths leaves start and imports out.

    Raises:
        BenchmarkError: a run fails, or the chain does not come to its length.
    """
    costs: dict[tuple[str, int], list[Cost]] = {
        (name, length): [] for name in EXECUTORS for length in (1, LONGEST)
    }
    for at in range(runs):
        for (name, length), found in costs.items():
            code = f"from tests.benchmarks import chain; chain.run(chain.{name}, {length})"
            process = measure("-c", code, folder=folder / f"{name}-{length}-{at}").succeeded()
            if process.output.split()[-1:] != [str(length)]:
                raise BenchmarkError(f"{name}: {length} links came to {process.output!r}")
            found.append(process.cost)
    medians = {key: _median(found) for key, found in costs.items()}
    further = {}
    for name in EXECUTORS:
        more, count = medians[name, LONGEST] - medians[name, 1], LONGEST - 1
        further[name] = Cost(more.cpu_seconds / count, more.wall_seconds / count)
    return Executors(runs, {name: medians[name, 1] for name in EXECUTORS}, further)


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.cpu_seconds for cost in costs),
        statistics.median(cost.wall_seconds for cost in costs),
    )

"""How long a process takes to load the code location, which every run and every step process does."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import BenchmarkError, Cost, measure

GOAL_SECONDS = 2.0
HEAVY = (
    *("torch", "transformers", "mlflow", "great_expectations", "sklearn", "scipy", "matplotlib", "pandas"),
    *("pyarrow", "pyiceberg", "numba", "kubernetes"),
)
_PROBE = f"""
import json, sys, time
cpu, wall = time.process_time(), time.perf_counter()
from platform_assets.definitions import defs
repository = defs().get_repository_def()
print(json.dumps({{
    "cpu_seconds": time.process_time() - cpu,
    "wall_seconds": time.perf_counter() - wall,
    "assets": len(repository.asset_graph.materializable_asset_keys),
    "modules": len(sys.modules),
    "heavy": [name for name in {HEAVY!r} if name in sys.modules],
}}))
"""


@dataclass(frozen=True, slots=True)
class Imports:
    """Medians over several fresh processes, from the first import to the built repository."""

    runs: int
    cost: Cost
    slowest: Cost
    assets: int
    modules: int
    heavy: tuple[str, ...]
    """Heavy libraries that were loaded; there should be none."""

    def __str__(self) -> str:
        return f"""\
imports: the code location, {self.assets} assets, {self.modules:,} modules; median of {self.runs} processes, goal <= {GOAL_SECONDS:g} s
  CPU s   {self.cost.cpu_seconds:6.2f}, slowest {self.slowest.cpu_seconds:.2f}
  wall s  {self.cost.wall_seconds:6.2f}, slowest {self.slowest.wall_seconds:.2f}
  heavy libraries loaded: {", ".join(self.heavy) or "none of " + ", ".join(HEAVY)}"""


def measure_imports(folder: Path, *, runs: int = 5) -> Imports:
    """Time the imports; the first process, which may compile bytecode, does not count.

    Raises:
        BenchmarkError: the code location does not load.
    """
    found = [json.loads(measure("-c", _PROBE, folder=folder).succeeded().output) for _ in range(runs + 1)][1:]
    if not found[0]["assets"]:
        raise BenchmarkError("the code location holds no asset")
    cpu, wall = ([each[name] for each in found] for name in ("cpu_seconds", "wall_seconds"))
    return Imports(
        runs=runs,
        cost=Cost(statistics.median(cpu), statistics.median(wall)),
        slowest=Cost(max(cpu), max(wall)),
        assets=found[0]["assets"],
        modules=found[0]["modules"],
        heavy=tuple(found[0]["heavy"]),
    )

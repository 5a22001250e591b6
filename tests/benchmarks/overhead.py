"""What the platform adds to the work itself: the main job against `bare.py`, on the same rows and seeds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from platform_assets.tasks.registry import read_training_spec
from tests.benchmarks.measure import BenchmarkError, Cost, Measured, measure_together

_TOLERANCE = 1e-9
_PLATFORM_IMPORTS = "import platform_assets.cli, platform_assets.lines.runner"
_BARE_IMPORTS = "import tests.benchmarks.bare"


@dataclass(frozen=True, slots=True)
class Overhead:
    """Both sides, without the start of their interpreters and their first imports."""

    train_rows: int
    scored_rows: int
    platform: Cost
    bare: Cost
    cpu_ratio: float
    wall_ratio: float
    platform_start: Cost
    """What was taken off: a process that imports what that side imports at its start."""
    bare_start: Cost
    auc: float
    baseline_auc: float
    largest_score_difference: float
    stage_seconds: dict[str, float]
    """Wall seconds of the platform's assets, as Dagster recorded them."""

    def __str__(self) -> str:
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in self.stage_seconds.items())
        return f"""\
overhead: {self.train_rows:,} training rows, {self.scored_rows:,} scored rows. Both sides run at the same time, each on
its own half of the cores; what a process that only imports takes is taken off each side.
                      CPU s    wall s    taken off, CPU s
  platform-assets run {self.platform.cpu_seconds:7.1f}   {self.platform.wall_seconds:7.1f}    {self.platform_start.cpu_seconds:7.1f}
  bare.py             {self.bare.cpu_seconds:7.1f}   {self.bare.wall_seconds:7.1f}    {self.bare_start.cpu_seconds:7.1f}
  ratio               {self.cpu_ratio:7.3f}   {self.wall_ratio:7.3f}
  assets, wall s      {stages}
  equal on both sides test AUC {self.auc:.4f}, baseline {self.baseline_auc:.4f}, every score to {self.largest_score_difference:.1e}"""


def measure_overhead(
    folder: Path, *, train_rows: int, shipped_spec: Path = SPECS_FOLDER / "reviews_sentiment" / SPEC_FILE
) -> Overhead:
    """Run both sides on the shipped spec with fewer training rows, so that fixed costs weigh more.

    Raises:
        BenchmarkError: a side fails, or the two differ in an AUC or a score.
    """
    spec = folder / SPEC_FILE
    content = yaml.safe_load(shipped_spec.read_text(encoding="utf-8"))
    spec.write_text(yaml.safe_dump(content | {"train_rows": train_rows}, sort_keys=False), encoding="utf-8")
    folders = (folder / "platform", folder / "bare")
    starts = measure_together(("-c", _PLATFORM_IMPORTS), ("-c", _BARE_IMPORTS), folders=folders)
    platform, bare = measure_together(
        ("-m", "platform_assets.cli", "run", "--spec", spec, "--json"),
        ("-m", "tests.benchmarks.bare", spec, folders[1]),
        folders=folders,
    )
    told = _told_by_platform(platform)
    aucs = json.loads(bare.succeeded().output)
    # "not within" and not "beyond": NaN must not count as equal.
    if not abs(told["status"]["metrics"]["auc"] - aucs["auc"]) <= _TOLERANCE:
        raise BenchmarkError(
            f"test AUC {told['status']['metrics']['auc']} with the platform, {aucs['auc']} without"
        )
    task, manifest = read_training_spec(spec)
    rows, difference = _compare_scores(*folders, key=task.ingestion.subject(manifest.content).name)
    with_platform, without = (
        side.cost - start.succeeded().cost for side, start in zip((platform, bare), starts, strict=True)
    )
    return Overhead(
        train_rows=train_rows,
        scored_rows=rows,
        platform=with_platform,
        bare=without,
        cpu_ratio=with_platform.cpu_seconds / without.cpu_seconds,
        wall_ratio=with_platform.wall_seconds / without.wall_seconds,
        platform_start=starts[0].cost,
        bare_start=starts[1].cost,
        auc=aucs["auc"],
        baseline_auc=aucs["baseline_auc"],
        largest_score_difference=difference,
        stage_seconds={step["stage"]: step["seconds"] for step in told["run"]["steps"]},
    )


def _told_by_platform(platform: Measured) -> dict[str, Any]:
    """What `run --json` printed. Few rows may not reach the gates, and then the last stage refuses, as it should."""
    if not platform.output.startswith("{"):
        platform.succeeded()
    told: dict[str, Any] = json.loads(platform.output)
    outcomes = {step["stage"]: step["outcome"] for step in told["run"]["steps"]}
    refused = outcomes["deployment"] == "failed" and told["status"]["blocked_by"]
    if any(
        outcome != "done" and not (stage == "deployment" and refused) for stage, outcome in outcomes.items()
    ):
        raise BenchmarkError(f"the main job did not end well: {outcomes}\n{told['run']['failure']}")
    return told


def _compare_scores(platform: Path, bare: Path, *, key: str) -> tuple[int, float]:
    """Rows scored, and the largest difference of a score between the two sides, the baseline's included.

    Rows are matched by the column `key`.
    """
    import pandas as pd

    (stored,) = (platform / "home").rglob("scores*.parquet")
    sides = [pd.read_parquet(path).set_index(key) for path in (stored, bare / "scores.parquet")]
    left, right = (side[["score", "baseline_score"]].sort_index() for side in sides)
    if not left.index.equals(right.index):
        raise BenchmarkError(
            f"{len(left)} rows scored with the platform and {len(right)} without, not the same ones"
        )
    difference = float((left - right).abs().to_numpy().max())
    if not difference <= _TOLERANCE:
        raise BenchmarkError(f"a score differs by {difference} between the two sides")
    return len(left), difference

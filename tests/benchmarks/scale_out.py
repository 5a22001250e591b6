"""Training rows a second, in one process and in two that train together, with the same threads in all.

On one machine two processes have nothing to win but the cost of meeting: each of them multiplies smaller
matrices, and both wait for the sum of their gradients after every step.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from platform_assets.datasets.ingestion import read_sources
from platform_assets.lines.line import SPEC_FILE, SPECS_FOLDER
from platform_assets.tasks.registry import read_training_spec
from platform_assets.tasks.text_classification.recipe import TextTrainingConfig
from platform_assets.tasks.text_classification.task import TASK
from tests.benchmarks.measure import BenchmarkError, Measured, measure

_SPEC = SPECS_FOLDER / "reviews_sentiment" / SPEC_FILE
_ROWS = 320
_THREADS = 2
_ROUNDS = 2
"""In turns, and the best of each counts: what else the machine does slows some of them."""
_MODULE = "tests.models.training_process"
_LOSS_TOLERANCE = 0.02
"""Relative; sums of float32 in another order drift apart over the steps."""


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """One training, done by so many processes."""

    processes: int
    threads_each: int
    rows_per_second: float
    cpu_seconds: float
    """Of everything, starts included."""
    final_loss: float


@dataclass(frozen=True, slots=True)
class ScaleOutFigures:
    """Throughput by number of processes, in one run on one machine."""

    rows: int
    batch_size: int
    found: tuple[ScaleOut, ...]
    ratio: float
    """Rows a second of two processes over those of one."""

    def __str__(self) -> str:
        """A table."""
        lines = [f"scale-out: {self.rows} rows in batches of {self.batch_size}, {_THREADS} threads in all"]
        lines += [
            f"  {each.processes} × {each.threads_each} threads  {each.rows_per_second:8.2f} rows/s"
            f"  {each.cpu_seconds:8.1f} CPU s  final loss {each.final_loss:.4f}"
            for each in self.found
        ]
        return "\n".join([*lines, f"  two over one  {self.ratio:.2f}"])


def measure_scale_out(folder: Path) -> ScaleOutFigures:
    """Train on the first rows of the shipped line, in one process and then in two.

    Raises:
        BenchmarkError: a process fails, or their losses differ.
    """
    config = _write_inputs(folder)
    rounds = [
        [_trained(folder / str(number), folder / "tokens.parquet", config, processes) for processes in (1, 2)]
        for number in range(_ROUNDS)
    ]
    one, two = (max(each, key=lambda trained: trained.rows_per_second) for each in zip(*rounds, strict=True))
    if abs(one.final_loss - two.final_loss) > _LOSS_TOLERANCE * one.final_loss:
        raise BenchmarkError(f"the losses differ: {one.final_loss} of one process, {two.final_loss} of two")
    return ScaleOutFigures(_ROWS, config.batch_size, (one, two), two.rows_per_second / one.rows_per_second)


def _write_inputs(folder: Path) -> TextTrainingConfig:
    _, manifest = read_training_spec(_SPEC)
    spec = TASK.spec.model_validate(manifest.content.model_dump() | {"train_rows": _ROWS})
    subject = TASK.ingestion.subject(spec).name
    rows = TASK.ingestion.prepare(spec, read_sources(spec), is_erased=lambda ids: [False] * len(ids)).table
    features = TASK.featurizer.apply(rows, spec, subject_column=subject)
    pq.write_table(features.table, folder / "tokens.parquet")
    return TASK.trainer.config(spec, features.recipe).model_copy(
        # Without dropout, whose draws no two processes share with one.
        update={"dropout": 0.0, "epochs": 1, "gpu": 0, "mixed_precision": False}
    )


def _trained(folder: Path, tokens: Path, config: TextTrainingConfig, processes: int) -> ScaleOut:
    threads = _THREADS // processes
    place = folder / str(processes)
    place.mkdir(parents=True)
    (place / "config.json").write_text(config.model_copy(update={"threads": threads}).model_dump_json())
    launcher = (
        *("-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={processes}", "-m", _MODULE),
    )
    ended = measure(
        *(launcher if processes > 1 else ("-m", _MODULE)),
        *("--tokens", tokens, "--config", place / "config.json"),
        *("--output", place / "model", "--checkpoints", place, "--checkpoint-interval", "3600"),
        folder=place,
    ).succeeded()
    result = _result_of(ended)
    return ScaleOut(
        processes=processes,
        threads_each=threads,
        # Start and imports are not counted.
        rows_per_second=result["rows"] * config.epochs / result["train_seconds"],
        cpu_seconds=ended.cost.cpu_seconds,
        final_loss=result["final_loss"],
    )


def _result_of(ended: Measured) -> dict:
    result = json.loads(ended.output.splitlines()[-1])
    if result["resumed_at_step"]:
        raise BenchmarkError("the training did not begin at its start")
    return result

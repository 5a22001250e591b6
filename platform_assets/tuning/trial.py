"""One trial: a model trained on the training rows with the values of one assignment, judged on the validation rows.

Rows of other splits are left out while the features are read, before anything sees them. What is judged is the model as
it would be kept, by its own scorer, as it would be served.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platform_assets.models.scorer import Scorer
from platform_assets.models.spec import ModelSpec
from platform_assets.models.trainer import AnyTrainer, ShowsEpochs, TrainingConfig, TrainingResult
from platform_assets.references import FeaturesVersion, TableSnapshot
from platform_assets.tuning.errors import TuningError
from platform_assets.tuning.measures import measured
from platform_assets.validation.errors import ValidationError
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

TRAINED_ON: Final = "train"
JUDGED_ON: Final = "validation"
_HALVED: Final = {"bfloat16", "float16"}

log = logging.getLogger(__name__)


class TrialError(TuningError):
    """A trial has come to nothing."""


Report = Callable[[Mapping[str, float]], None]
"""Told metrics of the model by name, each time that there are new ones."""


class _NotKept:
    """Checkpoints of a training whose folder goes with its process."""

    def save(self, write: Callable[[Path], None]) -> None:
        """Keep nothing."""

    def load(self) -> Path | None:
        """Nothing."""
        return None

    def clear(self) -> None:
        """Nothing is kept."""


def run_trial(
    spec: ModelSpec,
    trainer: AnyTrainer,
    features: FeaturesVersion,
    *,
    warehouse: Warehouse,
    state: Mapping[str, bytes],
    scratch: Path,
    report: Report,
    threads: int | None = None,
) -> dict[str, float]:
    """Train with the spec's values; the metrics of the model that this ends with.

    Args:
        spec: Of the line, with the values of an assignment.
        trainer: Of its task.
        features: What is trained and judged on.
        warehouse: Holds them. Nothing is written there.
        state: What was fitted for the features, by file name.
        scratch: A folder for the model, which is the caller's to remove.
        report: Told metrics after each epoch, by trainers that train in epochs, and at the end.
        threads: CPU threads of the training; None for its share of all.

    Raises:
        TrialError: the validation rows, or the model's scores of them, cannot be judged, or a metric is not finite.
        TrainingError: it cannot be trained.
    """
    rows = rows_of_splits(warehouse, features.snapshot, (TRAINED_ON, JUDGED_ON))
    judge = _Judge(_of_split(rows, JUDGED_ON), features.snapshot.table)
    config = trainer.config(spec, features.recipe)
    if threads is not None:
        config = config.model_copy(update={"threads": threads})

    def shown(epoch: int, folder: Path) -> None:
        log.info("epoch %s is over", epoch)
        trainer.complete(folder, features.recipe, state)
        gpu = config.gpu if _has_gpu() else 0
        report(judge.of(trainer.load(folder, gpu=gpu, mixed_precision=config.mixed_precision)))

    result = _trained(trainer, _of_split(rows, TRAINED_ON), config, scratch / "model", shown)
    trainer.complete(result.output, features.recipe, state)
    scorer = trainer.load(
        result.output,
        gpu=int(result.hardware.device == "cuda"),
        mixed_precision=result.hardware.precision in _HALVED,
    )
    found = judge.of(scorer)
    report(found)
    return found


def rows_of_splits(warehouse: Warehouse, snapshot: TableSnapshot, splits: Sequence[str]) -> "pa.Table":
    """The rows of some splits of a table, in their order; those of others go as soon as they are read.

    Args:
        warehouse: Holds the table.
        snapshot: The version; it has a column `split`.
        splits: Which.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(splits, pa.string())
    found = warehouse.batches(snapshot.table, snapshot.snapshot_id)
    kept = (batch.filter(pc.is_in(batch["split"], wanted)) for batch in found.batches())
    return pa.Table.from_batches(kept, found.schema)


def printed(metrics: Mapping[str, float], at: datetime) -> str:
    """Metrics as Katib's StdOut collector reads them: a line for each, `2026-11-30T12:00:00.000000Z auc=0.9312`.

    Args:
        metrics: By name; finite.
        at: When they were measured, with its time zone.
    """
    time = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return "\n".join(f"{time} {name}={value!r}" for name, value in metrics.items())


class _Judge:
    """Measures models on the same rows."""

    def __init__(self, rows: "pa.Table", table: str) -> None:
        if not rows.num_rows:
            raise TrialError(
                f"{table} has no rows of split {JUDGED_ON!r}, by which trials are judged; give it a share in the spec"
            )
        self._rows = rows
        self._labels = rows["label"].to_numpy()

    def of(self, scorer: Scorer) -> dict[str, float]:
        try:
            found = measured(self._labels, scorer.score_features(self._rows), threshold=scorer.threshold)
        except ValidationError as problem:
            raise TrialError(f"the model cannot be judged on the split {JUDGED_ON!r}: {problem}") from None
        if odd := [name for name, value in found.items() if not math.isfinite(value)]:
            raise TrialError(f"{', '.join(odd)}: not finite; the model's scores are no probabilities")
        return found


def _trained(
    trainer: AnyTrainer,
    rows: "pa.Table",
    config: TrainingConfig,
    output: Path,
    on_epoch: Callable[[int, Path], None],
) -> TrainingResult:
    # They end with this process, and then there is nothing to go on from.
    kept, never = _NotKept(), math.inf
    if isinstance(trainer, ShowsEpochs):
        return trainer.fit_showing(
            rows,
            config,
            output=output,
            checkpoints=kept,
            checkpoint_interval_seconds=never,
            on_progress=None,
            on_epoch=on_epoch,
        )
    return trainer.fit(
        rows, config, output=output, checkpoints=kept, checkpoint_interval_seconds=never, on_progress=None
    )


def _of_split(rows: "pa.Table", split: str) -> "pa.Table":
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows["split"], split))


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())

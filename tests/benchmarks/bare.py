"""The main job as one plain script: no Dagster, MLflow, Great Expectations, Iceberg or ledger.

    python -m tests.benchmarks.bare training-spec.yaml folder

It reads, splits, makes features, trains and scores the same rows with the same seeds, through the same parts of the
line's task, and hands everything on in memory.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from platform_assets.datasets.ingestion import read_sources
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.tasks.registry import read_training_spec
from platform_assets.validation.metrics import roc_auc

_MEASURED_SPLITS = ("validation", "test", "shift")
_CHECKPOINT_SECONDS = 20.0


def main(spec_path: Path, folder: Path) -> None:
    """Print the AUCs on the test split; leave the scores of every measured row in `folder`."""
    task, manifest = read_training_spec(spec_path)
    spec = manifest.content
    subject = task.ingestion.subject(spec).name
    rows = task.ingestion.prepare(spec, read_sources(spec), is_erased=lambda ids: [False] * len(ids)).table
    features = task.featurizer.apply(rows, spec, subject_column=subject)
    trained = task.trainer.fit(
        features.table,
        task.trainer.config(spec, features.recipe),
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder),
        checkpoint_interval_seconds=_CHECKPOINT_SECONDS,
        on_progress=None,
    )
    task.trainer.complete(trained.output, features.recipe, features.state)
    scorer = task.trainer.load(
        trained.output,
        gpu=int(trained.hardware.device == "cuda"),
        mixed_precision=trained.hardware.precision != "float32",
    )

    measured = _of_splits(features.table, *_MEASURED_SPLITS)
    scored = (
        measured.select([subject, "label", "split"])
        .append_column("score", pa.array(scorer.score_features(measured)))
        .append_column(
            "baseline_score",
            pa.array(
                task.evaluator.baseline(_of_splits(rows, "train"), _of_splits(rows, *_MEASURED_SPLITS), spec)
            ),
        )
    )
    pq.write_table(scored, folder / "scores.parquet")
    test = _of_splits(scored, "test")
    aucs = {
        name: roc_auc(test["label"].to_numpy(), test[column].to_numpy())
        for name, column in (("auc", "score"), ("baseline_auc", "baseline_score"))
    }
    print(json.dumps(aucs))


def _of_splits(rows: pa.Table, *splits: str) -> pa.Table:
    return rows.filter(pc.is_in(rows["split"], pa.array(splits)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

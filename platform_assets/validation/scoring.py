"""Scores of every measured row: the model's and the baseline's."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from platform_assets.models.scorer import Scorer
from platform_assets.references import ModelVersion
from platform_assets.validation.clusters import COLUMN
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.evaluator import Comparing, Evaluator
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

MEASURED_SPLITS = ("validation", "test", "shift")


def scored_rows(
    model: ModelVersion, scorer: Scorer, evaluator: Evaluator[Any], spec: BaseModel, warehouse: Warehouse
) -> "pa.Table":
    """Scores of every row of `MEASURED_SPLITS`.

    Returns:
        The subject's column, label, source, split, the task's own columns, where it knows of any the number of each row's
        cluster, score, baseline_score and those of other models that the task compares with (float64, probability of label
        1). They are fitted on the same training rows as the model.

    Raises:
        ValidationError: features and dataset are not of the same rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    dataset, table = model.features.dataset, model.features.snapshot
    features = _measured(warehouse.read(table.table, table.snapshot_id))
    scores = scorer.score_features(features)
    rows = warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id)
    train, measured = rows.filter(pc.equal(rows["split"], "train")), _measured(rows)
    subject = dataset.subject_column
    if not features[subject].equals(measured[subject]):
        raise ValidationError(
            f"{table.table} and {dataset.snapshot.table} are not of the same rows; materialize {dataset.line}_features again"
        )
    shared = features.select([subject, "label", "source", "split"])
    own = evaluator.columns(features, measured, spec)
    for name in own.column_names:
        shared = shared.append_column(name, own[name])
    if evaluator.cluster_unit(spec) is not None:
        clusters = pa.array(evaluator.clusters(rows, spec), pa.int64())
        shared = shared.append_column(COLUMN, clusters.filter(_is_measured(rows)))
    given = {"score": scores, "baseline_score": evaluator.baseline(train, measured, spec)}
    if isinstance(evaluator, Comparing):
        given |= evaluator.compared(train, measured, spec, trained_with=model.training)
    for name, values in given.items():
        shared = shared.append_column(name, pa.array(values))
    return shared


def _measured(rows: "pa.Table") -> "pa.Table":
    return rows.filter(_is_measured(rows))


def _is_measured(rows: "pa.Table") -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(rows["split"], pa.array(MEASURED_SPLITS))


def training_sources(model: ModelVersion, warehouse: Warehouse) -> tuple[str, ...]:
    """The sources of the rows that the model was trained on."""
    import pyarrow.compute as pc

    snapshot = model.features.snapshot
    rows = warehouse.read(snapshot.table, snapshot.snapshot_id, columns=("source", "split"))
    return tuple(sorted(rows.filter(pc.equal(rows["split"], "train"))["source"].unique().to_pylist()))

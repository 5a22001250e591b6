"""Scores of every measured row: the model's, the baseline's, and those of the version in production."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from platform_assets.governance.release import Release
from platform_assets.models.scorer import Scorer
from platform_assets.references import DatasetVersion, ModelVersion
from platform_assets.validation.errors import ValidationError
from platform_assets.validation.evaluator import Evaluator
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

MEASURED_SPLITS = ("validation", "test", "shift")


def scored_rows(
    model: ModelVersion, scorer: Scorer, evaluator: Evaluator[Any], spec: BaseModel, warehouse: Warehouse
) -> "pa.Table":
    """Scores of every row of `MEASURED_SPLITS`.

    Returns:
        The subject's column, label, source, split, the task's own columns, score and baseline_score (float64,
        probability of label 1). The baseline is fitted on the same training rows as the model.

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
    return shared.append_column("score", pa.array(scores)).append_column(
        "baseline_score", pa.array(evaluator.baseline(train, measured, spec))
    )


def _measured(rows: "pa.Table") -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.is_in(rows["split"], pa.array(MEASURED_SPLITS)))


@dataclass(frozen=True, slots=True)
class ProductionScores:
    """What the released model makes of the candidate's test rows."""

    scores: "NDArray[np.float64]"
    """Probability of label 1 for every test row, in their order; shape (n,)."""
    refused: Mapping[str, str]
    """By source, why its rows say nothing about the released model."""

    def problem(self, sources: Iterable[str]) -> str | None:
        """Why the released model cannot be judged on rows of these sources; None where it can."""
        found = dict.fromkeys(self.refused[source] for source in sources if source in self.refused)
        return "; ".join(found) or None


def training_sources(model: ModelVersion, warehouse: Warehouse) -> tuple[str, ...]:
    """The sources of the rows that the model was trained on."""
    import pyarrow.compute as pc

    snapshot = model.features.snapshot
    rows = warehouse.read(snapshot.table, snapshot.snapshot_id, columns=("source", "split"))
    return tuple(sorted(rows.filter(pc.equal(rows["split"], "train"))["source"].unique().to_pylist()))


def production_scores(
    release: Release,
    candidate: ModelVersion,
    scored: "pa.Table",
    *,
    warehouse: Warehouse,
    store: ObjectStore,
    load: Callable[[Path], Scorer],
) -> ProductionScores:
    """Scores of the released model on the test rows of `scored`, and the sources that it must not be judged on.

    A source is refused where the released model was trained on some of its subjects, so that a comparison would
    favour it; all are where nobody can tell any more. Stored scores are used for a source where the
    released model was measured on all of its rows.

    Args:
        release: The active release.
        candidate: The model that is judged.
        scored: What `scored_rows` yields for it.
        warehouse: Holds the rows of both.
        store: Holds scores and models.
        load: Loads a model of the line's task from a folder.
    """
    import pyarrow.compute as pc

    test = scored.filter(pc.equal(scored["split"], "test"))
    report = release.card.registered.report
    if report.model.fingerprint == candidate.fingerprint:
        return ProductionScores(test["score"].to_numpy(), refused={})
    sources: list[str] = test["source"].to_pylist()
    then, now = report.model.features.dataset, candidate.features.dataset
    trained = report.model.features.snapshot
    # What retention or an erasure has taken out of it cannot be among the rows that are left to test on.
    left = warehouse.left_of(trained.table, trained.snapshot_id)
    if left is None:
        return _nothing_known(sources, f"release {release.release_id} was trained on data that has expired")
    if (then.subject_namespace, then.subject_column) != (now.subject_namespace, now.subject_column):
        because = (
            f"release {release.release_id} was trained on rows of {then.subject_namespace} by {then.subject_column} "
            f"and not of {now.subject_namespace} by {now.subject_column}"
        )
        return _nothing_known(sources, because)
    seen = warehouse.read(trained.table, left, columns=(then.subject_column, "split"))
    seen_ids = set(seen.filter(pc.equal(seen["split"], "train"))[then.subject_column].to_pylist())
    ids = test[now.subject_column].to_pylist()
    leaked = Counter(source for each, source in zip(ids, sources, strict=True) if each in seen_ids)
    scores = _stored_scores(store, report.scores_key, then, ids)
    # By source: rows that are compared with one another are scored on one machine.
    unmeasured = {source for source, score in zip(sources, scores, strict=True) if np.isnan(score)}
    if unmeasured:
        again = np.isin(sources, sorted(unmeasured))
        rows = warehouse.read(now.snapshot.table, now.snapshot.snapshot_id)
        tested = rows.filter(pc.equal(rows["split"], "test"))
        scores[again] = load(store.folder(report.model.object_prefix)).score_rows(tested.filter(again))
    rows_of = Counter(sources)
    return ProductionScores(
        scores,
        refused={
            source: f"release {release.release_id} was trained on {leaked[source]} of the {rows_of[source]} test rows, "
            "so it cannot be compared on them"
            for source in sorted(leaked)
        },
    )


def _nothing_known(sources: Sequence[str], because: str) -> ProductionScores:
    reason = f"{because}, so nobody can tell whether it knows the test rows"
    return ProductionScores(np.full(len(sources), np.nan), refused=dict.fromkeys(sources, reason))


def _stored_scores(
    store: ObjectStore, key: str, dataset: DatasetVersion, ids: Sequence[object]
) -> "NDArray[np.float64]":
    """The score that was stored for each subject; NaN where there is none, or its rows cannot be told apart."""
    import pyarrow.parquet as pq

    stored = pq.read_table(io.BytesIO(store.get(key)), columns=[dataset.subject_column, "score"])
    known = stored[dataset.subject_column].to_pylist()
    alone = {each for each, count in Counter(known).items() if count == 1}
    score_of = dict(zip(known, stored["score"].to_pylist(), strict=True))
    repeated = {each for each, count in Counter(ids).items() if count > 1}
    return np.array(
        [score_of[each] if each in alone and each not in repeated else np.nan for each in ids],
        dtype=np.float64,
    )

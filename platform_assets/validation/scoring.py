"""Scores of every measured row: the model's, the baseline's, and those of the version in production."""

import io
from typing import TYPE_CHECKING

import numpy as np

from platform_assets.governance.release import Release
from platform_assets.models.scorer import SavedClassifier
from platform_assets.models.training import token_lists
from platform_assets.references import ModelVersion
from platform_assets.validation.baseline import tfidf_logistic_scores
from platform_assets.validation.errors import ValidationError
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

MEASURED_SPLITS = ("validation", "test", "shift")
_BASELINE_SEED = 0


def scored_rows(model: ModelVersion, classifier: SavedClassifier, warehouse: Warehouse) -> "pa.Table":
    """Scores of every row of `MEASURED_SPLITS`.

    Returns:
        review_id, label, source, split, words, score and baseline_score (float64, probability of label 1).
        The baseline is fitted on the same training rows as the model.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    features = warehouse.read(model.features.snapshot.table, model.features.snapshot.snapshot_id)
    measured = features.filter(pc.is_in(features["split"], pa.array(MEASURED_SPLITS)))
    scores = classifier.score_tokens(token_lists(measured))
    dataset = model.features.dataset.snapshot
    texts = warehouse.read(
        dataset.table, dataset.snapshot_id, columns=("review_id", "text", "label", "split")
    )
    train = texts.filter(pc.equal(texts["split"], "train"))
    text_of = dict(zip(texts["review_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
    (baseline,) = tfidf_logistic_scores(
        train["text"].to_pylist(),
        train["label"].to_numpy(),
        [text_of[review_id] for review_id in measured["review_id"].to_pylist()],
        seed=_BASELINE_SEED,
    )
    return (
        measured.select(["review_id", "label", "source", "split", "words"])
        .append_column("score", pa.array(scores))
        .append_column("baseline_score", pa.array(baseline))
    )


def production_scores(
    release: Release, candidate: ModelVersion, scored: "pa.Table", *, warehouse: Warehouse, store: ObjectStore
) -> "NDArray[np.float64]":
    """Scores of the released model on the test rows of `scored`, in their order.

    Stored scores are used where the released model was measured on the same rows.

    Raises:
        ValidationError: the released model was trained on some of these rows, so a comparison would
            favour it; or nobody can tell any more.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    test = scored.filter(pc.equal(scored["split"], "test"))
    report = release.card.registered.report
    if report.model.fingerprint == candidate.fingerprint:
        own: NDArray[np.float64] = test["score"].to_numpy()
        return own
    ids: list[str] = test["review_id"].to_pylist()
    trained = report.model.features.snapshot
    # What retention or an erasure has taken out of it cannot be among the rows that are left to test on.
    left = warehouse.left_of(trained.table, trained.snapshot_id)
    if left is None:
        raise ValidationError(
            f"release {release.release_id} was trained on data that has expired, so nobody can tell whether it knows the test rows"
        )
    seen = warehouse.read(trained.table, left, columns=("review_id", "split"))
    seen_ids = set(seen.filter(pc.equal(seen["split"], "train"))["review_id"].to_pylist())
    if leaked := sum(review_id in seen_ids for review_id in ids):
        raise ValidationError(
            f"release {release.release_id} was trained on {leaked} of the {len(ids)} test rows, so it cannot be compared on them"
        )
    stored = pq.read_table(io.BytesIO(store.get(report.scores_key)), columns=["review_id", "score"])
    known = dict(zip(stored["review_id"].to_pylist(), stored["score"].to_pylist(), strict=True))
    if all(review_id in known for review_id in ids):
        return np.array([known[review_id] for review_id in ids])
    dataset = candidate.features.dataset.snapshot
    texts = warehouse.read(dataset.table, dataset.snapshot_id, columns=("review_id", "text"))
    text_of = dict(zip(texts["review_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
    classifier = SavedClassifier.load(store.folder(report.model.object_prefix))
    return classifier.score_texts([text_of[review_id] for review_id in ids])

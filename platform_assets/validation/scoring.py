"""Scores of every measured row: the model's, the baseline's, and those of the version in production."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from platform_assets.governance.release import Release
from platform_assets.models.scorer import SavedClassifier
from platform_assets.models.training import token_lists
from platform_assets.references import ModelVersion
from platform_assets.validation.baseline import tfidf_logistic_scores
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
    release: Release, candidate: ModelVersion, scored: "pa.Table", *, warehouse: Warehouse, store: ObjectStore
) -> ProductionScores:
    """Scores of the released model on the test rows of `scored`, and the sources that it must not be judged on.

    A source is refused where the released model was trained on some of its rows, so that a comparison would
    favour it; all are where nobody can tell any more. Stored scores are used for a source where the
    released model was measured on all of its rows.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    test = scored.filter(pc.equal(scored["split"], "test"))
    report = release.card.registered.report
    if report.model.fingerprint == candidate.fingerprint:
        return ProductionScores(test["score"].to_numpy(), refused={})
    sources: list[str] = test["source"].to_pylist()
    trained = report.model.features.snapshot
    # What retention or an erasure has taken out of it cannot be among the rows that are left to test on.
    left = warehouse.left_of(trained.table, trained.snapshot_id)
    if left is None:
        expired = f"release {release.release_id} was trained on data that has expired, so nobody can tell whether it knows the test rows"
        return ProductionScores(np.full(len(sources), np.nan), refused=dict.fromkeys(sources, expired))
    seen = warehouse.read(trained.table, left, columns=("review_id", "split"))
    seen_ids = set(seen.filter(pc.equal(seen["split"], "train"))["review_id"].to_pylist())
    stored = pq.read_table(io.BytesIO(store.get(report.scores_key)), columns=["review_id", "score"])
    score_of = dict(zip(stored["review_id"].to_pylist(), stored["score"].to_pylist(), strict=True))
    ids: list[str] = test["review_id"].to_pylist()
    leaked = Counter(source for each, source in zip(ids, sources, strict=True) if each in seen_ids)
    # By source: rows that are compared with one another are scored on one machine.
    unmeasured = {source for each, source in zip(ids, sources, strict=True) if each not in score_of}
    if to_score := [each for each, source in zip(ids, sources, strict=True) if source in unmeasured]:
        dataset = candidate.features.dataset.snapshot
        texts = warehouse.read(dataset.table, dataset.snapshot_id, columns=("review_id", "text"))
        text_of = dict(zip(texts["review_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
        classifier = SavedClassifier.load(store.folder(report.model.object_prefix))
        scores = classifier.score_texts([text_of[each] for each in to_score])
        score_of |= dict(zip(to_score, scores.tolist(), strict=True))
    rows = Counter(sources)
    return ProductionScores(
        np.array([score_of[each] for each in ids]),
        refused={
            source: f"release {release.release_id} was trained on {leaked[source]} of the {rows[source]} test rows, "
            "so it cannot be compared on them"
            for source in sorted(leaked)
        },
    )

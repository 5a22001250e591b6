"""What the version in production makes of a candidate's test rows, as far as that can be compared.

A source is refused where the comparison would favour the released model, or where nobody can tell: a refused source makes
every gate on it an error, and an error never passes.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from platform_assets.features.errors import FeatureError
from platform_assets.features.joined import table_of, with_what_is_left
from platform_assets.features.versions import load_fitted
from platform_assets.governance.release import Release
from platform_assets.models.scorer import Joining, Scorer
from platform_assets.references import DatasetVersion, FeaturesVersion, ModelVersion
from platform_assets.validation.errors import ValidationError
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_ABOUT_ROWS: Final = ("label", "source", "split")
"""Columns that no model reads: where a row comes from, what it turned out to be, and what it is used for."""


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
    favour it; of a dataset whose own split divides subjects, such as one by time, on some of its very rows. It is
    refused as well where rows must be scored again and lack what the released model reads, and all are where nobody
    can tell any more. A stored score is used where the row that it was given is still the same, and for a source
    where that holds of all its rows; of a model that looks at the history of a row, where the dataset is the same, and
    so are the tables beside it. Where rows are scored again, what is looked up is looked up in the candidate's tables, as
    the released model would do by then; in its own where the candidate has none that means the same.

    Args:
        release: The active release.
        candidate: The model that is judged.
        scored: What `scored_rows` yields for it.
        warehouse: Holds the rows of both.
        store: Holds scores and models.
        load: Loads a model of the line's task from a folder.

    Raises:
        ValidationError: the scored rows are not those of the candidate's dataset.
    """
    import pyarrow.compute as pc

    test = scored.filter(pc.equal(scored["split"], "test"))
    report = release.card.registered.report
    if report.model.fingerprint == candidate.fingerprint:
        return ProductionScores(test["score"].to_numpy(), refused={})
    sources: list[str] = test["source"].to_pylist()
    then, now = report.model.features.dataset, candidate.features.dataset
    # What retention or an erasure has taken out of it cannot be among the rows that are left to test on.
    left = warehouse.left_of(then.snapshot.table, then.snapshot.snapshot_id)
    if because := _not_comparable(then, now, left):
        reason = f"release {release.release_id} was trained on {because}, so nobody can tell whether it knows the test rows"
        return ProductionScores(np.full(len(sources), np.nan), refused=dict.fromkeys(sources, reason))
    before = warehouse.read(then.snapshot.table, str(left))
    rows = warehouse.read(now.snapshot.table, now.snapshot.snapshot_id)
    tested = rows.filter(pc.equal(rows["split"], "test"))
    subject = now.subject_column
    if not tested[subject].equals(test[subject]):
        raise ValidationError(
            f"{now.snapshot.table} is not of the rows that were scored; materialize {now.line}_features again"
        )
    compared = _Rows.of(before, tested, subject)
    leaked = Counter(_of(sources, compared.known_to_training(divided=_divides(rows, subject))))
    scores = (
        np.full(len(sources), np.nan)
        if _has_another_history(report.model.features, candidate.features)
        else compared.unchanged_scores(store, report.scores_key)
    )
    # By source: rows that are compared with one another are scored on one machine.
    unmeasured = set(_of(sources, np.isnan(scores)))
    refused = {
        source: f"release {release.release_id} was trained on {leaked[source]} of the {count} test rows, "
        "so it cannot be compared on them"
        for source, count in sorted(Counter(sources).items())
        if leaked[source]
    }
    if unmeasured and (lacking := compared.lacking):
        reason = f"release {release.release_id} reads {', '.join(lacking)}, which the rows to compare on lack or hold as another type"
        refused = dict.fromkeys(sorted(unmeasured), reason) | refused
    elif unmeasured:
        again = np.fromiter((source in unmeasured for source in sources), np.bool_, len(sources))
        chosen = pc.equal(rows["split"], "test").to_numpy()
        chosen[chosen] = again
        scorer = load(store.folder(report.model.object_prefix))
        try:
            scorer = _beside_tables(scorer, report.model, candidate, warehouse, store)
        except FeatureError as problem:
            reason = (
                f"release {release.release_id} looks features up in a table that cannot be read ({problem})"
            )
            return ProductionScores(scores, refused=dict.fromkeys(sorted(unmeasured), reason) | refused)
        scores[again] = scorer.score_rows(rows, chosen)
    return ProductionScores(scores, refused=refused)


def _has_another_history(released: FeaturesVersion, candidate: FeaturesVersion) -> bool:
    """Whether a model may give a row another score because other rows are others."""
    if not released.looks_at_history:
        return False
    tables = candidate.joined_tables
    return released.dataset.version != candidate.dataset.version or any(
        name not in tables or tables[name].content_hash != table.content_hash
        for name, table in released.joined_tables.items()
    )


def _beside_tables(
    scorer: Scorer, released: ModelVersion, candidate: ModelVersion, warehouse: Warehouse, store: ObjectStore
) -> Scorer:
    """The released model's scorer with the tables that it looks features up in.

    Raises:
        FeatureError: one is gone.
    """
    if not (isinstance(scorer, Joining) and scorer.joined):
        return scorer
    theirs = {each.name: each for each in candidate.features.transformers if each.table}
    tables = {}
    for own in released.features.transformers:
        if own.name not in scorer.joined:
            continue
        spec, newer = load_fitted(store, own).spec, theirs.get(own.name)
        is_alike = newer is not None and load_fitted(store, newer).spec.normalised() == spec.normalised()
        version = newer if newer is not None and is_alike else own
        tables[own.name] = table_of(with_what_is_left(version, warehouse), spec, warehouse)
    return scorer.with_tables(tables)


def _not_comparable(then: DatasetVersion, now: DatasetVersion, left: str | None) -> str | None:
    """What the released model was trained on, where that cannot be held against the rows of now."""
    if left is None:
        return "data that has expired"
    if then.task != now.task:
        return f"a dataset of the task {then.task}"
    if (then.subject_namespace, then.subject_column) != (now.subject_namespace, now.subject_column):
        return f"rows that {then.subject_namespace} {then.subject_column} names"
    return None


def _divides(rows: "pa.Table", subject: str) -> bool:
    """Whether a subject has rows on both sides of the split."""
    import pyarrow.compute as pc

    told = rows.select([subject, "split"])
    train, test = (
        set(told.filter(pc.equal(told["split"], split))[subject].to_pylist()) for split in ("train", "test")
    )
    return not train.isdisjoint(test)


def _of(sources: Sequence[str], chosen: "NDArray[np.bool_]") -> list[str]:
    return [source for source, each in zip(sources, chosen, strict=True) if each]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of the released dataset beside the candidate's test rows, by what both have."""

    before_keys: list[tuple[Hashable, ...]]
    """Of each row of the released dataset: its subject, then the columns that both have, of equal types."""
    before_splits: list[str]
    now_keys: list[tuple[Hashable, ...]]
    subject: str
    lacking: tuple[str, ...]
    """Columns of the released dataset that the test rows lack, or hold as another type."""

    @classmethod
    def of(cls, before: "pa.Table", tested: "pa.Table", subject: str) -> "_Rows":
        """The rows of both tables."""
        types = {field.name: field.type for field in tested.schema}
        read = [field for field in before.schema if field.name not in (*_ABOUT_ROWS, subject)]
        shared = [subject, *(field.name for field in read if types.get(field.name) == field.type)]
        return cls(
            before_keys=_keys(before, shared),
            before_splits=before["split"].to_pylist(),
            now_keys=_keys(tested, shared),
            subject=subject,
            lacking=tuple(field.name for field in read if types.get(field.name) != field.type),
        )

    def known_to_training(self, *, divided: bool) -> "NDArray[np.bool_]":
        """Which test rows the released model was trained on: their subjects, or the very rows where those are divided."""
        width = None if divided else 1
        trained = {
            key[:width]
            for key, split in zip(self.before_keys, self.before_splits, strict=True)
            if split == "train"
        }
        return np.array([key[:width] in trained for key in self.now_keys], dtype=bool)

    def unchanged_scores(self, store: ObjectStore, scores_key: str) -> "NDArray[np.float64]":
        """The stored score of each test row; NaN where none was given to a row that is still the same."""
        import pyarrow.parquet as pq

        stored = pq.read_table(io.BytesIO(store.get(scores_key)), columns=[self.subject, "score"])
        subjects = stored[self.subject].to_pylist()
        score_of = dict(zip(subjects, stored["score"].to_pylist(), strict=True))
        # Of several rows of a subject nobody can tell which one a score was given to.
        once = _occurring_once(subjects) & _occurring_once(key[0] for key in self.before_keys)
        measured = {key for key in self.before_keys if key[0] in once}
        return np.array(
            [score_of[key[0]] if key in measured else np.nan for key in self.now_keys], dtype=np.float64
        )


def _occurring_once(values: Iterable[Hashable]) -> set[Hashable]:
    return {each for each, count in Counter(values).items() if count == 1}


def _keys(rows: "pa.Table", columns: Iterable[str]) -> list[tuple[Hashable, ...]]:
    return list(zip(*(_values(rows[name]) for name in columns), strict=True))


def _values(column: "pa.ChunkedArray") -> Iterable[Hashable]:
    """What tells the values of a column apart; of bytes, such as images, their hashes, as all of them may be gigabytes."""
    from pyarrow import types

    if types.is_binary(column.type) or types.is_large_binary(column.type):
        return (
            hashlib.sha256(value.as_buffer()).digest() if value.is_valid else None
            for chunk in column.chunks
            for value in chunk
        )
    return map(_hashable, column.to_pylist())


def _hashable(value: Any) -> Hashable:
    # NaN is no equal of itself.
    if isinstance(value, list | dict) or value != value:  # noqa: PLR0124
        return repr(value)
    hashable: Hashable = value
    return hashable

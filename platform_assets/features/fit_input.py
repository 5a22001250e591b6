"""What a transformer is fitted on: the rows of a dataset version, or those of a file; and which of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from platform_assets.datasets.sources import Source, open_source, without_secrets
from platform_assets.features.errors import FeatureError
from platform_assets.features.row_sources import rows_of_opened
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.features.window_columns import known_times
from platform_assets.governance.subject_columns import ids_of
from platform_assets.governance.subjects import hash_of
from platform_assets.references import HISTORICAL, DatasetVersion
from resources.object_store import GdprClass
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN: Final = "train"
HELD_OUT: Final = ("validation", "test")
FILE_NAMESPACE: Final = "file"
"""Of the keys of a file, which says of nobody's namespace: they are hashed apart from all others."""
_FILE_CLASS: Final[GdprClass] = "personal"
_FILE_RETENTION_DAYS: Final = 3650


@dataclass(frozen=True)
class FitInput:
    """The rows behind `inputSource`, not yet read."""

    uri: str
    """Without what may be secret."""
    content_hash: str
    dataset: DatasetVersion | None
    source: Source | None

    @classmethod
    def of(cls, spec: TransformerSpec, dataset: DatasetVersion | None) -> Self:
        """The input of a transformer.

        Args:
            spec: Names it.
            dataset: The version to read, where it names a dataset.

        Raises:
            DatasetError: there is no such file.
        """
        uri = without_secrets(spec.input_source)
        if dataset is not None:
            return cls(uri, dataset.snapshot.content_hash, dataset, None)
        source = open_source(spec.input_source)
        return cls(uri, source.sha256, None, source)

    @property
    def gdpr_class(self) -> GdprClass:
        """Of whatever is made of it; a file says nothing, so what it holds is personal."""
        return self.dataset.gdpr_class if self.dataset else _FILE_CLASS

    @property
    def retention_days(self) -> int:
        """Of whatever is made of it."""
        return self.dataset.retention_days if self.dataset else _FILE_RETENTION_DAYS

    def read(self, spec: TransformerSpec, warehouse: Warehouse) -> "pa.Table":
        """All its rows.

        Raises:
            WarehouseError: the snapshot is gone.
            DatasetError: a selection finds no row.
            FeatureError: the file is none, or is damaged.
        """
        if self.dataset is not None:
            snapshot = self.dataset.snapshot
            return warehouse.read(snapshot.table, snapshot.snapshot_id)
        assert self.source is not None
        return file_rows(self.source, spec)


@dataclass(frozen=True, slots=True)
class FitRows:
    """The rows that a transformer may learn from."""

    rows: "pa.Table"
    split: str | None
    """The only split that they are of; None where there are no splits, or nothing is learnt."""
    not_yet_known: int = 0
    """Rows of that split that were left out: their target became known when held-out rows had begun."""

    @property
    def count(self) -> int:
        """How many."""
        rows: int = self.rows.num_rows
        return rows


def rows_to_fit(spec: TransformerSpec, rows: "pa.Table") -> FitRows:
    """Which of the rows of its input a transformer learns from.

    Those of split `train`. Where they all lie before the held-out ones, as a split by time leaves them, and the
    spec says when a target became known, only those that were known before the first held-out row. Of a file all
    rows. A z-score or a lag learns nothing.

    Raises:
        FeatureError: a time cannot be read.
    """
    import pyarrow.compute as pc

    if spec.transformer_type in HISTORICAL:
        return FitRows(rows.slice(0, 0), None)
    if "split" not in rows.column_names:
        return FitRows(rows, None)
    train = rows.filter(pc.equal(rows["split"], TRAIN))
    cut = first_held_out(rows, spec.timestamp_column)
    if spec.available_column is None or cut is None or not train.num_rows:
        return FitRows(train, TRAIN)
    newest = pc.max(known_times(train, str(spec.timestamp_column))).as_py()
    if newest is None or newest > cut:
        return FitRows(train, TRAIN)
    known = pc.fill_null(pc.less(known_times(train, spec.available_column), cut), fill_value=False)
    left = train.filter(known)
    return FitRows(left, TRAIN, train.num_rows - left.num_rows)


def first_held_out(rows: "pa.Table", time_column: str | None) -> int | None:
    """When the first row of `HELD_OUT` was, in microseconds UTC; None where there is none, or nobody says when.

    Raises:
        FeatureError: a time cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if time_column is None or "split" not in rows.column_names:
        return None
    held_out = rows.filter(pc.is_in(rows["split"], pa.array(HELD_OUT)))
    earliest: int | None = pc.min(known_times(held_out, time_column)).as_py()
    return earliest


def digest_of_subjects(ids: Sequence[str | None], namespace: str, salt: bytes) -> str:
    """SHA-256 over the sorted salted hashes of subjects, each once: it tells whether two fits had the same ones."""
    hashes = sorted({hash_of(namespace, each, salt) for each in ids if each is not None})
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def subject_ids(rows: "pa.Table", column: str) -> list[str | None]:
    """Whose each row is, as text.

    Raises:
        FeatureError: there is no such column.
        SubjectError: it can hold no ids.
    """
    if column not in rows.column_names:
        raise FeatureError(f"there is no column {column}; the columns are {', '.join(rows.column_names)}")
    found: list[str | None] = ids_of(rows[column]).to_pylist()
    return found


def file_rows(source: Source, spec: TransformerSpec) -> "pa.Table":
    """The rows of a file, as `features fit` reads them: columns of text files have the types that the spec needs.

    Raises:
        DatasetError: a selection finds no row.
        FeatureError: the file is not what its ending says, or is damaged.
    """
    table = rows_of_opened(source, spec).table
    assert table is not None
    return table

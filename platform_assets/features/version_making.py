"""Making a version of a transformer: fitting it where it has none for its input yet, and measuring what came of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.datasets.remains import remains_of
from platform_assets.datasets.snapshots import content_hash
from platform_assets.features.declared import DeclaredTransformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.fit_input import (
    FILE_NAMESPACE,
    FitInput,
    FitRows,
    digest_of_subjects,
    rows_to_fit,
    subject_ids,
)
from platform_assets.features.table_engine import table_engine
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.versions import (
    Fit,
    data_version,
    is_intact,
    load_fitted,
    record_fit,
    recorded,
)
from platform_assets.governance.suppression import Suppression, publish_unless_erased
from platform_assets.outside_systems import OutsideSystems
from platform_assets.references import HISTORICAL, TABLES, DatasetVersion, TableSnapshot, TransformerVersion
from resources.provenance import code_commit
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.woe import Woe


@dataclass(frozen=True, slots=True)
class Made:
    """A version, and what it was made of."""

    version: TransformerVersion
    fitted: FittedTransformer
    rows: "pa.Table"
    """Of its input."""
    fit_rows: FitRows
    reused: bool
    """Whether nothing had to be fitted."""


def make_version(
    declared: DeclaredTransformer, dataset: DatasetVersion | None, outside: OutsideSystems
) -> Made:
    """The version of a transformer for its input as it is now: the one that there is, or a new one.

    It is not the latest yet: whoever shows and publishes what came of it says so in the end, by `make_latest`.

    Args:
        declared: The transformer.
        dataset: The version of its dataset, where it reads one. Of one that has lost rows, what is left is read.
        outside: The systems.

    Raises:
        DatasetError: its file is missing or damaged.
        FeatureError: the rows do not fit its spec, its dataset is gone, or a lost version cannot be put back.
    """
    if dataset is not None and (dataset := as_it_is(dataset, outside.warehouse)) is None:
        raise FeatureError(f"the snapshot of {declared.spec.dataset} is gone; materialize it again")
    spec, given = declared.spec, FitInput.of(declared.spec, dataset)
    rows = given.read(spec, outside.warehouse)
    chosen = rows_to_fit(spec, rows)
    wanted = data_version(spec, given.content_hash)
    known = recorded(outside.ledger, declared.name, wanted)
    if known is not None and is_intact(outside.object_store, known):
        return Made(known, load_fitted(outside.object_store, known), rows, chosen, reused=True)
    fitted = table_engine(outside.settings).fit(
        declared.content, rows if spec.transformer_type in HISTORICAL else chosen.rows
    )
    version = record_fit(
        Fit(
            name=declared.name,
            fitted=fitted,
            version=TransformerVersion(
                name=declared.name,
                number=0,
                transformer_type=spec.transformer_type,
                data_version=wanted,
                sha256="",
                object_key="",
                input_source=given.uri,
                input_hash=given.content_hash,
                fit_split=chosen.split,
                fit_rows=chosen.count,
                dataset_asset=spec.dataset,
                snapshot=dataset.snapshot if dataset else None,
                subject_namespace=dataset.subject_namespace if dataset else None,
                subject_column=dataset.subject_column if dataset else None,
            ),
            subjects=_subjects(declared, dataset, chosen, outside.salt),
            gdpr_class=given.gdpr_class,
            retention_days=given.retention_days,
        ),
        outside,
    )
    return Made(version, fitted, rows, chosen, reused=False)


def as_it_is(dataset: DatasetVersion, warehouse: Warehouse) -> DatasetVersion | None:
    """The dataset with what is left of its rows; None where its snapshot is gone.

    Raises:
        WarehouseError: the warehouse does not answer.
    """
    left = remains_of(dataset.snapshot, warehouse)
    return None if left is None else dataset.model_copy(update={"snapshot": left})


def publish_features(
    made: Made, declared: DeclaredTransformer, dataset: DatasetVersion | None, outside: OutsideSystems
) -> tuple[TableSnapshot, "pa.Table"]:
    """The features of every row of the input, as a version of table `features.<name>`, and these rows.

    Whose each row is, its entity, its time and when it became available stand beside them: what a join as of the time of
    other rows needs. The table names its subjects, so that an erasure finds it: those of the dataset, and of a file its
    entities. A file is read as it is, so rows of erased entities are left out.

    Raises:
        ErasureError: a subject among the rows was erased meanwhile.
        FeatureError: the rows do not fit the spec.
        SubjectError: the entities of a file can be no ids.
    """
    import pyarrow as pa

    spec, given = declared.spec, FitInput.of(declared.spec, dataset)
    rows, subject, namespace = made.rows, str(spec.entity_key), FILE_NAMESPACE
    if dataset is not None:
        subject, namespace = dataset.subject_column, dataset.subject_namespace
    else:
        erased = Suppression.of(outside.ledger, outside.salt).covers_each(
            namespace, subject_ids(rows, subject)
        )
        rows = rows.filter(pa.array([not each for each in erased], pa.bool_()))
    beside = dict.fromkeys(
        filter(None, (subject, spec.entity_key, spec.timestamp_column, spec.available_column))
    )
    table = rows.select(list(beside))
    outputs = table_engine(outside.settings).features(declared.content, made.fitted, rows)
    for name in spec.outputs.values():
        table = table.append_column(name, outputs[name])
    staged = outside.warehouse.stage(
        TABLES["features"].format(line=declared.name),
        table,
        content_hash=content_hash(table),
        gdpr_class=given.gdpr_class,
        retention_days=given.retention_days,
        source_commit=code_commit(),
        subject_column=subject,
        subject_namespace=namespace,
    )
    published = publish_unless_erased(
        staged,
        subject_ids(table, subject),
        namespace=namespace,
        warehouse=outside.warehouse,
        ledger=outside.ledger,
        salt=outside.salt,
    )
    return TableSnapshot.of(published), table


def bins_of(fitted: "Woe") -> list[dict[str, Any]]:
    """The bins of all columns, a record each, for people."""
    return [
        {
            "column": column.name,
            "bin": each.label,
            "rows": each.rows,
            "share": round(each.rows / fitted.rows, 4),
            "events": each.events,
            "event_rate": round(each.events / each.rows, 4) if each.rows else 0.0,
            "woe": round(each.woe, 4),
            "iv": round(each.iv, 4),
        }
        for column in fitted.columns
        for each in column.bins
    ]


def stability_of(fitted: "Woe", rows: "pa.Table") -> list[dict[str, Any]]:
    """Information value of each column, and its population stability index in each split, for people."""
    import pyarrow.compute as pc

    by_split: dict[str, dict[str, float]] = {}
    if "split" in rows.column_names:
        for split in ("validation", "test"):
            of_split = rows.filter(pc.equal(rows["split"], split))
            if of_split.num_rows:
                by_split[split] = fitted.psi(of_split)
    return [
        {
            "column": column.name,
            "iv": round(column.iv, 4),
            "bins": len(column.bins),
            "direction": column.direction,
            **{f"psi_{split}": round(found[column.name], 4) for split, found in by_split.items()},
        }
        for column in sorted(fitted.columns, key=lambda column: -column.iv)
    ]


def _subjects(
    declared: DeclaredTransformer, dataset: DatasetVersion | None, chosen: FitRows, salt: bytes
) -> str | None:
    column = dataset.subject_column if dataset else declared.spec.entity_key
    if column is None or not chosen.count:
        return None
    namespace = dataset.subject_namespace if dataset else FILE_NAMESPACE
    return digest_of_subjects(subject_ids(chosen.rows, column), namespace, salt)

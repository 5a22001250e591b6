"""A z-score or lag of another source, as a line reads it: its table, joined as of the time of each of the line's rows.

What a line's own dataset is the source of is computed along the line's own rows. One of another dataset, or of a file, has
published a table instead. A row of the line is given the newest row of its entity there that was of a time before its own
and became available before it (docs/adr/0052), unless that is older than `oldest_known` allows.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from platform_assets.datasets.remains import remains_of
from platform_assets.features.errors import FeatureError
from platform_assets.features.join import joined_tables
from platform_assets.features.join_entities import entity_kind
from platform_assets.features.join_inputs import FeatureTable, Labels
from platform_assets.features.newest_known import Outcomes
from platform_assets.features.row_files import rows_of_table
from platform_assets.features.table_columns import column_of, decoded
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import LagSpec, TransformerSpec
from platform_assets.features.versions import recorded_table
from platform_assets.fingerprint import code_version
from platform_assets.ledger.ledger import Ledger
from platform_assets.references import HISTORICAL, TransformerVersion
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_MODULES: Final = ("joined", "join", "join_entities", "join_inputs", "join_kernels", "newest_known")


def join_code() -> str:
    """Version of the code that joins; part of the identity of features that are joined."""
    return code_version("join as of a time", *(f"platform_assets.features.{name}" for name in _MODULES))


def is_joined(transformer: TransformerSpec | TransformerVersion, line: str) -> bool:
    """Whether a line reads a transformer's table, rather than have it compute features of the line's own rows."""
    dataset = transformer.dataset if isinstance(transformer, TransformerSpec) else transformer.dataset_asset
    return transformer.transformer_type in HISTORICAL and dataset != f"{line}_dataset"


def oldest_known(spec: TransformerSpec) -> timedelta | None:
    """How old a row of its table may be: what it looks back itself. None where it looks back however far."""
    settings = spec.of_type()
    days: int | None = spec.window_days
    if isinstance(settings, LagSpec):
        days = settings.tolerance if settings.rows is not None else settings.days
    return None if days is None else timedelta(days=days)


@dataclass(frozen=True, slots=True)
class JoinedTransformer:
    """Gives rows of a line the features of a transformer of another source: a `FittedTransformer`."""

    fitted: FittedTransformer
    """As it was fitted."""
    time: str
    """The line's column of the time as of which its rows know."""
    table: "pa.Table | None" = field(default=None, repr=False)
    """What it published. None where a model was loaded and nobody gave it: it goes by what it is told then."""

    @property
    def spec(self) -> TransformerSpec:
        """See `FittedTransformer.spec`."""
        return self.fitted.spec

    def transform(self, rows: "pa.Table") -> "pa.Table":
        """See `FittedTransformer.transform`.

        Raises:
            FeatureError: rows lack a column, or say not whose they are, or of when; or there is no table.
        """
        return self.joined(rows)[0]

    def joined(self, rows: "pa.Table") -> "tuple[pa.Table, Outcomes]":
        """The features of rows of the line, row by row as they came; and how many knew one, or why not.

        Raises:
            FeatureError: as `transform`.
        """
        import pyarrow as pa

        spec, outputs = self.spec, list(self.spec.outputs.values())
        entity = str(spec.entity_key)
        asked = pa.table({entity: column_of(rows, entity), self.time: column_of(rows, self.time)})
        known = FeatureTable(
            rows_of_table(_named_alike(self._published(), asked, entity), name=f"the table of {self._name}"),
            str(spec.timestamp_column),
            available=spec.available_column,
            max_age=oldest_known(spec),
        )
        labels = Labels(rows_of_table(asked, name="the rows of the line"), (entity,), self.time)
        found, outcomes = joined_tables(labels, [known])
        return found.select(outputs), outcomes[0]

    def to_bytes(self) -> bytes:
        """See `FittedTransformer.to_bytes`: without its table, which would be too much beside a model."""
        return self.fitted.to_bytes()

    @property
    def _name(self) -> str:
        return " and ".join(self.spec.outputs.values())

    def _published(self) -> "pa.Table":
        if self.table is None:
            raise FeatureError(
                f"{self._name}: is looked up in a table that is not here; give the value of each row itself"
            )
        return self.table


def table_of(version: TransformerVersion, spec: TransformerSpec, warehouse: Warehouse) -> "pa.Table":
    """The columns that a join reads of the table of a version which has one.

    Raises:
        WarehouseError: it cannot be read.
    """
    assert version.table is not None
    keys = filter(None, (spec.entity_key, spec.timestamp_column, spec.available_column))
    columns = list(dict.fromkeys([*keys, *spec.outputs.values()]))
    return warehouse.read(version.table.table, version.table.snapshot_id, columns=columns)


def with_table(
    version: TransformerVersion, fitted: FittedTransformer, time: str | None, warehouse: Warehouse
) -> FittedTransformer:
    """A transformer as a line reads it: beside its table, where the version names one.

    Args:
        version: Of the transformer; one that is joined has been through `with_what_is_left`.
        fitted: The same.
        time: The line's column of the role time.
        warehouse: Holds the table.

    Raises:
        FeatureError: there is a table to join, and no time as of which.
        WarehouseError: the table cannot be read.
    """
    if version.table is None:
        return fitted
    if time is None:
        raise FeatureError(
            f"{version.label}: is joined as of the time of each row, and the line has none any more; give a column the role time"
        )
    return JoinedTransformer(fitted, time, table_of(version, fitted.spec, warehouse))


def with_recorded_tables(
    versions: Mapping[str, TransformerVersion], line: str, ledger: Ledger, warehouse: Warehouse
) -> dict[str, TransformerVersion]:
    """These versions, those that a line joins with what is left of the tables that they published.

    Raises:
        FeatureError: a table is not there, or nobody has recorded which one it is.
        WarehouseError: the warehouse does not answer.
    """
    found = {}
    for name, version in versions.items():
        if is_joined(version, line):
            recorded = version.model_copy(update={"table": recorded_table(ledger, version)})
            found[name] = with_what_is_left(recorded, warehouse)
        else:
            found[name] = version
    return found


def with_what_is_left(version: TransformerVersion, warehouse: Warehouse) -> TransformerVersion:
    """A version that a line joins, with what erasures and retention have left of its table.

    Raises:
        FeatureError: nothing is left, or nobody has recorded which table it is.
        WarehouseError: the warehouse does not answer.
    """
    if version.table is None:
        raise FeatureError(
            f"{version.label}: nobody has recorded which table it published; materialize {version.name} again"
        )
    left = remains_of(version.table, warehouse)
    if left is None:
        raise FeatureError(
            f"{version.label}: its table ({version.table.table}, snapshot {version.table.snapshot_id}) is gone, so it cannot "
            f"be joined; materialize {version.name} again, and name the latest version"
        )
    return version.model_copy(update={"table": left})


def outcomes_by_name(
    transformers: Mapping[str, FittedTransformer], rows: "pa.Table"
) -> list[dict[str, str | int]]:
    """How many rows knew a feature of each transformer that is joined, and why the others did not: for people."""
    return [
        {"transformer": name, **asdict(each.joined(rows)[1])}
        for name, each in transformers.items()
        if isinstance(each, JoinedTransformer)
    ]


def columns_behind(
    transformers: Mapping[str, FittedTransformer], dataset: str
) -> dict[str, list[tuple[str, str]]]:
    """Asset and column behind each feature that is joined: the transformer's own, found by the dataset's entity and time."""
    return {
        output: [(name, output), (dataset, str(each.spec.entity_key)), (dataset, each.time)]
        for name, each in transformers.items()
        if isinstance(each, JoinedTransformer)
        for output in each.spec.outputs.values()
    }


def _named_alike(table: "pa.Table", rows: "pa.Table", entity: str) -> "pa.Table":
    """The table, with integers that name entities written out where the line's rows have texts.

    A line writes every key and category as text; a file may hold the same keys as integers.
    """
    import pyarrow as pa

    column = column_of(table, entity)
    if (
        entity_kind(rows.schema.field(entity).type, entity) == "text"
        and entity_kind(column.type, entity) == "integer"
    ):
        written = decoded(column).cast(pa.string())
        return table.set_column(table.schema.get_field_index(entity), entity, written)
    return table

"""What computes a transformer's asset: this process, or Spark, by way of Parquet files; with the same bits."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from platform_assets.features.engine import fit_rows, run_transformer
from platform_assets.features.errors import FeatureError
from platform_assets.features.file_output import own_scratch
from platform_assets.features.memory_budget import DEFAULT_LIMIT_BYTES, limit_beside
from platform_assets.features.row_files import RowFiles, open_rows
from platform_assets.features.transformer import FittedTransformer, fit
from platform_assets.features.transformer_spec import FeatureTransformer
from platform_assets.references import HISTORICAL
from resources.settings import PlatformSettings
from resources.spark import address_of_spark, on_kubernetes, shown_remote, spark_session

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.spark_engine import SparkEngine

_GROUP_ROWS: Final = 1 << 17
"""Of a row group: an executor reads one at least."""


class TableEngine(Protocol):
    """Fits transformers on rows that this process has, and makes their features."""

    def fit(self, transformer: FeatureTransformer, rows: "pa.Table") -> FittedTransformer:
        """The transformer, fitted; see `transformer.fit`."""
        ...

    def features(
        self, transformer: FeatureTransformer, fitted: FittedTransformer, rows: "pa.Table"
    ) -> "pa.Table":
        """The features of rows, row by row as they came; see `FittedTransformer.transform`."""
        ...


class LocalTables:
    """In this process, in memory."""

    def fit(self, transformer: FeatureTransformer, rows: "pa.Table") -> FittedTransformer:
        """See `TableEngine.fit`."""
        return fit(transformer.spec, rows)

    def features(
        self, transformer: FeatureTransformer, fitted: FittedTransformer, rows: "pa.Table"
    ) -> "pa.Table":
        """See `TableEngine.features`."""
        del transformer
        return fitted.transform(rows)


@dataclass(frozen=True, slots=True)
class SparkTables:
    """On Spark, through files in a folder that its executors see; there is a session for each call."""

    settings: PlatformSettings

    def fit(self, transformer: FeatureTransformer, rows: "pa.Table") -> FittedTransformer:
        """See `TableEngine.fit`.

        Raises:
            FeatureError: the rows do not fit the spec, or no folder is named that executors see.
            SparkError: Spark cannot be had, or gives up.
        """
        spec = transformer.spec
        if spec.transformer_type in HISTORICAL:
            return fit(spec, rows)
        assert spec.target is not None
        with self._folder() as folder:
            source = _written(folder, transformer, rows, [*spec.columns, spec.target])
            with self._session(folder) as spark:
                return fit_rows(
                    transformer, source, memory_limit_bytes=self._limit_bytes, spark=spark, scratch=folder
                )

    def features(
        self, transformer: FeatureTransformer, fitted: FittedTransformer, rows: "pa.Table"
    ) -> "pa.Table":
        """See `TableEngine.features`.

        Raises:
            FeatureError, SparkError: as `fit`.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        spec = transformer.spec
        read = [*spec.columns, *filter(None, (spec.entity_key, spec.timestamp_column, spec.available_column))]
        # The engine gives rows back in another order.
        number = "row"
        while number in {*rows.column_names, *spec.outputs.values()}:
            number += "_"
        with self._folder() as folder:
            numbered = {number: pa.array(np.arange(rows.num_rows))}
            source = _written(folder, transformer, rows, read, beside=numbered)
            target = folder / "features.parquet"
            with self._session(folder) as spark:
                run_transformer(
                    transformer,
                    source,
                    target,
                    fitted=fitted,
                    memory_limit_bytes=self._limit_bytes,
                    scratch=folder,
                    spark=spark,
                )
            made = pq.read_table(target, columns=[number, *spec.outputs.values()])
        return made.sort_by(number).drop_columns(number)

    @property
    def _limit_bytes(self) -> int:
        settings = self.settings
        limit = (
            settings.spark_pods.task_bytes if on_kubernetes(settings.spark_remote) else DEFAULT_LIMIT_BYTES
        )
        return limit_beside(limit)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        settings, parent = self.settings, self.settings.spark_folder
        if parent is None and address_of_spark(settings.spark_remote) is not None:
            raise FeatureError(
                f"PLATFORM_SPARK_FOLDER is not set: executors of {shown_remote(settings.spark_remote)} see no folder of this "
                "machine; name one on a volume that they and this process have under the same path"
            )
        if parent is None:
            parent = settings.home / "spark"
            parent.mkdir(parents=True, exist_ok=True)
        with own_scratch(parent) as folder:
            yield folder

    @contextmanager
    def _session(self, folder: Path) -> Iterator["SparkEngine"]:
        from platform_assets.features.spark_engine import SparkEngine

        settings = self.settings
        with spark_session(settings.spark_remote, folder, pods=settings.spark_pods) as session:
            yield SparkEngine(session)


def table_engine(settings: PlatformSettings) -> TableEngine:
    """The one that settings choose."""
    return SparkTables(settings) if settings.features_engine == "spark" else LocalTables()


def _written(
    folder: Path,
    transformer: FeatureTransformer,
    rows: "pa.Table",
    columns: Sequence[str],
    beside: Mapping[str, "pa.Array"] = MappingProxyType({}),
) -> RowFiles:
    """These columns, and others beside them, in a file; messages call it by the transformer's name.

    Raises:
        FeatureError: one is missing.
    """
    import pyarrow.parquet as pq

    named = RowFiles(transformer.name, (), rows.schema, rows.num_rows, 0, table=rows)
    named.refuse_missing(columns)
    table = rows.select(list(dict.fromkeys(columns)))
    for name, values in beside.items():
        table = table.append_column(name, values)
    file = folder / "rows.parquet"
    pq.write_table(table, file, row_group_size=_GROUP_ROWS)
    return replace(open_rows(file, transformer.spec), name=transformer.name)

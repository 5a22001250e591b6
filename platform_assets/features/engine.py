"""The local engine: a transformer over files of any size, in bounded memory, with the same bits as over one table.

Weights of evidence look at one row at a time: rows stay in the order of the input. z-scores and lags look along the
history of an entity: rows come out in the order of entity, time and input. Where the input has that order already,
which a pass over two columns tells, it is streamed; otherwise it is sorted first, on disk where it is large.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platform_assets.features.errors import FeatureError
from platform_assets.features.file_form import metadata_of, writing_options
from platform_assets.features.file_output import (
    Output,
    own_scratch,
    refuse_full_disk,
    refuse_overwriting,
    whole_output,
)
from platform_assets.features.fitting import OnProgress, fit_on_rows, placed
from platform_assets.features.history import History, Sorting, counted
from platform_assets.features.memory_budget import DEFAULT_LIMIT_BYTES, Budget, budget_for, refuse_too_large
from platform_assets.features.overlap import read_ahead, written_behind
from platform_assets.features.row_chunks import chunks_of
from platform_assets.features.row_files import RowFiles, open_rows
from platform_assets.features.row_order import whole_instants
from platform_assets.features.table_columns import first_missing
from platform_assets.features.transformer import FittedTransformer, kernel_version
from platform_assets.features.window_report import NO_ANSWER, NO_VALUE
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.spark_engine import SparkEngine, SparkHistory
    from platform_assets.features.transformer_spec import FeatureTransformer, TransformerSpec
    from platform_assets.features.windows import WindowStream

Computed = Generator[tuple["pa.Table", "pa.Table"], None, None]
"""Rows, and behind them their features; in the order in which they are written."""
DEFAULT_THREADS: Final = 2
_FEATURE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did."""

    rows: int
    seconds: float
    sorting: Sorting
    """How rows came into the order of entity and time, where they are needed in it."""
    runs: int
    """Sorted ones that were written to disk."""
    sort_seconds: float
    """Spent on bringing rows into order, reading them included; computing and writing go on at the same time."""
    nulls: dict[str, dict[str, int]]
    """Rows without a value by feature and reason; `window_report` tells windows apart further."""

    @property
    def ns_a_row(self) -> float:
        """All that a row costs, reading and writing included."""
        return 1e9 * self.seconds / self.rows if self.rows else 0.0


def run_transformer(
    transformer: "FeatureTransformer",
    source: Path | Sequence[Path] | RowFiles,
    target: Path,
    *,
    fitted: FittedTransformer | None = None,
    memory_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    threads: int = DEFAULT_THREADS,
    scratch: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
    budget: Budget | None = None,
    spark: "SparkEngine | None" = None,
) -> RunSummary:
    """Write the rows of files, with their features behind them, into one Parquet file.

    Args:
        transformer: What makes the features.
        source: A Parquet file, several, or a folder of them; a small csv or JSON Lines file.
        target: The file; it appears whole, in the place of one that was there, or not at all.
        fitted: Of woe: the weights; fitted on the source if None.
        memory_limit_bytes: Of the whole process.
        threads: With one, nothing happens side by side.
        scratch: The folder for what is sorted on disk; that of the target if None.
        on_progress: Is told how far it has come.
        budget: In place of the one that follows from the limit.
        spark: What computes them in place of this process, with the same bits; the limit is then that of each of its
            workers, too.

    Raises:
        FeatureError: rows, files or disks do not allow it; nothing is left at the target or in the scratch folder.
    """
    began = time.monotonic()
    spec = transformer.spec
    rows = _opened(source, spec, memory_limit_bytes, fitted=fitted)
    refuse_overwriting(target, rows.files, folder=rows.folder)
    rows.refuse_missing(spec.columns)
    if taken := [name for name in spec.outputs.values() if name in rows.schema.names]:
        raise FeatureError(
            f"{rows.name}: has a column {shown_name(taken[0])} already, which is the name of a feature; rename it, or "
            "give the feature another name by outputNames"
        )
    _refuse_unwritable(rows)
    run = _Run(
        transformer,
        rows,
        budget or _budget(rows, memory_limit_bytes, extra=_FEATURE_BYTES * len(spec.columns)),
        max(1, threads),
        on_progress,
        nulls={name: {} for name in spec.outputs.values()},
        spark=spark,
    )
    with whole_output(target, scratch=scratch) as output:
        if spec.transformer_type == "woe":
            run.by_row(output, fitted)
        else:
            run.by_history(output)
    history = run.history
    return RunSummary(
        rows.rows,
        time.monotonic() - began,
        history.sorting if history else "not needed",
        history.runs if history else 0,
        history.sort_seconds if history else 0.0,
        run.nulls,
    )


def fit_rows(
    transformer: "FeatureTransformer",
    source: Path | Sequence[Path] | RowFiles,
    *,
    memory_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    threads: int = DEFAULT_THREADS,
    on_progress: OnProgress = lambda *_: None,
    budget: Budget | None = None,
    spark: "SparkEngine | None" = None,
    scratch: Path | None = None,
) -> FittedTransformer:
    """The transformer, fitted on all rows of files; the parameters are those of `run_transformer`.

    Raises:
        FeatureError: the rows do not fit the spec, or cannot be read.
    """
    rows = _opened(source, transformer.spec, memory_limit_bytes)
    budget = budget or _budget(rows, memory_limit_bytes)
    with nullcontext(scratch) if scratch or spark is None else own_scratch() as folder:
        return fit_on_rows(
            transformer.spec,
            rows,
            budget=budget,
            threads=max(1, threads),
            on_progress=on_progress,
            passes=spark.passes(rows, budget, folder, on_progress) if spark and folder else None,
        )


def fit_to_file(
    transformer: "FeatureTransformer",
    source: Path | Sequence[Path] | RowFiles,
    target: Path,
    *,
    memory_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    threads: int = DEFAULT_THREADS,
    on_progress: OnProgress = lambda *_: None,
    spark: "SparkEngine | None" = None,
) -> FittedTransformer:
    """The same, and its state in a file that appears whole or not at all.

    Raises:
        FeatureError: as `fit_rows`, or the file cannot be written.
    """
    rows = _opened(source, transformer.spec, memory_limit_bytes)
    refuse_overwriting(target, rows.files, folder=rows.folder)
    with whole_output(target) as output:
        fitted = fit_rows(
            transformer,
            rows,
            memory_limit_bytes=memory_limit_bytes,
            threads=threads,
            on_progress=on_progress,
            spark=spark,
            scratch=output.scratch,
        )
        output.incoming.write_bytes(fitted.to_bytes())
    return fitted


@dataclass
class _Run:
    transformer: "FeatureTransformer"
    rows: RowFiles
    budget: Budget
    threads: int
    on_progress: OnProgress
    nulls: dict[str, dict[str, int]]
    spark: "SparkEngine | None" = None
    history: "History | SparkHistory | None" = None
    """Of those that look along it."""

    def by_row(self, output: Output, fitted: FittedTransformer | None) -> None:
        """Features of each row by itself."""
        self._refuse_full_disk(output, on_the_way=self._parts_bytes)
        spark = self.spark
        if fitted is None:
            fitted = fit_on_rows(
                self.transformer.spec,
                self.rows,
                budget=self.budget,
                threads=self.threads,
                on_progress=self.on_progress,
                passes=spark.passes(self.rows, self.budget, output.scratch, self.on_progress)
                if spark
                else None,
            )
        if spark is not None:
            self._write(
                output,
                spark.by_row(fitted, self.rows, self.budget, output.scratch, self.on_progress),
                fitted,
            )
            return
        chunks = chunks_of(self.rows, budget=self.budget, threads=self.threads)
        self._write(output, self._computed(chunks, fitted.transform), fitted)

    def by_history(self, output: Output) -> None:
        """Features of each row by those of its entity before it."""
        from platform_assets.features.windows import WindowStream, WindowTransformer

        spec = self.transformer.spec
        fitted = WindowTransformer(spec)
        if self.spark is not None:
            self._refuse_full_disk(output, on_the_way=self._parts_bytes)
            by_spark = self.spark.by_history(spec, self.rows, self.budget, output.scratch, self.on_progress)
            self.history = by_spark
            self._write(output, by_spark.computed(), fitted)
            return
        history = History(self.rows, spec, self.budget, self.threads, self.on_progress)
        history.look()
        self._refuse_full_disk(output, on_the_way=history.disk_bytes)
        self.history = history
        stream = WindowStream(spec, keep="newest")
        self._write(output, self._computed(history.chunks(output.scratch), stream.process, stream), fitted)

    @property
    def _parts_bytes(self) -> int:
        """What Spark hands over on disk: all rows with their features."""
        if self.spark is None:
            return 0
        return int((self.rows.row_bytes().usual + _FEATURE_BYTES * len(self.nulls)) * self.rows.rows)

    def _computed(
        self,
        chunks: Iterator["pa.Table"],
        process: Callable[["pa.Table"], "pa.Table"],
        stream: "WindowStream | None" = None,
    ) -> Computed:
        """Chunks with their features, which are computed here."""
        done = 0
        with read_ahead(chunks, threads=self.threads) as ready:
            for chunk in ready if stream is None else whole_instants(ready, stream):
                with placed(self.rows, done):
                    features = process(chunk)
                done += chunk.num_rows
                yield chunk, features

    def _write(
        self,
        output: Output,
        computed: Computed,
        fitted: FittedTransformer,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = list(self.nulls)
        schema = pa.schema(
            [*self.rows.schema, *(pa.field(name, pa.float64()) for name in names)],
            metadata=metadata_of(
                self.rows.schema.metadata,
                self._made_by(fitted),
                reordered=self.history is not None and not self.history.is_sorted,
            ),
        )
        told = counted(self.on_progress, "computing", self.rows.rows)
        with (
            pa.OSFile(str(output.incoming), "wb") as sink,
            pq.ParquetWriter(sink, schema, **writing_options(schema, self.rows)) as writer,
            written_behind(partial(_write_group, writer), threads=self.threads) as write,
            closing(computed),
        ):
            for chunk, features in computed:
                for name in names:
                    column = features.column(name)
                    self._count_nulls(chunk, name, column)
                    chunk = chunk.append_column(schema.field(name), column)  # noqa: PLW2901 - grows by its features
                write(chunk.replace_schema_metadata(schema.metadata))
                told(chunk.num_rows)

    def _count_nulls(self, rows: "pa.Table", name: str, feature: "pa.ChunkedArray") -> None:
        if not feature.null_count:
            return
        found = self.nulls[name]
        missing = 0
        if self.transformer.spec.transformer_type == "zscore":
            source = next(each for each, output in self.transformer.spec.outputs.items() if output == name)
            missing, _ = first_missing(rows.column(source))
            found[NO_VALUE] = found.get(NO_VALUE, 0) + missing
        found[NO_ANSWER] = found.get(NO_ANSWER, 0) + feature.null_count - missing

    def _made_by(self, fitted: FittedTransformer) -> dict[str, Any]:
        spec = self.transformer.spec
        return {
            "name": self.transformer.name,
            "spec": spec.normalised(),
            "kernel_version": kernel_version(spec.transformer_type),
            "fitted_sha256": hashlib.sha256(fitted.to_bytes()).hexdigest(),
        }

    def _refuse_full_disk(self, output: Output, *, on_the_way: int) -> None:
        features = _FEATURE_BYTES * len(self.nulls) * self.rows.rows
        needs = [(output.target.parent, self.rows.size_bytes + features, "the output")]
        if on_the_way:
            what = "rows that are sorted" if self.spark is None else "rows that Spark hands over"
            needs.append((output.scratch.parent, on_the_way, what))
        refuse_full_disk(needs)


def _opened(
    source: Path | Sequence[Path] | RowFiles,
    spec: "TransformerSpec",
    limit_bytes: int,
    fitted: FittedTransformer | None = None,
) -> RowFiles:
    if isinstance(source, RowFiles):
        return source
    refuse_too_large([source] if isinstance(source, Path) else source, limit_bytes)
    return open_rows(source, spec, fitted=fitted)


def _budget(rows: RowFiles, limit_bytes: int, *, extra: int = 0) -> Budget:
    held = 0 if rows.table is None else rows.table.nbytes
    return budget_for(limit_bytes, rows.row_bytes().most + extra, held_bytes=held, name=rows.name)


def _write_group(writer: Any, rows: "pa.Table") -> None:
    """As one row group."""
    writer.write_table(rows, rows.num_rows)


def _refuse_unwritable(rows: RowFiles) -> None:
    """Of formats other than Parquet: columns that it has no type for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if rows.table is None:
        return
    for column in rows.schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([column])).close()
        except pa.ArrowException:
            raise FeatureError(
                f"{rows.name}: column {shown_name(column.name)} is of type {column.type}, which Parquet has no form for; "
                "leave it out, or keep to one type"
            ) from None

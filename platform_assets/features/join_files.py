"""The point-in-time join of files of any size, into a file that appears whole or not at all."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from platform_assets.features.csv_types import typed
from platform_assets.features.file_form import metadata_of, writing_options
from platform_assets.features.file_output import Output, refuse_full_disk, refuse_overwriting, whole_output
from platform_assets.features.fitting import OnProgress
from platform_assets.features.history import counted
from platform_assets.features.join import Join
from platform_assets.features.join_inputs import FeatureTable, Labels, refuse_unjoinable
from platform_assets.features.memory_budget import DEFAULT_LIMIT_BYTES, Budget, budget_for, refuse_too_large
from platform_assets.features.newest_known import Outcomes
from platform_assets.features.overlap import read_ahead, written_behind
from platform_assets.features.row_files import CSV, open_rows

DEFAULT_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class FeatureFiles:
    """A table of features in files, as `FeatureTable` has it."""

    source: Path
    """A Parquet file of any size, a folder of them, or a small csv or JSON Lines file."""
    time: str
    available: str | None = None
    max_age: timedelta | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class JoinSummary:
    """What a join did."""

    rows: int
    """Of labels, in and out."""
    seconds: float
    blocks: int
    """Of labels: as often each table of features was read."""
    outcomes: dict[str, Outcomes]
    """Label rows by what was known, by table of features."""

    @property
    def ns_a_row(self) -> float:
        """All that a label row costs, reading and writing included."""
        return 1e9 * self.seconds / self.rows if self.rows else 0.0


def join_files(
    labels: Path,
    features: Sequence[FeatureFiles],
    target: Path,
    *,
    entity: Sequence[str],
    time_column: str,
    include_current: bool = False,
    memory_limit_bytes: int = DEFAULT_LIMIT_BYTES,
    threads: int = DEFAULT_THREADS,
    on_progress: OnProgress = lambda *_: None,
    budget: Budget | None = None,
) -> JoinSummary:
    """Write the label rows, in their order, with the features that were known at the time of each behind them.

    Args:
        labels: A Parquet file of any size, a folder of them, or a small csv or JSON Lines file.
        features: Where features are.
        target: The Parquet file; it appears whole, in the place of one that was there, or not at all.
        entity: Columns that name whose a row is, on both sides: texts or integers.
        time_column: The labels' column of the time at which features are to be known.
        include_current: Whether what became available at that very time counts.
        memory_limit_bytes: Of the whole process.
        threads: With one, nothing happens side by side.
        on_progress: Is told how far it has come.
        budget: In place of the one that follows from the limit.

    Raises:
        FeatureError: rows, files or disks do not allow it; nothing is left at the target.
    """
    began = time.monotonic()
    refuse_too_large([labels, *(each.source for each in features)], memory_limit_bytes)
    asked = Labels(
        open_rows(labels, _Columns(timestamp_column=time_column)), tuple(entity), time_column, include_current
    )
    tables = [_opened(each, entity) for each in features]
    for rows in (asked.rows, *(each.rows for each in tables)):
        refuse_overwriting(target, rows.files, folder=rows.folder)
    refuse_unjoinable(asked, tables)
    join = Join(
        asked,
        tables,
        budget or _budget(asked, tables, memory_limit_bytes),
        max(1, threads),
        on_progress,
    )
    with whole_output(target) as output:
        _write(join, output)
    names = _told_apart([each.source for each in features])
    return JoinSummary(
        asked.rows.rows, time.monotonic() - began, join.blocks, dict(zip(names, join.outcomes, strict=True))
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of csv that are read, as `ReadColumns` has them."""

    transformer_type: str = "woe"
    columns: tuple[str, ...] = ()
    timestamp_column: str | None = None
    available_column: str | None = None
    target: str | None = None


def _opened(files: FeatureFiles, entity: Sequence[str]) -> FeatureTable:
    columns = _Columns(timestamp_column=files.time, available_column=files.available)
    rows = open_rows(files.source, columns)
    table = FeatureTable(rows, files.time, files.available, files.max_age, files.prefix)
    if rows.table is not None and files.source.suffix.lower() == CSV:
        columns = replace(columns, columns=tuple(table.features(entity)))
        found = typed(rows.table, columns, name=rows.name)
        table = replace(table, rows=replace(rows, table=found, schema=found.schema))
    return table


def _budget(labels: Labels, tables: Sequence[FeatureTable], limit_bytes: int) -> Budget:
    added = sum(table.rows.row_bytes(list(table.features(labels.entity))).most for table in tables)
    largest = max(labels.rows.row_bytes().most + added, *(table.rows.row_bytes().most for table in tables))
    held = sum(
        rows.table.nbytes
        for rows in (labels.rows, *(table.rows for table in tables))
        if rows.table is not None
    )
    return budget_for(limit_bytes, largest, held_bytes=held, name=labels.rows.name)


def _write(join: Join, output: Output) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = join.labels.rows
    _refuse_full_disk(join, output)
    schema = pa.schema(
        [*rows.schema, *join.added],
        metadata=metadata_of(rows.schema.metadata, _made_by(join), reordered=False),
    )
    told = counted(join.on_progress, "writing", rows.rows)
    with (
        pa.OSFile(str(output.incoming), "wb") as sink,
        pq.ParquetWriter(sink, schema, **writing_options(schema, rows)) as writer,
        written_behind(partial(_write_group, writer), threads=join.threads) as write,
        read_ahead(join.chunks(), threads=join.threads) as chunks,
    ):
        for chunk in chunks:
            write(chunk.replace_schema_metadata(schema.metadata))
            told(chunk.num_rows)


def _write_group(writer: Any, rows: Any) -> None:
    """As one row group."""
    writer.write_table(rows, rows.num_rows)


def _refuse_full_disk(join: Join, output: Output) -> None:
    rows = join.labels.rows
    added = sum(
        table.rows.row_bytes(list(table.features(join.labels.entity))).usual for table in join.features
    )
    refuse_full_disk([(output.target.parent, rows.size_bytes + int(added * rows.rows), "the output")])


def _made_by(join: Join) -> dict[str, Any]:
    """What the file says of itself: of files, their names, not where they lay."""
    return {
        "name": "point-in-time join",
        "entity": list(join.labels.entity),
        "time": join.labels.time,
        "include_current": join.labels.include_current,
        "features": [
            {
                "file": Path(table.rows.name).name,
                "time": table.time,
                "available": table.available,
                "max_age_seconds": None if table.max_age is None else table.max_age.total_seconds(),
                "prefix": table.prefix,
            }
            for table in join.features
        ],
    }


def _told_apart(sources: Sequence[Path]) -> list[str]:
    """Names of files, numbered where one is named twice."""
    names = [str(source) for source in sources]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: at + 1].count(name)})"
        for at, name in enumerate(names)
    ]

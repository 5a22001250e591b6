"""Whether rows are in the order of entity and time, and what they are sorted by where they are not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import Disorder, Keys, KeysOf
from platform_assets.features.fitting import placed
from platform_assets.features.memory_budget import Budget
from platform_assets.features.overlap import read_ahead
from platform_assets.features.row_chunks import chunks_of
from platform_assets.features.row_files import OnRows, RowFiles
from platform_assets.features.table_columns import first_missing
from platform_assets.features.transformer_spec import TransformerSpec
from platform_assets.reading.errors import shown_name

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.features.windows import WindowStream


def keys_of(spec: TransformerSpec) -> KeysOf:
    """What sorts rows of z-scores and lags: their entity, and their time as the kernels have it."""
    from platform_assets.features.window_columns import times_of

    entity_key, timestamp_column = _named(spec)

    def keys(table: "pa.Table") -> Keys:
        entity = table.column(entity_key).unify_dictionaries().combine_chunks()
        return Keys(entity, times_of(table.column(timestamp_column), timestamp_column))

    return keys


def look_along(rows: RowFiles, spec: TransformerSpec, *, budget: Budget, threads: int, told: OnRows) -> bool:
    """Whether the rows are in order: entities rise, and the times of one do not fall.

    Args:
        rows: Two of their columns are read.
        spec: Names these two.
        budget: What may lie in memory.
        threads: With more than one, the next rows are read meanwhile.
        told: Is told how many rows have been looked at.

    Raises:
        FeatureError: a column is missing or of a type that cannot be sorted by, or a value is null; the message says
            how many are, and which row is the first.
    """
    from platform_assets.features.window_columns import read_window_rows

    names = _named(spec)
    rows.refuse_missing([*names, *([spec.available_column] if spec.available_column else []), *spec.columns])
    with placed(rows, 0):
        read_window_rows(spec, rows.schema.empty_table())  # for the types, before any row is read
    keys, disorder = keys_of(spec), Disorder()
    nulls = dict.fromkeys(names, (0, 0))
    seen = 0
    with read_ahead(chunks_of(rows, names, budget=budget, threads=threads), threads=threads) as chunks:
        for chunk in chunks:
            for name in names:
                count, row = first_missing(chunk.column(name))
                if count:
                    before, first = nulls[name]
                    nulls[name] = before + count, first or seen + row
            if not any(count for count, _ in nulls.values()) and disorder.row is None:
                with placed(rows, seen):
                    disorder.look(keys(chunk))
            seen += chunk.num_rows
            told(chunk.num_rows)
    for name, (count, first) in nulls.items():
        if count:
            raise FeatureError(
                f"{rows.name}: column {shown_name(name)} is null in {count:,} rows (first: row {first:,}); whose history "
                "such a row belongs to, or when it was, is unknown: leave them out"
            )
    return disorder.row is None


def read_checked(
    rows: RowFiles,
    spec: TransformerSpec,
    columns: Sequence[str] | None = None,
    *,
    budget: Budget,
    threads: int,
) -> Iterator["pa.Table"]:
    """The rows, after a look at what windows are computed from: once they are sorted, nobody knows where one stood.

    Raises:
        FeatureError: a value is one that no window has place for; the message names the file and the row.
    """
    from platform_assets.features.window_columns import read_window_rows

    seen = 0
    # Small ones: a run may end behind each.
    small = replace(
        budget,
        batch_rows=budget.step_rows,
        batch_bytes=min(budget.batch_bytes, budget.sort.bounded_run_bytes),
    )
    for chunk in chunks_of(rows, columns, budget=small, threads=threads):
        with placed(rows, seen):
            read_window_rows(spec, chunk)
        seen += chunk.num_rows
        yield chunk


def whole_instants(chunks: Iterator["pa.Table"], stream: "WindowStream") -> Iterator["pa.Table"]:
    """The same rows; where those of an instant see each other, they are in one chunk.

    Args:
        chunks: Sorted rows.
        stream: What is to process them; it knows whether they do.
    """
    import pyarrow as pa

    rest: pa.Table | None = None
    for chunk in chunks:
        together = chunk if rest is None else pa.concat_tables([rest, chunk])
        count = stream.complete_rows(together)
        if count:
            yield together.slice(0, count)
        rest = together.slice(count) if count < together.num_rows else None
    if rest is not None:
        yield rest


def _named(spec: TransformerSpec) -> tuple[str, str]:
    """Columns of the entity and of its time."""
    assert spec.entity_key is not None
    assert spec.timestamp_column is not None
    return spec.entity_key, spec.timestamp_column

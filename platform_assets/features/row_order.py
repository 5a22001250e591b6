"""Whether rows are in the order of entity and time, and what they are sorted by where they are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the order of some rows has found."""

    nulls: dict[str, tuple[int, int]]
    """Of the columns of entity and time: how many, and the first one's number, from 1 among all rows."""
    first: tuple[Any, int] | None
    """Key of the first row; None where there is none."""
    last: tuple[Any, int] | None
    is_sorted: bool


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
    refuse_wrong_columns(rows, spec)
    return judged(rows, [look_at(rows, spec, budget=budget, threads=threads, told=told)])


def refuse_wrong_columns(rows: RowFiles, spec: TransformerSpec) -> None:
    """Refuse, before any row is read, columns that windows cannot be computed from.

    Raises:
        FeatureError: one is missing, or of a type that it cannot be.
    """
    from platform_assets.features.window_columns import read_window_rows

    rows.refuse_missing(window_columns(spec))
    with placed(rows, 0):
        read_window_rows(spec, rows.schema.empty_table())


def look_at(
    rows: RowFiles,
    spec: TransformerSpec,
    *,
    start: int = 0,
    budget: Budget,
    threads: int,
    told: OnRows = lambda _: None,
) -> Look:
    """What the order of these rows is, and which of them have none.

    Args:
        rows: All of them, or a slice; two of their columns are read.
        spec: Names these two.
        start: Rows in front of the slice.
        budget: What may lie in memory.
        threads: With more than one, the next rows are read meanwhile.
        told: Is told how many rows have been looked at.

    Raises:
        FeatureError: a text is no time.
    """
    names = _named(spec)
    keys, disorder = keys_of(spec), Disorder()
    nulls = dict.fromkeys(names, (0, 0))
    seen = start
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
    return Look(nulls, disorder.first, disorder.last, disorder.row is None)


def judged(rows: RowFiles, looks: Sequence[Look]) -> bool:
    """Whether rows are in order, by a look at each slice of them.

    Args:
        rows: All of them.
        looks: At their slices, in order.

    Raises:
        FeatureError: an entity or a time is null; the message says how many are, and which row is the first.
    """
    for name in dict.fromkeys(name for look in looks for name in look.nulls):
        found = [look.nulls[name] for look in looks if look.nulls[name][0]]
        if found:
            count, first = sum(each for each, _ in found), found[0][1]
            raise FeatureError(
                f"{rows.name}: column {shown_name(name)} is null in {count:,} rows (first: row {first:,}); whose history "
                "such a row belongs to, or when it was, is unknown: leave them out"
            )
    with_rows = [look for look in looks if look.first is not None]
    return all(look.is_sorted for look in looks) and all(
        one.last <= other.first  # type: ignore[operator]
        for one, other in pairwise(with_rows)
    )


def read_checked(
    rows: RowFiles,
    spec: TransformerSpec,
    columns: Sequence[str] | None = None,
    *,
    start: int = 0,
    budget: Budget,
    threads: int,
) -> Iterator["pa.Table"]:
    """The rows, after a look at what windows are computed from: once they are sorted, nobody knows where one stood.

    Args:
        rows: All of them, or a slice.
        spec: Names the columns.
        columns: Which are wanted; all of them if None.
        start: Rows in front of the slice.
        budget: What may lie in memory.
        threads: More than one lets Arrow decode columns side by side.

    Raises:
        FeatureError: a value is one that no window has place for; the message names the file and the row.
    """
    from platform_assets.features.window_columns import read_window_rows

    seen = start
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


def window_columns(spec: TransformerSpec) -> list[str]:
    """What windows are computed from: entity, time, when values became known, and values."""
    return [*_named(spec), *([spec.available_column] if spec.available_column else []), *spec.columns]


def _named(spec: TransformerSpec) -> tuple[str, str]:
    """Columns of the entity and of its time."""
    assert spec.entity_key is not None
    assert spec.timestamp_column is not None
    return spec.entity_key, spec.timestamp_column

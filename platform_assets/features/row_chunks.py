"""Rows of files in chunks that fit into a budget, also where rows are larger than was expected of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_files import RowFiles
from platform_assets.features.row_size import bytes_by_row

if TYPE_CHECKING:
    import pyarrow as pa


def chunks_of(
    rows: RowFiles, columns: Sequence[str] | None = None, *, budget: Budget, threads: int
) -> Iterator["pa.Table"]:
    """The rows, as `RowFiles.chunks` has them, in chunks of the budget.

    Args:
        rows: Where they are.
        columns: Which; all of them if None.
        budget: They are read in small steps, which are put together.
        threads: More than one lets Arrow decode columns side by side.
    """
    return evened(rows.chunks(columns, batch_rows=budget.step_rows, threads=threads), budget)


def evened(chunks: Iterator["pa.Table"], budget: Budget) -> Iterator["pa.Table"]:
    """The rows in chunks of `batch_rows`; of fewer where they take more than `batch_bytes`, and in the end."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    count, size = 0, 0.0
    for chunk in chunks:
        row_bytes = bytes_by_row(chunk)[0] / max(1, chunk.num_rows)
        step = max(1, min(budget.batch_rows, int(budget.batch_bytes / max(row_bytes, 1e-9))))
        for start in range(0, chunk.num_rows, step):
            waiting.append(chunk.slice(start, step))
            count, size = count + waiting[-1].num_rows, size + row_bytes * waiting[-1].num_rows
            if count >= budget.batch_rows or size >= budget.batch_bytes:
                together = waiting[0] if len(waiting) == 1 else pa.concat_tables(waiting)
                yield together.slice(0, budget.batch_rows)
                rest = together.slice(budget.batch_rows)
                waiting, count, size = [rest][: rest.num_rows], rest.num_rows, row_bytes * rest.num_rows
                del together, rest
    if count:
        yield pa.concat_tables(waiting)

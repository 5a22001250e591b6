"""Rows of files in the order of entity and time: as they come where they have it already, else sorted."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from platform_assets.features.external_sort import SortedRows
from platform_assets.features.fitting import OnProgress
from platform_assets.features.memory_budget import Budget
from platform_assets.features.row_chunks import chunks_of, evened
from platform_assets.features.row_files import OnRows, RowFiles
from platform_assets.features.row_order import keys_of, look_along, read_checked
from platform_assets.features.transformer_spec import TransformerSpec

if TYPE_CHECKING:
    import pyarrow as pa

Sorting = Literal["not needed", "already sorted", "in memory", "on disk", "on Spark"]


@dataclass
class History:
    """Rows along the history of their entities. First `look`, then take the `chunks`."""

    rows: RowFiles
    spec: TransformerSpec
    budget: Budget
    threads: int
    on_progress: OnProgress
    columns: Sequence[str] | None = None
    """Which are needed; all of them if None."""
    is_sorted: bool = False
    """Whether they come in order; known once they were looked at."""
    runs: int = 0
    """Sorted ones that were written to disk."""
    sort_seconds: float = 0.0
    """Spent on bringing rows into order, reading them included."""

    def look(self) -> None:
        """See whether they come in order.

        Raises:
            FeatureError: an entity or a time is missing, or is of a type that has no order.
        """
        self.is_sorted = look_along(
            self.rows,
            self.spec,
            budget=self.budget,
            threads=self.threads,
            told=counted(self.on_progress, "looking at the order", self.rows.rows),
        )

    @property
    def sorting(self) -> Sorting:
        """How they came into order; known once all were taken."""
        if self.is_sorted:
            return "already sorted"
        return "on disk" if self.runs else "in memory"

    @property
    def disk_bytes(self) -> int:
        """Room that sorting takes on disk; none where the rows are in order, or all of them fit into a run."""
        all_bytes = self.rows.row_bytes(self.columns).usual * self.rows.rows
        sort = self.budget.sort
        if self.is_sorted or all_bytes < sort.bounded_run_bytes:
            return 0
        # Where runs are merged in several passes, those of a pass lie beside what they become.
        return int(all_bytes * (1 if all_bytes / sort.bounded_run_bytes <= sort.fan_in else 2))

    def chunks(self, scratch: Path) -> Iterator["pa.Table"]:
        """All of them, in order.

        Args:
            scratch: The folder for what is sorted on disk; made where it is needed.
        """
        if self.is_sorted:
            yield from chunks_of(self.rows, self.columns, budget=self.budget, threads=self.threads)
            return
        sorted_rows = SortedRows(
            read_checked(self.rows, self.spec, self.columns, budget=self.budget, threads=self.threads),
            keys_of(self.spec),
            scratch=scratch,
            budget=self.budget.sort,
        )
        told = counted(self.on_progress, "sorting", self.rows.rows)
        chunks = evened(sorted_rows.chunks(batch_rows=self.budget.batch_rows, told=told), self.budget)
        while True:
            began = time.monotonic()
            chunk = next(chunks, None)
            self.sort_seconds += time.monotonic() - began
            self.runs = sorted_rows.runs
            if chunk is None:
                return
            yield chunk


def counted(on_progress: OnProgress, what: str, total: int) -> OnRows:
    """A function that is told of rows again and again, and tells how many they are so far.

    Args:
        on_progress: Whom it tells.
        what: What is being done.
        total: Rows that there are.
    """
    done = 0

    def told(rows: int) -> None:
        nonlocal done
        done += rows
        on_progress(what, done, total)

    on_progress(what, 0, total)
    return told

"""A transformer fitted on files: two passes, of which the first takes a sample and the second counts all rows.

Both give what one table of all rows gives, to the last bit: the sample is the same rows, and counts of pieces add up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Final, Protocol

from platform_assets.features.errors import FeatureError
from platform_assets.features.memory_budget import Budget
from platform_assets.features.overlap import read_ahead
from platform_assets.features.row_chunks import chunks_of
from platform_assets.features.row_files import RowFiles
from platform_assets.features.transformer import FittedTransformer
from platform_assets.features.transformer_spec import TransformerSpec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from platform_assets.features.woe import Prebins, WoeCounts
    from platform_assets.features.woe_prebins import Prebinned

OnProgress = Callable[[str, int, int], object]
"""Is told what is being done, and how many rows of how many are."""
SAMPLING: Final = "taking a sample"
COUNTING: Final = "counting"


class Passes(Protocol):
    """The two passes over all rows, in the way of an engine; both tell what is wrong of the files, as `placed` does."""

    def sample(self, names: list[str], taken: "NDArray[np.int64]") -> "pa.Table":
        """Some columns of some rows, in their order.

        Args:
            names: Which columns.
            taken: Which rows, ascending, from 0.

        Raises:
            FeatureError: the rows cannot be read.
        """
        ...

    def count(self, fine: "Prebins") -> "WoeCounts":
        """What is counted of all rows.

        Raises:
            FeatureError: the rows cannot be read, or do not fit the spec.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalPasses:
    """In this process, chunk by chunk."""

    rows: RowFiles
    budget: Budget
    threads: int
    on_progress: OnProgress
    start: int = 0
    """Rows in front of these, where they are a slice."""

    def sample(self, names: list[str], taken: "NDArray[np.int64]") -> "pa.Table":
        """See `Passes.sample`."""
        import numpy as np
        import pyarrow as pa

        parts = [self.rows.schema.empty_table().select(names)]
        seen = self.start
        for chunk in self._read(names):
            begin, end = np.searchsorted(taken, (seen, seen + chunk.num_rows))
            parts.append(chunk.take(pa.array(taken[begin:end] - seen)))
            seen += chunk.num_rows
        return pa.concat_tables(parts)

    def count(self, fine: "Prebins") -> "WoeCounts":
        """See `Passes.count`."""
        counts: list[WoeCounts] = []
        seen = self.start
        assert fine.spec.target is not None
        for chunk in self._read([*fine.spec.columns, fine.spec.target]):
            with placed(self.rows, seen):
                counts = [reduce(add, [*counts, fine.count(chunk)])]
            seen += chunk.num_rows
            self.on_progress(COUNTING, seen, self.rows.rows)
        return counts[0]

    def _read(self, names: list[str]) -> Iterator["pa.Table"]:
        chunks = chunks_of(self.rows, names, budget=self.budget, threads=self.threads)
        with read_ahead(chunks, threads=self.threads) as ready:
            yield from ready


def fit_on_rows(
    spec: TransformerSpec,
    rows: RowFiles,
    *,
    budget: Budget,
    threads: int = 1,
    on_progress: OnProgress = lambda *_: None,
    passes: Passes | None = None,
) -> FittedTransformer:
    """The transformer, fitted on all rows of files.

    Args:
        spec: What it is to do.
        rows: Of woe, those that may be learnt from. The others learn nothing and look at none.
        budget: What may lie in memory: chunks of rows, and as much of the sample as of rows that are sorted.
        threads: With more than one, the next rows are read meanwhile.
        on_progress: Is told how far it has come.
        passes: How all rows are read; by this process if None.

    Raises:
        FeatureError: the rows do not fit the spec; the message names the files, the column and the first row.
    """
    if spec.transformer_type != "woe":
        from platform_assets.features.windows import WindowTransformer

        return WindowTransformer(spec)
    assert spec.target is not None
    rows.refuse_missing([*spec.columns, spec.target])
    if not rows.rows:
        raise FeatureError(f"{rows.name}: has 0 rows; weights are fitted to rows of both classes")
    passes = passes or LocalPasses(rows, budget, threads, on_progress)
    on_progress(SAMPLING, 0, rows.rows)
    fine = _prebins(spec, rows, passes, budget, on_progress)
    counts = passes.count(fine)
    with placed(rows, 0):
        return fine.fitted(counts)


@contextmanager
def placed(rows: RowFiles, start: int) -> Iterator[None]:
    """What is wrong with a chunk of rows, told of the files: a chunk counts its own rows.

    Args:
        rows: What it is of.
        start: Rows in front of it.
    """
    try:
        yield
    except FeatureError as problem:
        where = f" (rows are counted from row {start + 1:,} on)" if start else ""
        raise FeatureError(f"{rows.name}{where}: {problem}") from None


def _prebins(
    spec: TransformerSpec, rows: RowFiles, passes: Passes, budget: Budget, on_progress: OnProgress
) -> "Prebins":
    """Fine bins by the sample that `sampled` has of a table; of some columns at a time, so that it fits into memory."""
    from platform_assets.features.woe import joined, prebinned, sample_of
    from platform_assets.features.woe_columns import kind_of

    taken = sample_of(rows.rows)
    empty = rows.schema.empty_table()
    with placed(rows, 0):
        numbers = [name for name in spec.columns if kind_of(empty.column(name), name) == "numeric"]
    fine: list[Prebinned] = []
    names = list(spec.columns)
    together = 1
    while names:
        group, names = names[:together], names[together:]
        sample = _sample(rows, group, [name for name in group if name in numbers], taken, passes)
        on_progress(SAMPLING, rows.rows * (len(spec.columns) - len(names)) // len(spec.columns), rows.rows)
        with placed(rows, 0):
            fine += [prebinned(spec, sample, name) for name in group]
        # As many as fit by the size of these; while they are looked at, they lie there once more.
        together = max(1, int(together * budget.sort.run_bytes / max(2 * sample.nbytes, 1)))
        del sample
    with placed(rows, 0):
        return joined(spec, fine)


def _sample(
    rows: RowFiles, names: list[str], numbers: list[str], taken: "NDArray[np.int64]", passes: Passes
) -> "pa.Table":
    """Rows of these columns; of those that are no numbers only the type is there."""
    import pyarrow as pa

    of_numbers = passes.sample(numbers, taken) if numbers else None
    return pa.table(
        {
            name: of_numbers.column(name)
            if of_numbers is not None and name in numbers
            else pa.nulls(taken.size, rows.schema.field(name).type)
            for name in names
        }
    )

"""Which rows of a dataset were neighbours in their file, and so went to a split together."""

from typing import TYPE_CHECKING, Final

from platform_assets.datasets.spec import BlockSplitSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEIGHBOURS: Final = "blocks of neighbours"
"""What they are called."""


def blocks_of(
    strata: "NDArray[np.int64]", splits: "NDArray[np.object_]", plan: BlockSplitSpec
) -> "NDArray[np.int64]":
    """Number of each row's block, shape (rows,), as `splits.block_splits` has cut them.

    Rows behind the last whole block of a file, which belong to it, are told as one of their own. Where rows have been
    removed since then, by an erasure, the blocks behind them are told so many rows too late.

    Args:
        strata: Of what each row is a row: rows of one stratum were split as neighbours.
        splits: Split of each row, in the order of the file.
        plan: How blocks were cut.
    """
    import numpy as np

    blocks = np.empty(len(strata), np.int64)
    given = 0
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        of_rows = splits[rows]
        begins = np.flatnonzero(np.concatenate([[True], of_rows[1:] != of_rows[:-1]]))
        run = np.repeat(np.arange(len(begins)), np.diff([*begins, len(rows)]))
        # The first block of a run has lost its guard rows, but for that of the file.
        at = np.arange(len(rows)) - begins[run] + np.where(run > 0, plan.guard_rows, 0)
        numbers = np.unique(run * len(rows) + at // plan.block_rows, return_inverse=True)[1]
        blocks[rows] = given + numbers
        given += int(numbers.max()) + 1
    return blocks

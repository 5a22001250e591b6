"""Which rows are set apart: whole blocks of neighbours, and of what is left as many as were asked for."""

import hashlib
from typing import TYPE_CHECKING

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.spec import BlockSplitSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

GUARD = "guard"
"""Rows between two splits, which are in neither."""
_MINIMUM_BLOCKS = 3


def block_splits(rows: int, name: str, plan: BlockSplitSpec, *, cut_test: bool) -> "NDArray[np.object_]":
    """Split of each of `rows` neighbours, shape (rows,): train, validation, test or `GUARD`.

    Neighbours in a file are related, so whole blocks of them go to one split, and where two splits meet guard
    rows are set aside. Which block goes where follows from the seed and the name alone.

    Args:
        rows: How many there are.
        name: Of what they are rows, `<source>|<label>`; other rows are split independently.
        plan: Shares, block size, guard rows and seed.
        cut_test: Whether a test split is cut, too.

    Raises:
        DatasetError: there are too few rows.
    """
    import numpy as np

    blocks = rows // plan.block_rows
    if blocks < _MINIMUM_BLOCKS:
        source, label = name.rsplit("|", 1)
        raise DatasetError(
            f"source {source!r} has {rows} rows of label {label}: {blocks} blocks of {plan.block_rows}, and a split takes "
            f"{_MINIMUM_BLOCKS}; give more rows or lower split.block_rows"
        )
    tests = max(1, round(plan.test * blocks)) if cut_test else 0
    validations = max(1, round(plan.validation * blocks))
    if tests + validations >= blocks:
        raise DatasetError(
            f"source {name!r}: test and validation take {tests + validations} of {blocks} blocks, and none is left to train on; "
            "lower split.test, split.validation or split.block_rows"
        )
    by_rank = sorted(
        range(blocks), key=lambda block: hashlib.sha256(f"{plan.seed}|{name}|{block}".encode()).digest()
    )
    of_block = np.full(blocks, "train", dtype=object)
    of_block[by_rank[:tests]] = "test"
    of_block[by_rank[tests : tests + validations]] = "validation"
    # The rows after the last whole block belong to it.
    block_of_row = np.minimum(np.arange(rows) // plan.block_rows, blocks - 1)
    splits = of_block[block_of_row]
    for block in np.flatnonzero(of_block[1:] != of_block[:-1]) + 1:
        splits[block * plan.block_rows : block * plan.block_rows + plan.guard_rows] = GUARD
    return splits


def keep_evenly(
    frame: "pd.DataFrame", split: str, rows: int | None, *, seed: int, ids: "NDArray[np.object_]"
) -> None:
    """Leave `rows` rows in `split`, an equal share of every (source, label); the rest becomes `reserve`.

    Args:
        frame: Columns source, label and split; the last is changed in place.
        split: The split.
        rows: How many; None for all.
        seed: Of the choice.
        ids: What names each row of the frame, whatever stands beside it; shape (len(frame),).

    Raises:
        DatasetError: the split has fewer rows.
    """
    import numpy as np

    members = np.flatnonzero(frame["split"] == split)
    if rows is None or len(members) == 0:
        return
    if rows > len(members):
        raise DatasetError(
            f"{split}_rows asks for {rows} rows and {len(members)} are left for {split}; lower it, or leave it empty for all"
        )
    ranks = np.array([hashlib.sha256(f"{seed}|{ids[row]}".encode()).digest()[:8] for row in members])
    groups = frame.iloc[members].groupby(["source", "label"], sort=True, dropna=False).ngroup().to_numpy()
    # Position within the own group, by rank, relative to the group's size: taking the smallest
    # positions takes the same share of every group.
    order = np.lexsort((ranks, groups))
    sizes = np.bincount(groups)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    position = np.empty(len(members))
    position[order] = (np.arange(len(members)) - starts[groups[order]] + 0.5) / sizes[groups[order]]
    frame.loc[members[np.argsort(position, kind="stable")[rows:]], "split"] = "reserve"

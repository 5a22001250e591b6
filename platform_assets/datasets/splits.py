"""Which rows are set apart: blocks of neighbours, units drawn at random, or the newest; and how many are kept."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.spec import BlockSplitSpec, SplitSharesSpec

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
        name: Of what they are rows: `<source>|<label>`, or `<source>`; other rows are split independently.
        plan: Shares, block size, guard rows and seed.
        cut_test: Whether a test split is cut, too.

    Raises:
        DatasetError: there are too few rows.
    """
    import numpy as np

    blocks = rows // plan.block_rows
    if blocks < _MINIMUM_BLOCKS:
        source, label = name.rsplit("|", 1) if "|" in name else (name, "")
        raise DatasetError(
            f"source {source!r} has {rows} rows{' of label ' + label if label else ''}: {blocks} blocks of {plan.block_rows}, and a split takes "
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


def drawn_splits(units: Sequence[str], plan: SplitSharesSpec, *, cut_test: bool) -> "NDArray[np.object_]":
    """Split of each row by what it belongs to, shape (len(units),): train, validation or test.

    A unit's split follows from the seed and its name alone. So its rows are never divided, not even between sources,
    and a source that grows moves none of them. Shares hold on average: of n units, a share q strays by √(q(1−q)/n).

    Args:
        units: What each row belongs to, e.g. a key or a group.
        plan: Shares and seed.
        cut_test: Whether a test split is cut, too; without one its units are trained on.
    """
    import numpy as np

    by_unit = {unit: _drawn(unit, plan, cut_test=cut_test) for unit in set(units)}
    return np.array([by_unit[unit] for unit in units], dtype=object)


def _drawn(unit: str, plan: SplitSharesSpec, *, cut_test: bool) -> str:
    drawn = int.from_bytes(hashlib.sha256(f"{plan.seed}|{unit}".encode()).digest()[:8]) / 2**64
    if drawn < plan.test:
        return "test" if cut_test else "train"
    return "validation" if drawn < plan.test + plan.validation else "train"


def time_splits(
    times: "NDArray[np.datetime64]", plan: SplitSharesSpec, *, name: str, cut_test: bool
) -> "NDArray[np.object_]":
    """Split of each row by its time, shape (len(times),): the newest are the test, those before them the validation.

    Rows of one time are never divided: they go to the newer side.

    Args:
        times: When each row was.
        plan: Shares.
        name: Of what they are rows.
        cut_test: Whether a test split is cut, too; without one the newest rows are the validation.

    Raises:
        DatasetError: the rows are of too few times to be cut.
    """
    import numpy as np

    splits = np.full(len(times), "train", dtype=object)
    ascending = np.sort(times)
    left = len(times)
    for split, share in (("test", plan.test if cut_test else 0.0), ("validation", plan.validation)):
        wanted = round(share * len(times))
        if not share:
            continue
        if wanted < 1 or left <= wanted or ascending[left - wanted] == ascending[0]:
            raise DatasetError(
                f"source {name!r}: its {len(times)} rows are of {len(np.unique(times))} times, too few to cut "
                f"{split} off; give more rows, or lower split.test and split.validation"
            )
        first = ascending[left - wanted]
        splits[(times >= first) & (splits == "train")] = split
        left = int(np.searchsorted(ascending, first))
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
    groups = frame.iloc[members].groupby(["source", "label"], sort=True, dropna=False).ngroup().to_numpy()
    over = left_over(groups, split, rows, seed=seed, ids=(ids[int(row)] for row in members))
    frame.loc[members[over], "split"] = "reserve"


def left_over(
    groups: "NDArray[np.integer[Any]]", split: str, rows: int, *, seed: int, ids: Iterable[str]
) -> "NDArray[np.int64]":
    """Positions of the rows that go where `rows` of a split stay, an equal share of every group.

    Args:
        groups: Which group each row of the split is of, from 0; shape (n,).
        split: The split, for messages.
        rows: How many stay.
        seed: Of the choice.
        ids: What names each row, whatever stands beside it.

    Raises:
        DatasetError: the split has fewer rows.
    """
    import numpy as np

    if rows > len(groups):
        raise DatasetError(
            f"{split}_rows asks for {rows} rows and {len(groups)} are left for {split}; lower it, or leave it empty for all"
        )
    digests = bytearray()
    for each in ids:
        digests += hashlib.sha256(f"{seed}|{each}".encode()).digest()[:8]
    ranks = np.frombuffer(digests, dtype=">u8")
    # Position within the own group, by rank, relative to the group's size: taking the smallest
    # positions takes the same share of every group.
    order = np.lexsort((ranks, groups))
    sizes = np.bincount(groups)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    position = np.empty(len(groups))
    position[order] = (np.arange(len(groups)) - starts[groups[order]] + 0.5) / sizes[groups[order]]
    return np.argsort(position, kind="stable")[rows:]

"""Blocks of neighbours, told again from what a split has left of a file."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.datasets.neighbours import blocks_of
from platform_assets.datasets.spec import BlockSplitSpec
from platform_assets.datasets.splits import GUARD, block_splits


@settings(deadline=None, max_examples=60)
@given(st.integers(3, 20), st.integers(0, 3), st.integers(0, 2**31), st.booleans())
def test_blocks_are_those_that_the_split_has_cut(blocks, guard_rows, seed, cut_test):
    """Two files of whole blocks, one behind the other in turns: rows of one block are told together, and no others."""
    plan = BlockSplitSpec(test=0.2, validation=0.2, block_rows=7, guard_rows=guard_rows, seed=seed)
    rows = 7 * blocks
    files = np.arange(2 * rows) % 2
    splits, true = np.empty(2 * rows, object), np.empty(2 * rows, int)
    for file in (0, 1):
        splits[files == file] = block_splits(rows, f"file {file}", plan, cut_test=cut_test)
        true[files == file] = 1000 * file + np.arange(rows) // 7
    left = splits != GUARD
    told = blocks_of(files[left], splits[left], plan)
    assert len(set(zip(told.tolist(), true[left].tolist(), strict=True))) == len(set(told.tolist()))
    assert len(set(told.tolist())) == len(set(true[left].tolist()))

"""How much of what may lie in memory at once, so that a process stays below the limit that it was given."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.file_output import shown_bytes
from platform_assets.features.row_files import PARQUET

DEFAULT_LIMIT_BYTES: Final = 2_000_000_000
_PROGRAM_BYTES: Final = 350_000_000
"""Python, Arrow and compiled kernels, with what the compiler needs."""
_FEWEST_BYTES: Final = 100_000_000
"""Of rows: below that, blocks are so small that files come to nothing but their heads."""
_CHUNK_PART: Final = 32
"""Some ten chunks are on their way at once: read ahead, worked on, with their features, and waiting to be written."""
_RUN_PART: Final = 4
"""While a run is sorted, keys, positions and the largest column lie there besides."""
_LARGE_RUN_PART: Final = 6
"""Of rows that are large: nearly all of one is in one column, so that copies of columns are copies of runs."""
_LARGE_ROW_BYTES: Final = 1 << 10
_MOST_ROWS: Final = 1 << 19
"""Of a chunk, which becomes a row group."""
_STEP_ROWS: Final = 1 << 16
"""Read at once: where rows turn out to be larger than expected, that is not too many of them."""
_RUN_ROWS: Final = 1 << 10
"""A run that has fewer is not worth while."""
_FEWEST_ROWS: Final = 16
_PAGE_ROWS: Final = 1 << 10
"""Arrow ends no page of Parquet before it has so many rows, however large they are, and pages are read whole."""
_PAGES: Final = 3
"""Of that size: packed, unpacked, and one that is being written."""
_WHOLE: Final = 3
"""What a file that is read whole takes while it is: its bytes, its texts, and those once more as they get types."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What may lie in memory."""

    batch_rows: int
    """Rows of a chunk."""
    sort: SortBudget
    batch_bytes: int = 1 << 40
    """Of a chunk; it has fewer rows where these are larger than expected."""

    @property
    def step_rows(self) -> int:
        """Rows that are read at once."""
        return min(self.batch_rows, _STEP_ROWS)


def budget_for(limit_bytes: int, row_bytes: float, *, held_bytes: int = 0, name: str = "the rows") -> Budget:
    """What a process that has this much memory may hold of rows of this size.

    Args:
        limit_bytes: For the whole process.
        row_bytes: Of one row in memory.
        held_bytes: Of rows that lie in memory already.
        name: What the rows are called in messages.

    Raises:
        FeatureError: the limit is too small for the program itself, for what was read whole, or for rows so large.
    """
    program = max(_PROGRAM_BYTES, resident_bytes() - held_bytes)
    left = limit_bytes - program - held_bytes
    if left < _FEWEST_BYTES:
        whole = f", and {name}, which are read whole, {shown_bytes(held_bytes)}" if held_bytes else ""
        raise FeatureError(
            f"a memory limit of {shown_bytes(limit_bytes)} is too small: the program itself takes about "
            f"{shown_bytes(program)}{whole}; give at least {shown_bytes(program + held_bytes + _FEWEST_BYTES)}"
        )
    run_part = _RUN_PART if row_bytes < _LARGE_ROW_BYTES else _LARGE_RUN_PART
    pages = int(_PAGES * _PAGE_ROWS * row_bytes)
    left -= pages
    if left < _FEWEST_BYTES or row_bytes * _RUN_ROWS > left // run_part:
        enough = program + held_bytes + pages + max(_FEWEST_BYTES, run_part * _RUN_ROWS * row_bytes)
        raise FeatureError(
            f"a memory limit of {shown_bytes(limit_bytes)} is too small for {name}: one row takes about "
            f"{shown_bytes(row_bytes)}; give at least {shown_bytes(enough)}, or leave out columns that are large"
        )
    batch_bytes = left // _CHUNK_PART
    rows = int(batch_bytes / max(row_bytes, 1.0))
    run_bytes = left // run_part
    sort = SortBudget(run_bytes=run_bytes)
    # Of each run that is merged, a block lies in memory.
    fewest = int(run_bytes / sort.fan_in / max(row_bytes, 1.0))
    sort = replace(sort, fewest_block_rows=max(_FEWEST_ROWS, min(sort.fewest_block_rows, fewest)))
    return Budget(max(_FEWEST_ROWS, min(_MOST_ROWS, rows)), sort, batch_bytes)


def limit_beside(limit_bytes: int) -> int:
    """The limit to give where other processes work, each with this much memory: what this one holds already is none of it."""
    return limit_bytes + max(0, resident_bytes() - _PROGRAM_BYTES)


def refuse_too_large(files: Iterable[Path], limit_bytes: int) -> None:
    """Refuse files that have to be read whole where that takes more memory than there may be.

    Args:
        files: Those of other formats than Parquet are read whole.
        limit_bytes: For the whole process.

    Raises:
        FeatureError: one is too large; it is named.
    """
    program = max(_PROGRAM_BYTES, resident_bytes())
    for file in files:
        if not file.is_file() or file.suffix.lower() == PARQUET:
            continue
        needed = program + _WHOLE * file.stat().st_size
        if needed > limit_bytes:
            raise FeatureError(
                f"{file}: is read whole, as files of this format are, which takes about {shown_bytes(needed)} of memory, and "
                f"the limit is {shown_bytes(limit_bytes)}; write it as Parquet, which is streamed, or give it more memory"
            )


def resident_bytes() -> int:
    """What of this process lies in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

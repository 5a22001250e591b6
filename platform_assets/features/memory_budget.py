"""How much of what may lie in memory at once, so that a process stays below the limit that it was given."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.features.errors import FeatureError
from platform_assets.features.external_sort import SortBudget
from platform_assets.features.file_output import shown_bytes

DEFAULT_LIMIT_BYTES: Final = 2_000_000_000
_PROGRAM_BYTES: Final = 350_000_000
"""Python, Arrow and compiled kernels, with what the compiler needs."""
_FEWEST_BYTES: Final = 100_000_000
"""Of rows: below that, blocks are so small that files come to nothing but their heads."""
_CHUNK_PART: Final = 32
"""Some ten chunks are on their way at once: read ahead, worked on, with their features, and waiting to be written."""
_RUN_PART: Final = 4
"""While a run is sorted, keys, positions and the largest column lie there besides."""
_MOST_ROWS: Final = 1 << 19
"""Of a chunk, which becomes a row group."""
_FEWEST_ROWS: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class Budget:
    """What may lie in memory."""

    batch_rows: int
    """Rows of a chunk."""
    sort: SortBudget


def budget_for(limit_bytes: int, row_bytes: float) -> Budget:
    """What a process that has this much memory may hold of rows of this size.

    Args:
        limit_bytes: For the whole process.
        row_bytes: Of one row in memory.

    Raises:
        FeatureError: the limit is too small for the program itself.
    """
    program = max(_PROGRAM_BYTES, resident_bytes())
    left = limit_bytes - program
    if left < _FEWEST_BYTES:
        raise FeatureError(
            f"a memory limit of {shown_bytes(limit_bytes)} is too small: the program itself takes about "
            f"{shown_bytes(program)}; give at least {shown_bytes(program + _FEWEST_BYTES)}"
        )
    rows = int(left / _CHUNK_PART / max(row_bytes, 1.0))
    return Budget(max(_FEWEST_ROWS, min(_MOST_ROWS, rows)), SortBudget(run_bytes=left // _RUN_PART))


def resident_bytes() -> int:
    """What of this process lies in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

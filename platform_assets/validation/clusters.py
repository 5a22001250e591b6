"""Which measured rows depend on each other: those of one patient, one block of neighbours, one day."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN: Final = "row_cluster"
"""Of scored rows: a number for each cluster, which tells nothing about what it is."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """The cluster of each row."""

    unit: str
    """What they are, in the plural: `blocks of neighbours`."""
    codes: NDArray[np.integer[Any]]
    """Equal for rows that depend on each other; shape (rows,)."""

    def of(self, chosen: NDArray[np.bool_]) -> "Clusters":
        """Those of the chosen rows; `chosen` has shape (rows,)."""
        return Clusters(self.unit, self.codes[chosen])


def clusters_of(scored: "pa.Table", unit: str | None) -> Clusters | None:
    """Those of scored rows; None where the task knows of none, or the rows were scored before it did.

    Args:
        scored: What `scoring.scored_rows` yields, or some of its rows.
        unit: What the task calls them, see `Evaluator.cluster_unit`.
    """
    if unit is None or COLUMN not in scored.column_names:
        return None
    return Clusters(unit, scored[COLUMN].to_numpy())


def codes_of(column: "pa.ChunkedArray") -> NDArray[np.int64]:
    """A number for each value, null among them; shape (rows,)."""
    import pyarrow.compute as pc

    codes: NDArray[np.int64] = (
        pc.dictionary_encode(column.combine_chunks(), "encode").indices.to_numpy().astype(np.int64)
    )
    return codes

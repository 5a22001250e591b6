"""Rule (d) of the leak gate: what is joined of another source's table is what its definition says, and nothing newer.

    known to a row at t   the table's rows of its entity whose time and availability are both before t
    newest of these       the latest time; of equal ones, the latest availability; of these, the last row of the table
    its features          those of the newest, unless its time is more than `oldest_known` before t: then none

It is read off row by row here, by comparing every row of the entity, and shares no code with the join itself.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from platform_assets.features.errors import FeatureError
from platform_assets.features.joined import JoinedTransformer, oldest_known
from platform_assets.features.leak import MOST_HISTORY, Finding, bits_of, known_or_never, sampled
from platform_assets.features.table_columns import column_of, decoded
from platform_assets.features.window_columns import known_times

if TYPE_CHECKING:
    import pyarrow as pa

_MICROSECOND: Final = timedelta(microseconds=1)


def looked_up(label: str, joined: JoinedTransformer, rows: "pa.Table") -> Finding:
    """Rule (d), on a sample of the rows.

    Args:
        label: Of the transformer.
        joined: It, beside its table.
        rows: All rows of the line's dataset.

    Raises:
        FeatureError: a column is missing, or is of another type; or there is no table.
    """
    chosen = sampled(rows.num_rows)
    made = bits_of(joined, rows)[chosen]
    looked_at = differing = 0
    for features, expected in zip(made, _by_definition(joined, rows.take(chosen)), strict=False):
        looked_at += 1
        differing += int((features != expected).any())
    return Finding(
        label,
        "looked up",
        "fail" if differing else "pass",
        f"{differing:,} of {looked_at:,} rows have other features of {label} than the newest of its table that was known "
        "before them",
        {"sampled_rows": looked_at, "rows": rows.num_rows, "differing": differing},
    )


def _by_definition(joined: JoinedTransformer, asked: "pa.Table") -> Iterator[NDArray[np.uint64]]:
    """The features of each row bit by bit, shape (outputs,), until `MOST_HISTORY` rows have been compared; of one at least."""
    import pyarrow.compute as pc

    spec, table = joined.spec, joined.table
    if table is None:
        raise FeatureError("its table is not here")
    key, time = str(spec.entity_key), str(spec.timestamp_column)
    entities = _texts(asked, key)
    table = table.filter(pc.is_in(_texts(table, key), entities.unique()))
    places: dict[str, list[int]] = {}
    for at, entity in enumerate(_texts(table, key).to_pylist()):
        places.setdefault(entity, []).append(at)
    positions = {entity: np.array(found) for entity, found in places.items()}
    times = known_or_never(known_times(table, time))
    available = known_or_never(known_times(table, spec.available_column or time))
    columns = [table[name].to_numpy().astype(np.float64) for name in spec.outputs.values()]
    features = np.stack(columns, axis=1)
    features[np.isnan(features)] = np.nan
    nothing = np.full(features.shape[1], np.nan).view(np.uint64)
    oldest = oldest_known(spec)
    compared = 0
    for entity, now in zip(entities.to_pylist(), known_times(asked, joined.time).to_pylist(), strict=True):
        own = positions.get(entity, np.empty(0, np.int64))
        compared += own.size
        if compared > max(MOST_HISTORY, own.size):
            return
        known = own[(times[own] < now) & (available[own] < now)]
        if not known.size:
            yield nothing
            continue
        newest = known[np.lexsort((known, available[known], times[known]))[-1]]
        too_old = oldest is not None and now - times[newest] > oldest // _MICROSECOND
        yield nothing if too_old else features[newest].view(np.uint64)


def _texts(rows: "pa.Table", name: str) -> "pa.ChunkedArray":
    import pyarrow as pa

    return decoded(column_of(rows, name)).cast(pa.string())

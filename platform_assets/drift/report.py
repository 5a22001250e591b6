"""Drift of many columns at once: events against a reference, from memory or from Parquet files."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from platform_assets.drift.errors import DriftError
from platform_assets.sketch.binning import kernels_for
from platform_assets.sketch.errors import SketchError
from platform_assets.sketch.significance import holm
from platform_assets.sketch.sketch import ColumnProfile, Histogram, ReferenceProfile, compare

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """How far a column lies from its reference."""

    ks: float | None
    """Middle of the interval; none where no value can be compared."""
    ks_lower: float
    ks_upper: float
    p_value: float
    alarm: bool
    """Whether the difference is significant among all columns, or no value can be compared."""


def report(histograms: Mapping[str, Histogram], *, false_alarm_rate: float = 0.01) -> dict[str, ColumnReport]:
    """The verdict on each column.

    Args:
        histograms: Events by column, each over the bins of its reference.
        false_alarm_rate: Chance that any column at all alarms while none drifts, held by Holm's procedure.

    Raises:
        DriftError: The rate is not between 0 and 1.
    """
    if not 0 < false_alarm_rate < 1:
        raise DriftError(f"false alarm rate {false_alarm_rate}: must lie between 0 and 1")
    results = {name: compare(histogram.profile, histogram) for name, histogram in histograms.items()}
    significant = holm({name: result.p_value for name, result in results.items()}, false_alarm_rate)
    return {
        name: ColumnReport(
            ks=None if math.isnan(result.ks) else result.ks,
            ks_lower=result.ks_lower,
            ks_upper=result.ks_upper,
            p_value=result.p_value,
            alarm=name in significant or not result.rows,
        )
        for name, result in results.items()
    }


def compare_files(reference: Path, events: Path, *, false_alarm_rate: float = 0.01) -> dict[str, Any]:
    """What `platform-assets drift replay` prints: `{"columns": {NAME: {"ks": …, …, "alarm": …}}}`.

    Every column of numbers or texts in the reference is compared. One column of the reference is in memory at a time,
    and one row group of the events.

    Args:
        reference: A Parquet file.
        events: Another one, with at least the columns of the reference.
        false_alarm_rate: As of `report`.

    Raises:
        DriftError: A file cannot be read, the events lack a column or hold another type in it, or the reference has
            no column that can be compared.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(reference) as reference_file, pq.ParquetFile(events) as events_file:
            names = _comparable(reference_file.schema_arrow, events_file.schema_arrow, reference, events)
            profile = ReferenceProfile({name: _profile(reference_file, name) for name in names})
            histograms = {name: column.histogram() for name, column in profile.columns.items()}
            # Each piece is small; together they may be worth the compiled loops.
            kernels_for(events_file.metadata.num_rows * len(names))
            for name, piece in _pieces(events_file, names):
                histograms[name].add(piece)
    except (pa.ArrowException, OSError) as error:
        raise DriftError(f"{reference} and {events} cannot be compared: {error}") from error
    found = report(histograms, false_alarm_rate=false_alarm_rate)
    return {"columns": {name: asdict(column) for name, column in found.items()}}


def _comparable(
    reference: "pa.Schema", events: "pa.Schema", reference_path: Path, events_path: Path
) -> list[str]:
    kinds = {field.name: _kind(field.type) for field in reference}
    names = [name for name, kind in kinds.items() if kind]
    if not names:
        raise DriftError(
            f"{reference_path}: no column of numbers or texts; it has {', '.join(kinds) or 'none'}"
        )
    present = {field.name: _kind(field.type) for field in events}
    if lacking := [name for name in names if name not in present]:
        raise DriftError(f"{events_path}: lacks {', '.join(lacking)} of the reference {reference_path}")
    if other := [name for name in names if present[name] != kinds[name]]:
        raise DriftError(
            f"{events_path}: {', '.join(other)} are of another type than in the reference {reference_path}"
        )
    return names


def _kind(kind: "pa.DataType") -> str | None:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return "number"
    return None


def _profile(file: "pq.ParquetFile", name: str) -> ColumnProfile:
    try:
        return ColumnProfile.of(_as_numpy(file.read([name], use_threads=False).column(0)))
    except (DriftError, SketchError) as error:
        raise DriftError(f"{name}: {error}") from error


def _pieces(file: "pq.ParquetFile", names: list[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    for batch in file.iter_batches(columns=names, use_threads=False):
        for name in names:
            yield name, _as_numpy(batch.column(name))


def _as_numpy(column: "pa.Array | pa.ChunkedArray") -> NDArray[Any]:
    """Numbers with NaN for null, or texts with None; not copied where they need no conversion."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values

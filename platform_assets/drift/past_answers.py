"""What a release answers to rows of its own dataset, as the prediction events that they would have been.

So a season that has passed can be replayed through the monitor: `drift watch --replay`.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from platform_assets.drift.errors import DriftError
from platform_assets.drift.event import PredictionEvent
from platform_assets.drift.monitor import SOURCE
from platform_assets.features.featurizer import used_rows
from platform_assets.governance.release import Release
from platform_assets.models.scorer import Scorer
from platform_assets.validation.evaluator import Evaluator
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa


def past_answers(
    release: Release,
    scorer: Scorer,
    evaluator: Evaluator[Any],
    spec: BaseModel,
    warehouse: Warehouse,
    *,
    time_column: str,
    splits: Collection[str],
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[PredictionEvent]:
    """An event a row, in the order of their times, with its label.

    A row is scored as validation scores it, so what looks back knows the rows before it. Ids follow from the release and
    a row's place in its dataset, and tell nobody's name.

    Args:
        release: Its model answers.
        scorer: That model.
        evaluator: Of the line's task; names what is watched.
        spec: The line's spec.
        warehouse: Holds the rows.
        time_column: When each row was.
        splits: Rows of these.
        since: The first moment that counts, with a time zone; None: from the beginning.
        until: The first one that does not any more; None: to the end.

    Raises:
        DriftError: no row is left, rows and features are no longer the same, or the spec is of other columns by now.
        WarehouseError: they are gone.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    registered = release.card.registered
    features_version = registered.report.model.features
    dataset, made = features_version.dataset, features_version.snapshot
    rows = used_rows(warehouse.read(dataset.snapshot.table, dataset.snapshot.snapshot_id))
    features = warehouse.read(made.table, made.snapshot_id)
    again = f"make a new release with: platform-assets run {release.line}"
    subject = dataset.subject_column
    if not rows[subject].equals(features[subject]):
        raise DriftError(f"{dataset.snapshot.table} and {made.table} are no longer of the same rows; {again}")
    if time_column not in rows.column_names or not pa.types.is_temporal(rows.schema.field(time_column).type):
        raise DriftError(
            f"release {release.release_id} has no times in {time_column}, as the spec has now; {again}"
        )
    times = rows[time_column].cast(pa.timestamp("us", tz="UTC"))
    chosen = pc.and_(pc.is_in(rows["split"], pa.array(list(splits))), pc.is_valid(times))
    for bound, compare in ((since, pc.greater_equal), (until, pc.less)):
        if bound is not None:
            chosen = pc.and_(chosen, compare(times, pa.scalar(bound.astimezone(UTC), times.type)))
    places = np.flatnonzero(chosen.to_numpy())
    if not places.size:
        raise DriftError(f"release {release.release_id} has no rows of {', '.join(splits)} in that time")
    # Rows of one moment stay as they lie.
    places = places[np.argsort(times.take(pa.array(places)).to_numpy(), kind="stable")]
    taken, read = rows.take(pa.array(places)), features.take(pa.array(places))
    try:
        watched = evaluator.columns(read, taken, spec).select(list(evaluator.profiled(spec)))
    except KeyError as lacking:
        raise DriftError(
            f"release {release.release_id} was made of other columns than the spec has now ({lacking.args[0]}); {again}"
        ) from None
    return [
        PredictionEvent(
            event_id=f"{release.release_id}-{place}",
            event_time=time,
            line=release.line,
            model_version=registered.number,
            columns={name: value for name, value in told.items() if value is not None},
            score=score,
            label=label,
        )
        for place, time, told, score, label in zip(
            places.tolist(),
            times.take(pa.array(places)).to_pylist(),
            _told(watched, taken),
            scorer.score_features(read).tolist(),
            taken["label"].to_pylist(),
            strict=True,
        )
    ]


def _told(watched: "pa.Table", rows: "pa.Table") -> list[dict[str, Any]]:
    """What the monitor is told of each row, its source among it."""
    told: list[dict[str, Any]] = watched.append_column(SOURCE, rows[SOURCE]).to_pylist()
    return told

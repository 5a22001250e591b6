"""The drift asset of a line: what its monitor has seen, rolled up, with a picture a day."""

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from platform_assets.drift.compaction import compact
from platform_assets.drift.decay import labelled_days, model_decay_rate
from platform_assets.drift.monitor import MISSING
from platform_assets.drift.record import states
from platform_assets.drift.segments import newest_picture_key
from platform_assets.drift.table import by_day, newest_days, publish_drift_table
from platform_assets.fingerprint import code_version
from platform_assets.outside_systems import OutsideSystems
from platform_assets.pictures import as_markdown_image
from platform_assets.references import TableSnapshot
from platform_assets.shown import stored_table
from platform_assets.sketch.stability import band
from platform_assets.step import foreseen_failures, signed_schedule
from resources.locks import LockError
from resources.object_store import ObjectStore, ObjectStoreError
from resources.provenance import code_commit

if TYPE_CHECKING:
    import pyarrow as pa

GROUP: Final = "drift"
CODE = code_version("drift", "platform_assets.drift.table", "platform_assets.drift.decay")
_DAYS_SHOWN: Final = 7
_SEASON_DAYS: Final = 92
"""In one picture, a point a day."""
_EVERY_HOUR: Final = "10 * * * *"
_RETENTION_DAYS: Final = 365


def drift_asset(line: str) -> dg.AssetsDefinition:
    """`<line>_drift`."""

    @dg.asset(
        name=f"{line}_drift",
        group_name=GROUP,
        description="Every verdict of the line's monitor, a row a minute. Made anew from the stored verdicts.",
        kinds={"iceberg"},
        code_version=CODE,
        deps=[dg.AssetDep(f"{line}_deployment")],
    )
    def drift(
        outside: dg.ResourceParam[OutsideSystems],
    ) -> dg.MaterializeResult[None]:
        with foreseen_failures():
            store, warehouse = outside.object_store, outside.warehouse
            published = publish_drift_table(
                store,
                warehouse,
                env=outside.env,
                line=line,
                versions_days=outside.settings.drift_versions_days,
            )
            metadata: dict[str, Any] = {"states": states(outside.ledger, line)}
            try:
                metadata["segments_taken_up"] = compact(store, outside.locks, env=outside.env, line=line)
            except (ObjectStoreError, LockError) as problem:
                # Whoever may not delete, or comes second, publishes all the same, and reads more the next time.
                metadata["segments_not_taken_up_because"] = str(problem)
            if published is None:
                metadata["note"] = (
                    f"No verdict has been stored yet: `platform-assets drift watch {line}` watches the answers."
                )
                return dg.MaterializeResult(metadata=metadata | {"dagster/row_count": 0})
            rows = newest_days(warehouse, published, _DAYS_SHOWN)
            metadata |= stored_table(TableSnapshot.of(published), rows.schema, warehouse)
            metadata |= stability_metadata(rows)
            pictures = day_pictures(rows)
            metadata |= {name: _shown(png, name) for name, png in pictures.items()}
            if len(pictures) > 1:
                metadata |= season_metadata(by_day(warehouse, published, _SEASON_DAYS))
            metadata |= decay_metadata(store, outside.env, line)
            if pictures:
                metadata |= _kept(next(iter(pictures.values())), outside, line)
            return dg.MaterializeResult(
                metadata=metadata, data_version=dg.DataVersion(published.content_hash)
            )

    return drift


def drift_schedule() -> dg.ScheduleDefinition:
    """The job `drift`, every hour: the drift assets of all lines."""
    return signed_schedule(
        "drift_every_hour",
        dg.define_asset_job(
            GROUP,
            selection=dg.AssetSelection.groups(GROUP),
            description="Rolls up what the monitors have seen.",
        ),
        _EVERY_HOUR,
        description="The tables and pictures of drift are never older than an hour.",
    )


def _kept(png: bytes, outside: OutsideSystems, line: str) -> dict[str, Any]:
    """Where people open the newest day's picture, which takes the place of the one before it."""
    key = newest_picture_key(outside.env, line)
    try:
        outside.object_store.put(
            key, png, gdpr_class="internal", retention_days=_RETENTION_DAYS, source_commit=code_commit()
        )
    except ObjectStoreError as problem:
        # Whoever may not write publishes the table all the same, and its pictures with it.
        return {"picture_not_kept_because": str(problem)}
    return {"picture": dg.MetadataValue.url(outside.report_url(key))}


def _shown(png: bytes, name: str) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.md(as_markdown_image(png, name))


def stability_metadata(rows: "pa.Table") -> dict[str, dg.MetadataValue[Any]]:
    """The newest population stability index of each column of the newest model version, and its band."""
    import pyarrow.compute as pc

    rows = rows.filter(pc.is_valid(rows["psi"]))
    if not rows.num_rows:
        return {}
    newest = rows.filter(pc.equal(rows["model_version"], pc.max(rows["model_version"]))).sort_by("minute")
    by_column = {row["column"]: row for row in newest.to_pylist()}
    return {
        "population_stability": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "column": column,
                        "psi": row["psi"],
                        "band": band(row["psi"]),
                        "psi_by_chance": row["psi_by_chance"],
                        "events": row["events"],
                        "minute": row["minute"].isoformat(),
                    }
                )
                for column, row in sorted(by_column.items())
                if not column.endswith(MISSING)
            ]
        )
    }


def day_pictures(rows: "pa.Table") -> dict[str, bytes]:
    """A PNG for each of the newest days, by its date, the newest first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from platform_assets.drift.pictures import drift_picture

    days = pc.cast(rows["minute"], pa.date32())
    newest: list[date] = sorted(pc.unique(days).to_pylist(), reverse=True)[:_DAYS_SHOWN]
    return {f"drift {day}": drift_picture(rows.filter(pc.equal(days, day)), day) for day in newest}


def season_metadata(rows: "pa.Table") -> dict[str, Any]:
    """One picture of many days, of a row a day."""
    from platform_assets.drift.pictures import days_picture

    return {"KS by day": _shown(days_picture(rows), "KS by day")}


def decay_metadata(store: ObjectStore, env: str, line: str) -> dict[str, Any]:
    """How fast the newest version with labels decays; nothing where no label ever came."""
    from platform_assets.drift.pictures import decay_picture

    by_version = labelled_days(store, env=env, line=line)
    if not by_version:
        return {}
    version = max(by_version)
    decay = model_decay_rate(by_version[version])
    metadata: dict[str, Any] = {
        "decay_of_model_version": version,
        "labelled_days_left_out": len(decay.left_out),
    }
    if decay.slope is None:
        return metadata | {"model_decay_rate_not_measured_because": decay.not_measured_because}
    picture = _shown(decay_picture(decay), "AUC by day")
    return metadata | {
        "model_decay_rate": decay.slope.per_day,
        "model_decay_rate_low": decay.slope.low,
        "model_decay_rate_high": decay.slope.high,
        "decay": picture,
    }

"""What a trial of a line is made from: features that were materialized before."""

import dagster as dg

from platform_assets.lines.assets import asset_key
from platform_assets.lines.line import Line, LineError
from platform_assets.references import FeaturesVersion
from platform_assets.step import REFERENCE_KEY, recorded_reference

_VERSIONS_SEARCHED = 1000


def features_for_trials(
    line: Line, instance: dg.DagsterInstance, version: str | None = None
) -> FeaturesVersion:
    """The line's features of this version; the newest where none is named.

    Raises:
        LineError: there are none.
    """
    key = asset_key(line, "features")
    if version is None:
        newest = recorded_reference(instance, key, FeaturesVersion)
        if newest is None:
            raise LineError(
                f"{key.to_user_string()} was never materialized, and a trial trains on it; "
                f"platform-assets materialize {line.name} features makes it"
            )
        return newest
    for record in instance.fetch_materializations(key, limit=_VERSIONS_SEARCHED).records:
        materialization = record.asset_materialization
        value = materialization.metadata.get(REFERENCE_KEY) if materialization else None
        if value is not None:
            found = FeaturesVersion.model_validate(value.value)
            if found.version == version:
                return found
    raise LineError(
        f"no materialization of {key.to_user_string()} has version {version}; leave the version out for the newest"
    )

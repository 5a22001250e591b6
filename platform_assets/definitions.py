"""The code location: every line's assets, the resources they use, and one job a line."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from platform_assets.datasets.assets import schema_changes_asset
from platform_assets.datasets.schema_breaker import require_closed
from platform_assets.datasets.snapshots import content_hash
from platform_assets.drift.assets import drift_asset, drift_schedule
from platform_assets.governance.housekeeping import retention_asset, retention_schedule
from platform_assets.lines.line import Line, load_lines
from platform_assets.step import ReferenceIOManager
from platform_assets.systems import open_ledger, open_model_registry, open_object_store, open_warehouse
from resources.run_tracking import RunTracking
from resources.settings import PlatformSettings
from sensors.drift import drift_sensor
from sensors.git_push import git_sensors

_LOST_POD_RETRIES = 3


def platform_resources(settings: PlatformSettings) -> dict[str, Any]:
    """The outside systems that the settings choose. Nothing is connected to before it is used."""
    ledger = open_ledger(settings)
    return {
        "settings": settings,
        "warehouse": open_warehouse(settings),
        "object_store": open_object_store(settings),
        "model_registry": open_model_registry(settings),
        "run_tracking": RunTracking(settings.resolved_tracking_uri),
        "ledger": ledger,
        # Whatever is built on a dataset gets it through here, so an open breaker stops all of it.
        "io_manager": ReferenceIOManager(
            admit=lambda reference: require_closed(ledger, f"{reference.of_dataset.line}_dataset")
        ),
    }


def step_executor(settings: PlatformSettings) -> dg.ExecutorDefinition:
    """Pods on a cluster; on one machine, processes forked from one that has imported the definitions."""
    if settings.profile == "cluster" and settings.step_pods == "all":
        from dagster_k8s import k8s_job_executor

        return k8s_job_executor.configured({"enable_owner_references": True})
    if settings.profile == "cluster":
        from platform_assets.execution.executor import run_pod_executor

        return run_pod_executor
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": ["platform_assets.definitions"]}}}
    )


def build_definitions(
    settings: PlatformSettings, lines: list[Line], *, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """Definitions of these lines on these systems, each line as its active release has adapted it."""
    resources = platform_resources(settings)
    lost_pod_retries = _LOST_POD_RETRIES if settings.profile == "cluster" else 0
    adapted = [line.adapted(resources["ledger"]) for line in lines]
    return dg.Definitions(
        assets=[
            *(asset for line in adapted for asset in line.assets(lost_pod_retries=lost_pod_retries)),
            *(drift_asset(line.name) for line in lines),
            schema_changes_asset(),
            retention_asset(content_hash),
        ],
        jobs=[line.job for line in lines],
        schedules=[retention_schedule(), *([drift_schedule()] if lines else [])],
        sensors=[drift_sensor(settings, lines), *git_sensors(settings, lines)],
        resources=resources,
        executor=step_executor(settings),
        loggers=loggers,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `workspace.yaml` loads."""
    settings = PlatformSettings()
    return build_definitions(settings, load_lines(settings.specs))

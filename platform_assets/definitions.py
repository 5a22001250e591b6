"""The code location: every line's assets, the resources they use, and one job a line."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from platform_assets.datasets.assets import schema_changes_asset
from platform_assets.datasets.schema_breaker import require_closed
from platform_assets.datasets.snapshots import content_hash
from platform_assets.drift.assets import drift_schedule
from platform_assets.governance.housekeeping import retention_asset, retention_schedule
from platform_assets.lines.assets import broken_line_asset, line_assets, line_job
from platform_assets.lines.line import BrokenLine, Line, load_lines
from platform_assets.outside_systems import OutsideSystems
from platform_assets.step import ReferenceIOManager
from resources.settings import PlatformSettings
from sensors.definitions import drift_sensor, git_sensors

_LOST_POD_RETRIES = 3
log = logging.getLogger(__name__)


def platform_resources(outside: OutsideSystems) -> dict[str, Any]:
    """What assets are given: the outside systems, and how references travel."""
    return {
        "outside": outside,
        # Whatever is built on a dataset gets it through here, so an open breaker stops all of it.
        "io_manager": ReferenceIOManager(
            admit=lambda reference: require_closed(outside.ledger, f"{reference.of_dataset.line}_dataset")
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
    outside: OutsideSystems,
    lines: Sequence[Line],
    broken: Sequence[BrokenLine] = (),
    *,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """Definitions of these lines on these systems, each line as its active release has adapted it.

    Args:
        outside: The systems.
        lines: The lines.
        broken: Specs that declare none; they are shown, and why.
        loggers: Of runs; Dagster's own by default.
    """
    settings = outside.settings
    lost_pod_retries = _LOST_POD_RETRIES if settings.profile == "cluster" else 0
    adapted = [line.adapted(outside.ledger) for line in lines]
    jobs = [line_job(line) for line in lines]
    return dg.Definitions(
        assets=[
            *(asset for line in adapted for asset in line_assets(line, lost_pod_retries=lost_pod_retries)),
            *map(broken_line_asset, broken),
            schema_changes_asset(),
            retention_asset(content_hash),
        ],
        jobs=jobs,
        schedules=[retention_schedule(), *([drift_schedule()] if lines else [])],
        sensors=[drift_sensor(outside, lines, jobs), *git_sensors(outside, lines, jobs)],
        resources=platform_resources(outside),
        executor=step_executor(settings),
        loggers=loggers,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `workspace.yaml` loads."""
    settings = PlatformSettings()
    loaded = load_lines(settings.specs)
    for line in loaded.broken:
        log.error("line %s cannot be loaded: %s", line.name, line.problem)
    return build_definitions(OutsideSystems(settings), loaded.sound, loaded.broken)

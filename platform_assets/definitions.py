"""The code location: every line's assets, the resources they use, and one job a line."""

import logging
from collections.abc import Sequence

import dagster as dg

from platform_assets.datasets.assets import schema_changes_asset
from platform_assets.datasets.snapshots import content_hash
from platform_assets.drift.assets import drift_schedule
from platform_assets.features.declared import Transformers, declared_transformers
from platform_assets.governance.housekeeping import retention_asset, retention_schedule
from platform_assets.lines.conventions import links_of, with_code
from platform_assets.lines.definitions import line_definitions
from platform_assets.lines.line import BrokenLine, Line, load_lines, with_transformers
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from sensors.definitions import drift_sensor, git_sensors, review_sensor, transformer_sensor

log = logging.getLogger(__name__)


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
    transformers: Transformers | None = None,
) -> dg.Definitions:
    """Definitions of these lines on these systems, with what keeps house and what starts runs by itself.

    Args:
        outside: The systems.
        lines: The lines.
        broken: Specs that declare none; they are shown, and why.
        transformers: Those that are served whoever uses them; by default only what the lines use.
    """
    of_lines = line_definitions(outside, lines, broken, transformers=transformers)
    links = links_of(outside)
    jobs = list(of_lines.jobs or ())
    # Of all jobs, these are what sensors may start.
    names = {line.name for line in lines}
    lines_jobs = [job for job in jobs if job.name in names]
    promoted = [line for line in lines if line.promotion is not None]
    declared = transformers or Transformers()
    files = {each.name: each.place for each in declared.sound.values() if not each.of_cluster}
    return dg.Definitions(
        assets=[
            *(of_lines.assets or ()),
            *(with_code(each, links) for each in (schema_changes_asset(), retention_asset(content_hash))),
        ],
        jobs=jobs,
        schedules=[retention_schedule(), *([drift_schedule()] if lines else [])],
        sensors=[
            drift_sensor(outside, lines, lines_jobs),
            *([review_sensor(outside, promoted)] if promoted else []),
            *git_sensors(outside, lines, lines_jobs, broken={each.name for each in broken}),
            *(
                [
                    transformer_sensor(
                        outside, [*(each.name for each in lines), *(each.name for each in broken)], files
                    )
                ]
                if outside.settings.profile == "cluster"
                else []
            ),
        ],
        resources=of_lines.resources,
        executor=step_executor(outside.settings),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `workspace.yaml` loads."""
    settings = PlatformSettings()
    outside = OutsideSystems(settings)
    declared = declared_transformers(outside)
    loaded, transformers = with_transformers(load_lines(settings.specs), declared)
    for line in loaded.broken:
        log.error("line %s cannot be loaded: %s", line.name, line.problem)
    for each in transformers.broken:
        log.error("transformer %s cannot be loaded: %s", each.name, each.problem)
    return build_definitions(outside, loaded.sound, loaded.broken, transformers)

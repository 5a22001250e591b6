"""A code location for `test_daemon_kills`: the Git sensors of the settings' repositories, with hasty ticks."""

import dagster as dg

from platform_assets.lines.assets import line_assets, line_job
from platform_assets.lines.definitions import platform_resources
from platform_assets.lines.line import load_lines
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from sensors.definitions import git_sensors


@dg.definitions
def defs() -> dg.Definitions:
    """One line and the two sensors."""
    outside = OutsideSystems(PlatformSettings())
    lines = load_lines(outside.settings.specs).sound
    jobs = [line_job(line) for line in lines]
    return dg.Definitions(
        assets=[asset for line in lines for asset in line_assets(line)],
        jobs=jobs,
        sensors=git_sensors(outside, lines, jobs, interval_seconds=1),
        resources=platform_resources(outside),
    )

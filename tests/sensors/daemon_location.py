"""A code location for `test_daemon_kills`: the Git sensors of the settings' repositories, with hasty ticks."""

import dagster as dg

from platform_assets.definitions import platform_resources
from platform_assets.lines.line import load_lines
from resources.settings import PlatformSettings
from sensors.git_push import git_sensors


@dg.definitions
def defs() -> dg.Definitions:
    """One line and the two sensors."""
    settings = PlatformSettings()
    lines = load_lines(settings.specs)
    return dg.Definitions(
        assets=[asset for line in lines for asset in line.assets()],
        jobs=[line.job for line in lines],
        sensors=git_sensors(settings, lines, interval_seconds=1),
        resources=platform_resources(settings),
    )

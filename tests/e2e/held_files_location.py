"""A code location for Dagster's own UI: a line of the toy that holds files back, on the systems of the environment."""

from contextlib import ExitStack

from platform_assets.definitions import build_definitions
from platform_assets.lines.line import load_lines
from platform_assets.outside_systems import OutsideSystems
from resources.settings import PlatformSettings
from tests.datasets.quarantine_factory import holding_task

_settings = PlatformSettings()
ExitStack().enter_context(holding_task())  # as long as this process lives
defs = build_definitions(OutsideSystems(_settings), load_lines(_settings.specs).sound)

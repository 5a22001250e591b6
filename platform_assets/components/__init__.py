"""What any `dg` project can have of the platform by a few lines of `defs.yaml`."""

from platform_assets.components.line_component import LineComponent

__all__ = ["LineComponent"]

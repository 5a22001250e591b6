"""What the command groups share: options, the chosen lines and systems, JSON."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resources.settings import PlatformSettings

if TYPE_CHECKING:
    from platform_assets.lines.line import Line

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LineName = Annotated[str, typer.Argument(help="Name of a model line, e.g. reviews_sentiment.")]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", help="Training spec to use instead of the shipped ones.")
]


def chosen_lines(settings: PlatformSettings, spec: Path | None) -> "list[Line]":
    """The lines of the given spec, of the settings' specs, or all that ship."""
    from platform_assets.lines.line import load_lines

    return load_lines((spec,) if spec else settings.specs)


def chosen_line(settings: PlatformSettings, name: str | None, spec: Path | None) -> "Line":
    """The one line with this name; the only one where no name is given."""
    from platform_assets.lines.runner import RunError

    lines = chosen_lines(settings, spec)
    chosen = [each for each in lines if name in (None, each.name)]
    if len(chosen) != 1:
        known = ", ".join(each.name for each in lines)
        raise RunError(
            f"name one line ({known})" if name is None else f"there is no line {name}; known are {known}"
        )
    return chosen[0]


def print_json(content: Any) -> None:
    """JSON for machines; times in ISO 8601."""
    print(
        json.dumps(
            content,
            indent=2,
            default=lambda value: value.isoformat() if isinstance(value, datetime) else str(value),
        )
    )

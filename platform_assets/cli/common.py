"""What the command groups share: options, the chosen lines and systems, JSON."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.cli.completion import line_names
from resources.settings import PlatformSettings

if TYPE_CHECKING:
    from platform_assets.features.declared import Transformers
    from platform_assets.lines.line import Line, Lines
    from platform_assets.outside_systems import OutsideSystems

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LineName = Annotated[
    str, typer.Argument(help="Name of a model line, e.g. reviews_sentiment.", autocompletion=line_names)
]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", help="Training spec to use instead of the shipped ones.")
]


def outside_systems() -> "OutsideSystems":
    """The outside systems of this command."""
    from platform_assets.outside_systems import OutsideSystems

    return OutsideSystems(PlatformSettings())


def chosen_lines(outside: "OutsideSystems", spec: Path | None) -> "Lines":
    """The lines of the given spec, of the settings' specs, or all that ship; with the transformers that they use."""
    return chosen_lines_and_transformers(outside, spec)[0]


def chosen_lines_and_transformers(
    outside: "OutsideSystems", spec: Path | None
) -> "tuple[Lines, Transformers]":
    """These lines, and all transformers beside them: of files, and on a cluster also those that are registered."""
    from platform_assets.features.declared import declared_transformers
    from platform_assets.lines.line import load_lines, with_transformers

    lines = load_lines((spec,) if spec else outside.settings.specs)
    # Of a given spec, a transformer may read the dataset of a line that this command does not look at.
    return with_transformers(lines, declared_transformers(outside), are_all=spec is None)


def chosen_line(outside: "OutsideSystems", name: str | None, spec: Path | None) -> "Line":
    """The one line with this name; the only one where no name is given.

    Raises:
        LineError: there is no such line, there are several, or its spec is wrong.
    """
    from platform_assets.features.declared import declared_transformers
    from platform_assets.lines.line import LineError, Lines, load_line, with_transformers

    if spec is not None:
        line = load_line(spec)
        declared = declared_transformers(outside)
        line = line.using(with_transformers(Lines((line,), ()), declared, are_all=False)[1])
        if name not in (None, line.name):
            raise LineError(f"{spec} declares the line {line.name}, not {name}")
        return line
    lines = chosen_lines(outside, None)
    chosen = [each for each in lines.sound if name in (None, each.name)]
    if not chosen and (problems := [each.problem for each in lines.broken if each.name == name]):
        raise LineError("\n".join(problems))
    if len(chosen) != 1:
        known = ", ".join(each.name for each in lines.sound)
        raise LineError(
            f"name one line ({known})"
            if name is None
            else f"there is no line {name}; known are {known}. A line of your own is found by --spec FILE, or by "
            "PLATFORM_SPECS"
        )
    return chosen[0]


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Where to write what is to lie at `file`: it gets there once all of it is written, or not at all.

    What is no ordinary file, as a pipe or /dev/stdout, is written as it is.
    """
    if file.exists() and not file.is_file():
        yield file
        return
    incoming = file.with_name(f".{file.name}.{os.getpid()}.incoming")
    try:
        yield incoming
        incoming.replace(file)
    finally:
        incoming.unlink(missing_ok=True)


def print_json(content: Any) -> None:
    """JSON for machines; times in ISO 8601."""
    print(
        json.dumps(
            content,
            indent=2,
            default=lambda value: value.isoformat() if isinstance(value, datetime) else str(value),
        )
    )

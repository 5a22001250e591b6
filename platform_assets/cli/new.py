"""`platform-assets new`: from somebody's file to the draft of a line."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from platform_assets.cli.common import AsJson, print_json
from resources.settings import PlatformSettings


def new(
    line: Annotated[str, typer.Argument(help="Name of the new line, e.g. churn.")],
    task: Annotated[str, typer.Option(help="What it is to do, e.g. tabular-classification.")],
    data: Annotated[str, typer.Option(metavar="FILE", help="Path or URI of its training data.")],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="What is to be told. Default: the only column that can be meant."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files are to lie. Default: LINE.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draft a line from a look at its data: a training spec and a contract. Nothing is overwritten."""
    from platform_assets.lines.line import SPEC_FILE, is_reserved, load_lines
    from platform_assets.scaffold.write import new_line
    from platform_assets.tasks.registry import find_drafter

    settings = PlatformSettings()
    drafter = find_drafter(task)
    lines, principal = load_lines(settings.specs), settings.principal
    names = [each.name for each in lines.sound] + [each.name for each in lines.broken]
    made = new_line(
        drafter,
        line,
        data=data,
        target=target,
        spec=(folder or Path(line)) / SPEC_FILE,
        owner=next(iter(principal.groups), principal.user),
        taken=[*names, *filter(is_reserved, [line])],
    )
    draft = made.draft
    commands = [
        shlex.join(["platform-assets", "run", "--spec", str(made.spec)]),
        shlex.join(["platform-assets", "predict", line, draft.instance]),
        shlex.join(["platform-assets", "ui", "--spec", str(made.spec)]),
    ]
    if as_json:
        print_json(
            {
                "spec": made.spec,
                "contract": made.contract,
                "seen": draft.seen,
                "findings": [asdict(finding) for finding in draft.findings],
                "next": commands,
            }
        )
        return
    print(made.told)
    print("\nWhat next, once what the files mark with `decide` is decided:")
    for command in commands:
        print(f"  {command}")

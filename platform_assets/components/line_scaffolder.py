"""What `dg scaffold defs platform_assets.components.LineComponent` writes."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import dagster as dg
from pydantic import BaseModel, ConfigDict, Field

from resources.errors import PlatformError

SPEC_FILE: Final = "training-spec.yaml"
_PYTHON: Final = """\
import dagster as dg

from {module} import {name}


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> {name}:
    return {name}(spec={spec!r})
"""


class LineParameters(BaseModel):
    """What a line is scaffolded from: a file of data, or a spec that there is."""

    model_config = ConfigDict(extra="forbid")

    data: str | None = Field(default=None, description="Path or URI of training data to draft a line from.")
    target: str | None = Field(
        default=None, description="What is to be told. Default: the only column that can be meant."
    )
    task: str = Field(default="tabular-classification", description="What the drafted line is to do.")
    line: str | None = Field(
        default=None, description="Name of the drafted line. Default: that of the folder."
    )
    spec: str | None = Field(
        default=None, description="Path of a training spec that there is, in the place of data."
    )


class LineScaffolder(dg.Scaffolder[LineParameters]):
    """Writes `defs.yaml`; with data also a spec and a contract, drafted as by `platform-assets new`."""

    @classmethod
    def get_scaffold_params(cls) -> type[LineParameters]:
        """What can be said."""
        return LineParameters

    def scaffold(self, request: dg.ScaffoldRequest[LineParameters]) -> None:
        """Write the files, or none.

        Raises:
            click.ClickException: no line can be made of what is given, and what to do.
        """
        folder = request.target_path
        try:
            line, spec = _declared(request)
        except PlatformError as problem:
            # Dagster has made it, and would take it for what it is asked to make next time.
            with suppress(OSError):
                folder.rmdir()
            raise click.ClickException(str(problem)) from None
        if request.scaffold_format == "yaml":
            dg.scaffold_component(request, {"spec": spec})
        else:
            module, _, name = request.type_name.rpartition(".")
            code = _PYTHON.format(module=module, name=name, spec=spec)
            (folder / "component.py").write_text(code, encoding="utf-8")
        click.echo(f"\nWhat next:\n  dg check defs\n  dg launch --job {line}")


def _declared(request: dg.ScaffoldRequest[LineParameters]) -> tuple[str, str]:
    """Name of the line, and the path of its spec, seen from the folder; it is there then.

    Raises:
        PlatformError: there is none to be had.
    """
    from platform_assets.lines.line import load_line
    from platform_assets.scaffold.errors import ScaffoldError

    wanted, folder = request.params, request.target_path
    if (wanted.data is None) == (wanted.spec is None):
        command = f"dg scaffold defs {request.type_name} {folder.name}"
        raise ScaffoldError(
            f"say what {folder.name} is to be made of, one of both: `{command} --data FILE.csv --target COLUMN` looks at a "
            f"file and drafts a spec and a contract; `{command} --spec FILE.yaml` takes a training spec that there is"
        )
    if wanted.data is not None:
        return _drafted(wanted, wanted.data, folder), SPEC_FILE
    if wanted.target or wanted.line:
        raise ScaffoldError("--target and --line are for drafts: the file of --spec says both")
    line = load_line(Path(str(wanted.spec)))
    return line.name, os.path.relpath(line.manifest.path.resolve(), folder.resolve())


def _drafted(wanted: LineParameters, data: str, folder: Path) -> str:
    from platform_assets.lines.line import is_reserved
    from platform_assets.scaffold.write import new_line
    from platform_assets.tasks.registry import find_drafter
    from resources.settings import PlatformSettings

    line = wanted.line or folder.name
    principal = PlatformSettings().principal
    made = new_line(
        find_drafter(wanted.task),
        line,
        data=data,
        target=wanted.target,
        spec=folder / SPEC_FILE,
        owner=next(iter(principal.groups), principal.user),
        # Two lines of one project with one name are told by `dg check defs`.
        taken=[*filter(is_reserved, [line])],
    )
    click.echo(f"\n{made.told}\n\nDecide what the files mark with `decide`.")
    return line

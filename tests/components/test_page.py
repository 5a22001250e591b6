"""Every command that docs/any-dg-project.md shows is one; what they come to, the long tier sees."""

import click
import pytest
from dagster_dg_cli.cli import create_dg_cli

from platform_assets.components.line_scaffolder import LineParameters
from tests.components.pages import commands
from tests.components.projects import TYPE

DG = [command[1:] for command in commands() if command[0] == "dg"]


@pytest.mark.parametrize("words", DG, ids=" ".join)
def test_commands_of_dg(words):
    """With options that the pinned release knows; those of the scaffold are the parameters of ours."""
    if words[:2] == ["scaffold", "defs"]:
        kind, _folder, *options = words[2:]
        assert kind == TYPE
        assert {option.removeprefix("--") for option in options[::2]} <= set(LineParameters.model_fields)
        return
    command = create_dg_cli()
    name, context = "dg", None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, info_name=name)
        name, *words = words
        command = command.get_command(context, name)
        assert command, name
    command.make_context(name, list(words))


def test_they_are_found():
    """Each step of the way is there."""
    assert [words[0] for words in DG] == ["scaffold", "check", "list", "launch"]

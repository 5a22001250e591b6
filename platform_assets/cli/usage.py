"""How the command line shows itself: commands in groups by what people do, examples, and what was probably meant.

A command, or a group of commands, joins one of the groups by naming it: `rich_help_panel=WATCH`. Its examples stand in
`epilog=examples(…)`.
"""

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from resources.texts import without_long_words

PROGRAM: Final = "platform-assets"
BUILD: Final = "Build: from data to a model"
JUDGE: Final = "Judge: what data must be like, and what shuts them out"
SERVE: Final = "Serve: answers, releases and the way back"
WATCH: Final = "Watch: what is going on"
GOVERN: Final = "Govern: what was decided, where it came from, what must go"
OPERATE: Final = "Operate: the platform itself"
PANELS: Final = (BUILD, JUDGE, SERVE, WATCH, GOVERN, OPERATE)
"""In the order in which they are shown."""
EXIT_STATUS: Final = """\
Exit status:
0    it is done
1    an error, told in one sentence; or what was checked did not pass
2    wrong usage: a command, an option, an argument or a setting
130  ended by Ctrl-C (SIGINT)
143  ended by SIGTERM
After 130 and 143 the same command goes on from there."""

_WIDTH: Final = 78
_ALIKE: Final = 0.7
"""Of two names: from here on one may stand for the other, as `rn` for `run`."""
# By way of a public class: typer has no public name for what wrong usage raises.
_WrongUsage: type[Exception] = typer.BadParameter.__mro__[2]


def examples(*commands: str) -> str:
    """The end of a command's help: how it is called, a line for each.

    Args:
        commands: Without the name of the program, e.g. `run reviews_sentiment`.
    """
    shown = "\n".join(_broken(f"$ {PROGRAM} {command}") for command in commands)
    # Rich takes what stands in brackets for markup.
    return f"Example{'s'[: len(commands) > 1]}:\n{shown}".replace("[", "\\[")


def _broken(line: str) -> str:
    """A line that a terminal of 80 columns does not break, broken as a shell takes it."""
    if len(line) <= _WIDTH:
        return line
    at = line.rindex(" --", 0, _WIDTH - 1)
    return f"{line[:at]} \\\n    {line[at + 1 :]}"


class Commands(TyperGroup):
    """All commands, group by group. Wrong usage is one sentence, with what was probably meant, and exit status 2."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of their groups."""
        return sorted(super().list_commands(ctx), key=self._place)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command; looks into all groups for what was meant where there is none."""
        try:
            return super().resolve_command(ctx, args)
        except _WrongUsage as problem:
            if meant := self._meant(args[0] if args else ""):
                raise type(problem)(f"No such command {args[0]!r}. Did you mean {meant}?", ctx) from None
            raise

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that `args` name; ends by `SystemExit` unless `standalone_mode` is off."""
        try:
            status = super().main(
                args,
                prog_name or PROGRAM,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except _WrongUsage as problem:
            if not standalone_mode:
                raise
            _refuse(problem)
        return sys.exit(status if isinstance(status, int) else 0) if standalone_mode else status

    def _place(self, name: str) -> int:
        panel = getattr(self.commands[name], "rich_help_panel", None)
        return PANELS.index(panel) if panel in PANELS else len(PANELS)

    def _meant(self, name: str) -> str:
        """Commands with a name like this one, those without a group first."""
        paths = sorted(_paths(self), key=len)
        alike = get_close_matches(name, sorted({path[-1] for path in paths}), n=1, cutoff=_ALIKE)
        return " or ".join(f"'{' '.join(path)}'" for path in paths if path[-1] in alike)


def _paths(group: TyperGroup) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (name,)
        if isinstance(command, TyperGroup):
            yield from ((name, *path) for path in _paths(command))


def _refuse(problem: Exception) -> NoReturn:
    """One sentence; nothing where the help was shown, since nothing was asked for."""
    if said := " ".join(_said(problem).split()):
        context = getattr(problem, "ctx", None)
        where = context.command_path if context else PROGRAM
        print(without_long_words(f"error: {said} See {where} --help"), file=sys.stderr)
    sys.exit(getattr(problem, "exit_code", 2))


def _said(problem: Exception) -> str:
    possibilities = getattr(problem, "possibilities", None)
    if possibilities:
        message = str(getattr(problem, "message", ""))
        return f"{message}. Did you mean {', '.join(sorted(possibilities))}?"
    said = str(problem.format_message()) if hasattr(problem, "format_message") else str(problem)
    return said if not said or said.endswith((".", "?")) else f"{said}."

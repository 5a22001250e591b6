"""The commands of docs/any-dg-project.md."""

import shlex

from tests.line_factory import ROOT

PAGE = ROOT / "docs" / "any-dg-project.md"
PROGRAMS = ("create-dagster", "dg", "platform-assets")


def commands() -> list[list[str]]:
    """Words of each call of Dagster's commands or the platform's in the page's code, in order."""
    code = [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    words = [shlex.split(line) for line in code]
    return [each for each in words if each[0] in PROGRAMS]

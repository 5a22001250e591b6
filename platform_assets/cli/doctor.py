"""`platform-assets doctor`."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableSettingsError

from platform_assets.cli.common import AsJson, print_json
from platform_assets.cli.endings import settings_problem
from resources.errors import PlatformError
from resources.settings import PlatformSettings

if TYPE_CHECKING:
    from platform_assets.doctor.findings import Finding

_AREAS: Final = {"machine": "This machine", "settings": "Settings", "systems": "What they name"}


def doctor(as_json: AsJson = False) -> None:
    """Look at this machine, the settings and all that they name, and say what is wrong and what to do.

    Nothing is changed or made, and nobody is waited for longer than five seconds. Exit status: 1 where there is a
    problem, 0 otherwise.
    """
    from platform_assets.doctor.diagnosis import diagnose

    settings: PlatformSettings | str
    try:
        settings = PlatformSettings()
    except (ValidationError, UnreadableSettingsError) as problem:
        settings = settings_problem(problem)
    except PlatformError as problem:
        settings = str(problem)
    found = diagnose(settings)
    counts = Counter(each.status for each in found)
    if as_json:
        print_json({"ok": not counts["problem"], "findings": [asdict(each) for each in found]})
    else:
        for area, title in _AREAS.items():
            print(f"\n{title}")
            _print([each for each in found if each.area == area])
        summary = ", ".join(
            f"{counts[status]} {status}" for status in ("ok", "warning", "problem", "not used")
        )
        print(f"\n{summary}")
    if counts["problem"]:
        raise typer.Exit(1)


def _print(findings: "list[Finding]") -> None:
    width = max((len(each.subject) for each in findings), default=0)
    for each in findings:
        print(f"  {each.status:<8}  {each.subject:<{width}}  {each.told}")
        if each.advice:
            print(f"  {'':<8}  {'':<{width}}  → {each.advice}")

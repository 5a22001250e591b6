"""What a shell completes: names of lines, read without loading what reads lines.

A shell asks at each press of the key, so this takes the one line that names it out of each spec, and is silent
whatever is wrong: who runs the command is told.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_SHIPPED: Final = Path(__file__).resolve().parents[1] / "models"
_NAME: Final = re.compile(rb"""^line:[ \t]*["']?([A-Za-z0-9_]+)""", re.MULTILINE)


def line_names(incomplete: str) -> list[str]:
    """Names of the settings' lines, or of those that ship, that begin so."""
    from resources.settings import PlatformSettings

    names = []
    with suppress(Exception):
        for spec in PlatformSettings().specs or sorted(_SHIPPED.glob("*/training-spec.yaml")):
            with suppress(OSError):
                names += [found[1].decode() for found in _NAME.finditer(spec.read_bytes())]
    return [name for name in names if name.startswith(incomplete)]


def table_names(incomplete: str) -> list[str]:
    """Names of those lines' datasets and features."""
    names = [f"{line}_{stage}" for line in line_names("") for stage in ("dataset", "features")]
    return [name for name in names if name.startswith(incomplete)]

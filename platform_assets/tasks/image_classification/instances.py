"""What somebody asks about: a DICOM file, as an argument of a command line and as JSON has it."""

import base64
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from platform_assets.tasks.image_classification.dicom.limits import Limits
from platform_assets.tasks.image_classification.phantom.request import SCHEME

EXAMPLE: Final = f"{SCHEME}://chest?n=1&seed=7"
"""The first of the phantoms of a seed: an argument that there is without any file."""


def read_instance(argument: str) -> JsonValue:
    """`{"dicom": "<Base64>"}` of the DICOM file at a path, or of the first one of a phantom.

    Raises:
        ValueError: there is no such file.
        DatasetError: it is no phantom that can be made.
    """
    if argument.startswith(f"{SCHEME}://"):
        content = _first_phantom(argument)
    else:
        try:
            content = Path(argument).read_bytes()
        except OSError as problem:
            raise ValueError(f"is no file that can be read ({type(problem).__name__})") from None
    return {"dicom": base64.b64encode(content).decode()}


def _first_phantom(uri: str) -> bytes:
    from platform_assets.tasks.image_classification.phantom.source import open_phantom
    from resources.settings import PlatformSettings

    return open_phantom(uri, Limits(), cache=PlatformSettings().home / "cache").files.read(0)

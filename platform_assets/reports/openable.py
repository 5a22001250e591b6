"""Which stored objects a browser is given, and as what."""

import re
from typing import Final

from platform_assets.sheets import SUFFIX

_KINDS: Final = ("cards", "datasets", "reports")
"""Files of models are for machines, and large."""
_LONGEST_KEY: Final = 768
_LONGEST_SEGMENT: Final = 200
"""No file system takes a longer name with what the store appends to it."""
_SEGMENT: Final = r"[A-Za-z0-9][A-Za-z0-9._+@=-]*"
_KEY: Final = re.compile(rf"(?:{'|'.join(_KINDS)})(?:/{_SEGMENT})+")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    # As a page that the server makes of it.
    SUFFIX: "text/html; charset=utf-8",
}


def openable_key(path: str) -> str | None:
    """The object key that a path names as it was sent; None for whatever is no plain name of something to look at.

    Nothing is decoded: every character of a key may stand in a path as it is, so whoever writes one in another way means
    something else.

    Args:
        path: What follows `/objects/`, as it stands in the request.
    """
    if len(path) > _LONGEST_KEY or not _KEY.fullmatch(path):
        return None
    if any(len(segment) > _LONGEST_SEGMENT for segment in path.split("/")):
        return None
    return path if content_type_of(path) else None


def content_type_of(key: str) -> str | None:
    """What a browser is told that the object is; None for what is not opened."""
    name = key.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return _TYPES.get(dot + suffix) if stem else None


def is_sheet(key: str) -> bool:
    """Whether the object holds images of single rows, of which the server makes a page."""
    return key.endswith(SUFFIX)

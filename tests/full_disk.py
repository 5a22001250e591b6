"""Disks without any room."""

from contextlib import suppress
from pathlib import Path


def fill(file: Path) -> None:
    """Take all the room that is left on a disk into this file, to the last byte."""
    for size_bytes in (1 << 20, 1):
        with suppress(OSError), file.open("ab", buffering=0) as sink:
            while sink.write(bytes(size_bytes)):
                pass

"""Disks without any room."""

import os
from contextlib import suppress
from pathlib import Path


def fill(file: Path) -> None:
    """Take all the room that is left on a disk into this file, to the last byte."""
    with file.open("ab", buffering=0) as sink:
        for size_bytes in (1 << 28, 1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(sink.fileno(), os.fstat(sink.fileno()).st_size, size_bytes)
        with suppress(OSError):
            while sink.write(b"."):
                pass

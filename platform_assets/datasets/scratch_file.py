"""Files for what does not fit in memory."""

import tempfile
import weakref
from contextlib import suppress
from typing import IO


def scratch_file(owner: object) -> IO[bytes]:
    """An empty file in the folder for temporary ones that has no name, so that nothing stays of a process that is killed.

    Args:
        owner: Goes, and the file with it.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - its owner closes it
    weakref.finalize(owner, _close, file)
    return file


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # no room for what was not written yet, and nobody wants it
        file.close()

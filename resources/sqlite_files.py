"""How a SQLite file is read without a trace."""

from pathlib import Path
from typing import Final

_READ_VERSION_AT: Final = 19
_WRITE_AHEAD: Final = 2
"""In the header of a file that has a write-ahead log whenever somebody has it open."""


def read_only_uri(file: Path) -> str:
    """The URI by which `sqlite3.connect(…, uri=True)` opens a file to read it, and makes nothing beside it.

    To read a file of the kind that has a log, SQLite makes that log where it is not there. Then nobody has the file
    open, and it is read as one that does not change. Whoever is told that it is damaged does well to look again:
    somebody may have begun to write in between.
    """
    file = file.absolute()
    with file.open("rb") as stream:
        header = stream.read(_READ_VERSION_AT + 1)
    has_log = len(header) > _READ_VERSION_AT and header[_READ_VERSION_AT] == _WRITE_AHEAD
    is_open = file.with_name(f"{file.name}-wal").exists()
    return f"{file.as_uri()}?mode=ro{'&immutable=1' if has_log and not is_open else ''}"

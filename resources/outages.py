"""What libraries raise when a disk is full, or a database or an object store is away, told as one error of ours.

Such an error may come out of any library, at any call, also out of Dagster's own storage. So it is not looked for at each
of them, but told apart where it would leave a step or a command.
"""

import errno
import re
import sqlite3
from collections.abc import Iterator
from typing import Final

from resources.errors import PlatformError, ResourceError

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SQLITE_FULL, _SQLITE_IO_ERROR = 13, 10
"""The latter is what a full disk comes to where SQLite must make a journal or shared memory larger."""
_SAYS_FULL: Final = re.compile(
    r"no space left on device|database or disk is full|disk quota exceeded", re.IGNORECASE
)
"""Libraries in other languages leave the operating system's words alone."""
_DATABASE_ERRORS: Final = frozenset({"OperationalError", "InterfaceError", "DagsterPostgresException"})
_DATABASE_LIBRARIES: Final = frozenset({"psycopg2", "sqlalchemy", "dagster_postgres"})
_SHOWN_CHARACTERS: Final = 300
_SAYS_STORE_AWAY: Final = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SERVICE_UNAVAILABLE|SLOW_DOWN|INTERNAL_FAILURE|REQUEST_TIMEOUT)"
    r"|could not connect to the endpoint|connection was closed before we received a valid response"
    r"|(connect|read) timeout on endpoint",
    re.IGNORECASE,
)
"""Of Arrow's own S3 client, which has no error of its own for it, and of boto's."""
_SPACE_ADVICE: Final = (
    "free some space there (`df -h` shows which disk is full) and run again: what is done is kept, and nothing is "
    "half written"
)


class OutageError(ResourceError):
    """A database or an object store does not answer."""

    passes = True


class DiskFullError(ResourceError):
    """There is no room for what is to be written, and there will be none until somebody makes some."""


def outage_of(problem: BaseException) -> OutageError | DiskFullError | None:
    """The outage that an error comes from; None where it comes from none that is known.

    An error of ours that says already what is away is none either, but one that says no more than the operating system
    does about a full disk gets what to do.
    """
    chain = list(_chain(problem))
    if full := next((each for each in chain if _is_full(each)), None):
        file = getattr(full, "filename", None)
        said = str(problem) if isinstance(problem, PlatformError) else _first_line(full)
        doubt = ", or the disk is damaged" if "disk I/O error" in str(full) else ""
        where = f" ({file})" if file and str(file) not in said else ""
        return DiskFullError(f"no space is left{doubt}: {said}{where}; {_SPACE_ADVICE}")
    if isinstance(problem, PlatformError):
        return None
    if away := next((each for each in chain if _is_of_a_database(each)), None):
        return OutageError(
            f"the database does not answer or has ended the connection: {_first_line(_innermost(away))}; see that it "
            "runs and run again: what is done is kept"
        )
    if away := next((each for each in chain if _SAYS_STORE_AWAY.search(str(each))), None):
        return OutageError(
            f"the object store does not answer: {_first_line(away)}; see that it runs at PLATFORM_S3_ENDPOINT and run "
            "again: what is done is kept"
        )
    return None


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the last one first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [problem]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [None if each.__suppress_context__ else each.__context__, each.__cause__]


def _is_full(problem: BaseException) -> bool:
    return (
        (isinstance(problem, OSError) and problem.errno in _NO_SPACE)
        or (getattr(problem, "sqlite_errorcode", None) or 0) & 0xFF in {_SQLITE_FULL, _SQLITE_IO_ERROR}
        or (not isinstance(problem, PlatformError) and bool(_SAYS_FULL.search(str(problem))))
    )


def _is_of_a_database(problem: BaseException) -> bool:
    kind = type(problem)
    if isinstance(getattr(problem, "orig", None), sqlite3.Error):
        return False
    return kind.__name__ in _DATABASE_ERRORS and kind.__module__.partition(".")[0] in _DATABASE_LIBRARIES


def _innermost(problem: BaseException) -> BaseException:
    return next((each for each in _chain(problem) if type(each).__module__ == "psycopg2"), problem)


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    return lines[0].strip()[:_SHOWN_CHARACTERS]

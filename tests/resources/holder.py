"""Takes a lock as one process of several: holds it until it is told to go on, or counts under it.

`holder.py LOCATION hold NAME` prints `held` once it has the lock, and ends when its input does.
`holder.py LOCATION count NAME FILE TIMES` adds one to the number in a file so many times.
"""

import sys
import time
from pathlib import Path

from resources.locks import FileLocks, Locks, PostgresLocks


def opened(location: str) -> Locks:
    """The locks in a database, or in a folder."""
    return PostgresLocks(location) if "://" in location else FileLocks(Path(location))


def count(locks: Locks, name: str, file: Path, times: int) -> None:
    """What two processes would spoil for each other: read, think, write."""
    for _ in range(times):
        with locks.hold(name):
            number = int(file.read_text())
            time.sleep(0.001)
            file.write_text(str(number + 1))


if __name__ == "__main__":
    given, act, lock, *rest = sys.argv[1:]
    if act == "count":
        count(opened(given), lock, Path(rest[0]), int(rest[1]))
    else:
        with opened(given).hold(lock):
            print("held", flush=True)
            sys.stdin.read()

"""Runs that are a process of their own, as `platform-assets run` and steps of exported workflows are.

Such a run has no worker that Dagster knows of. Its process holds the lock of its line from before the run begins until
after it has ended, and the run's tag says which process it is.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

PROCESS_TAG: Final = "platform/process"


class TaggedRun(Protocol):
    """A run, as far as it is looked at here."""

    @property
    def run_id(self) -> str:
        """Its id."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags."""
        ...


def line_lock(line: str) -> str:
    """Name of the lock that a process holds while it runs the line."""
    return f"line-{line}"


def process_tag(run_id: str) -> dict[str, str]:
    """The tag of a run of this process."""
    return {PROCESS_TAG: f"{process_identity(os.getpid())}/{run_id}"}


def process_of(run: TaggedRun) -> str | None:
    """The process that the run is; None for a run that Dagster has launched.

    A run that repeats another one in the UI has its tags, so the tag names the run that it is meant for.
    """
    identity, _, run_id = run.tags.get(PROCESS_TAG, "").rpartition("/")
    return identity if identity and run_id == run.run_id else None


def process_identity(pid: int) -> str:
    """Host, process id and start time: tells a process from a later one with the same id."""
    try:
        # Field 22 of /proc/<pid>/stat; the name in field 2 may hold blanks, so count from its closing bracket.
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        started = "gone"
    return f"{socket.gethostname()}:{pid}:{started}"


def is_gone(identity: str, *, lock_is_shared: bool) -> bool:
    """Whether the process has ended; asked only by who holds the lock of its line.

    Args:
        identity: The process.
        lock_is_shared: Whether all machines share the lock, so that a process elsewhere would still hold it.
    """
    host, pid, _ = identity.rsplit(":", 2)
    if host != socket.gethostname():
        return lock_is_shared
    return process_identity(int(pid)) != identity

"""Processes that end with this one, and with all that they have started themselves.

Dagster's servers start servers, and those start runs. Whoever kills the first one leaves the others behind: each has
only asked its own parent for nothing. Two promises of the Linux kernel hold whatever becomes of the processes above,
even where they are killed and can clean up nothing:

- PR_SET_PDEATHSIG: a process is sent a signal when its parent ends. It holds for one generation.
- PR_SET_CHILD_SUBREAPER: what a descendant leaves behind becomes a child of this process, and not of init, so that it
  can still be found.

So between a command and its tree stands a guard, in a session of its own, that a killed command's signal reaches and
that outlives it until nothing of the tree is left.

    python -m resources.process_tree PID SECONDS COMMAND…
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None, use_errno=True)

_POLITE_SECONDS: Final = 8.0
"""For the command itself, to end what it has started in its own order."""
PLAIN_SECONDS: Final = 6.0
"""For all that is left, once each of it was told; a run that is told to end says so in its record."""
_POLL_SECONDS: Final = 0.1
_A_DAY_SECONDS: Final = 86_400.0
_HEEDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_IMPATIENT: Final = 2


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends, however that does.

    For a child to call, before it starts anything. Should the parent have ended already, nothing comes.
    """
    _prctl(_PR_SET_PDEATHSIG, number)


def run_tree(
    command: Sequence[str], environment: Mapping[str, str], *, plain_seconds: float = PLAIN_SECONDS
) -> int:
    """The exit status of a command, once nothing is left of it and of what it had started.

    An exception that ends the wait ends the tree first, in seconds; so does the death of this process.

    Args:
        command: Program and arguments.
        environment: Its variables, all of them.
        plain_seconds: For what is left of the tree after the command itself, before it is killed.
    """
    # A session of its own: what a terminal sends to its foreground reaches it through this process alone, once.
    with subprocess.Popen(
        guarded(command, plain_seconds=plain_seconds), env=dict(environment), start_new_session=True
    ) as process:
        try:
            return _as_shells_tell(process.wait())
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def guarded(command: Sequence[str], *, plain_seconds: float = PLAIN_SECONDS) -> list[str]:
    """A command that runs this one, and ends it with all that it has started when it is told to, or this process ends.

    It is for the thread to start that outlives it: the kernel takes the end of that thread for the end of this process.
    Its exit status is the command's, as shells tell it.

    Args:
        command: Program and arguments.
        plain_seconds: For what is left of the tree after the command itself, before it is killed.
    """
    return [sys.executable, "-m", __spec__.name, str(os.getpid()), str(plain_seconds), *command]


@contextmanager
def beside(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Another process meanwhile, one that starts none itself; it is told to end when the block does, or this process.

    Args:
        command: Program and arguments.
        environment: Its variables, all of them.
    """
    with subprocess.Popen(
        command,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one call to the kernel, and no lock
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_POLITE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have, as far as the kernel still knows."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # After the name, which may hold blanks and brackets: state, parent.
                stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if stat[0] != "Z":
                    children.setdefault(int(stat[1]), []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


class _Guard:
    """Runs a command, and ends all that comes of it."""

    def __init__(self, plain_seconds: float) -> None:
        self._plain_seconds = plain_seconds
        self._told = 0
        """How often somebody has told it to end; who does so twice does not want to wait."""

    def run(self, parent: int, command: Sequence[str]) -> int:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        die_with_parent(signal.SIGTERM)
        if os.getppid() != parent:
            return 0  # it had ended before the kernel knew

        def prepare() -> None:
            die_with_parent(signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

        # Nothing else runs here, so there is no lock that the forked process could find taken.
        child = subprocess.Popen(command, preexec_fn=prepare)  # noqa: PLW1509
        while not self._told and child.poll() is None:
            self._heed(_A_DAY_SECONDS)
            _reap(child)
        if child.poll() is None:
            child.terminate()
            self._wait_while(lambda: child.poll() is None, _POLITE_SECONDS)
        self._end_all(signal.SIGTERM, child, self._plain_seconds)
        self._end_all(signal.SIGKILL, child, None)
        return _as_shells_tell(child.wait())

    def _end_all(self, number: int, child: "subprocess.Popen[bytes]", seconds: float | None) -> None:
        """Also what runs in a session of its own, what has lost its parent, and what is started meanwhile."""
        told: set[int] = set()

        def is_left() -> bool:
            left = set(descendants(os.getpid()))
            for pid in left - told:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told.update(left)
            _reap(child)
            return bool(left)

        self._wait_while(is_left, seconds)

    def _wait_while(self, condition: Callable[[], bool], seconds: float | None) -> None:
        """For so long, or until somebody is impatient; without a limit, whatever comes."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while condition():
            if deadline is not None and (time.monotonic() > deadline or self._told >= _IMPATIENT):
                return
            self._heed(_POLL_SECONDS)

    def _heed(self, seconds: float) -> None:
        """Sleep until a signal comes, or a child ends."""
        come = signal.sigtimedwait(_HEEDED, seconds)
        if come and come.si_signo != signal.SIGCHLD:
            self._told += 1


def _reap(child: "subprocess.Popen[bytes]") -> None:
    """The children that this process has inherited; the one that it has started keeps its status for itself."""
    with suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == child.pid:
                child.poll()
            else:
                os.waitpid(ended.si_pid, 0)


def _as_shells_tell(status: int) -> int:
    return status if status >= 0 else 128 - status


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    sys.exit(_Guard(float(sys.argv[2])).run(int(sys.argv[1]), sys.argv[3:]))

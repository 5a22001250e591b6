"""Commands as scripts, cron and `make ui &` start them: in the background, without SIGINT, deaf to a terminal that closes."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_SHELL = 'trap \'\' INT; nohup "$@" >"$LOG" 2>&1 & echo $!; wait $!'
_END_SECONDS = 40


@dataclass
class Background:
    """A command that was started so."""

    pid: int
    home: Path
    log: Path
    _shell: "subprocess.Popen[str]"

    def told(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._shell.poll() is None

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status after a signal to the command alone, as its shell tells it."""
        os.kill(self.pid, how)
        return self._shell.wait(_END_SECONDS)


@contextmanager
def started(home: Path, command: Sequence[str], environment: dict[str, str]) -> Iterator[Background]:
    """A command in the background; nothing of it is left afterwards, however the test ends.

    Args:
        home: `PLATFORM_HOME` of the environment, by which its processes are known.
        command: Program and arguments.
        environment: All its variables.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "output.log"
    shell = subprocess.Popen(
        ["sh", "-c", _SHELL, "sh", *command],
        env=environment | {"LOG": str(log)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Background(int(shell.stdout.readline()), home, log, shell)
    finally:
        shell.stdout.close()
        for pid in processes_of(home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shell.wait()


def processes_of(home: Path) -> list[int]:
    """The processes, of whatever parent, group and session, whose state lies in `home`."""
    wanted = f"PLATFORM_HOME={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        # Of a process that has ended there is nothing to read.
        with suppress(OSError):
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found

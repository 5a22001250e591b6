"""What a process costs, seen from outside: processor seconds first, for they hold on a busy machine too."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.line_factory import environment


class BenchmarkError(Exception):
    """A measured process failed, or two sides that must agree do not: no figure is worth telling."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    cpu_seconds: float
    """User and system time, of the process and of every child that it waited for."""
    wall_seconds: float

    def __sub__(self, other: Self) -> "Cost":
        return Cost(self.cpu_seconds - other.cpu_seconds, self.wall_seconds - other.wall_seconds)


@dataclass(frozen=True, slots=True)
class Measured:
    """One Python process, run to its end."""

    cost: Cost
    output: str
    exit_status: int
    errors: str

    def succeeded(self) -> Self:
        """This process, if it ended well.

        Raises:
            BenchmarkError: it did not.
        """
        if self.exit_status:
            raise BenchmarkError(
                f"a measured process ended with {self.exit_status}:\n{self.errors[-3000:]}\n{self.output[-3000:]}"
            )
        return self


def measure(*arguments: str | Path, folder: Path) -> Measured:
    """Run `python …` in `folder`, with a platform home of its own at `folder / "home"`."""
    folder.mkdir(parents=True, exist_ok=True)
    output, errors = folder / "output.log", folder / "errors.log"
    with output.open("wb") as out, errors.open("wb") as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment(folder / "home", HF_HUB_OFFLINE="1"),
            cwd=folder,
            stdout=out,
            stderr=err,
        )
        # Unlike Popen.wait, this tells the processor time of just this process and its children.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(usage.ru_utime + usage.ru_stime, wall)
    return Measured(cost, output.read_text(), process.returncode, errors.read_text())


def measure_together(
    left: Sequence[str | Path], right: Sequence[str | Path], *, folders: tuple[Path, Path]
) -> tuple[Measured, Measured]:
    """Two processes at the same time, each on its own half of the cores.

    Whatever else the machine does meets both alike, and neither waits for the other's threads.
    """
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    halves = (set(cores[:half]), set(cores[-half:]))

    def pinned(side: int) -> Measured:
        # 0 is this thread, and what it starts inherits from it.
        os.sched_setaffinity(0, halves[side])
        return measure(*(left, right)[side], folder=folders[side])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(pinned, (0, 1))
    return first, second

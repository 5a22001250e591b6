"""Forks a process for each command that comes in, so that none waits for imports: its id goes out, then its exit status.

A line in is a JSON list of arguments of `platform-assets features`.
"""

import json
import os
import sys

from platform_assets.cli import app
from platform_assets.cli.endings import end_well
from platform_assets.features import (  # noqa: F401 - loaded once, for all
    engine,
    join_files,
    join_kernels,
    memory_budget,
    window_kernels,
    windows,
    woe,
)

memory_budget._RUN_PART *= 100  # so that few rows are sorted on disk


def _child(arguments: list[str]) -> None:
    """The command, in a process of its own."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    sys.argv = ["platform-assets", "features", *arguments]
    status = 70
    try:
        status = end_well(app)
    finally:
        os._exit(status)


for line in sys.stdin:
    if not (pid := os.fork()):
        _child(json.loads(line))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

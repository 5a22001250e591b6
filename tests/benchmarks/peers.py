"""Peers in an environment of their own: their dependencies would hold ours back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import BenchmarkError
from tests.line_factory import ROOT

PEERS_VARIABLE: Final = "PLATFORM_PEERS_PYTHON"
FEAST_VARIABLE: Final = "PLATFORM_FEAST_PYTHON"
OWN: Final = "platform-assets"
FEAST: Final = "feast"
_SECONDS: Final = 1_200


def peers_python() -> Path:
    """The Python that has them: of `make peers`, unless the environment names another.

    Raises:
        BenchmarkError: there is none.
    """
    return _python(PEERS_VARIABLE, ".peers-venv")


def feast_python() -> Path:
    """The Python that has feast, which holds pandas back below the others' version.

    Raises:
        BenchmarkError: there is none.
    """
    return _python(FEAST_VARIABLE, ".feast-venv")


def _python(variable: str, folder: str) -> Path:
    python = Path(os.environ.get(variable) or ROOT / folder / "bin/python")
    if not python.exists():
        raise BenchmarkError(f"{python} is not there: run `make peers`, or name a Python in {variable}")
    return python


def _python_of(tool: str) -> str | Path:
    if tool.startswith(OWN):
        return sys.executable
    return feast_python() if tool == FEAST else peers_python()


def told_by(worker: Path, tool: str, *arguments: str | Path) -> dict[str, Any]:
    """What a worker prints as its last line, as JSON. Ours runs in this environment, a peer in that of peers.

    Raises:
        BenchmarkError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            [_python_of(tool), worker, tool, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(Path.home()),
                "PYTHONPATH": str(ROOT) if tool.startswith(OWN) else "",
            },
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{tool}: no result within {_SECONDS} s") from None
    if done.returncode:
        raise BenchmarkError(f"{tool} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told

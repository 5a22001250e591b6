"""MLflow's SQLite file is there whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from resources.mlflow_file import make_whole

_MAKE = "import sys; from resources.mlflow_file import make_whole; make_whole(sys.argv[1]); print('made')"


def maker(uri: str) -> subprocess.Popen[str]:
    """A process that makes the file."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", _MAKE, uri],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def size_bytes(file: Path) -> int:
    """Of a file that comes and goes."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def begin(uri: str, file: Path, *, bytes_written: int) -> subprocess.Popen[str]:
    """A process that is in the middle of making the file: so much of it is written somewhere."""
    process = maker(uri)
    while process.poll() is None:
        if max(size_bytes(file), size_bytes(file.with_name(f"{file.name}.incoming"))) >= bytes_written:
            return process
    pytest.fail("the process has ended before it came so far")


@pytest.mark.parametrize("bytes_written", [100_000, 500_000])
def test_who_is_killed_while_making_it_leaves_nothing_that_stands_in_the_way(
    tmp_path: Path, bytes_written: int
) -> None:
    """The next process makes the file, and models can be registered in it."""
    file = tmp_path / "mlflow" / "mlflow.sqlite"
    uri = f"sqlite:///{file}"
    process = begin(uri, file, bytes_written=bytes_written)

    process.kill()
    process.wait()
    make_whole(uri)

    MlflowClient(uri, uri).create_registered_model("reviews")
    assert not list(file.parent.glob("*.incoming*"))


def test_several_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    """All of them find it whole."""
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.sqlite'}"
    processes = [maker(uri) for _ in range(3)]

    assert [process.communicate()[0].strip() for process in processes] == ["made"] * 3

    assert [each.name for each in MlflowClient(uri, uri).search_experiments()] == ["Default"]

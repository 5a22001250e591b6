"""What `dg` says of this checkout: its configuration, its definitions, and that they can be listed.

In a home of its own, with settings of nobody: what ships is looked at, and Dagster's telemetry is off as the platform has it.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from resources.dagster_home import prepare_dagster_home
from resources.settings import PlatformSettings

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (("check", "toml"), ("check", "defs"), ("list", "defs", "--json"))


def main() -> None:
    """Run all of them; the first that fails ends it, and what it said is shown."""
    dg = Path(sys.executable).with_name("dg")
    with TemporaryDirectory() as folder:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
        home = prepare_dagster_home(PlatformSettings(home=Path(folder)))
        environment = {**mine, "PLATFORM_HOME": folder, "DAGSTER_HOME": str(home)}
        for command in COMMANDS:
            done = subprocess.run(
                [dg, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{done.stdout}{done.stderr}\ndg {' '.join(command)} failed")
            print(f"dg {' '.join(command)}: passed")


if __name__ == "__main__":
    main()

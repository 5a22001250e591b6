"""Every run and every step's process loads the code location, so it must load little."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.imports import HEAVY
from tests.line_factory import ROOT, environment

_PROBE = f"""
import json, sys
from platform_assets.definitions import defs
repository = defs().get_repository_def()
print(json.dumps({{
    "heavy": [name for name in {HEAVY!r} if name in sys.modules],
    "assets": len(repository.asset_graph.materializable_asset_keys),
}}))
"""


def test_the_code_location_loads_no_heavy_library(tmp_path: Path) -> None:
    """With every line that ships: what a task needs, the step that needs it imports."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE],
        env=environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["heavy"] == []
    assert told["assets"] > 0

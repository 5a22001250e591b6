"""Registers one fingerprint a number of times and prints each version number: tests run several at once."""

import sys
from pathlib import Path

from resources.model_registry import MlflowRegistry

uri, locks, name, times = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
registry = MlflowRegistry(uri, locks=locks)
for number in range(times):
    print(
        registry.register(
            name, fingerprint=f"f{number}", source="file:///models/1", run_id="", tags={"line": name}
        ),
        flush=True,
    )

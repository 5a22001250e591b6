"""Registers one fingerprint a number of times and prints each version number: tests run several at once.

`registrar.py TRACKING_URI LOCKS NAME TIMES`
"""

import sys

from resources.model_registry import MlflowRegistry
from tests.resources.holder import opened

uri, locks, name, times = sys.argv[1], opened(sys.argv[2]), sys.argv[3], int(sys.argv[4])
registry = MlflowRegistry(uri, locks=locks)
for number in range(times):
    print(
        registry.register(
            name, fingerprint=f"f{number}", source="s3://bucket/models/1", run_id="", tags={"line": name}
        ),
        flush=True,
    )

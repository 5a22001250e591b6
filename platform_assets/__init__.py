"""Platform Assets: declarative ML lines on Dagster in which nothing is deployed without a verdict."""

import os

from platform_assets.processors import limit_threads

# These must stand before the libraries they speak to are imported, and every entry point passes here.
_PROCESS_DEFAULTS = {
    # Usage telemetry of dependencies is off unless somebody switches it on.
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
    # Progress is told in our own lines, which a log file can hold.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # OpenMP threads that spin while they wait starve everything else on a small machine.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "true",
}
for _name, _value in _PROCESS_DEFAULTS.items():
    os.environ.setdefault(_name, _value)
limit_threads()

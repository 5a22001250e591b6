"""The same chain by dagster-k8s' own executor, whose every step imports the Kubernetes client with the definitions."""

import sys

import dagster as dg

from platform_assets.definitions import step_executor
from platform_assets.tags import POD_TAG
from resources.settings import PlatformSettings
from tests.benchmarks.chains import RESOURCES, chain_of

# The client would import this checker of manifests, which tests use and no image has.
sys.modules["kubernetes_validate"] = None  # type: ignore[assignment]


@dg.definitions
def defs() -> dg.Definitions:
    """Each step is a pod, whatever its tags."""
    stock = step_executor(PlatformSettings().model_copy(update={"step_pods": "all"}))
    return dg.Definitions(jobs=[chain_of("stock", stock, {POD_TAG: RESOURCES})])

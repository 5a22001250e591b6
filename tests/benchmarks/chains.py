"""The code location that `pods` runs; it imports no more than one of the platform's own does."""

import dagster as dg

from platform_assets.definitions import step_executor
from platform_assets.step import POD_TAG
from resources.settings import PlatformSettings

STEPS = 6
_RESOURCES = {"container_config": {"resources": {"limits": {"memory": "1Gi"}}}}


def _chain(name: str, executor: dg.ExecutorDefinition, tags: dict[str, object]) -> dg.JobDefinition:
    @dg.op(name=f"link_of_{name}", ins={"before": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), tags=tags)
    def link() -> None:
        """Nothing: what is measured is all around it."""

    @dg.job(name=name, executor_def=executor)
    def chain() -> None:
        last = link.alias(f"{name}_0")()
        for at in range(1, STEPS):
            last = link.alias(f"{name}_{at}")(last)

    return chain


@dg.definitions
def defs() -> dg.Definitions:
    """A chain on each executor; the code location that run pods load."""
    settings = PlatformSettings()
    ours, stock, local = (
        step_executor(settings.model_copy(update=changes))
        for changes in ({"step_pods": "resources"}, {"step_pods": "all"}, {"profile": "local"})
    )
    tags: dict[str, object] = {POD_TAG: _RESOURCES}
    return dg.Definitions(
        jobs=[
            _chain("local", local, {}),
            _chain("processes", ours, {}),
            _chain("pods", ours, tags),
            _chain("stock", stock, tags),
        ]
    )

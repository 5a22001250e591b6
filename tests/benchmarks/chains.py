"""Chains of steps that do nothing, as a code location; it imports no more than one of the platform's own does."""

import dagster as dg

from platform_assets.definitions import step_executor
from platform_assets.tags import POD_TAG
from resources.settings import PlatformSettings

STEPS = 6
RESOURCES = {"container_config": {"resources": {"limits": {"memory": "1Gi"}}}}


def chain_of(name: str, executor: dg.ExecutorDefinition, tags: dict[str, object]) -> dg.JobDefinition:
    """A job of `STEPS` steps, one after the other."""

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
    """On one machine, and as our executor runs them on a cluster."""
    settings = PlatformSettings()
    ours = step_executor(settings.model_copy(update={"step_pods": "resources"}))
    return dg.Definitions(
        jobs=[
            chain_of("local", step_executor(settings.model_copy(update={"profile": "local"})), {}),
            chain_of("processes", ours, {}),
            chain_of("pods", ours, {POD_TAG: RESOURCES}),
        ]
    )

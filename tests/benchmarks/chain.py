"""A chain of assets that do nothing, as a job on each executor; `executor.py` runs it in processes of its own."""

from collections.abc import Callable
from multiprocessing import forkserver

import dagster as dg

from platform_assets.definitions import step_executor
from platform_assets.lines.runner import open_instance
from resources.settings import PlatformSettings

LONGEST = 9


def _chain(executor: dg.ExecutorDefinition) -> dg.Definitions:
    def link(at: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"link_{at}", ins={"before": dg.AssetIn(f"link_{at - 1}")} if at else {})
        def add_one(**before: int) -> int:
            return before.get("before", 0) + 1

        return add_one

    return dg.Definitions(
        assets=[link(at) for at in range(LONGEST)], jobs=[dg.define_asset_job("chain")], executor=executor
    )


def platform() -> dg.JobDefinition:
    """The chain on the executor that the settings choose."""
    return _chain(step_executor(PlatformSettings())).resolve_job_def("chain")


def spawn() -> dg.JobDefinition:
    """The chain in processes that each start from nothing: Dagster's default."""
    return _chain(dg.multiprocess_executor).resolve_job_def("chain")


def in_process() -> dg.JobDefinition:
    """The chain within the run's own process."""
    return _chain(dg.in_process_executor).resolve_job_def("chain")


def run(job: Callable[[], dg.JobDefinition], length: int) -> None:
    """Execute the first `length` links and print what the last one came to: `length`.

    Args:
        job: one of the functions above, which Dagster calls again in every step process.
        length: how many assets.
    """
    keys = [dg.AssetKey(f"link_{at}") for at in range(length)]
    with (
        open_instance(PlatformSettings()) as instance,
        dg.execute_job(dg.reconstructable(job), instance, raise_on_error=True, asset_selection=keys),
    ):
        print(_chain(dg.in_process_executor).load_asset_value(keys[-1], python_type=int, instance=instance))
    # Waiting for the server is what makes the time of its step processes ours, and so measurable.
    forkserver._forkserver._stop()

"""The cluster's executor: a pod for each step that asks for resources of its own, processes for the rest.

A pod costs seconds before its first line of ours runs, and most assets of a line need less than that. So a
step gets a Kubernetes Job when its tag `dagster-k8s/config` says what it needs, as training does; all others
are forked inside the run's pod from a process that has imported the definitions (docs/adr/0020).

Here, in `pod_steps`, in `step_process` and in `run_launcher` alone are Dagster's private classes used;
tests/execution/test_executor.py and tests/execution/test_run_launcher.py hold them to their form.
"""

import multiprocessing
import signal
from collections.abc import Iterator
from functools import cached_property
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.executor.step_delegating.step_handler.base import (
    CheckStepHealthResult,
    StepHandler,
    StepHandlerContext,
)
from dagster._serdes import serialize_value

from platform_assets.execution.step_process import execute_step, step_arguments
from platform_assets.tags import POD_TAG

if TYPE_CHECKING:
    from platform_assets.execution.pod_steps import PodStepHandler

_HEALTH_INTERVAL_SECONDS: Final = 5
_EVENT_INTERVAL_SECONDS: Final = 0.25
_ENDED_ON_PURPOSE: Final = {dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED}
_LAUNCHERS_OF_PODS: Final = ("PlatformRunLauncher", "K8sRunLauncher")
_PRELOADED: Final = ["__main__", "platform_assets.definitions", "dagster_postgres"]
"""Imported once: the program itself, which every forked process would run through again, the definitions, and
what opens the instance."""


@dg.executor(name="run_pod", requirements=multiple_process_executor_requirements())
def run_pod_executor(init_context: InitExecutorContext) -> StepDelegatingExecutor:
    """Steps with resources of their own as pods, the others as processes of the run's pod."""
    # By name: to make a launcher is to import the Kubernetes client, which light steps have no need of.
    launcher = init_context.instance.get_ref().run_launcher_data
    if launcher is None or launcher.class_name not in _LAUNCHERS_OF_PODS:
        raise dg.DagsterInvariantViolationError(
            f"PLATFORM_PROFILE=cluster makes pods for steps and needs {' or '.join(_LAUNCHERS_OF_PODS)} in dagster.yaml; "
            f"this instance has {launcher.class_name if launcher else 'none'}"
        )
    return PodExecutor(init_context.instance)


class PodExecutor(StepDelegatingExecutor):
    """Dagster's own loop over steps; it tries a step again only where its pod was lost through no fault of its code."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._handler = MixedStepHandler(instance)
        super().__init__(
            self._handler,
            retries=RetryMode.ENABLED,
            sleep_seconds=_EVENT_INTERVAL_SECONDS,
            check_step_health_interval_seconds=_HEALTH_INTERVAL_SECONDS,
            should_verify_step=True,
        )

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[DagsterEvent]:
        """Run the plan; a run that somebody has ended takes its pods along, and their places in pools.

        Dagster leaves both alone wherever a lost run would be resumed, also when it was ended on purpose.
        """
        instance = plan_context.instance
        try:
            yield from super().execute(plan_context, execution_plan)
        finally:
            run = instance.get_run_by_id(plan_context.run_id)
            if run is not None and run.status in _ENDED_ON_PURPOSE:
                instance.event_log_storage.free_concurrency_slots_for_run(plan_context.run_id)
                if left := self._handler.end_pods(plan_context.run_id):
                    instance.report_engine_event(
                        f"The Kubernetes API does not answer, or refuses: {', '.join(left)} goes on until the next run "
                        "starts, which removes it.",
                        run,
                        cls=self.__class__,
                    )

    def log_failure_or_retry_event_after_error(
        self, step_context: Any, err_info: Any, known_state: Any
    ) -> DagsterEvent:
        """What the event log gets when a step was found lost."""
        if self._handler.may_retry(step_context.step.key):
            return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)
        return DagsterEvent.step_failure_event(
            step_context=step_context,
            step_failure_data=StepFailureData(error=err_info, user_failure_data=None),
        )


class MixedStepHandler(StepHandler):
    """Hands each step to the pods or to the processes, by its tags."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        super().__init__()
        self._instance = instance
        self._processes = ProcessStepHandler()

    @cached_property
    def _pods(self) -> "PodStepHandler":
        from platform_assets.execution.pod_steps import PodStepHandler

        return PodStepHandler(self._instance)

    @property
    def name(self) -> str:
        """As the event log calls it."""
        return "pods for steps with resources of their own, processes for the others"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Start the step; a generator, as Dagster wants it."""
        yield from self._handler_of(step_handler_context).launch_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether the step may still come to an end by itself."""
        return self._handler_of(step_handler_context).check_step_health(step_handler_context)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """End the step."""
        yield from self._handler_of(step_handler_context).terminate_step(step_handler_context)

    def end_pods(self, run_id: str) -> list[str]:
        """Remove the Jobs of all steps that have not ended; the names of those that stay, for want of an answer."""
        return self._pods.end_all(run_id) if "_pods" in self.__dict__ else []

    def may_retry(self, step_key: str) -> bool:
        """Whether a lost step may be tried again; a process dies of its own program, so never there."""
        return self._pods.may_retry(step_key)

    def _handler_of(self, context: StepHandlerContext) -> StepHandler:
        return self._pods if POD_TAG in context.step_tags[_step_key(context)] else self._processes


class ProcessStepHandler(StepHandler):
    """Steps as processes of this pod, forked from one that has imported the definitions once."""

    def __init__(self) -> None:
        super().__init__()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        # Imports while this process makes its plan, and not when the first step is due.
        forkserver.ensure_running()
        self._running: dict[str, Any] = {}
        self._ended: set[str] = set()

    @property
    def name(self) -> str:
        """As the event log calls it."""
        return "processes"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Fork the step."""
        step_key = _step_key(step_handler_context)
        # A process is started once, or anew on purpose, so there is nothing to verify.
        arguments = step_arguments(step_handler_context.execute_step_args, verified=False)
        process = self._context.Process(target=execute_step, args=(serialize_value(arguments),))
        process.start()
        self._running[step_key] = process
        self._ended.discard(step_key)
        yield DagsterEvent.step_worker_starting(
            step_handler_context.get_step_context(step_key),
            message=f'Executing step "{step_key}" in process {process.pid} of the run\'s pod.',
            metadata={"pid": dg.MetadataValue.text(str(process.pid))},
        )

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """A process that has ended has told so by the second look, or never will."""
        step_key = _step_key(step_handler_context)
        process = self._running.get(step_key)
        if process is None:
            return CheckStepHealthResult.unhealthy("it ran in an earlier pod of this run, which is gone")
        if process.is_alive():
            return CheckStepHealthResult.healthy()
        if step_key not in self._ended:
            self._ended.add(step_key)
            return CheckStepHealthResult.healthy()
        return CheckStepHealthResult.unhealthy(
            f"its process ended with {process.exitcode} and without a word"
            + (
                "; most likely the run's pod is short of memory"
                if process.exitcode == -signal.SIGKILL
                else ""
            )
        )

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Ask the process to end; it reports that itself."""
        step_key = _step_key(step_handler_context)
        process = self._running.get(step_key)
        if process is not None and process.is_alive():
            yield DagsterEvent.engine_event(
                step_handler_context.get_step_context(step_key),
                f"Ending process {process.pid}",
                EngineEventData(),
            )
            process.terminate()


def _step_key(context: StepHandlerContext) -> str:
    """The step that is meant."""
    (step_key,) = context.execute_step_args.step_keys_to_execute or ()
    return step_key

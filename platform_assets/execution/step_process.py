"""The process of one step on a cluster, in a pod of its own or forked: what it is told, and what it does."""

from dagster._cli.api import execute_step_command
from dagster._grpc.types import ExecuteStepArgs


def step_arguments(args: ExecuteStepArgs, *, verified: bool) -> ExecuteStepArgs:
    """The arguments of a step's process, with as much of the instance as a step needs.

    No launcher of runs and no watch over them: to have them is to import the Kubernetes client, which takes
    longer than most steps, and to need the rights of whoever makes pods.

    Args:
        args: As the executor makes them.
        verified: Whether the process refuses to run where the step has begun before: Kubernetes may put a pod
            in the place of one that was deleted.
    """
    instance = args.instance_ref
    if instance is not None:
        kept = {name: value for name, value in instance.settings.items() if name != "run_monitoring"}
        instance = instance._replace(run_launcher_data=None, settings=kept)
    return ExecuteStepArgs(
        job_origin=args.job_origin,
        run_id=args.run_id,
        step_keys_to_execute=args.step_keys_to_execute,
        instance_ref=instance,
        retry_mode=args.retry_mode,
        known_state=args.known_state,
        should_verify_step=verified,
        print_serialized_events=False,
    )


def execute_step(args: str) -> None:
    """What `dagster api execute_step` does in a pod, in a forked process."""
    execute_step_command.callback(args, None)  # type: ignore[misc]

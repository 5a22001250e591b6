"""What became of a step that has a pod of its own: does it run, does it wait, or is it lost, and why?

Kubernetes tells a pod that ran out of memory, one that was pre-empted and one whose program crashed apart;
so do we, since they call for different things: more memory, the same again, and a person.
"""

from dataclasses import dataclass
from typing import Final, Literal

from resources.cluster import JobState, mebibytes, outside_cause, quantity_of

START_PATIENCE_SECONDS: Final = 300.0
"""How long an image that cannot be pulled, or a pod that cannot be made, is taken for a passing trouble."""

Kind = Literal["running", "waiting", "out_of_memory", "preempted", "crashed", "never_started"]


@dataclass(frozen=True, slots=True)
class StepHealth:
    """The judgement on one attempt of a step."""

    kind: Kind
    message: str = ""

    @property
    def lost(self) -> bool:
        """Whether nothing more will come of this attempt."""
        return self.kind not in {"running", "waiting"}


def judge(job: JobState | None, *, name: str, ended_before: bool) -> StepHealth:
    """What became of the attempt that the Job `name` executes.

    Args:
        job: Its state; None where there is no such Job.
        name: Its name.
        ended_before: Whether it had ended when it was looked at last. What a step reports as its last act may
            be a moment behind its pod, so an end counts from the second look on.
    """
    if job is None:
        return StepHealth("preempted", f"the Job {name} is gone; somebody has deleted it")
    if job.succeeded or job.failed:
        return _ended(job) if ended_before else StepHealth("running")
    if not job.pods:
        return _not_begun(job, job.warnings[-1] if job.warnings else None, "has no pod")
    newest = job.pods[-1]
    if newest.unschedulable:
        # A GPU may be taken for days. That is no failure, but people should see what is waited for.
        return StepHealth("waiting", f"the pod {newest.name} waits for a node: {newest.unschedulable}")
    return _not_begun(job, newest.waiting_for, f"has the pod {newest.name}, which does not start")


def _not_begun(job: JobState, reason: str | None, what: str) -> StepHealth:
    if reason is None:
        return StepHealth("running")
    message = f"the Job {job.name} {what}: {reason}"
    return StepHealth("never_started" if job.age_seconds > START_PATIENCE_SECONDS else "waiting", message)


def _ended(job: JobState) -> StepHealth:
    pods = [pod for pod in job.pods if pod.exit_code or pod.reason or pod.disrupted or pod.out_of_memory]
    if exhausted := next((pod for pod in pods if pod.out_of_memory), None):
        limit = f" at its limit of {job.memory_limit}" if job.memory_limit else ""
        return StepHealth(
            "out_of_memory", f"the pod {exhausted.name} ran out of memory and was killed{limit}"
        )
    if job.succeeded or not pods:
        return StepHealth(
            "preempted", f"the pod of {job.name} was taken away before it could say what became of the step"
        )
    newest = pods[-1]
    if outside := outside_cause(newest):
        return StepHealth("preempted", f"the pod {newest.name} was ended from outside: {outside}")
    return StepHealth(
        "crashed",
        f"the process of the pod {newest.name} ended with {newest.exit_code} and without a word; "
        f"see kubectl logs {newest.name}",
    )


def memory_of_next_attempt(previous: JobState | None, *, most: str | None) -> str | None:
    """The memory limit of an attempt after `previous`: twice as much after it ran out; None for the step's own.

    Args:
        previous: The Job of the attempt before.
        most: What the step may have at most, e.g. `16Gi`; None for what it has.
    """
    if previous is None or previous.memory_limit is None:
        return None
    if most is None or not any(pod.out_of_memory for pod in previous.pods):
        return previous.memory_limit
    return quantity_of(min(2 * mebibytes(previous.memory_limit), mebibytes(most)))

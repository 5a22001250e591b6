"""What became of a step in a pod of its own."""

from dataclasses import replace

import pytest

from platform_assets.execution.step_health import START_PATIENCE_SECONDS, judge, memory_of_next_attempt
from resources.cluster import JobState, PodState

RUNNING = JobState(
    name="step",
    age_seconds=10,
    succeeded=False,
    failed=False,
    memory_limit="8Gi",
    pods=(PodState("step-a", "Running"),),
)


def failed(**pod: object) -> JobState:
    """The Job after its pod has ended like this."""
    return replace(RUNNING, failed=True, pods=(PodState("step-a", "Failed", **pod),))


def test_a_running_pod_is_healthy():
    """Nothing is told of what goes well."""
    found = judge(RUNNING, name="step", ended_before=False)

    assert (found.kind, found.message, found.lost) == ("running", "", False)


def test_an_end_counts_from_the_second_look_on():
    """The step's last event may reach the log a moment after its pod has ended."""
    assert judge(failed(exit_code=1), name="step", ended_before=False).lost is False
    assert judge(failed(exit_code=1), name="step", ended_before=True).lost is True


@pytest.mark.parametrize(
    ("job", "kind", "told"),
    [
        (failed(exit_code=137, out_of_memory=True), "out_of_memory", "killed at its limit of 8Gi"),
        (
            failed(reason="Evicted", message="The node was low on memory"),
            "preempted",
            "Evicted: The node was low",
        ),
        (
            failed(exit_code=143, disrupted="PreemptionByScheduler: no room"),
            "preempted",
            "PreemptionByScheduler",
        ),
        (failed(exit_code=137), "preempted", "SIGKILL"),
        (failed(exit_code=143), "preempted", "SIGTERM"),
        (failed(exit_code=1), "crashed", "kubectl logs step-a"),
        (failed(exit_code=139), "crashed", "ended with 139"),
        (replace(RUNNING, failed=True, pods=()), "preempted", "taken away"),
        (replace(RUNNING, succeeded=True), "preempted", "before it could say what became of the step"),
        (None, "preempted", "the Job step is gone"),
    ],
)
def test_what_ended_a_pod_is_told_apart(job, kind, told):
    """Memory, pre-emption and a crash call for different things."""
    found = judge(job, name="step", ended_before=True)

    assert found.kind == kind
    assert told in found.message
    assert found.lost


def test_a_pod_that_found_no_node_waits_however_long():
    """A GPU may be taken for days; people see what is waited for."""
    reason = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    job = replace(RUNNING, age_seconds=1e6, pods=(PodState("step-a", "Pending", unschedulable=reason),))

    found = judge(job, name="step", ended_before=False)

    assert found.kind == "waiting"
    assert reason in found.message


@pytest.mark.parametrize(
    "job",
    [
        replace(RUNNING, pods=(PodState("step-a", "Pending", waiting_for="ErrImagePull: no such image"),)),
        replace(RUNNING, pods=(), warnings=("FailedCreate: exceeded quota", "FailedCreate: no such image")),
    ],
)
def test_what_can_never_start_fails_and_says_why(job):
    """An image that cannot be pulled or a pod that cannot be made does not keep the run for ever."""
    young = judge(job, name="step", ended_before=False)
    old = judge(replace(job, age_seconds=START_PATIENCE_SECONDS + 1), name="step", ended_before=False)

    assert (young.kind, old.kind) == ("waiting", "never_started")
    assert "no such image" in old.message


def test_a_pod_that_is_being_made_says_nothing():
    """The first moments of every pod are no news."""
    assert judge(replace(RUNNING, pods=()), name="step", ended_before=False).message == ""


@pytest.mark.parametrize(
    ("previous", "most", "expected"),
    [
        (failed(exit_code=137, out_of_memory=True), "64Gi", "16Gi"),
        (failed(exit_code=137, out_of_memory=True), "12Gi", "12Gi"),
        (failed(exit_code=137, out_of_memory=True), "8Gi", "8Gi"),
        (failed(exit_code=137, out_of_memory=True), None, "8Gi"),
        (replace(failed(exit_code=137, out_of_memory=True), memory_limit="700Mi"), "2Gi", "1400Mi"),
        (replace(failed(reason="Evicted"), memory_limit="16Gi"), "64Gi", "16Gi"),
        (replace(failed(exit_code=137, out_of_memory=True), memory_limit=None), "64Gi", None),
        (None, "64Gi", None),
    ],
)
def test_memory_doubles_after_it_ran_out_up_to_a_bound(previous, most, expected):
    """What was pre-empted gets the same again, also where it had been given more before."""
    assert memory_of_next_attempt(previous, most=most) == expected

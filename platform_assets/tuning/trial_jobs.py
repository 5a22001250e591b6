"""Trials as Jobs of a cluster, beside the pod that executes their Experiment.

A Job outlives that pod: the next one takes it up where it stands. How often a lost pod is tried again is the template's
`backoffLimit`, and as on Katib a trial has failed when its Job has, and not with one of its pods.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

from platform_assets.models.spec import ResourcesSpec
from platform_assets.tuning.collector import collected
from platform_assets.tuning.experiment import Experiment
from platform_assets.tuning.trial_job import IDENTITY, trial_job
from platform_assets.tuning.trial_processes import reason_of
from platform_assets.tuning.trial_runner import Observation, Outcome, RunningTrial
from resources.cluster import ClusterError, ClusterUnreachableError, JobState, PodState, outside_cause

_POLL_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class Jobs(Protocol):
    """The cluster that this process is part of, as far as trials need it; `ClusterJobs` is it."""

    @property
    def own_pod(self) -> Mapping[str, Any]:
        """The pod of this process, as the API server writes it."""
        ...

    def begin(self, job: Mapping[str, Any]) -> None:
        """Make a Job; one of its name that is there already is left as it is."""
        ...

    def state_of(self, job: str) -> JobState | None:
        """The Job with this name and its pods; None where there is none."""
        ...

    def log_of(self, pod: str, container: str) -> str | None:
        """What a container has printed so far; None where there is nothing to be read."""
        ...

    def end(self, job: str) -> None:
        """Remove a Job, and return once its pods are gone."""
        ...


class JobTrials:
    """Runs the trials of one Experiment as Jobs; the end of the block removes them.

    Only where this process is told to end they stay, for whoever goes on.
    """

    def __init__(
        self,
        experiment: Experiment,
        jobs: Jobs,
        *,
        resources: ResourcesSpec,
        environment: Mapping[str, str],
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """Starts nothing yet.

        Args:
            experiment: Whose trials.
            jobs: Where Jobs are made.
            resources: What the training spec asks for; each trial gets as much.
            environment: Variables of each trial besides those that the pod of this process has.
            poll_seconds: Between two looks.
        """
        self._experiment = experiment
        self._jobs = jobs
        self._resources = resources
        self._environment = environment
        self._poll_seconds = poll_seconds
        self._started: list[_TrialJob] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is not None and not isinstance(problem, Exception):
            return
        for each in self._started:
            if each.outcome() == "running" or not self._experiment.trial_template.retain:
                each.remove()

    def start(self, trial: str, assignment: Mapping[str, str]) -> "_TrialJob":
        """See `TrialRunner.start`; a Job of this name that is of another trial makes room.

        Where the API server does not answer just now, its Job is made at a later look.

        Raises:
            ClusterError: Kubernetes refuses.
        """
        container = self._experiment.trial_template.primary_container_name
        job = trial_job(
            self._experiment.trial_manifest(assignment, trial),
            container=container,
            beside=self._jobs.own_pod,
            resources=self._resources,
            environment=self._environment,
        )
        started = _TrialJob(job, container, self._jobs, self._experiment)
        self._started.append(started)
        started.look()
        return started

    def wait(self, running: Sequence[RunningTrial], timeout_seconds: float) -> None:
        """See `TrialRunner.wait`."""
        own = [each for each in self._started if any(each is one for one in running)]
        deadline = time.monotonic() + timeout_seconds
        while True:
            # All of them: whoever waits wants to know of each what there is.
            news = [each.look() for each in own]
            if any(news):
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(self._poll_seconds, left))


class _TrialJob:
    """A trial that was started, as it was when somebody last looked."""

    def __init__(self, job: Mapping[str, Any], container: str, jobs: Jobs, experiment: Experiment) -> None:
        self._name = str(job["metadata"]["name"])
        self._job = job
        self._is_begun = False
        self._container = container
        self._jobs = jobs
        self._experiment = experiment
        self._found: dict[str, list[Observation]] = {}
        """By pod: one that takes the place of another begins anew, and reports the same."""
        self._outcome: Outcome = "running"
        self._reason = ""
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """See `RunningTrial.name`."""
        return self._name

    @property
    def reason(self) -> str:
        """Why it has failed; empty while it runs, and where it has not."""
        return self._reason

    def observations(self) -> Sequence[Observation]:
        """See `RunningTrial.observations`; those of the pod that has come furthest."""
        furthest: list[Observation] = []
        for found in self._found.values():
            furthest = found if len(found) > len(furthest) else furthest
        return tuple(furthest)

    def outcome(self) -> Outcome:
        """See `RunningTrial.outcome`."""
        return self._outcome

    def stop(self) -> None:
        """See `RunningTrial.stop`; a Job that has ended stays until the block does, for whoever looks into its log."""
        if self._outcome == "running":
            self.remove()
            self._outcome, self._reason = "failed", "it was stopped"

    def remove(self) -> None:
        """Remove the Job with its pods."""
        try:
            self._jobs.end(self._name)
        except ClusterError as problem:
            log.warning("the Job %s stays behind: %s", self._name, problem)

    def look(self) -> bool:
        """Whether there is news, or it has ended."""
        if self._outcome != "running":
            return True
        try:
            self._begin()
            job = self._jobs.state_of(self._name)
            if job is None:
                self._outcome, self._reason = "failed", "its Job is gone; somebody has deleted it"
                return True
            before = len(self.observations())
            for pod in job.pods:
                self._read(pod)
        except ClusterUnreachableError as problem:
            # It says nothing about the Job, which goes on.
            log.warning("%s; the trial %s is taken to run on", problem, self._name)
            return False
        self._tell_what_it_waits_for(job)
        if job.succeeded:
            self._outcome = "succeeded"
            (*_, name) = [each.name for each in job.pods if each.phase == "Succeeded"] or [""]
            self._found = {name: self._found.get(name, [])}
        elif job.gave_up is not None:
            self._outcome, self._reason = "failed", self._why(job)
        return self._outcome != "running" or len(self.observations()) > before

    def _begin(self) -> None:
        """Make the Job, unless that was done, by this process or one before it."""
        if self._is_begun:
            return
        there = self._jobs.state_of(self._name)
        if (
            there is not None
            and there.annotations.get(IDENTITY) != self._job["metadata"]["annotations"][IDENTITY]
        ):
            self._jobs.end(self._name)
            there = None
        if there is None:
            self._jobs.begin(self._job)
        self._is_begun = True

    def _read(self, pod: PodState) -> None:
        """What a pod has printed so far; of one that is gone, what was read before stays."""
        if pod.phase == "Pending":
            return
        printed = self._jobs.log_of(pod.name, self._container)
        if printed is None:
            return
        metrics, filters = self._experiment.objective.metrics, self._experiment.metrics_filter
        now, known = datetime.now(UTC), self._found.get(pod.name, [])
        found = [
            each for line in printed.splitlines() for each in collected(line, filters, metrics, read_at=now)
        ]
        self._found[pod.name] = [*known, *found[len(known) :]]

    def _tell_what_it_waits_for(self, job: JobState) -> None:
        for waits in {pod.unschedulable or pod.waiting_for for pod in job.pods} - {None, *self._told}:
            self._told.add(str(waits))
            log.info("the trial %s waits: %s", self._name, waits)

    def _why(self, job: JobState) -> str:
        """What its last pod said, or Kubernetes of it."""
        for pod in reversed(job.pods):
            if pod.out_of_memory:
                return f"its pod ran out of memory at the limit of {job.memory_limit}"
            if outside := outside_cause(pod):
                return f"its pod was ended from outside: {outside}"
            if pod.exit_code:
                try:
                    told = self._jobs.log_of(pod.name, self._container) or ""
                except ClusterError:
                    told = ""
                return reason_of(pod.exit_code, told.strip())
        return str(job.gave_up)

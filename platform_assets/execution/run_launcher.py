"""The cluster's run launcher: dagster-k8s' own, and what run monitoring must know besides.

Before it starts a run it removes what cancelled runs have left behind.

Monitoring asks it whether a run's worker is alive, starts another worker where it is not, and marks the run as failed
after a few of them. Two answers of dagster-k8s would spoil work that goes well:

- Runs of `platform-assets run` and of exported workflows have no Job. Their process holds the lock of its line.
- An API server that is away is told like a Job that is gone; the second worker would work beside the first.
"""

from functools import cached_property

from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_job_name_from_run_id

from platform_assets.execution.abandoned_jobs import remove_abandoned_jobs
from platform_assets.execution.process_runs import line_lock, process_of
from platform_assets.outside_systems import open_locks
from resources.cluster import Cluster, ClusterUnreachableError
from resources.dagster_home import LINE_TAG
from resources.locks import LockError, LockTimeoutError
from resources.settings import LockSettings


class PlatformRunLauncher(K8sRunLauncher):
    """Runs as Jobs; runs that are processes of their own are left to them."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether somebody still works on the run."""
        if process_of(run):
            return self._health_of_process(run)
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status is not WorkerStatus.UNKNOWN:
            return found
        name = get_job_name_from_run_id(
            run.run_id, resume_attempt_number=self._get_resume_attempt_number(run)
        )
        try:
            job = self._cluster.job(name)
        except ClusterUnreachableError as problem:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"{problem}; the run is taken to go on")
        if job is None:
            return found
        return CheckRunHealthResult(
            WorkerStatus.RUNNING, f"Job {name} is there; its state is asked for again"
        )

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's Job, once those of cancelled runs that nobody could end are gone."""
        remove_abandoned_jobs(self._cluster, self._instance)
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """End the run's Job; False for a run that is no Job, which only its own process can end."""
        run = self._instance.get_run_by_id(run_id)
        process = process_of(run) if run is not None and not run.is_finished else None
        if process:
            self._instance.report_engine_event(
                f"This run is the process {process} (host:pid:start) and no Job of Dagster's: end it there, "
                "by SIGTERM, by deleting its pod, or by stopping its workflow.",
                run,
                cls=self.__class__,
            )
            return False
        return bool(super().terminate(run_id))

    @cached_property
    def _cluster(self) -> Cluster:
        return Cluster(self.job_namespace)

    def _health_of_process(self, run: DagsterRun) -> CheckRunHealthResult:
        try:
            # Whoever works on a line holds its lock, so who gets it knows that the process is gone.
            with open_locks(LockSettings()).hold(line_lock(run.tags[LINE_TAG]), timeout_seconds=0):
                now = self._instance.get_run_by_id(run.run_id)
                if now is not None and not now.is_finished:
                    self._instance.report_run_failed(now, "its process was killed")
        except LockTimeoutError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its process holds the lock of the line")
        except LockError as problem:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"{problem}; the run is taken to go on")
        # Monitoring sees that the run has ended, and does nothing.
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process was killed")

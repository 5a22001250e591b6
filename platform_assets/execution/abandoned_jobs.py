"""Jobs of runs that were cancelled while the API server did not answer: nobody could end them, so somebody must later.

Nothing has to be written down for it: Dagster's storage keeps that the run was cancelled, and the Job carries the run's id.
Whoever makes a Job, or lets a run begin, looks first whether one such is left (docs/adr/0036).
"""

import logging

import dagster as dg

from resources.cluster import Cluster, ClusterError

log = logging.getLogger(__name__)


def remove_abandoned_jobs(cluster: Cluster, instance: dg.DagsterInstance) -> list[str]:
    """Remove the Jobs of cancelled runs that have not ended, with their pods; their names.

    Jobs of a run that this instance does not know are somebody else's. Where the API server does not answer again, or
    refuses, they stay for the next look: it is in nobody's way.
    """
    removed: list[str] = []
    try:
        for name, run_id in cluster.jobs_of_runs().items():
            run = instance.get_run_by_id(run_id)
            if run is not None and run.status is dg.DagsterRunStatus.CANCELED and cluster.delete_job(name):
                log.info("the Job %s of the cancelled run %s was left, and is removed", name, run_id)
                removed.append(name)
    except ClusterError as problem:
        log.warning("Jobs of cancelled runs are not looked for: %s", problem)
    return removed


def end_jobs(cluster: Cluster, run_id: str, known: set[str], *, keep: str) -> list[str]:
    """Remove the Jobs of a run that is being cancelled; the names of those that stay, for want of an answer or a right.

    Args:
        cluster: Where they are.
        run_id: The run.
        known: Names of those that are known to work for it, whatever the API server can list.
        keep: What the names of those begin with that are left alone.
    """
    try:
        names = known | cluster.jobs_of_runs(run_id).keys()
    except ClusterError:
        names = known
    left = []
    for name in sorted(names):
        if name.startswith(keep):
            continue
        try:
            cluster.delete_job(name)
        except ClusterError:
            left.append(name)
    return left

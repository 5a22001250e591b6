"""What run monitoring is told, by Dagster's own monitoring of an instance that has our launcher."""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster_k8s import K8sRunLauncher
from kubernetes import client

from platform_assets.execution.pod_steps import PodStepHandler
from platform_assets.execution.process_runs import PROCESS_TAG, line_lock, process_tag
from resources.cluster import Cluster, ClusterJobs, PodsLostError
from resources.dagster_home import LINE_TAG
from resources.locks import FileLocks
from resources.settings import LockSettings

LINE = "reviews_small"
ACTIVE = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"template": {"spec": {"containers": []}}}, "status": {"active": 1}}  # fmt: skip


class ApiServer(ThreadingHTTPServer):
    """Knows the Jobs that it is given, and nothing else."""

    jobs: dict[str, dict] = {}  # noqa: RUF012 - set for each server
    away = False


class Answers(BaseHTTPRequestHandler):
    """Of the API server."""

    server: ApiServer

    def do_GET(self):
        """A Job or that there is none, or those that have a label."""
        path = urlsplit(self.path)
        if path.path.endswith("/jobs"):
            label, _, value = parse_qs(path.query)["labelSelector"][0].partition("=")
            labels = {name: job["metadata"].get("labels", {}) for name, job in self.server.jobs.items()}
            fits = [name for name in labels if label in labels[name] and value in {"", labels[name][label]}]
            self._answer({"items": [self.server.jobs[name] for name in fits]})
        else:
            self._answer(self.server.jobs.get(self._name))

    def do_DELETE(self):
        """A Job goes."""
        self._answer(None if self.server.away else self.server.jobs.pop(self._name, None))

    @property
    def _name(self) -> str:
        return urlsplit(self.path).path.partition("/jobs/")[2].partition("/")[0]

    def _answer(self, found):
        body = json.dumps(found or {"message": f"no Job {self._name}"}).encode()
        status = HTTPStatus.OK if found else HTTPStatus.NOT_FOUND
        self.send_response(HTTPStatus.SERVICE_UNAVAILABLE if self.server.away else status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told):
        """Nothing."""


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    """A server that answers; closed, it refuses connections."""
    with ApiServer(("127.0.0.1", 0), Answers) as server:
        server.jobs = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def instance(api_server, tmp_path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    """An instance whose launcher is ours, and asks that server."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "platform"))
    # A launcher's process need not have all settings of a cluster.
    monkeypatch.setenv("PLATFORM_PROFILE", "cluster")
    monkeypatch.setattr(client.Configuration, "_default", None)  # which the launcher sets
    config = tmp_path / "kubeconfig"
    named = {"cluster": "c", "user": "u"}
    config.write_text(
        yaml.safe_dump(
            {
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{api_server.server_port}"}}
                ],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "here", "context": named}],
                "current-context": "here",
            }
        )
    )
    launcher = {
        "module": "platform_assets.execution.run_launcher",
        "class": "PlatformRunLauncher",
        "config": {
            "service_account_name": "runs",
            "instance_config_map": "dagster-instance",
            "dagster_home": "/opt/dagster/home",
            "job_namespace": "platform",
            "load_incluster_config": False,
            "kubeconfig_file": str(config),
        },
    }
    monitoring = {"enabled": True, "max_resume_run_attempts": 3}
    with dg.instance_for_test({"run_launcher": launcher, "run_monitoring": monitoring}) as made:
        yield made


@pytest.fixture
def locks():
    """Those of the platform that the launcher asks."""
    return FileLocks(LockSettings().locks_path)


def started(instance: dg.DagsterInstance, *, repeats: str | None = None, is_process: bool = True) -> str:
    """Id of a run that has begun; a process's, or one that repeats such a run by the launcher."""
    run_id = str(uuid.uuid4())
    tags = process_tag(repeats or run_id) if is_process else {}
    run = dg.DagsterRun(LINE, run_id, status=dg.DagsterRunStatus.STARTED, tags={LINE_TAG: LINE, **tags})
    instance.add_run(run)
    return run_id


def working(name: str, run_id: str, **status) -> dict:
    """A Job that works for a run."""
    metadata = {**ACTIVE["metadata"], "name": name, "labels": {"dagster/run-id": run_id}}
    return {**ACTIVE, "metadata": metadata, "status": status or ACTIVE["status"]}


def monitored(instance: dg.DagsterInstance, run_id: str) -> tuple[dg.DagsterRunStatus, list[str]]:
    """State of the run, and what its event log got, after one look of Dagster's monitoring."""
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    monitor_started_run(instance, None, record, logging.getLogger(__name__))
    told = [entry.message or entry.user_message for entry in instance.all_logs(run_id)]
    return instance.get_run_by_id(run_id).status, told


def test_a_run_whose_process_holds_its_line_is_left_alone(instance, locks):
    """It has no Job, and needs none."""
    run_id = started(instance)
    with locks.hold(line_lock(LINE)):
        assert monitored(instance, run_id) == (dg.DagsterRunStatus.STARTED, [])


def test_a_run_whose_process_was_killed_ends(instance, locks):
    """It is marked as failed and not resumed; the line is free for the next."""
    status, told = monitored(instance, run_id := started(instance))
    assert status == dg.DagsterRunStatus.FAILURE
    assert any("its process was killed" in each for each in told), told
    assert not any("Resuming" in each for each in told), told
    with locks.hold(line_lock(LINE), timeout_seconds=0):
        assert instance.get_run_by_id(run_id).is_finished


def test_a_run_that_repeats_that_of_a_process_is_its_job(instance, api_server):
    """Dagster's UI copies the tags of the run that it repeats."""
    run_id = started(instance, repeats=str(uuid.uuid4()))
    assert PROCESS_TAG in instance.get_run_by_id(run_id).tags
    api_server.jobs[f"dagster-run-{run_id}"] = ACTIVE

    assert monitored(instance, run_id) == (dg.DagsterRunStatus.STARTED, [])


def test_an_api_server_that_is_away_ends_nothing(instance, api_server):
    """A second worker would work beside the first, and after some of them the run would count as failed."""
    run_id = started(instance, is_process=False)
    api_server.shutdown()
    api_server.server_close()

    assert monitored(instance, run_id) == (dg.DagsterRunStatus.STARTED, [])


def test_a_job_that_is_gone_is_told_as_before(instance):
    """Dagster then starts another worker."""
    run = instance.get_run_by_id(started(instance, is_process=False))

    found = instance.run_launcher.check_run_worker_health(run)

    assert (found.status, "could not be found" in found.msg) == (WorkerStatus.UNKNOWN, True)


def test_a_process_is_ended_where_it_runs(instance, locks):
    """The UI is told where, and the run stays as it is."""
    run_id = started(instance)
    with locks.hold(line_lock(LINE)):
        assert instance.run_launcher.terminate(run_id) is False
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.STARTED
    (told,) = [entry.dagster_event.message for entry in instance.all_logs(run_id)]
    assert "end it there" in told


@pytest.fixture
def launched(monkeypatch, api_server) -> list[list[str]]:
    """The Jobs that were there each time when dagster-k8s was asked to make a run's."""
    found: list[list[str]] = []
    monkeypatch.setattr(K8sRunLauncher, "launch_run", lambda *_: found.append(sorted(api_server.jobs)))
    return found


def test_jobs_of_a_run_that_was_cancelled_in_an_outage_go_before_the_next_begins(
    instance, api_server, launched
):
    """Its steps' and its own; those of runs that go on, that failed, of other instances, or that ended by themselves stay."""
    cancelled, going_on, failed = (started(instance, is_process=False) for _ in range(3))
    api_server.jobs |= {
        "step-gpu": working("step-gpu", cancelled),
        "dagster-run-a": working("dagster-run-a", cancelled),
        "train-nodes": working("train-nodes", cancelled),
        "ended": working("ended", cancelled, completionTime="2026-01-01T00:00:00Z", succeeded=1),
        "step-b": working("step-b", going_on),
        "step-c": working("step-c", failed),
        "step-d": working("step-d", str(uuid.uuid4())),
    }
    instance.report_run_failed(instance.get_run_by_id(failed))
    api_server.away = True
    instance.report_run_canceled(instance.get_run_by_id(cancelled))
    instance.run_launcher.launch_run(SimpleNamespace())
    assert "step-gpu" in api_server.jobs

    api_server.away = False
    instance.run_launcher.launch_run(SimpleNamespace())

    assert launched[-1] == ["ended", "step-b", "step-c", "step-d"]
    assert len(launched) == 2


@pytest.fixture
def steps(instance):
    """What makes the steps' pods of a run, as its worker has it."""
    return PodStepHandler(instance)


def test_a_run_that_is_cancelled_takes_its_jobs_along(instance, api_server, steps):
    """Those that it made and those that its steps made, but not its own, which is ended by whoever cancels it."""
    run_id, other = (started(instance, is_process=False) for _ in range(2))
    worker = f"dagster-run-{run_id}"
    api_server.jobs |= {
        name: working(name, run) for name, run in [("step", run_id), (worker, run_id), ("other", other)]
    }
    assert steps.end_all(run_id) == []
    assert sorted(api_server.jobs) == sorted([worker, "other"])


@pytest.mark.parametrize("how", ["away", "gone"])
def test_a_run_that_is_cancelled_in_an_outage_remembers_what_stays(instance, api_server, steps, how):
    """It ends without an error of its own, and whoever wants a pod next removes them first."""
    run_id = started(instance, is_process=False)
    api_server.jobs["step"] = working("step", run_id)
    steps._jobs.add("step")
    if how == "away":
        api_server.away = True
    else:
        api_server.shutdown()
        api_server.server_close()
    assert steps.end_all(run_id) == ["step"]
    instance.report_run_canceled(instance.get_run_by_id(run_id))
    if how == "away":
        api_server.away = False
        PodStepHandler(instance)
        assert api_server.jobs == {}


def test_nodes_that_train_together_work_for_the_run_of_their_pod():
    """Their Job carries its id, so that it ends where the run is ended on purpose."""
    made = []
    pods = SimpleNamespace(metadata=SimpleNamespace(labels={"dagster/run-id": "a"}, owner_references=None))
    batch = SimpleNamespace(
        create_namespaced_job=lambda _, body, **__: made.append(body),
        read_namespaced_job=_gone,
        delete_namespaced_job=lambda *_, **__: None,
    )
    cluster = Cluster(
        "ns", batch_api=batch, core_api=SimpleNamespace(read_namespaced_pod=lambda *_, **__: pods)
    )
    manifest = {"kind": "Job", "metadata": {"name": "train", "labels": {"app": "x"}}}
    with pytest.raises(PodsLostError):
        ClusterJobs(cluster, "pod").run([manifest])
    assert made[0]["metadata"]["labels"] == {"app": "x", "dagster/run-id": "a"}
    assert "dagster/run-id" not in manifest["metadata"]["labels"]


def _gone(*_, **__):
    raise client.rest.ApiException(status=404)

"""What run monitoring is told, by Dagster's own monitoring of an instance that has our launcher."""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from kubernetes import client

from platform_assets.execution.process_runs import PROCESS_TAG, line_lock, process_tag
from resources.dagster_home import LINE_TAG
from resources.locks import FileLocks
from resources.settings import LockSettings

LINE = "reviews_small"
ACTIVE = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"template": {"spec": {"containers": []}}}, "status": {"active": 1}}  # fmt: skip


class ApiServer(ThreadingHTTPServer):
    """Knows the Jobs that it is given, and nothing else."""

    jobs: dict[str, dict] = {}  # noqa: RUF012 - set for each server


class Answers(BaseHTTPRequestHandler):
    """Of the API server."""

    server: ApiServer

    def do_GET(self):
        """A Job, or that there is none."""
        name = self.path.partition("/jobs/")[2].partition("/")[0].partition("?")[0]
        found = self.server.jobs.get(name)
        body = json.dumps(found or {"message": f"no Job {name}"}).encode()
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
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

"""Dagster's instance on a cluster: its files are loaded by Dagster itself, and hold what they promise."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance import InstanceRef

from platform_assets.execution.run_launcher import PlatformRunLauncher
from resources.dagster_home import LINE_TAG, prepare_dagster_home
from resources.settings import PlatformSettings
from tests.k8s.conftest import Objects
from tests.k8s.kinds import config, containers

POOL = "gpu"


@pytest.fixture
def home(tmp_path: Path, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`DAGSTER_HOME` as a pod of an overlay has it, and the environment that goes with it."""
    for name, value in config(objects, "platform-settings").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGPASSWORD", "of-the-tests")
    for name, text in config(objects, "dagster-instance").items():
        (tmp_path / name).write_text(text.replace("/scratch", str(tmp_path / "scratch")))
    return tmp_path


def stated(home: Path) -> dict[str, Any]:
    """What dagster.yaml says."""
    found: dict[str, Any] = yaml.safe_load((home / "dagster.yaml").read_text())
    return found


def loaded(home: Path) -> InstanceRef:
    """dagster.yaml, checked against Dagster's own schema of it, with its environment."""
    return InstanceRef.from_dir(str(home))


def test_dagster_accepts_every_key(home: Path) -> None:
    """The whole file, and the configuration of each class that it names."""
    instance = loaded(home)
    for part in (
        instance.run_storage_data,
        instance.event_storage_data,
        instance.schedule_storage_data,
        instance.compute_logs_data,
        instance.run_coordinator_data,
        instance.run_launcher_data,
    ):
        assert part is not None
        module = __import__(part.module_name, fromlist=[part.class_name])
        class_ = getattr(module, part.class_name)
        result = process_config(class_.config_type(), yaml.safe_load(part.config_yaml) or {})
        assert result.success, result.errors


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ((), "run_monitorings"),
        (("run_monitoring",), "poll_seconds"),
        (("concurrency", "pools"), "limit"),
        (("storage", "postgres", "postgres_db"), "user"),
    ],
)
def test_dagster_refuses_an_unknown_key(home: Path, path: tuple[str, ...], name: str) -> None:
    """A misspelt key would otherwise be a setting that nobody obeys."""
    document = stated(home)
    at = document
    for each in path:
        at = at[each]
    at[name] = 1
    (home / "dagster.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(dg.DagsterInvalidConfigError, match=name):
        loaded(home)


@pytest.mark.parametrize(("part", "name"), [("run_launcher", "job_names"), ("compute_logs", "buckets")])
def test_a_class_refuses_an_unknown_key(home: Path, part: str, name: str) -> None:
    """What a class is configured by is checked as the file itself is."""
    document = stated(home)
    document[part]["config"][name] = 1
    (home / "dagster.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises((dg.DagsterInvalidConfigError, AssertionError), match=name):
        test_dagster_accepts_every_key(home)


def test_it_is_the_instance_of_a_laptop_on_shared_state(home: Path, tmp_path: Path) -> None:
    """One run of a line at a time, the same loggers, no telemetry: as in the local instance."""
    local = yaml.safe_load(
        (
            prepare_dagster_home(PlatformSettings(home=tmp_path / "local", profile="local")) / "dagster.yaml"
        ).read_text()
    )
    here = stated(home)
    limits = here["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limits == local["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limits == [{"key": LINE_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]
    for part in ("telemetry", "nux", "python_logs"):
        assert here[part] == local[part]


def test_lost_runs_are_resumed_and_failed_ones_are_not_repeated(home: Path) -> None:
    """Dagster watches over run pods; whether a step is tried again is said by the step."""
    here = stated(home)
    assert here["run_monitoring"]["enabled"] is True
    assert here["run_monitoring"]["max_resume_run_attempts"] == 3
    assert here["run_retries"] == {"enabled": False}


@pytest.mark.usefixtures("in_pod")
def test_pods_of_runs_may_do_no_more_than_others(home: Path) -> None:
    """They pass the same Pod Security, and get their environment from the same ConfigMap and Secret."""
    from dagster_k8s.job import construct_dagster_k8s_job

    launcher = loaded(home).run_launcher
    assert isinstance(launcher, PlatformRunLauncher)
    context = launcher.get_container_context_for_run(dg.DagsterRun(job_name="line"))
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(job_image="platform-assets:0.1.0", run_launcher=launcher),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-1",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    template = job.spec.template
    assert template.metadata.labels["app.kubernetes.io/part-of"] == "platform-assets"
    assert template.metadata.labels["app.kubernetes.io/component"] == "run_worker"
    pod, (container,) = template.spec, template.spec.containers
    assert pod.service_account_name == "platform-assets-run"
    assert pod.priority_class_name == "platform-assets-run"
    assert (pod.security_context.run_as_non_root, pod.security_context.run_as_user) == (True, 65532)
    assert pod.security_context.seccomp_profile.type == "RuntimeDefault"
    assert container.security_context.allow_privilege_escalation is False
    assert container.security_context.read_only_root_filesystem is True
    assert container.security_context.capabilities.drop == ["ALL"]
    assert {mount.mount_path for mount in container.volume_mounts} >= {str(home / "scratch")}
    assert container.resources.requests
    assert container.resources.limits
    sources = [each.config_map_ref or each.secret_ref for each in container.env_from]
    assert [each.name for each in sources] == ["platform-settings", "platform-secrets"]


def test_the_workspace_leads_to_the_code_server(home: Path, objects: Objects) -> None:
    """By the name and the port of its Service."""
    (server,) = yaml.safe_load((home / "workspace.yaml").read_text())["load_from"]
    (service,) = [
        each
        for each in objects
        if each["kind"] == "Service" and each["metadata"]["name"] == server["grpc_server"]["host"]
    ]
    assert [port["port"] for port in service["spec"]["ports"]] == [server["grpc_server"]["port"]]
    (arguments,) = [
        container["args"] for name, container in containers(objects) if name == "platform-assets-code"
    ]
    assert f"--location-name={server['grpc_server']['location_name']}" in arguments


@pytest.mark.usefixtures("in_pod")
def test_it_stores_in_postgres_and_limits_pools(
    home: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch, objects: Objects
) -> None:
    """A real server holds runs and events, and a step that wants a GPU finds as many slots as the quota has."""
    pytest.importorskip("dagster_postgres", reason="NO DAGSTER-POSTGRES: install the extra `dev`")
    address = urlsplit(postgres_database)
    monkeypatch.setenv("PGUSER", unquote(address.username or ""))
    monkeypatch.setenv("PGPASSWORD", unquote(address.password or ""))
    monkeypatch.setenv("PGHOST", parse_qs(address.query).get("host", [address.hostname])[0] or "")
    monkeypatch.setenv("PGPORT", str(address.port or 5432))
    monkeypatch.setenv("PGSSLMODE", "prefer")
    monkeypatch.setenv("DAGSTER_DATABASE", address.path.strip("/"))
    document = stated(home)
    if os.environ["PGHOST"].startswith("/"):
        # The tests' server listens on a socket, which has no place in a URL; libpq finds it in PGHOST.
        document["storage"]["postgres"]["postgres_db"]["hostname"] = ""
    (home / "dagster.yaml").write_text(yaml.safe_dump(document))
    with dg.DagsterInstance.from_config(str(home)) as instance:

        @dg.op(pool=POOL)
        def train() -> None:
            pass

        @dg.job
        def line() -> None:
            train()

        result = line.execute_in_process(instance=instance)
        assert result.success
        assert instance.get_run_by_id(result.run_id).status is dg.DagsterRunStatus.SUCCESS
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == document["concurrency"]["pools"]["default_limit"]
        assert pools.pool_granularity.value == "op"
        bucket = config(objects, "platform-settings")["DAGSTER_LOGS_BUCKET"]
        assert instance.compute_log_manager._s3_bucket == bucket


def test_nothing_is_written_beside_the_configuration(home: Path) -> None:
    """In a pod the folder with dagster.yaml is read-only."""
    before = sorted(path.name for path in home.iterdir())
    loaded(home)
    assert sorted(path.name for path in home.iterdir()) == before
    root = stated(home)["local_artifact_storage"]["config"]["base_dir"]
    assert Path(root).is_relative_to(home / "scratch")

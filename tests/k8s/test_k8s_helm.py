"""The values for Dagster's own chart: its schema takes them, and they mean what dagster.yaml means."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.launcher import RunLauncher
from dagster._serdes import ConfigurableClassData
from jsonschema.validators import validator_for

from platform_assets.execution.run_launcher import PlatformRunLauncher
from scripts.k8s import MANIFESTS

VALUES = yaml.safe_load((MANIFESTS / "helm/values.yaml").read_text())
INSTANCE = yaml.safe_load((MANIFESTS / "dagster/dagster.yaml").read_text())


@pytest.fixture(scope="module")
def chart() -> tuple[Any, Any]:
    """Schema and default values of the chart, which lie beside each other in it."""
    stated = os.environ.get("DAGSTER_CHART_SCHEMA")
    if not stated:
        pytest.skip("NOT CHECKED against Dagster's chart: set DAGSTER_CHART_SCHEMA to its values.schema.json")
    schema = Path(stated)
    defaults = schema.with_name("values.yaml")
    return json.loads(schema.read_text()), yaml.safe_load(defaults.read_text())


def merged(onto: Any, values: Any) -> Any:
    """Values over defaults, as Helm merges them: maps by key, all else as a whole."""
    if isinstance(onto, dict) and isinstance(values, dict):
        return {**onto, **{name: merged(onto.get(name), value) for name, value in values.items()}}
    return values


def problems(chart: tuple[Any, Any], values: Any) -> list[str]:
    """What the chart refuses."""
    schema, defaults = chart
    validator = validator_for(schema)(schema)
    unknown = set(values) - set(schema["properties"]) - set(defaults)
    errors = validator.iter_errors(merged(defaults, values))
    return [f"{error.json_path}: {error.message}" for error in errors] + sorted(unknown)


def test_the_chart_takes_the_values(chart: tuple[Any, Any]) -> None:
    """Over its own defaults, by its own schema."""
    assert problems(chart, VALUES) == []


@pytest.mark.parametrize(
    "spoiled",
    [
        {"dagsterDaemon": {"runMonitorings": {}}},
        {"concurrency": {"pools": {"defaultLimit": "many"}}},
        {"runLauncher": {"type": "OwnRunLauncher"}},
        {"dagit": {}},
    ],
)
def test_the_chart_refuses_a_mistake(chart: tuple[Any, Any], spoiled: Any) -> None:
    """An unknown key at any depth, and a wrong type."""
    assert problems(chart, merged(VALUES, spoiled))


def test_runs_are_launched_alike() -> None:
    """The launcher is ours, with our configuration but for the names that the chart gives."""
    launcher = VALUES["runLauncher"]
    assert launcher["type"] == "CustomRunLauncher"
    theirs, ours = launcher["config"]["customRunLauncher"], INSTANCE["run_launcher"]
    named_by_the_chart = {
        "dagster_home": {"env": "DAGSTER_HOME"},
        "env_config_maps": [
            {"env": "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP"},
            *ours["config"]["env_config_maps"],
        ],
        "instance_config_map": {"env": "DAGSTER_K8S_INSTANCE_CONFIG_MAP"},
        "postgres_password_secret": {"env": "DAGSTER_K8S_PG_PASSWORD_SECRET"},
    }
    assert theirs == {**ours, "config": {**ours["config"], **named_by_the_chart}}
    assert VALUES["serviceAccount"]["name"] == ours["config"]["service_account_name"]
    assert VALUES["global"]["dagsterHome"] == ours["config"]["dagster_home"]


@pytest.mark.usefixtures("in_pod")
def test_dagster_takes_the_launchers_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment that the chart gives to its pods."""
    for name in (
        "DAGSTER_HOME",
        "DAGSTER_K8S_INSTANCE_CONFIG_MAP",
        "DAGSTER_K8S_PG_PASSWORD_SECRET",
        "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP",
    ):
        monkeypatch.setenv(name, f"of-{name.lower().replace('_', '-')}")
    stated = VALUES["runLauncher"]["config"]["customRunLauncher"]
    data = ConfigurableClassData(stated["module"], stated["class"], yaml.safe_dump(stated["config"]))
    launcher = data.rehydrate(as_type=RunLauncher)
    assert isinstance(launcher, PlatformRunLauncher)
    assert launcher.env_config_maps == ["of-dagster-k8s-pipeline-run-env-configmap", "platform-settings"]
    assert launcher.dagster_home == "of-dagster-home"


def test_runs_are_watched_and_limited_alike() -> None:
    """Monitoring, limits, retries, retention, logs."""
    daemon = VALUES["dagsterDaemon"]
    assert {
        "enabled": daemon["runMonitoring"]["enabled"],
        "start_timeout_seconds": daemon["runMonitoring"]["startTimeoutSeconds"],
        "cancel_timeout_seconds": daemon["runMonitoring"]["cancelTimeoutSeconds"],
        "max_resume_run_attempts": daemon["runMonitoring"]["maxResumeRunAttempts"],
        "poll_interval_seconds": daemon["runMonitoring"]["pollIntervalSeconds"],
        "free_slots_after_run_end_seconds": daemon["runMonitoring"]["freeSlotsAfterRunEndSeconds"],
    } == INSTANCE["run_monitoring"]
    assert daemon["runRetries"] == INSTANCE["run_retries"]
    concurrency = VALUES["concurrency"]
    assert {
        "runs": {
            "max_concurrent_runs": concurrency["runs"]["maxConcurrentRuns"],
            "tag_concurrency_limits": concurrency["runs"]["tagConcurrencyLimits"],
        },
        "pools": {
            "default_limit": concurrency["pools"]["defaultLimit"],
            "granularity": concurrency["pools"]["granularity"],
            "op_granularity_run_buffer": concurrency["pools"]["opGranularityRunBuffer"],
        },
    } == INSTANCE["concurrency"]
    logs, ours = VALUES["computeLogManager"]["config"]["s3ComputeLogManager"], INSTANCE["compute_logs"]
    assert {
        "bucket": logs["bucket"],
        "prefix": logs["prefix"],
        "endpoint_url": logs["endpointUrl"],
        "region": logs["region"],
        "local_dir": logs["localDir"],
        "skip_empty_files": logs["skipEmptyFiles"],
        "upload_interval": logs["uploadInterval"],
    } == ours["config"]
    for part in ("schedule", "sensor"):
        purged = VALUES["retention"][part]["purgeAfterDays"]
        assert purged == INSTANCE["retention"][part]["purge_after_days"]
    assert VALUES["telemetry"] == INSTANCE["telemetry"]
    for part in ("nux", "local_artifact_storage"):
        assert VALUES["additionalInstanceConfig"][part] == INSTANCE[part]
    assert VALUES["pythonLogs"] == {
        "managedPythonLoggers": INSTANCE["python_logs"]["managed_python_loggers"],
        "pythonLogLevel": INSTANCE["python_logs"]["python_log_level"],
    }


def test_the_code_server_serves_the_same_module() -> None:
    """Under the name and port that the NetworkPolicies and the workspace know."""
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    workspace = yaml.safe_load((MANIFESTS / "dagster/workspace.yaml").read_text())
    (server,) = [each["grpc_server"] for each in workspace["load_from"]]
    assert (code["name"], code["port"]) == (server["host"], server["port"])
    assert "platform_assets.definitions" in code["dagsterApiGrpcArgs"]
    assert code["labels"] == {"app.kubernetes.io/component": "user-code"}

"""The values for Dagster's own chart: its schema takes them, and they mean what dagster.yaml means."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.validators import validator_for

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
        {"runLauncher": {"config": {"k8sRunLauncher": {"envSecret": []}}}},
        {"dagit": {}},
    ],
)
def test_the_chart_refuses_a_mistake(chart: tuple[Any, Any], spoiled: Any) -> None:
    """An unknown key at any depth, and a wrong type."""
    assert problems(chart, merged(VALUES, spoiled))


def test_runs_are_launched_alike() -> None:
    """What the chart would write into its dagster.yaml is what ours says."""
    launcher, ours = VALUES["runLauncher"]["config"]["k8sRunLauncher"], INSTANCE["run_launcher"]["config"]
    assert [each["name"] for each in launcher["envConfigMaps"]] == ours["env_config_maps"]
    assert [each["name"] for each in launcher["envSecrets"]] == ours["env_secrets"]
    assert launcher["failPodOnRunFailure"] is ours["fail_pod_on_run_failure"] is True
    assert VALUES["serviceAccount"]["name"] == ours["service_account_name"]
    assert VALUES["global"]["dagsterHome"] == ours["dagster_home"]
    for theirs, name in (
        ("imagePullPolicy", "image_pull_policy"),
        ("jobNamespace", "job_namespace"),
        ("labels", "labels"),
        ("loadInclusterConfig", "load_incluster_config"),
        ("resources", "resources"),
        ("securityContext", "security_context"),
        ("volumeMounts", "volume_mounts"),
        ("volumes", "volumes"),
    ):
        assert launcher[theirs] == ours[name], name
    for theirs, name in (
        ("jobSpecConfig", "job_spec_config"),
        ("podSpecConfig", "pod_spec_config"),
        ("podTemplateSpecMetadata", "pod_template_spec_metadata"),
    ):
        assert launcher["runK8sConfig"][theirs] == ours["run_k8s_config"][name], name


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

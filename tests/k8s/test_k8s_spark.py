"""Spark on a cluster: what the component brings, and the pods of a driver and of its executors as they would be made."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from platform_assets.execution.run_launcher import PlatformRunLauncher
from platform_assets.features.pod import pod_tags
from platform_assets.tags import POD_TAG
from resources.cluster import mebibytes
from resources.settings import PlatformSettings
from resources.spark_pods import EXECUTOR, RIGHTS, executor_pod
from scripts.k8s import MANIFESTS, ManifestsError, kustomizer, objects_of, render
from scripts.k8s_schemas import violations
from tests.k8s.conftest import Objects
from tests.k8s.kinds import Object, config, of_kind, one
from tests.k8s.test_k8s_dagster import loaded
from tests.k8s.test_k8s_manifests import NAMESPACE, allows, pod, rights

ACCOUNT = "platform-assets-spark"
DRIVER = {**pod("step_worker"), "platform-assets/spark-driver": "true"}


@pytest.fixture(scope="module")
def with_spark(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """The small cluster's overlay with Spark, as somebody would write it."""
    try:
        kustomizer()
    except ManifestsError as problem:
        pytest.skip(f"NOT RENDERED: {problem}")
    folder = tmp_path_factory.mktemp("overlay")
    manifests = os.path.relpath(MANIFESTS, folder)
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{manifests}/overlays/dev"],
        "components": [f"{manifests}/spark"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return objects_of(render(folder))


@pytest.fixture
def settings(with_spark: Objects, monkeypatch: pytest.MonkeyPatch) -> PlatformSettings:
    """As its pods read them."""
    for name, value in config(with_spark, "platform-settings").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGPASSWORD", "of-the-tests")
    monkeypatch.setenv("PLATFORM_ROW_SALT", "a salt of the tests only")
    return PlatformSettings()


@pytest.fixture
def driver(tmp_path: Path, with_spark: Objects, settings: PlatformSettings, in_pod: None) -> Object:
    """The pod of a transformer's step, as dagster-k8s makes it of dagster.yaml and the step's tags."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    home = tmp_path / "dagster-home"
    home.mkdir()
    for name, text in config(with_spark, "dagster-instance").items():
        (home / name).write_text(text)
    launcher = loaded(home).run_launcher
    assert isinstance(launcher, PlatformRunLauncher)
    asked = UserDefinedDagsterK8sConfig.from_dict(pod_tags(settings)[POD_TAG])
    context = launcher.get_container_context_for_run(dg.DagsterRun(job_name="line")).merge(
        K8sContainerContext(run_k8s_config=asked)
    )
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(job_image="platform-assets:0.1.0", run_launcher=launcher),
        args=["dagster", "api", "execute_step"],
        job_name="dagster-step-1",
        component="step_worker",
        user_defined_k8s_config=context.run_k8s_config,
        labels={"dagster/run-id": "a-run"},
    )
    template: Object = ApiClient().sanitize_for_serialization(job.spec.template)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        **template,
        "metadata": {**template["metadata"], "name": "driver"},
    }


def test_all_of_it_is_valid(with_spark: Objects, driver: Object) -> None:
    """The objects that are applied, the driver's pod, and the template that Spark makes executors of."""
    named = {"metadata": {"name": "executor-1"}}  # which Spark adds
    pods = [driver, executor_pod(driver) | named]
    for each in [*with_spark, *pods]:
        assert violations(each, crds=[MANIFESTS / "crds"]) == [], each
    assert {"PersistentVolumeClaim", "NetworkPolicy", "Role"} <= {each["kind"] for each in with_spark}
    pods[1]["spec"]["containers"][0]["volumeMount"] = []
    assert violations(pods[1], crds=[])


def test_a_driver_may_make_pods_and_nothing_else(with_spark: Objects, driver: Object) -> None:
    """Its account is no other's; runs themselves may not make pods."""
    found = rights(with_spark)
    assert found[ACCOUNT] == {("pods", verb) for verb in RIGHTS}
    assert ("pods", "create") not in found["platform-assets-run"]
    assert one(with_spark, "ServiceAccount", ACCOUNT)["automountServiceAccountToken"] is False
    assert driver["spec"]["serviceAccountName"] == ACCOUNT
    assert driver["spec"]["automountServiceAccountToken"] is True


def test_executors_are_made_of_the_drivers_pod(driver: Object) -> None:
    """The same image, volumes at the same paths and restrictions; they belong to the run, and have neither token nor secret."""
    made = executor_pod(driver)
    (own,), (container,) = driver["spec"]["containers"], made["spec"]["containers"]
    assert container["image"] == own["image"]
    assert container["securityContext"] == own["securityContext"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    for field in ("securityContext", "serviceAccountName", "priorityClassName", "enableServiceLinks"):
        assert made["spec"][field] == driver["spec"][field], field
    paths = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert {each["mountPath"]: each["name"] for each in own["volumeMounts"]}.items() <= paths.items()
    assert {"/spark", "/scratch"} <= set(paths)
    assert {each["name"] for each in made["spec"]["volumes"]} == set(paths.values())
    assert made["spec"]["automountServiceAccountToken"] is False
    assert [next(iter(each)) for each in container["envFrom"]] == ["configMapRef"]
    assert not [each for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})]
    assert "PGPASSWORD" not in str(made)
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/name": NAMESPACE,
        "app.kubernetes.io/part-of": NAMESPACE,
        "app.kubernetes.io/component": EXECUTOR,
        "dagster/run-id": "a-run",
    }


def test_executors_talk_with_their_driver_and_one_another(with_spark: Objects) -> None:
    """On any port, and with no other pod; a step that is no driver does not reach them."""
    executor = pod(EXECUTOR)
    for source, target in ((executor, executor), (executor, DRIVER), (DRIVER, executor)):
        assert allows(with_spark, source, target, 40_123)
    for component, port in (("database", 5432), ("object-store", 8333), ("mlflow", 5000)):
        assert not allows(with_spark, executor, pod(component), port)
        assert allows(with_spark, DRIVER, pod(component), port)
    assert not allows(with_spark, pod("step_worker"), executor, 40_123)
    assert not allows(with_spark, pod("run_worker"), DRIVER, 40_123)


def test_driver_and_executors_are_within_the_quota(with_spark: Objects, settings: PlatformSettings) -> None:
    """Beside all that the small cluster runs; the claims are within its storage, too."""
    hard = one(with_spark, "ResourceQuota", NAMESPACE)["spec"]["hard"]
    pods = settings.spark_pods
    standing = sum(
        mebibytes(container["resources"]["requests"]["memory"])
        for workload in of_kind(with_spark, "Deployment", "StatefulSet")
        for container in workload["spec"]["template"]["spec"]["containers"]
    )
    assert standing + (1 + pods.executors) * mebibytes(pods.memory) < mebibytes(hard["requests.memory"])
    claims = [
        *of_kind(with_spark, "PersistentVolumeClaim"),
        *(
            claim
            for each in of_kind(with_spark, "StatefulSet")
            for claim in each["spec"].get("volumeClaimTemplates", [])
        ),
    ]
    sizes = [mebibytes(each["spec"]["resources"]["requests"]["storage"]) for each in claims]
    assert len(sizes) == 3
    assert sum(sizes) <= mebibytes(hard["requests.storage"])


def test_the_chart_needs_the_same_three_files() -> None:
    """What kustomize adds to the settings is told to those who use Helm."""
    told: Any = (MANIFESTS / "helm/values.yaml").read_text()
    component = yaml.safe_load((MANIFESTS / "spark/kustomization.yaml").read_text())
    (generated,) = component["configMapGenerator"]
    for name in component["resources"]:
        assert f"../spark/{name}" in told
    for literal in generated["literals"]:
        assert literal in told

"""Spark on Kubernetes: a driver and two executors as pods, of which one is deleted in the middle."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cluster.deployment import IMAGE, NAMESPACE, RUN_SECONDS, reachable_host
from tests.cluster.spark_driver import PARTS
from tests.cluster.spark_volume import MOUNT, SCRATCH, driver_pod, install_spark, shared_folder
from tests.features.transformers import event_rows, left_beside, write_rows, write_transformer
from tests.line_factory import platform_assets
from tests.waiting import wait_for

pytestmark = pytest.mark.cluster

DRIVER = "spark-driver"


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Output of kubectl in the tests' namespace."""
    done = subprocess.run(
        ["kubectl", "-n", NAMESPACE, *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def apply(manifest: dict[str, Any]) -> None:
    """Make it so."""
    kubectl("apply", "-f", "-", given=json.dumps(manifest))


def executors() -> dict[str, dict[str, Any]]:
    """Pods of executors, by the number that Spark gives each."""
    found = json.loads(
        kubectl("get", "pods", "-l", "app.kubernetes.io/component=spark-executor", "-o", "json")
    )
    return {each["metadata"]["labels"]["spark-exec-id"]: each for each in found["items"]}


def told() -> str:
    """What the driver has said, and where its executors stand."""
    return f"{kubectl('logs', DRIVER)}\n{kubectl('get', 'pods')}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on the volume, with rows and their transformer."""
    shared = shared_folder()
    if reachable_host() is None or shared is None:
        pytest.skip(
            "NO SPARK ON A CLUSTER OF THIS MACHINE: set KUBECONFIG and CLUSTER_STATE, and install Java and the extra `spark`"
        )
    folder = install_spark(apply, NAMESPACE) / "small"
    folder.mkdir()
    write_rows(folder / "rows.parquet", event_rows(60_000, entities=200), row_group_rows=5_000)
    write_transformer(folder / "zscore.yaml", "zscore")
    yield folder
    kubectl("delete", "pod", DRIVER, "--now", "--ignore-not-found")
    shutil.rmtree(folder)


def test_two_executors_of_which_one_is_deleted_give_the_bits_of_this_process(
    folder: Path, tmp_path: Path
) -> None:
    """They belong to the driver's pod, have its volume and no token; another takes the place of the lost one; all are gone in the end."""
    # First: what it compiles, executors find on the volume.
    done = platform_assets(
        tmp_path, "features", "run", folder / "zscore.yaml", "--input", folder / "rows.parquet", "--output",
        folder / "here.parquet", NUMBA_CACHE_DIR=str(folder.parent / "numba"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    apply(driver_pod(DRIVER, IMAGE, "-m", "tests.cluster.spark_driver", f"{MOUNT}/{folder.name}"))

    def parts() -> list[Path]:
        return list(folder.glob(".*.scratch/*/*.arrows"))

    wait_for(parts, "a part is written", seconds=RUN_SECONDS, every=0.02, otherwise=told)
    written, pods = len(parts()), executors()
    kubectl("delete", "pod", pods["1"]["metadata"]["name"], "--grace-period=0", "--force")
    wait_for(lambda: "3" in executors(), "another executor is made", seconds=60, otherwise=told)
    (folder / "seen").touch()
    wait_for(
        lambda: kubectl("get", "pod", DRIVER, "-o", "jsonpath={.status.phase}") in {"Succeeded", "Failed"},
        "the driver ends",
        seconds=240,
        otherwise=told,
    )

    assert kubectl("get", "pod", DRIVER, "-o", "jsonpath={.status.phase}") == "Succeeded", told()
    assert written < PARTS
    assert sorted(pods) == ["1", "2"]
    for pod in pods.values():
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Pod", DRIVER)
        mounts = {each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounts == {MOUNT, SCRATCH, "/spark-local"}
        assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    here, by_pods = (pq.read_table(folder / f"{name}.parquet") for name in ("here", "by_pods"))
    assert by_pods.equals(here)
    assert left_beside(folder / "by_pods.parquet") == []
    wait_for(lambda: not executors(), "all executors are gone", seconds=60)

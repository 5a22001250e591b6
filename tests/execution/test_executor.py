"""The one module that knows Dagster's private executor classes, held to their form."""

import inspect
import json
import subprocess
import sys
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import DagsterEvent
from dagster._core.executor.base import Executor
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.executor.step_delegating.step_handler.base import StepHandler, StepHandlerContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteStepArgs
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterKubernetesClient
from dagster_k8s.executor import K8sStepHandler

from platform_assets.definitions import build_definitions, step_executor
from platform_assets.execution.executor import run_pod_executor
from platform_assets.execution.step_process import step_arguments
from platform_assets.lines.line import load_lines
from platform_assets.models.errors import TrainingError
from platform_assets.models.pod import gpu_pool, pod_tags
from platform_assets.models.spec import ResourcesSpec
from platform_assets.outside_systems import OutsideSystems
from platform_assets.step import foreseen_failures, without_retries
from platform_assets.tags import MAX_MEMORY_TAG, POD_TAG
from resources.locks import LockLostError
from resources.settings import PlatformSettings

SIGNATURES = {
    Executor.log_failure_or_retry_event_after_error: ["self", "step_context", "err_info", "known_state"],
    StepDelegatingExecutor.__init__: [
        *("self", "step_handler", "retries", "sleep_seconds", "check_step_health_interval_seconds"),
        *("max_concurrent", "tag_concurrency_limits", "should_verify_step", "step_dependency_config"),
    ],
    StepHandler.launch_step: ["self", "step_handler_context"],
    StepHandler.check_step_health: ["self", "step_handler_context"],
    StepHandler.terminate_step: ["self", "step_handler_context"],
    StepHandlerContext.get_step_context: ["self", "step_key"],
    K8sStepHandler.__init__: [
        *("self", "image", "container_context", "load_incluster_config", "kubeconfig_file"),
        *("k8s_client_batch_api", "k8s_client_core_api", "per_step_k8s_config", "enable_owner_references"),
    ],
    K8sStepHandler._get_container_context: ["self", "step_handler_context"],
    K8sStepHandler._get_k8s_step_job_name: ["self", "step_handler_context"],
    DagsterKubernetesClient.create_namespaced_job_with_retries: [
        *("self", "body", "namespace", "wait_time_between_attempts"),
    ],
    K8sRunLauncher.launch_run: ["self", "context"],
    DagsterEvent.engine_event: ["plan_context", "message", "event_specific_data"],
    DagsterEvent.step_worker_starting: ["step_context", "message", "metadata"],
    ExecuteStepArgs.__new__: [
        *("cls", "job_origin", "run_id", "step_keys_to_execute", "instance_ref", "retry_mode", "known_state"),
        *("should_verify_step", "print_serialized_events"),
    ],
}


@pytest.mark.parametrize(
    ("function", "parameters"), SIGNATURES.items(), ids=lambda each: getattr(each, "__qualname__", "")
)
def test_what_is_used_of_dagsters_own_has_its_form(function, parameters):
    """A release that changes one of these must be looked at before it is used."""
    assert list(inspect.signature(function).parameters) == parameters


def test_the_kubernetes_client_is_imported_for_pods_alone():
    """It takes longer to import than a light step runs, and every process that loads the definitions would pay."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, platform_assets.execution.executor; print('kubernetes' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "False"


def test_a_step_gets_no_launcher_of_runs():
    """It would have to import the Kubernetes client and need its rights; everything else of the instance stays."""
    with dg.instance_for_test(
        overrides={"run_monitoring": {"enabled": True}, "telemetry": {"enabled": False}}
    ) as full:
        origin = JobPythonOrigin("chain", RepositoryPythonOrigin(sys.executable, ModuleCodePointer("a", "b")))
        args = ExecuteStepArgs(origin, "run", ["step"], full.get_ref(), should_verify_step=True)

        slim = step_arguments(args, verified=False)

    assert (slim.run_id, slim.step_keys_to_execute, slim.should_verify_step) == ("run", ["step"], False)
    assert slim.instance_ref.run_launcher_data is None
    assert "run_monitoring" in args.instance_ref.settings
    kept = {name: value for name, value in args.instance_ref.settings.items() if name != "run_monitoring"}
    assert slim.instance_ref.settings == kept
    assert slim.instance_ref.storage_data == args.instance_ref.storage_data


def test_one_setting_goes_back_to_dagsters_own_executor(tmp_path):
    """Both are the same definitions otherwise."""
    cluster = PlatformSettings(home=tmp_path).model_copy(update={"profile": "cluster"})

    assert step_executor(cluster).name == "run_pod"
    assert step_executor(cluster.model_copy(update={"step_pods": "all"})).name == "k8s"
    assert step_executor(PlatformSettings(home=tmp_path)).name == "multiprocess"


def test_the_executor_demands_a_launcher_of_pods():
    """Steps of a run that is no pod cannot become pods beside it; the error says what is missing."""
    with dg.instance_for_test() as instance:
        context = SimpleNamespace(instance=instance)

        with pytest.raises(
            dg.DagsterInvariantViolationError, match="needs PlatformRunLauncher or K8sRunLauncher"
        ):
            run_pod_executor.executor_creation_fn(context)


def test_training_alone_asks_for_a_pod_and_is_tried_again_when_it_loses_it(tmp_path):
    """On a laptop nothing is tried again: a person who presses Ctrl-C means it."""
    here = PlatformSettings(home=tmp_path)
    for settings, retries in ((here, None), (here.model_copy(update={"profile": "cluster"}), 3)):
        definitions = build_definitions(OutsideSystems(settings), load_lines().sound)
        nodes = definitions.resolve_job_def("reviews_sentiment").nodes

        with_pod = {node.name: node.definition.retry_policy for node in nodes if POD_TAG in node.tags}

        assert list(with_pod) == ["reviews_sentiment_model"]
        policy = with_pod["reviews_sentiment_model"]
        assert (policy.max_retries if policy else None) == retries
        assert not any(node.definition.retry_policy for node in nodes if POD_TAG not in node.tags)


def test_everything_that_the_spec_asks_for_is_in_the_pod():
    """GPU, node, taints, runtime class and shared memory, as fields of a pod."""
    resources = ResourcesSpec(
        gpu=2,
        cpu="4",
        memory="16Gi",
        shared_memory="2Gi",
        node_selector={"accelerator": "nvidia"},
        tolerations=[{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
        runtime_class="nvidia",
        priority_class="training",
    )

    tags = pod_tags(resources)

    amounts = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert tags[MAX_MEMORY_TAG] == "32Gi"
    assert tags[POD_TAG]["container_config"] == {
        "resources": {"limits": amounts, "requests": amounts},
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],
    }
    assert tags[POD_TAG]["pod_spec_config"] == {
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}}],
        "nodeSelector": {"accelerator": "nvidia"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "runtimeClassName": "nvidia",
        "priorityClassName": "training",
    }


def test_with_several_nodes_the_step_itself_needs_no_gpu():
    """It makes the Job whose pods have them, and must not keep one of them away."""
    several = ResourcesSpec(gpu=4, nodes=2, memory="64Gi", node_selector={"accelerator": "nvidia"})

    config = pod_tags(several)[POD_TAG]

    assert "nvidia.com/gpu" not in config["container_config"]["resources"]["limits"]
    assert "pod_spec_config" not in config
    assert gpu_pool(several) is None
    assert gpu_pool(several.model_copy(update={"nodes": 1})) == "gpu"


def test_dagster_k8s_takes_these_tags():
    """Its own check refuses a key that it does not know."""
    from dagster_k8s.job import get_user_defined_k8s_config

    tags = pod_tags(ResourcesSpec(gpu=1, shared_memory="1Gi", runtime_class="nvidia"))

    found = get_user_defined_k8s_config({POD_TAG: json.dumps(tags[POD_TAG])})

    assert found.pod_spec_config["runtime_class_name"] == "nvidia"
    (mount,) = found.container_config["volume_mounts"]
    assert mount["mount_path"] == "/dev/shm"


def test_an_error_of_the_code_itself_is_never_tried_again():
    """It would come again; where it is is told, and not its message, which may quote the data."""
    with pytest.raises(dg.Failure) as failed, without_retries():
        raise KeyError("a bug")

    assert failed.value.allow_retries is False
    assert failed.value.description.startswith("KeyError\n")
    assert "execution/test_executor.py" in failed.value.description
    assert 'raise KeyError("a bug")' in failed.value.description


@pytest.mark.parametrize(("error", "again"), [(LockLostError, True), (TrainingError, False)])
def test_what_passes_by_itself_may_be_tried_again(error, again):
    """A lock whose database was away comes back; a wrong learning rate stays wrong."""
    with pytest.raises(dg.Failure) as failed, without_retries(), foreseen_failures():
        raise error("told")

    assert failed.value.allow_retries is again


def test_a_foreseen_failure_keeps_its_words():
    """It says already what to do."""
    foreseen = dg.Failure("the spec is wrong", allow_retries=False)

    with pytest.raises(dg.Failure) as failed, without_retries():
        raise foreseen

    assert failed.value is foreseen


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", "8GB"),
        ("memory", "0Gi"),
        ("cpu", "two"),
        ("nodes", 0),
        ("max_memory", "1Gi"),
        ("shared_memory", "9Gi"),
    ],
)
def test_impossible_resources_are_refused(field, value):
    """Before a pod is made of them."""
    with pytest.raises(ValueError, match=field):
        ResourcesSpec(**{"memory": "8Gi", field: value})

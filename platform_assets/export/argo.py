"""The line as an Argo Workflow (`argoproj.io/v1alpha1`, 3.6 and later)."""

import json
from typing import Any, Final

from platform_assets.export.workflow import VERSION, LineWorkflow, WorkflowStep, spelled
from platform_assets.models.pod import container_resources, placement, shared_memory
from platform_assets.models.spec import ResourcesSpec

NAMESPACE: Final = "platform-assets"
SETTINGS: Final = "platform-settings"
"""ConfigMap with the platform's settings, by environment variable."""
SECRETS: Final = "platform-secrets"
INSTANCE: Final = "dagster-instance"
"""ConfigMap with `dagster.yaml`."""
SERVICE_ACCOUNT: Final = "platform-assets-workflow"
INSTANCE_PATH: Final = "/opt/dagster/home"
"""`DAGSTER_HOME` of the image."""
SCRATCH_PATH: Final = "/scratch"
"""What the image writes to; its root file system is read-only."""
USER: Final = 65532
POD_LABELS: Final = {
    "app.kubernetes.io/name": "platform-assets",
    "app.kubernetes.io/component": "step_worker",
}
"""Network policies let these pods reach the platform's state."""
_DAG: Final = "line"
_OUTPUTS_PATH: Final = f"{SCRATCH_PATH}/outputs"
_LIGHT_REQUESTS: Final = {"cpu": "500m", "memory": "2Gi"}
_LIGHT_LIMITS: Final = {"cpu": "2", "memory": "4Gi"}
_RETRIES: Final = "2"
# Error: the pod was deleted, or its node is gone. Otherwise a container ended by a signal; OOM ends it by the
# same one and would again. An error of the code ends with 1.
_LOST: Final = (
    "lastRetry.status == 'Error' || ((asInt(lastRetry.exitCode) == 137 || asInt(lastRetry.exitCode) == 143)"
    " && not (lastRetry.message contains 'OOMKilled'))"
)
_KEPT_SECONDS_SUCCEEDED: Final = 24 * 3600
_KEPT_SECONDS_FAILED: Final = 7 * 24 * 3600


def argo_workflow(workflow: LineWorkflow) -> dict[str, Any]:
    """The manifest. Equal workflows give equal manifests; each submission gets a name of its own."""
    name, labels = workflow.line.replace("_", "-"), _labels(workflow)
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": f"{name}-", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "entrypoint": _DAG,
            "serviceAccountName": SERVICE_ACCOUNT,
            # Two workflows of a line would build on each other's assets: the second waits for the first.
            "synchronization": {"mutexes": [{"name": f"line-{name}"}]},
            "arguments": {
                "parameters": [
                    {"name": each.name, "value": spelled(each.value)} for each in workflow.parameters
                ]
            },
            "podMetadata": {"labels": _labels(workflow) | POD_LABELS},
            "podPriorityClassName": "platform-assets-run",
            "podGC": {"strategy": "OnPodSuccess"},
            "ttlStrategy": {
                "secondsAfterSuccess": _KEPT_SECONDS_SUCCEEDED,
                "secondsAfterFailure": _KEPT_SECONDS_FAILED,
            },
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "instance", "configMap": {"name": INSTANCE}},
            ],
            "templates": [
                {"name": _DAG, "dag": {"tasks": [_task(workflow, step) for step in workflow.steps]}},
                *(_template(workflow, step) for step in workflow.steps),
            ],
        },
    }


def _labels(workflow: LineWorkflow) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "platform-assets", "platform-assets/line": workflow.line}


def _task(workflow: LineWorkflow, step: WorkflowStep) -> dict[str, Any]:
    task: dict[str, Any] = {"name": step.stage, "template": step.stage}
    if step.after:
        # A bare name would also be satisfied by a step that was skipped.
        task["depends"] = f"{step.after}.Succeeded"
        made_from = f"{{{{tasks.{step.after}.outputs.parameters.{VERSION}}}}}"
        task["arguments"] = {"parameters": [{"name": "made-from", "value": made_from}]}
    if step.condition:
        task["when"] = f"{{{{tasks.validation.outputs.parameters.{workflow.headline}}}}} {step.condition}"
    return task


def _template(workflow: LineWorkflow, step: WorkflowStep) -> dict[str, Any]:
    template: dict[str, Any] = {"name": step.stage}
    if step.after:
        template["inputs"] = {"parameters": [{"name": "made-from"}]}
    container: dict[str, Any] = {
        "image": workflow.image,
        "command": workflow.command(
            step,
            workflow="{{workflow.name}}",
            made_from="{{inputs.parameters.made-from}}",
            value_of=lambda name: f"{{{{workflow.parameters.{name}}}}}",
            file_of=_output_path,
        ),
        "envFrom": [{"configMapRef": {"name": SETTINGS}}, {"secretRef": {"name": SECRETS}}],
        "resources": {"requests": dict(_LIGHT_REQUESTS), "limits": dict(_LIGHT_LIMITS)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH_PATH},
            {"name": "instance", "mountPath": INSTANCE_PATH, "readOnly": True},
        ],
    }
    template["container"] = container
    resources = workflow.spec.resources
    # On several nodes the step itself only starts the Job that trains, and waits for it.
    if step.stage == "model" and resources.nodes == 1:
        _ask_for(template, container, resources)
    template["outputs"] = {
        "parameters": [{"name": each, "valueFrom": {"path": _output_path(each)}} for each in step.figures]
    }
    template["retryStrategy"] = {
        "limit": _RETRIES,
        "retryPolicy": "Always",
        "expression": _LOST,
        "backoff": {"duration": "10s", "factor": 2},
    }
    return template


def _ask_for(template: dict[str, Any], container: dict[str, Any], resources: ResourcesSpec) -> None:
    """Put what training asks of Kubernetes into its template."""
    container["resources"] = {kind: dict(amounts) for kind, amounts in container_resources(resources).items()}
    volumes, mounts = shared_memory(resources)
    if volumes:
        template["volumes"] = volumes
        container["volumeMounts"] += mounts
    stated = placement(resources)
    if runtime_class := stated.pop("runtimeClassName", None):
        # A template has no field for it.
        template["podSpecPatch"] = json.dumps({"runtimeClassName": runtime_class})
    template |= {"priorityClassName": "platform-assets-training", **stated}


def _output_path(figure: str) -> str:
    return f"{_OUTPUTS_PATH}/{figure}"

"""The Job of a training on several machines: legal, whole, and locked up."""

import copy

import kubernetes_validate
import pytest

from platform_assets.models.distributed import job_name, training_job
from platform_assets.tasks.registry import read_training_spec
from tests.line_factory import SMALL_SPEC

PREFIX = "models/dev/reviews_small/0123456789abcdef.checkpoint"
# Indexed Jobs are stable since 1.24, the oldest of these, the newest of those whose schemas the package has.
VERSIONS = ("1.25", "1.37")


@pytest.fixture
def make_job():
    """Renders the small spec with other resources; returns Service and Job."""

    def make_job(**resources: object) -> list[dict]:
        spec = read_training_spec(SMALL_SPEC)[1].content
        asked = type(spec.resources).model_validate({"nodes": 3, **resources})
        return training_job(
            spec.model_copy(update={"resources": asked}),
            prefix=PREFIX,
            image="platform-assets:0.1.0",
            namespace="platform-assets",
        )

    return make_job


FULL = {
    "gpu": 4,
    "cpu": "8",
    "memory": "64Gi",
    "shared_memory": "8Gi",
    "node_selector": {"accelerator": "h100"},
    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
    "runtime_class": "nvidia",
    "priority_class": "training",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resources", [{}, FULL], ids=["least", "most"])
def test_kubernetes_accepts_the_objects(make_job, version, resources):
    """By Kubernetes' own schemas, in which an unknown field is an error."""
    for manifest in make_job(**resources):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_field_is_not_accepted(make_job):
    """The check above can fail."""
    _, job = make_job()
    wrong = copy.deepcopy(job)
    wrong["spec"]["template"]["spec"]["containers"][0]["gpus"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="gpus"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_node_gets_a_pod_that_finds_the_first(make_job):
    """As many indexed pods as nodes, a process for each GPU, and a Service under whose name they meet."""
    service, job = make_job(**FULL)
    assert (job["spec"]["completionMode"], job["spec"]["completions"], job["spec"]["parallelism"]) == (
        "Indexed",
        3,
        3,
    )
    assert job["spec"]["backoffLimit"] == 0
    pod = job["spec"]["template"]["spec"]
    name = job["metadata"]["name"]
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert service["spec"]["clusterIP"] == "None"
    assert pod["subdomain"] == service["metadata"]["name"] == name
    assert {
        "--nnodes=3",
        "--nproc-per-node=4",
        "--node-rank=$(JOB_COMPLETION_INDEX)",
        f"--rdzv-endpoint={name}-0.{name}:{service['spec']['ports'][0]['port']}",
    } <= set(pod["containers"][0]["command"])
    assert pod["containers"][0]["command"][-2:] == ["--job", PREFIX]


def test_pods_get_what_the_spec_asks_for(make_job):
    """GPUs, memory, shared memory, nodes, tolerations, runtime class and priority."""
    pod = make_job(**FULL)[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "4"}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod["volumes"]
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert pod["nodeSelector"] == {"accelerator": "h100"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (pod["runtimeClassName"], pod["priorityClassName"]) == ("nvidia", "training")


def test_pods_can_do_nothing_but_train(make_job):
    """No root, no privilege, no token, nothing to write to but the scratch, and credentials from a Secret by name."""
    pod = make_job()[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"] == [{"name": "scratch", "emptyDir": {}}]
    assert {each["name"]: each["value"] for each in container["env"]} == dict.fromkeys(
        ("HOME", "PLATFORM_HOME", "TMPDIR"), "/scratch"
    )
    assert container["envFrom"] == [
        {"configMapRef": {"name": "platform-settings"}},
        {"secretRef": {"name": "platform-secrets"}},
    ]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_a_name_leaves_room_for_the_pods():
    """The longest line's host names are legal, and another version of the same line has another name."""
    longest = "a" + "_b" * 23 + "c"
    name = job_name(longest, PREFIX)
    assert len(f"{name}-63") <= 63
    assert name == "train-a-b-b-b-b-b-b-b-b-b-b-b-b-b-b-b-0123456789abcdef"
    assert job_name("reviews_small", PREFIX) == "train-reviews-small-0123456789abcdef"
    assert job_name("reviews_small", PREFIX.replace("0123", "4567")) != job_name("reviews_small", PREFIX)

"""The Argo Workflow of a line: valid upstream, strict about success, restricted in what its pods may do."""

import copy
import json
import re

import pytest
import yaml

from platform_assets.export.argo import argo_workflow
from platform_assets.yaml_scalars import ambiguities
from platform_assets.yaml_writer import to_yaml
from tests.crd_schemas import violations
from tests.export.factory import IMAGE, make_workflow
from tests.export.runtimes import argo_ancestors

CRD = "argo-workflows.yaml"
GPU_RESOURCES = {
    "gpu": 2,
    "cpu": "6",
    "memory": "16Gi",
    "shared_memory": "4Gi",
    "node_selector": {"accelerator": "a100"},
    "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
    "runtime_class": "nvidia",
    "priority_class": "urgent",
}


def make_manifest(**changes):
    """The Workflow as it comes out of its file."""
    return yaml.safe_load(to_yaml(argo_workflow(make_workflow(**changes))))


@pytest.mark.parametrize("text", ["680841e1", "0o17", "12:30", "1_000", "yes", "0x1F", "08056", "~"])
def test_text_is_text_to_the_cluster_too(text):
    """A selector, a toleration, an argument that look like something else are quoted, as Go reads them otherwise."""
    resources = {
        "node_selector": {"pool": text},
        "tolerations": [{"key": "lease", "operator": "Equal", "value": text}],
    }
    workflow = make_workflow(resources=resources)
    written = to_yaml(argo_workflow(workflow))

    assert list(ambiguities(written)) == []
    assert yaml.safe_load(written) == argo_workflow(workflow)
    assert template(yaml.safe_load(written), "model")["nodeSelector"] == {"pool": text}


def template(manifest, name):
    """A template by name."""
    return next(each for each in manifest["spec"]["templates"] if each["name"] == name)


def tasks(manifest):
    """The tasks of the DAG by name."""
    dag = template(manifest, manifest["spec"]["entrypoint"])["dag"]
    return {each["name"]: each for each in dag["tasks"]}


def created(manifest):
    """As an API server stores it: with a name made from `generateName`."""
    metadata = dict(manifest["metadata"])
    name = f"{metadata.pop('generateName')}x7k2p"
    return manifest | {"metadata": metadata | {"name": name}}


def rule_breaks(manifest):
    """What Argo's controller would refuse or misread, and schemas do not know."""
    known, found = tasks(manifest), []
    parameters = {each["name"] for each in manifest["spec"]["arguments"]["parameters"]}
    outputs = {
        f"tasks.{name}.outputs.parameters.{output['name']}": name
        for name, task in known.items()
        for output in template(manifest, task["template"])["outputs"]["parameters"]
    }

    def all_before(name):
        direct = {each.partition(".")[0] for each in _words(known[name].get("depends", ""))} & set(known)
        return direct.union(*(all_before(each) for each in direct))

    for name, task in known.items():
        if {"depends", "dependencies"} <= set(task):
            found.append(f"{name}: depends and dependencies are mixed")
        if "continueOn" in task and "depends" in task:
            found.append(f"{name}: continueOn beside depends")
        for word in _words(task.get("depends", "")):
            before, _, result = word.partition(".")
            if before not in known:
                found.append(f"{name}: no task {before}")
            if result != "Succeeded":
                found.append(f"{name}: {word} is also satisfied by a skipped task")
        given = {each["name"] for each in task.get("arguments", {}).get("parameters", [])}
        called = template(manifest, task["template"])
        declared = {each["name"] for each in called.get("inputs", {}).get("parameters", [])}
        if given != declared:
            found.append(f"{name}: {task['template']} declares {declared} and is given {given}")
        found += [
            f"{name}: nothing before it has {used}"
            for used in _placeholders(json.dumps(task))
            if outputs.get(used) not in all_before(name)
        ]
        for used in _placeholders(json.dumps(called)):
            kind, _, parameter = used.rpartition(".")
            known_here = {
                "workflow.parameters": parameters,
                "inputs.parameters": declared,
                "workflow": {"name"},
            }
            if parameter not in known_here.get(kind, ()):
                found.append(f"{task['template']}: no {used}")
        if any("default" in each["valueFrom"] for each in called["outputs"]["parameters"]):
            found.append(f"{task['template']}: an output that was never written would have a value")
    return found


def _words(expression):
    return re.findall(r"[a-zA-Z0-9_-]+(?:\.[A-Za-z]+)?", expression)


def _placeholders(text):
    return re.findall(r"\{\{([^{}]+)\}\}", text)


@pytest.mark.parametrize("resources", [{}, {"gpu": 1}, GPU_RESOURCES, {"gpu": 8, "nodes": 4}])
def test_workflow_is_valid_by_the_upstream_crd(resources):
    """Argo's API server would accept it, fields checked strictly."""
    assert violations(created(make_manifest(resources=resources)), crd=CRD) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "line"),
        (("spec", "podGC", "strategy"), "Sometimes"),
        (("spec", "synchronization", "mutex"), {"name": "line"}),
        (("spec", "templates", 1, "container", "resource"), {}),
        (("spec", "templates", 1, "retryStrategy", "retryPolicy"), "Never"),
    ],
)
def test_validation_sees_each_injected_fault(path, value):
    """A misspelled field, a wrong type or an unknown choice does not slip through."""
    manifest = created(copy.deepcopy(make_manifest()))
    node = manifest
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value

    assert len(violations(manifest, crd=CRD)) == 1


@pytest.mark.parametrize("changes", [{}, {"resources": GPU_RESOURCES}, {"gates": {"beats_baseline": True}}])
def test_references_hold_and_only_success_lets_a_step_follow(changes):
    """Every task, parameter and output that is named exists, and comes before whoever reads it."""
    assert rule_breaks(make_manifest(**changes)) == []


@pytest.mark.parametrize(
    ("task", "change", "told"),
    [
        ("features", {"depends": "dataset"}, "also satisfied by a skipped task"),
        ("features", {"depends": "data.Succeeded"}, "no task data"),
        ("features", {"dependencies": ["dataset"]}, "are mixed"),
        ("features", {"continueOn": {"failed": True}}, "continueOn beside depends"),
        ("features", {"arguments": {"parameters": []}}, "declares {'made-from'} and is given set()"),
        ("deployment", {"when": "{{tasks.validation.outputs.parameters.f1}} > 0.9"}, "nothing before it has"),
        ("version", {"when": "{{tasks.card.outputs.parameters.version}} > 0"}, "nothing before it has"),
    ],
)
def test_each_broken_reference_is_seen(task, change, told):
    """The rules above would notice what they are there for."""
    manifest = make_manifest()
    tasks(manifest)[task].update(change)

    assert told in "; ".join(rule_breaks(manifest))


def test_an_unknown_parameter_or_a_default_output_is_seen():
    """A step that reads what nobody gives, or an output that is there although nobody wrote it."""
    manifest = make_manifest()
    template(manifest, "model")["container"]["command"].append("{{workflow.parameters.epoch}}")
    template(manifest, "validation")["outputs"]["parameters"][1]["valueFrom"]["default"] = "1"

    assert rule_breaks(manifest) == [
        "model: no workflow.parameters.epoch",
        "validation: an output that was never written would have a value",
    ]


def test_steps_depend_on_success_and_the_deployment_on_the_auc_as_well():
    """A chain of seven; the last is skipped where the validation's AUC does not satisfy the spec's gate."""
    found = tasks(make_manifest(gates={"auc": "> 0.92"}))

    assert [argo_ancestors(task) for task in found.values()] == [
        set(), {"dataset"}, {"features"}, {"model"}, {"validation"}, {"version"}, {"card"},
    ]  # fmt: skip
    assert {name: task["when"] for name, task in found.items() if "when" in task} == {
        "deployment": "{{tasks.validation.outputs.parameters.auc}} > 0.92"
    }


def test_training_asks_for_what_the_spec_says_and_no_other_step_does():
    """GPUs, amounts, /dev/shm, node selector, tolerations and runtime class, where Kubernetes reads them."""
    manifest = make_manifest(resources=GPU_RESOURCES)
    model = template(manifest, "model")
    amounts = {"cpu": "6", "memory": "16Gi", "nvidia.com/gpu": "2"}

    assert model["container"]["resources"] == {"limits": amounts, "requests": amounts}
    assert model["nodeSelector"] == {"accelerator": "a100"}
    assert model["priorityClassName"] == "urgent"
    assert model["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert model["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    assert model["container"]["volumeMounts"][-1] == {"name": "shared-memory", "mountPath": "/dev/shm"}
    assert json.loads(model["podSpecPatch"]) == {"runtimeClassName": "nvidia"}
    others = [each for each in manifest["spec"]["templates"] if each["name"] != "model"]
    assert "nvidia.com/gpu" not in json.dumps([each.get("container", {}).get("resources") for each in others])


def test_training_on_several_nodes_leaves_the_gpus_to_its_job():
    """The step only waits for the Job that it makes: it would hold a GPU for nothing."""
    model = template(make_manifest(resources={"gpu": 8, "nodes": 4}), "model")

    assert "nvidia.com/gpu" not in model["container"]["resources"]["limits"]


def test_pods_are_restricted():
    """Not root, nothing to escalate, no capability, nothing to write to but the scratch volume."""
    manifest = make_manifest()
    pod = manifest["spec"]["securityContext"]

    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == 65532
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for name in tasks(manifest):
        container = template(manifest, name)["container"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"] == IMAGE


def test_two_workflows_of_a_line_take_turns():
    """They hold the same mutex, and those of another line another one."""
    names = [
        make_manifest(line=line)["spec"]["synchronization"]["mutexes"] for line in ("one", "one", "other")
    ]

    assert names == [[{"name": "line-one"}], [{"name": "line-one"}], [{"name": "line-other"}]]


@pytest.mark.parametrize(
    ("status", "exit_code", "message", "is_lost"),
    [
        ("Error", -1, "pod deleted", True),
        ("Failed", 143, "The node was low on resource: memory.", True),
        ("Failed", 137, "Error (exit code 137)", True),
        ("Failed", 137, "OOMKilled (exit code 137)", False),
        ("Failed", 1, "Error (exit code 1)", False),
    ],
)
def test_only_a_lost_pod_is_tried_again(status, exit_code, message, is_lost):
    """A blocked verdict or a bug would come again, and so would a step that has too little memory."""
    manifest = make_manifest()
    (expression,) = {template(manifest, name)["retryStrategy"]["expression"] for name in tasks(manifest)}
    # The few words of expr-lang that it uses are spelled differently in Python.
    python = expression.replace("||", " or ").replace("&&", " and ").replace("asInt", "int")
    python = python.replace("lastRetry.exitCode", str(exit_code)).replace("lastRetry.status", repr(status))
    python = python.replace("lastRetry.message contains 'OOMKilled'", f"'OOMKilled' in {message!r}")

    assert eval(python, {}) is is_lost


def test_settings_and_secrets_come_by_reference():
    """No value of either stands in the file, nor a path or name of the machine that wrote it."""
    text = to_yaml(argo_workflow(make_workflow()))
    references = template(yaml.safe_load(text), "dataset")["container"]["envFrom"]

    assert references == [
        {"configMapRef": {"name": "platform-settings"}},
        {"secretRef": {"name": "platform-secrets"}},
    ]
    assert not re.search(r"/home/|/root|/tmp|password|AWS_|kind: Secret", text)


def test_equal_lines_give_equal_text_without_anchors():
    """Exporting again shows no difference in Git, and people can read it."""
    text = to_yaml(argo_workflow(make_workflow(resources=GPU_RESOURCES)))

    assert text == to_yaml(argo_workflow(make_workflow(resources=GPU_RESOURCES)))
    assert not re.search(r"[&*]id[0-9]", text)

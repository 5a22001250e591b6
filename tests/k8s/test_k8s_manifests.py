"""What the rendered manifests promise: no privilege, no secret, no flow and no right beyond what is needed."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from platform_assets.cli import app
from resources.settings import PlatformSettings
from scripts.k8s import MANIFESTS, files
from tests.k8s.conftest import Objects, rendered
from tests.k8s.kinds import Object, config, containers, of_kind, one, workloads

NAMESPACE = "platform-assets"
CLUSTER_WIDE = {"Namespace", "PriorityClass", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}

# --- Pods -----------------------------------------------------------------------------------------------------


def test_everything_is_in_one_namespace(objects: Objects) -> None:
    """And that namespace takes no pod that is not restricted."""
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE:
            assert each["metadata"]["namespace"] == NAMESPACE, each
    labels = one(objects, "Namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_container_has_privileges(objects: Objects) -> None:
    """Not root, no escalation, no capability, nothing to write but what is mounted."""
    for workload in workloads(objects):
        pod = workload["spec"]["template"]["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == pod["runAsGroup"] == 65532
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for name, container in containers(objects):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_every_container_says_what_it_needs_and_may_have(objects: Objects) -> None:
    """CPU and memory, requested and limited."""
    for name, container in containers(objects):
        for side in ("requests", "limits"):
            assert set(container["resources"][side]) == {"cpu", "memory"}, name


def test_every_server_is_probed(objects: Objects) -> None:
    """It is given time to start, gets traffic when it is ready, and is started again when it hangs."""
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        served = "ports" in container
        assert {"startupProbe", "livenessProbe"} <= set(container)
        assert ("readinessProbe" in container) == served, workload["metadata"]["name"]


def test_images_are_pinned(objects: Objects) -> None:
    """Each has a tag that does not move, and a registry but for the platform's own of `dev`."""
    for name, container in containers(objects):
        _, _, tag = container["image"].rpartition(":")
        assert re.match(r"^v?\d+\.\d+", tag), (name, container["image"])
        assert container["imagePullPolicy"] == "IfNotPresent"


def test_runs_are_made_of_the_image_of_the_code(objects: Objects) -> None:
    """Dagster starts run pods with the image that the code server names."""
    code = one(objects, "Deployment", "platform-assets-code")["spec"]["template"]["spec"]["containers"][0]
    (current,) = [each["value"] for each in code["env"] if each["name"] == "DAGSTER_CURRENT_IMAGE"]
    assert current == code["image"]
    assert ":" in current


def test_gpu_steps_are_limited_to_the_gpus_of_the_quota(by_overlay: dict[str, Objects]) -> None:
    """The pools of Dagster and the quota of Kubernetes say the same, in each overlay its own number."""
    limits = {}
    for name, objects in by_overlay.items():
        pools = yaml.safe_load(config(objects, "dagster-instance")["dagster.yaml"])["concurrency"]["pools"]
        quota = one(objects, "ResourceQuota", NAMESPACE)["spec"]["hard"]["requests.nvidia.com/gpu"]
        assert pools["default_limit"] == int(quota)
        limits[name] = pools["default_limit"]
    assert limits == {"dev": 1, "prod": 4}


def test_services_and_budgets_select_pods(objects: Objects) -> None:
    """Each Service and each budget finds the pods that it means, and a port of them."""
    pods = [workload["spec"]["template"] for workload in workloads(objects)]
    for service in of_kind(objects, "Service"):
        found = [pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, labels_of(pod))]
        assert len(found) == 1, service["metadata"]["name"]
        names = {port["name"] for each in found[0]["spec"]["containers"] for port in each["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if budget["metadata"]["name"] != "platform-assets-runs":
            assert any(selects(budget["spec"]["selector"], labels_of(pod)) for pod in pods)


def test_pods_are_labelled_and_selected_alike(objects: Objects) -> None:
    """An API server refuses a Deployment that does not select its own pods."""
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        labels = labels_of(workload["spec"]["template"])
        assert selects(workload["spec"]["selector"], labels)
        assert labels["app.kubernetes.io/part-of"] == NAMESPACE
        priority = workload["spec"]["template"]["spec"]["priorityClassName"]
        one(objects, "PriorityClass", priority)


def test_what_pods_refer_to_exists(objects: Objects) -> None:
    """ConfigMaps and accounts; Secrets are the two that the documentation tells to make, or optional."""
    maps = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
    accounts = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
    for workload in workloads(objects):
        pod = workload["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] in accounts
        for volume in pod.get("volumes", []):
            assert "configMap" not in volume or volume["configMap"]["name"] in maps
    for _, container in containers(objects):
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["name"] in maps
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            assert reference is None or reference["name"] == "platform-secrets" or reference["optional"]


def test_the_listener_is_where_tekton_looks_for_it(objects: Objects) -> None:
    """The address in the trigger template is that of a Service of ours."""
    template = yaml.safe_load((MANIFESTS / "triggers/retrain-template.yaml").read_text())
    (url,) = [each["default"] for each in template["spec"]["params"] if each["name"] == "retrain-url"]
    assert url == "http://platform-assets-listen:8170/v1/retrain"
    service = one(objects, "Service", "platform-assets-listen")
    assert [port["port"] for port in service["spec"]["ports"]] == [8170]


# --- Settings and commands ------------------------------------------------------------------------------------


def test_every_setting_is_one(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of each overlay are read by the platform's own class, which knows every name in them."""
    data = config(objects, "platform-settings")
    named = {name for name in data if name.startswith("PLATFORM_")}
    known = {
        f"PLATFORM_{field.upper()}": field
        for field in PlatformSettings.model_fields  # nested ones follow after two underscores
    }
    assert {name.partition("__")[0] for name in named} <= set(known)
    monkeypatch.setenv("PLATFORM_ROW_SALT", "a salt of the tests only")
    for name in named:
        monkeypatch.setenv(name, data[name])
    settings = PlatformSettings()
    assert settings.profile == "cluster"
    assert (settings.principal.user, settings.env) == ("platform", data["PLATFORM_PRINCIPAL__LABELS__ENV"])
    for uri in (settings.ledger_uri, settings.catalog_uri):
        assert uri is not None
        assert re.match(r"postgresql://platform@[^:@/]+:5432/platform$", uri)
    assert settings.s3_endpoint == data["AWS_ENDPOINT_URL_S3"] == data["MLFLOW_S3_ENDPOINT_URL"]


def test_environments_differ(by_overlay: dict[str, Objects]) -> None:
    """What `dev` writes lies under other keys than what `prod` writes."""
    environments = {
        name: config(objects, "platform-settings")["PLATFORM_PRINCIPAL__LABELS__ENV"]
        for name, objects in by_overlay.items()
    }
    assert environments == {"dev": "dev", "prod": "prod"}


def test_commands_of_the_platform_exist(objects: Objects) -> None:
    """Each container that runs `platform-assets` names a command, and options that it has."""
    parsed = [
        _parses(container["args"][1:])
        for _, container in containers(objects)
        if container.get("args", [None])[0] == "platform-assets"
    ]
    assert sorted(parsed) == ["listen", "serve", "watch"]


def _parses(arguments: list[str]) -> str:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    context = command.make_context(command.name, list(arguments))
    assert context.params["host"] == "0.0.0.0"
    return str(command.name)


def test_commands_of_dagster_exist(objects: Objects) -> None:
    """The options of webserver, daemon and code server are those that these programs have."""
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import dagster_webserver

    programs: dict[str, Any] = {
        "dagster": create_dagster_cli(),
        "dagster-daemon": create_dagster_daemon_cli(),
        "dagster-webserver": dagster_webserver,
    }
    seen = set()
    for _, container in containers(objects):
        program, *arguments = [
            # where the ConfigMap is mounted
            each.replace("/opt/dagster/home/", f"{MANIFESTS / 'dagster'}/")
            for each in container.get("args", [""])
        ]
        if program in programs:
            command = programs[program]
            while hasattr(command, "commands"):
                command, arguments = command.commands[arguments[0]], arguments[1:]
            command.make_context(command.name, arguments)
            seen.add(program)
    assert seen == set(programs)


def test_what_is_behind_an_ingress_trusts_its_word_for_the_client(by_overlay: dict[str, Objects]) -> None:
    """Else all webhooks would share one client's limit; without an ingress nobody's word counts."""
    trusting = {
        name: [
            variable["value"]
            for _, container in containers(objects)
            for variable in container.get("env", [])
            if variable["name"] == "PLATFORM_TRUSTED_PROXIES"
        ]
        for name, objects in by_overlay.items()
    }
    assert trusting == {"dev": [], "prod": ['["10.0.0.0/8"]']}
    (ingress,) = of_kind(by_overlay["prod"], "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [("/", "Exact")]


def test_the_report_server_only_reads(objects: Objects) -> None:
    """Its principal has no role, so the policy that judges everybody lets it write and delete nothing."""
    deployment = one(objects, "Deployment", "platform-assets-reports")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert given["PLATFORM_PRINCIPAL__ROLES"] == "[]"
    data = config(objects, "platform-settings")
    port = container["ports"][0]["containerPort"]
    assert data["PLATFORM_REPORTS_URL"] == f"http://127.0.0.1:{port}"  # by port-forward


# --- Secrets --------------------------------------------------------------------------------------------------

_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|SALT|SIGNING_KEY|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"://[^/\s:@]+:[^/\s@]+@"  # user and password in a URL
    r"|-----BEGIN|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20}|\beyJ[A-Za-z0-9_-]{10,}\."
    r"|\b[0-9a-f]{32,}\b"
)


def secrets_in(objects: Iterable[Object]) -> Iterator[str]:
    """Whatever is a secret in these objects, or looks like one."""
    for each in objects:
        where = f"{each['kind']} {each['metadata'].get('name')}"
        if each["kind"] == "Secret":
            yield where
        for name, value in _named_texts(each):
            if _SECRET_VALUE.search(value) or (_SECRET_NAME.search(name) and value):
                yield f"{where}: {name}"


def _named_texts(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each text with the name that it is the value of; a variable's value goes by the variable's name."""
    if isinstance(node, dict):
        for key, child in node.items():
            called = str(node["name"]) if key == "value" and "name" in node else str(key)
            yield from _named_texts(child, called)
    elif isinstance(node, list):
        for child in node:
            yield from _named_texts(child, name)
    elif isinstance(node, str):
        yield name, node


ALLOWED_NAMES = {"secretName", "secretKey", "secretKeyRef", "secretRef", "automountServiceAccountToken"}


def test_no_manifest_holds_a_secret(objects: Objects) -> None:
    """Neither an overlay nor any other file; names of Secrets and of their keys are none."""
    found = [*secrets_in(objects), *(line for _, held in files() for line in secrets_in(held))]
    assert [line for line in found if line.rpartition(": ")[2] not in ALLOWED_NAMES] == []


@pytest.mark.parametrize(
    "spoiled",
    [
        {"kind": "Secret", "metadata": {"name": "x"}},
        {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"PGPASSWORD": "hunter2"}},
        {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"URI": "postgresql://u:p@host/db"}},
        {"kind": "Pod", "metadata": {"name": "x"}, "env": [{"name": "PLATFORM_EVENTS_TOKEN", "value": "t"}]},
        {"kind": "Pod", "metadata": {"name": "x"}, "args": [f"--key={'0123456789abcdef' * 3}"]},
    ],
)
def test_a_secret_would_be_found(spoiled: Object) -> None:
    """The check above sees an object, a variable, a URL and a bare key."""
    assert list(secrets_in([spoiled]))


def test_the_documented_secret_has_every_key_that_pods_ask_for(by_overlay: dict[str, Objects]) -> None:
    """The command in base/kustomization.yaml makes all of them."""
    told = (MANIFESTS / "base/kustomization.yaml").read_text()
    asked = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for objects in by_overlay.values()
        for _, container in containers(objects)
        for variable in container.get("env", [])
        if variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "platform-secrets"
    }
    assert asked == set(re.findall(r"--from-literal=([A-Z_]+)=", told))


# --- Rights ---------------------------------------------------------------------------------------------------


def rights(objects: Objects) -> dict[str, set[tuple[str, str]]]:
    """By account: the resources and verbs that its Roles grant."""
    roles = {each["metadata"]["name"]: each["rules"] for each in of_kind(objects, "Role")}
    granted: dict[str, set[tuple[str, str]]] = {}
    for binding in of_kind(objects, "RoleBinding"):
        for subject in binding["subjects"]:
            assert subject["namespace"] == NAMESPACE
            granted.setdefault(subject["name"], set()).update(
                (resource, verb)
                for rule in roles[binding["roleRef"]["name"]]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            )
    return granted


def test_each_account_may_do_what_it_does(objects: Objects) -> None:
    """Watching and ending runs, starting them for all but the webserver, Services for what trains on nodes, and objects."""
    watching = {
        *((name, verb) for name in ("jobs", "jobs/status", "pods", "pods/log") for verb in ("get", "list")),
        ("events", "list"),
    }
    ending = {("jobs", "delete"), ("pods", "delete")}
    starting = {("jobs", "create")}
    meeting = {("services", "create"), ("services", "delete"), ("services", "get")}
    reporting = {("workflowtaskresults", "create"), ("workflowtaskresults", "patch")}
    registering = {("featuretransformers", "list"), ("featuretransformers/status", "patch")}
    assert rights(objects) == {
        "platform-assets-code": registering,
        "platform-assets-webserver": watching | ending,
        "platform-assets-daemon": watching | ending | starting,
        "platform-assets-run": watching | ending | starting | meeting,
        "platform-assets-workflow": watching | ending | starting | meeting | reporting,
    }
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []


def test_dagster_k8s_gets_what_it_calls() -> None:
    """Every call of its client that launcher and step handler make is among a run's rights."""
    import dagster_k8s.client

    source = Path(dagster_k8s.client.__file__).read_text()
    calls = set(re.findall(r"_api\.(\w+)\(", source))
    assert calls, "the client is written in another way: look at what it calls"
    run = rights(rendered("overlays/dev"))["platform-assets-run"]
    verbs = {"create": "create", "delete": "delete", "list": "list", "read": "get"}
    for call in calls:
        found = re.fullmatch(r"(create|delete|list|read)_namespaced_(job|pod|event)(_status|_log)?", call)
        assert found, call
        verb, kind, part = found.groups()
        assert (f"{kind}s{(part or '').replace('_', '/')}", verbs[verb]) in run, call


def test_only_dagster_gets_a_token(objects: Objects) -> None:
    """Its run launcher looks for one in every process that loads the instance; no other pod has one to lose."""
    allowed = {"platform-assets-webserver", "platform-assets-daemon", "platform-assets-code"}
    for workload in workloads(objects):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is (pod["serviceAccountName"] in allowed)
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


# --- Flows ----------------------------------------------------------------------------------------------------


def labels_of(template: Object) -> dict[str, str]:
    """Labels of the pods of a template."""
    found: dict[str, str] = template["metadata"]["labels"]
    return found


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector matches."""
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", []):
        name, operator = each["key"], each["operator"]
        assert operator in {"In", "Exists"}
        if name not in labels or (operator == "In" and labels[name] not in each["values"]):
            return False
    return True


def allows(objects: Objects, source: Object, target: Object, port: int, protocol: str = "TCP") -> bool:
    """Whether the NetworkPolicies let a pod of this namespace reach another pod: both sides must agree.

    A pod is its labels, or a namespace by its name under `namespace`.
    """
    return _side(objects, source, target, "egress", port, protocol) and _side(
        objects, target, source, "ingress", port, protocol
    )


def _side(objects: Objects, own: Object, other: Object, way: str, port: int, protocol: str) -> bool:
    if "namespace" in own:
        return True  # what other namespaces let through is their affair
    policies = [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if way.capitalize() in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], own)
    ]
    assert policies, "a pod that no policy selects would be open"
    return any(
        _peer(peer, other) and _port(rule, port, protocol)
        for policy in policies
        for rule in policy.get(way, [])
        for peer in rule["to" if way == "egress" else "from"]
    )


def _peer(peer: Object, other: Object) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        name = other.get("namespace")
        return name is not None and selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": name})
    return "namespace" not in other and selects(peer["podSelector"], other)


def _port(rule: Object, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return ports is None or any((each["port"], each["protocol"]) == (port, protocol) for each in ports)


def pod(component: str) -> Object:
    """A pod of a component."""
    return {"app.kubernetes.io/component": component}


RUNS = ["run_worker", "step_worker", "training"]
# What trials report, the pod tells that executes their Experiment.
STATEFUL = ["webserver", "daemon", "user-code", "mlflow", "drift-monitor", "reports", "trial", *RUNS]
FLOWS: set[tuple[str, str, int]] = {
    ("webserver", "user-code", 3030),
    ("daemon", "user-code", 3030),
    *((each, "database", 5432) for each in [*STATEFUL, "listener"]),
    *((each, "object-store", 8333) for each in [*STATEFUL, "make-buckets"]),
    *((each, "mlflow", 5000) for each in ["user-code", *RUNS]),
    ("predictor", "drift-monitor", 8190),
    ("object-store", "policy", 8181),
}
PORTS = {
    "webserver": 3000,
    "user-code": 3030,
    "database": 5432,
    "object-store": 8333,
    "mlflow": 5000,
    "listener": 8170,
    "drift-monitor": 8190,
    "policy": 8181,
    "reports": 3001,
}


def test_only_the_intended_flows_are_open(by_overlay: dict[str, Objects]) -> None:
    """Of all pairs of components and all their ports, exactly the table above."""
    objects = by_overlay["dev"]
    sources = [*STATEFUL, "listener", "make-buckets", "policy", "database", "object-store", "predictor", "x"]
    open_flows = {
        (source, target, port)
        for source in sources
        for target, port in PORTS.items()
        if source != target and allows(objects, pod(source), pod(target), port)
    }
    # What stands for predictors and stores elsewhere sends from outside this namespace's own rules.
    outgoing_elsewhere = {("predictor", "drift-monitor", 8190), ("object-store", "policy", 8181)}
    assert open_flows == FLOWS - outgoing_elsewhere
    for source, target, port in outgoing_elsewhere:
        assert _side(objects, pod(target), pod(source), "ingress", port, "TCP")


def test_nobody_reaches_the_ui(objects: Objects) -> None:
    """It asks nobody who they are, nor does the report server: `kubectl port-forward` only reaches them."""
    for source in ({"namespace": "ingress-nginx"}, {"namespace": "default"}, pod("run_worker")):
        assert not allows(objects, source, pod("webserver"), 3000)
        assert not allows(objects, source, pod("reports"), 3001)


def test_what_comes_from_other_namespaces(objects: Objects) -> None:
    """Webhooks by the ingress controller, and Prometheus where there are metrics; nothing else."""
    listener, monitor, opa = pod("listener"), pod("drift-monitor"), pod("policy")
    assert allows(objects, {"namespace": "ingress-nginx"}, listener, 8170)
    assert allows(objects, {"namespace": "monitoring"}, monitor, 8190)
    assert allows(objects, {"namespace": "monitoring"}, opa, 8181)
    for name in ("default", "kube-system"):
        assert not any(allows(objects, {"namespace": name}, pod(each), port) for each, port in PORTS.items())


def test_everybody_may_ask_for_names(objects: Objects) -> None:
    """Over both protocols."""
    for protocol in ("UDP", "TCP"):
        assert allows(objects, pod("mlflow"), {"namespace": "kube-system"}, 53, protocol)


def test_nodes_that_train_together_talk_on_any_port(objects: Objects) -> None:
    """And with no other pod."""
    assert allows(objects, pod("training"), pod("training"), 40_123)
    assert not allows(objects, pod("run_worker"), pod("training"), 40_123)


def test_tekton_hands_pushes_on(objects: Objects) -> None:
    """Its task's pod reaches the listener and nothing else."""
    task = {"tekton.dev/pipelineRun": "retrain-1"}
    assert allows(objects, task, pod("listener"), 8170)
    assert not allows(objects, task, pod("database"), 5432)


def test_metadata_services_are_out_of_reach(objects: Objects) -> None:
    """No rule that leads out of the cluster leads to a cloud's credentials."""
    blocks = [
        peer["ipBlock"]
        for policy in of_kind(objects, "NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert blocks
    for block in blocks:
        private = block["cidr"] in {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}
        assert private or "169.254.0.0/16" in block["except"]


# --- The policy, and our own kind -----------------------------------------------------------------------------


def test_opa_runs_the_very_file(objects: Objects) -> None:
    """What the platform's processes evaluate is what object stores are answered by."""
    opa = one(objects, "Deployment", "platform-assets-opa")["spec"]["template"]["spec"]
    (volume,) = opa["volumes"]
    text = config(objects, volume["configMap"]["name"])["minio_authz.rego"]
    assert text == (MANIFESTS / "policy/minio_authz.rego").read_text()
    (container,) = opa["containers"]
    assert container["args"][-1] == f"{container['volumeMounts'][0]['mountPath']}/minio_authz.rego"


def test_the_schema_of_feature_transformers_is_structural() -> None:
    """An API server takes no CRD in which a node has no type, unless it is an integer or text."""
    (crd,) = rendered("crds")

    def untyped(node: Object, path: str) -> Iterator[str]:
        if "type" not in node and not node.get("x-kubernetes-int-or-string"):
            yield path
        for name, child in node.get("properties", {}).items():
            yield from untyped(child, f"{path}.{name}")

    (version,) = crd["spec"]["versions"]
    assert list(untyped(version["schema"]["openAPIV3Schema"], "$")) == []
    assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
    window = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["windowDays"]
    assert window["default"] == 30

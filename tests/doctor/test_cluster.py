"""What an account may do on its cluster: asked of a server that answers as an API server does."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from platform_assets.doctor.cluster import probes_of_cluster
from platform_assets.doctor.findings import side_by_side
from resources.cluster_access import NEEDED, AccessError, ClusterAccess, NoAccountError
from resources.settings import PlatformSettings
from tests.line_factory import ROOT

RUN = "platform-assets-run"


def rights():
    """What each account may do by the manifests: (group, resource, verb)."""
    documents = [
        each
        for folder in ("dagster", "spark")
        for each in yaml.safe_load_all((ROOT / f"k8s/{folder}/rbac.yaml").read_text())
    ]
    roles = {
        each["metadata"]["name"]: {
            (group, resource, verb)
            for rule in each["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for each in documents
        if each["kind"] == "Role"
    }
    granted = {}
    for each in documents:
        if each["kind"] == "RoleBinding":
            for subject in each["subjects"]:
                granted.setdefault(subject["name"], set()).update(roles[each["roleRef"]["name"]])
    return granted


@contextmanager
def api_server(account, granted, kinds=()):
    """An API server that knows one account; yields the way to it, and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/version":
                self.answer({"gitVersion": "v1.34.2"})
            elif self.path.removeprefix("/apis/") in dict(kinds):
                self.answer({"resources": [{"kind": dict(kinds)[self.path.removeprefix("/apis/")]}]})
            else:
                self.answer({"message": "not found"}, 404)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["kind"] == "SelfSubjectReview":
                self.answer(
                    {"status": {"userInfo": {"username": f"system:serviceaccount:ns:{account}"}}}, 201
                )
                return
            of = body["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (of["resource"], of.get("subresource"))))
            asked.append((of["group"], resource, of["verb"]))
            self.answer({"status": {"allowed": asked[-1] in granted and of["namespace"] == "ns"}}, 201)

        def answer(self, body, status=200):
            if self.headers["Authorization"] != "Bearer token":
                body, status = {"message": "Unauthorized"}, 401
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *given):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def access(token="token"):
        return ClusterAccess(
            f"http://127.0.0.1:{server.server_port}",
            token=token,
            authority=None,
            namespace="ns",
            timeout_seconds=2,
        )

    try:
        yield access, asked
    finally:
        server.shutdown()
        server.server_close()


def examined(access):
    """The findings by subject."""
    found = side_by_side(probes_of_cluster(PlatformSettings(), access))
    return {each.subject: each for each in found}


def test_what_is_needed_is_what_the_manifests_give():
    """No less, and no more."""
    granted = rights()
    assert {account: set(needed) for account, needed in NEEDED.items()} == granted


@pytest.mark.parametrize("account", NEEDED)
def test_an_account_with_its_rights_is_well(account):
    """The server's version and clock are told."""
    with api_server(account, rights()[account]) as (access, asked):
        found = examined(access)
    assert found["cluster"].told == "version v1.34.2"
    assert abs(found["cluster"].skew_seconds) < 2
    assert found["permissions"].status == "ok"
    assert set(asked) == set(NEEDED[account])


def test_rights_of_sparks_drivers_are_in_their_own_file():
    """Which is named where one is lacking."""
    account = "platform-assets-spark"
    with api_server(account, rights()[account] - {("", "pods", "create")}) as (access, _):
        found = examined(access)["permissions"]
    assert (found.status, "may not create pods in ns" in found.told) == ("problem", True)
    assert "k8s/spark/rbac.yaml" in found.advice


def test_a_right_that_is_lacking_is_named():
    """With its verb, resource and group."""
    lacking = {("batch", "jobs", "create"), ("", "pods/log", "get")}
    with api_server(RUN, rights()[RUN] - lacking) as (access, _):
        found = examined(access)
    assert found["permissions"].status == "problem"
    assert "may not get pods/log, create jobs.batch in ns" in found["permissions"].told
    assert "rbac.yaml" in found["permissions"].advice


def test_an_account_that_needs_nothing_is_asked_nothing():
    """As that of the listener."""
    with api_server("platform-assets-listen", set()) as (access, asked):
        found = examined(access)
    assert (found["permissions"].status, asked) == ("ok", [])


def test_kinds_that_are_served_are_told():
    """Those that are not are no problem: not everybody needs them."""
    with api_server(RUN, rights()[RUN], [("kubeflow.org/v1", "FeatureTransformer")]) as (access, _):
        found = examined(access)
    assert (found["FeatureTransformer"].status, found["EventListener"].status) == ("ok", "not used")


def test_a_server_that_refuses_or_is_away_is_a_problem(tmp_path):
    """With its own words."""
    with api_server(RUN, set()) as (access, _):
        refused = examined(lambda: access(token="another"))
    assert (refused["cluster"].status, "401" in refused["cluster"].told) == ("problem", True)
    away = examined(access)
    assert (away["cluster"].status, "refused" in away["cluster"].told) == ("problem", True)


def test_a_pod_is_known_by_what_the_kubelet_gives_it(tmp_path, monkeypatch):
    """Without a token there is nobody to ask for; elsewhere than in a pod neither."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NoAccountError, match="in no pod"):
        ClusterAccess.of_this_pod(timeout_seconds=1, account=tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    with pytest.raises(NoAccountError, match="no token"):
        ClusterAccess.of_this_pod(timeout_seconds=1, account=tmp_path)
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "namespace").write_text("ns")
    access = ClusterAccess.of_this_pod(timeout_seconds=1, account=tmp_path)
    assert access.namespace == "ns"
    with pytest.raises(AccessError, match=r"https://\[fd00::1\]:6443/version"):
        access.version()


def test_elsewhere_than_in_a_pod_the_profile_decides(monkeypatch):
    """Who says `cluster` is told where to run it."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    local = PlatformSettings()
    (found,) = side_by_side(probes_of_cluster(local))
    assert found.status == "not used"
    (found,) = side_by_side(probes_of_cluster(local.model_copy(update={"profile": "cluster"})))
    assert (found.status, "kubectl exec" in found.advice) == ("warning", True)

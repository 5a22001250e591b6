"""The check of manifests: what is right passes, and each kind of mistake fails with file, object and path."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.k8s import (
    MANIFESTS,
    ManifestsError,
    dry_run,
    kustomize_version,
    kustomizer,
    main,
    roots,
    unserved,
    validate,
)
from scripts.k8s_schemas import upstream_crds

needs_crds = pytest.mark.skipif(
    not upstream_crds().is_dir(), reason="NOT CHECKED against upstream: CRD_SCHEMAS names no folder"
)


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """Rewrite the first document of a file."""
    first, *others = yaml.safe_load_all(path.read_text())
    edit(first)
    path.write_text(yaml.safe_dump_all([first, *others]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of manifests without kustomizations: a built-in kind, a CRD, and two kinds of CRDs."""
    for name in (
        "base/mlflow.yaml",
        "crds/featuretransformers.yaml",
        "triggers/event-listener.yaml",
        "triggers/retrain-template.yaml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(MANIFESTS / name, tmp_path / name)
    (tmp_path / "sample.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kubeflow.org/v1",
                "kind": "FeatureTransformer",
                "metadata": {"name": "debt-ratio"},
                "spec": {
                    "inputSource": "s3://risk-data/raw/",
                    "transformerType": "woe",
                    "windowDays": 30,
                    "columns": ["debt", "income"],
                    "target": "default",
                },
            }
        )
    )
    return tmp_path


def test_every_manifest_is_valid() -> None:
    """All overlays and all other folders, each object by Kubernetes' schemas or its CRD."""
    try:
        kustomizer()
    except ManifestsError as problem:
        pytest.skip(f"NOT RENDERED: {problem}")
    report = validate()
    assert [str(each) for each in report.violations] == []
    assert report.checked > 150


def test_what_is_installed_by_itself() -> None:
    """Both overlays and the folders that nothing builds upon; a base and a component are no root."""
    assert {str(each.relative_to(MANIFESTS)) for each in roots()} >= {
        "crds",
        "overlays/dev",
        "overlays/prod",
        "triggers",
    }
    assert not {MANIFESTS / "base", MANIFESTS / "storage" / "postgres"} & set(roots())


def test_a_valid_folder_passes(root: Path) -> None:
    """The reference's example of a FeatureTransformer, with the columns that it is of, is among what passes."""
    assert validate(root).violations == []
    assert main(["--root", str(root), "validate"]) == 0


def test_an_unknown_field_of_a_built_in_kind_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An API server would drop it silently; here it is an error with file, object and path."""
    change(root / "base/mlflow.yaml", lambda it: it["spec"]["template"]["spec"].update(runAsRoot=False))
    assert main(["--root", str(root), "validate"]) == 1
    (line, _) = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("NOT")]
    assert line.startswith("base/mlflow.yaml: Deployment platform-assets-mlflow: $.spec.template.spec: ")
    assert "'runAsRoot' was unexpected" in line


@needs_crds
def test_an_unknown_field_of_an_upstream_kind_fails(root: Path) -> None:
    """The same for a kind that a CRD defines."""
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "drift"},
        "spec": {"selector": {}, "endpoints": [{"port": "http", "route": "/metrics"}]},
    }
    (root / "monitor.yaml").write_text(yaml.safe_dump(monitor))
    (found,) = validate(root).violations
    assert (found.source, found.object) == ("monitor.yaml", "ServiceMonitor drift")
    assert found.problem.startswith("$.spec.endpoints[0]: ")
    assert "'route' was unexpected" in found.problem


def test_a_word_that_readers_take_differently_fails(root: Path) -> None:
    """An octal number or a bare `yes` is another value to a cluster than to what checks it: file, line and reason."""
    path = root / "triggers/retrain-template.yaml"
    path.write_text(path.read_text().replace("defaultMode: 288 ", "defaultMode: 0440 "))
    (found,) = validate(root).violations
    assert found.source == "triggers/retrain-template.yaml"
    assert found.object.startswith("line ")
    assert found.problem.startswith("0440 is a number (440) to YAML 1.2 and a number (288) to YAML 1.1;")


def test_our_own_kind_is_held_against_our_own_crd(root: Path) -> None:
    """A transformation that does not exist is refused; so is a field that the CRD does not have."""
    change(root / "sample.yaml", lambda it: it["spec"].update(transformerType="pca", bins=10))
    problems = [each.problem for each in validate(root).violations]
    assert len(problems) == 2
    assert any("'bins' was unexpected" in problem for problem in problems)
    assert any("'pca' is not one of ['woe', 'zscore', 'lag']" in problem for problem in problems)


def test_a_wrong_type_fails(root: Path) -> None:
    """A number in words."""
    change(root / "base/mlflow.yaml", lambda it: it["spec"].update(replicas="one"))
    (found,) = validate(root).violations
    assert found.problem.startswith("$.spec.replicas: 'one' is not of type")


def test_a_missing_field_fails(root: Path) -> None:
    """A Deployment without a selector, and an object without a name."""
    change(root / "base/mlflow.yaml", lambda it: (it["spec"].pop("selector"), it["metadata"].pop("name")))
    problems = [each.problem for each in validate(root).violations]
    assert "$.spec: 'selector' is a required property" in problems
    assert "$.metadata: 'name' is a required property" in problems


def test_all_that_is_wrong_is_told(root: Path) -> None:
    """Not only the first mistake of an object."""

    def spoil(it: Any) -> None:
        it["spec"]["replicas"] = "one"
        it["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["tcp"] = {"port": 1}

    change(root / "base/mlflow.yaml", spoil)
    assert len(validate(root).violations) == 2


def test_a_mistake_that_rendering_makes_is_found(tmp_path: Path) -> None:
    """A patch of an overlay can spoil what is right in its file."""
    try:
        kustomizer()
    except ManifestsError as problem:
        pytest.skip(f"NOT RENDERED: {problem}")
    shutil.copytree(MANIFESTS, tmp_path / "k8s")
    change(
        tmp_path / "k8s/overlays/prod/kustomization.yaml",
        lambda it: it["patches"].append(
            {
                "target": {"kind": "Deployment", "name": "platform-assets-opa"},
                "patch": '- {op: add, path: /spec/template/spec/hostNet, value: "yes"}',
            }
        ),
    )
    (found,) = validate(tmp_path / "k8s").violations
    assert (found.source, found.object) == ("overlays/prod", "Deployment platform-assets-opa")
    assert "'hostNet' was unexpected" in found.problem


def test_kinds_without_a_schema_are_named(root: Path) -> None:
    """What a template makes is looked at too, and what nobody can check is not passed over in silence."""
    assert "tekton.dev/v1 PipelineRun: no schema is at hand" in validate(root).not_checked


def test_without_upstream_crds_one_line_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in kinds and our own are checked all the same."""
    monkeypatch.setenv("CRD_SCHEMAS", str(root / "nowhere"))
    report = validate(root)
    assert report.violations == []
    assert report.not_checked[0].startswith("kinds of upstream CRDs: CRD_SCHEMAS")
    assert any("EventListener: no schema is at hand" in line for line in report.not_checked)


def test_a_group_that_begins_alike_is_another_group(root: Path) -> None:
    """`apps.example.org/v1 Deployment` is no Deployment."""
    change(root / "base/mlflow.yaml", lambda it: it.update(apiVersion="apps.example.org/v1"))
    assert "apps.example.org/v1 Deployment: no schema is at hand" in validate(root).not_checked


def test_broken_yaml_is_one_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file."""
    (root / "base/mlflow.yaml").write_text("kind: [")
    assert main(["--root", str(root), "validate"]) == 1
    assert capsys.readouterr().err.startswith("error: base/mlflow.yaml: ")


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('{"kustomizeVersion": "v5.5.0"}', (5, 5, 0)),
        ("v5.7.1\n", (5, 7, 1)),
        ('{"clientVersion": {"gitVersion": "v1.20.2"}}', None),
        ("", None),
    ],
)
def test_the_version_of_kustomize(answer: str, version: tuple[int, ...] | None) -> None:
    """Told by kubectl since 1.24, by kustomize itself always."""
    assert kustomize_version(answer) == version


def test_an_old_kubectl_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one of the path that is new enough renders; without one the error names what was found."""
    for name, answer in (
        ("old", '{"kustomizeVersion": "v4.5.7"}'),
        ("new", '{"kustomizeVersion": "v5.0.1"}'),
    ):
        program = tmp_path / name / "kubectl"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(0o755)
    kustomizer.cache_clear()
    try:
        monkeypatch.setenv("PATH", f"{tmp_path}/old:{tmp_path}/new")
        assert kustomizer() == (f"{tmp_path}/new/kubectl", "kustomize")
        kustomizer.cache_clear()
        monkeypatch.setenv("PATH", f"{tmp_path}/old")
        with pytest.raises(ManifestsError, match=r"needs kubectl 1\.27 or newer.*old/kubectl \(4\.5\.7\)"):
            kustomizer()
    finally:
        kustomizer.cache_clear()


def test_an_overlay_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names those that do."""
    assert main(["render", "staging"]) == 1
    assert "there is no overlay staging, only dev, prod" in capsys.readouterr().err


# --- Asking an API server -------------------------------------------------------------------------------------

SWAGGER = {
    "definitions": {
        "Deployment": {
            "properties": {
                "apiVersion": {},
                "kind": {},
                "metadata": {"type": "object"},
                "spec": {"$ref": "#/definitions/Spec"},
            },
            "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
        },
        "Spec": {
            "properties": {
                "replicas": {"type": "integer"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "containers": {"type": "array", "items": {"$ref": "#/definitions/Container"}},
            }
        },
        "Container": {"properties": {"name": {"type": "string"}}},
    }
}


def deployment(**spec: Any) -> dict[str, Any]:
    """A Deployment, as far as `SWAGGER` knows one."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}


def test_what_a_server_knows_is_asked() -> None:
    """Fields are looked for through references, lists and maps."""
    known = deployment(replicas=1, labels={"any": "name"}, containers=[{"name": "x"}])
    assert unserved(known, SWAGGER) is None


def test_what_a_server_does_not_know_is_named() -> None:
    """A version of the API, and fields at any depth."""
    unknown = deployment(paused=True, containers=[{"name": "x", "grpc": 1}])
    assert unserved(unknown, SWAGGER) == "this server does not know .spec.containers[].grpc, .spec.paused"
    other = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    assert unserved(other, SWAGGER) == "this server has no policy/v1 PodDisruptionBudget"


def test_a_dry_run_keeps_apart_what_was_said() -> None:
    """Accepted, refused with the server's words, and not asked for."""
    asked = []

    def kubectl(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        if arguments[0] == "get":
            return subprocess.CompletedProcess(arguments, 0, json.dumps(SWAGGER), "")
        assert "--dry-run=server" in arguments
        asked.append(json.loads(input or ""))
        refused = asked[-1]["spec"]["replicas"] < 0
        return subprocess.CompletedProcess(arguments, int(refused), "", "must not be negative" * refused)

    found = dry_run(
        [("dev", deployment(replicas=1)), ("dev", deployment(replicas=-1)), ("dev", deployment(paused=True))],
        kubectl=kubectl,
    )
    assert found.accepted == ["dev: Deployment a"]
    assert [str(each) for each in found.refused] == ["dev: Deployment a: must not be negative"]
    assert found.not_served == ["dev: Deployment a: this server does not know .spec.paused"]
    assert len(asked) == 2


def test_a_server_that_does_not_answer_is_an_error() -> None:
    """Nothing asked is not the same as nothing refused."""

    def kubectl(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return subprocess.CompletedProcess(arguments, 1, "", "connection refused")

    with pytest.raises(ManifestsError, match="does not answer: connection refused"):
        dry_run([], kubectl=kubectl)

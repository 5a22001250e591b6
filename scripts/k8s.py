"""Render the manifests of k8s/, and check every object of them.

python -m scripts.k8s render [OVERLAY]       what `kubectl apply` would be given; all overlays without a name
python -m scripts.k8s validate               every object against the schemas of Kubernetes and of the CRDs
python -m scripts.k8s dry-run [OVERLAY …]    every object against the API server of KUBECONFIG, which keeps nothing
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from platform_assets.yaml_scalars import ambiguities
from scripts.k8s_schemas import flattened, upstream_crds, violations

ROOT: Final = Path(__file__).resolve().parent.parent
MANIFESTS: Final = ROOT / "k8s"
KUSTOMIZE_FROM: Final = 5
"""Of an older kustomize, the one in kubectl before 1.27, `replacements` and components differ."""
_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KUSTOMIZE_GROUP: Final = "kustomize.config.k8s.io/"
_NO_OBJECTS: Final = "helm"


class ManifestsError(Exception):
    """The manifests cannot be rendered or read."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with one object."""

    source: str
    """File, or rendered folder, below k8s/."""
    object: str
    problem: str
    """Path and message."""

    def __str__(self) -> str:
        return f"{self.source}: {self.object}: {self.problem}"


@dataclass(slots=True)
class Report:
    """What a check found."""

    checked: int = 0
    violations: list[Violation] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


# --- Rendering ------------------------------------------------------------------------------------------------


@cache
def kustomizer() -> tuple[str, ...]:
    """The command that renders a folder: the first kubectl or kustomize of the path that is new enough.

    Raises:
        ManifestsError: There is none.
    """
    seen = []
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for name, asked, command in (
            ("kubectl", ["version", "--client", "--output=json"], ["kustomize"]),
            ("kustomize", ["version"], ["build"]),
        ):
            program = shutil.which(name, path=folder)
            if program is None:
                continue
            answer = subprocess.run([program, *asked], capture_output=True, text=True, check=False).stdout
            version = kustomize_version(answer)
            if version is not None and version[0] >= KUSTOMIZE_FROM:
                return (program, *command)
            seen.append(
                f"{program} ({'.'.join(map(str, version)) if version else 'no kustomize that tells'})"
            )
    raise ManifestsError(
        f"rendering needs kubectl 1.27 or newer, or kustomize {KUSTOMIZE_FROM}; the path has "
        f"{', '.join(seen) if seen else 'neither'}"
    )


def kustomize_version(answer: str) -> tuple[int, ...] | None:
    """The version of kustomize in what `kubectl version` or `kustomize version` says; None where it tells none."""
    try:
        document = json.loads(answer)
    except ValueError:
        told = answer.strip()
    else:
        told = str(document.get("kustomizeVersion", "")) if isinstance(document, dict) else ""
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)\S*", told)
    return tuple(int(each) for each in found.groups()) if found else None


def render(folder: Path) -> str:
    """The objects of a kustomization, as YAML.

    Raises:
        ManifestsError: kustomize refuses it, or is not at hand.
    """
    done = subprocess.run([*kustomizer(), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ManifestsError(f"{folder} cannot be rendered: {done.stderr.strip()}")
    return done.stdout


def overlays(root: Path = MANIFESTS) -> list[str]:
    """Names of the overlays."""
    return sorted(each.name for each in (root / "overlays").iterdir() if kustomization_of(each))


def kustomization_of(folder: Path) -> Path | None:
    """The file that makes a folder a kustomization, or None."""
    return next((folder / name for name in _KUSTOMIZATIONS if (folder / name).is_file()), None)


def roots(root: Path = MANIFESTS) -> list[Path]:
    """The kustomizations that are installed as they are: those that no other one builds upon."""
    folders = {folder: kustomization_of(folder) for folder in [root, *root.rglob("*")] if folder.is_dir()}
    stated = {
        folder: yaml.safe_load(file.read_text(encoding="utf-8")) for folder, file in folders.items() if file
    }
    used = {
        (folder / name).resolve()
        for folder, content in stated.items()
        for name in [*content.get("resources", []), *content.get("components", [])]
    }
    return sorted(
        folder
        for folder, content in stated.items()
        if content.get("kind") == "Kustomization" and folder.resolve() not in used
    )


# --- Checking -------------------------------------------------------------------------------------------------


def objects_of(text: str) -> list[dict[str, Any]]:
    """The objects of YAML documents; those of a `List` one by one.

    Raises:
        ManifestsError: The text is no YAML.
    """
    try:
        return list(flattened(yaml.load_all(text, Loader=yaml.CSafeLoader)))
    except yaml.YAMLError as problem:
        raise ManifestsError(str(problem)) from None


def name_of(manifest: Mapping[str, Any]) -> str:
    """Kind and name of an object."""
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f"{manifest.get('kind')} {name}"


def files(root: Path = MANIFESTS) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each file that holds objects, with them; what configures kustomize, Dagster or Helm holds none.

    Raises:
        ManifestsError: A file is no YAML.
    """
    for path in sorted(root.rglob("*.yaml")):
        relative = path.relative_to(root)
        if relative.parts[0] == _NO_OBJECTS:
            continue
        try:
            found = objects_of(path.read_text(encoding="utf-8"))
        except ManifestsError as problem:
            raise ManifestsError(f"{relative}: {problem}") from None
        held = [
            each
            for each in found
            if isinstance(each, dict)
            and "apiVersion" in each
            and not str(each["apiVersion"]).startswith(_KUSTOMIZE_GROUP)
        ]
        if held:
            yield str(relative), held


def rendered(root: Path = MANIFESTS) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each kustomization that is installed as it is, with its objects."""
    for folder in roots(root):
        yield str(folder.relative_to(root)), objects_of(render(folder))


def with_embedded(manifests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The objects, each followed by those that it makes when it is used."""
    for manifest in manifests:
        yield manifest
        if manifest.get("kind") == "TriggerTemplate":
            yield from with_embedded(manifest["spec"].get("resourcetemplates") or [])


def misread(root: Path = MANIFESTS) -> Iterator[Violation]:
    """Each word of a file that readers of YAML 1.1, of 1.2 and of clusters take for different things.

    Raises:
        ManifestsError: A file is no YAML.
    """
    for path in sorted(
        each for each in root.rglob("*") if each.suffix == ".yaml" or each.name in _KUSTOMIZATIONS
    ):
        source = str(path.relative_to(root))
        try:
            yield from (
                Violation(source, f"line {each.line}", each.problem)
                for each in ambiguities(path.read_text(encoding="utf-8"))
            )
        except yaml.YAMLError as problem:
            raise ManifestsError(f"{source}: {problem}") from None


def validate(root: Path = MANIFESTS) -> Report:
    """Check every object, in its file and as it is rendered, and that all readers of a file read the same.

    Raises:
        ManifestsError: Something cannot be read or rendered.
    """
    report = Report(violations=list(misread(root)))
    upstream = upstream_crds()
    crds = [root / "crds", *([upstream] if upstream.is_dir() else [])]
    if not upstream.is_dir():
        report.not_checked.append("kinds of upstream CRDs: CRD_SCHEMAS names no folder that exists")
    for source, manifests in [*files(root), *rendered(root)]:
        for manifest in with_embedded(manifests):
            found = violations(manifest, crds=crds)
            if found is None:
                line = f"{manifest.get('apiVersion')} {manifest.get('kind')}: no schema is at hand"
                if line not in report.not_checked:
                    report.not_checked.append(line)
                continue
            report.checked += 1
            report.violations += [Violation(source, name_of(manifest), problem) for problem in found]
    return report


# --- Asking an API server -------------------------------------------------------------------------------------


@dataclass(slots=True)
class DryRun:
    """What an API server said to objects that it was asked to admit and not to keep."""

    accepted: list[str] = field(default_factory=list)
    refused: list[Violation] = field(default_factory=list)
    not_served: list[str] = field(default_factory=list)
    """Objects, with the reason, that this version of Kubernetes cannot judge."""


def dry_run(
    manifests: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    kubectl: Callable[..., subprocess.CompletedProcess[str]] | None = None,
) -> DryRun:
    """Ask the API server of `KUBECONFIG` to admit each object and to keep none.

    An object of a version, or with fields, that the server does not know is not asked for: it would refuse it,
    or judge it without those fields. The namespaces must exist already.

    Args:
        manifests: Source and object.
        kubectl: Runs kubectl with arguments and `input`; default: the first one of the path.

    Raises:
        ManifestsError: The server does not answer.
    """
    kubectl = kubectl or _kubectl
    answer = kubectl("get", "--raw", "/openapi/v2")
    if answer.returncode:
        raise ManifestsError(f"the API server does not answer: {answer.stderr.strip()}")
    swagger = json.loads(answer.stdout)
    found = DryRun()
    for source, manifest in manifests:
        reason = unserved(manifest, swagger)
        if reason is not None:
            found.not_served.append(f"{source}: {name_of(manifest)}: {reason}")
            continue
        # Its kubectl may know fewer fields than the server, or more; the server alone is asked.
        done = kubectl(
            "apply", "--dry-run=server", "--validate=false", "--filename=-", input=json.dumps(manifest)
        )
        if done.returncode:
            found.refused.append(Violation(source, name_of(manifest), done.stderr.strip()))
        else:
            found.accepted.append(f"{source}: {name_of(manifest)}")
    return found


def unserved(manifest: Mapping[str, Any], swagger: Mapping[str, Any]) -> str | None:
    """Why a server with this OpenAPI document (version 2) cannot judge an object; None where it can."""
    group, _, version = str(manifest.get("apiVersion")).rpartition("/")
    wanted = {"group": group, "version": version, "kind": manifest.get("kind")}
    definitions = swagger["definitions"]
    for definition in definitions.values():
        if wanted in definition.get("x-kubernetes-group-version-kind", []):
            unknown = sorted(set(_unknown_fields(manifest, definition, definitions, "")))
            return f"this server does not know {', '.join(unknown)}" if unknown else None
    return f"this server has no {manifest.get('apiVersion')} {manifest.get('kind')}"


def _unknown_fields(
    value: object, schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str
) -> Iterator[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, Mapping):
        properties, others = schema.get("properties"), schema.get("additionalProperties")
        for name, child in value.items():
            if properties is not None and name in properties:
                yield from _unknown_fields(child, properties[name], definitions, f"{path}.{name}")
            elif isinstance(others, Mapping):
                yield from _unknown_fields(child, others, definitions, f"{path}.{name}")
            elif properties is not None:
                yield f"{path}.{name}"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for child in value:
            yield from _unknown_fields(child, schema.get("items", {}), definitions, f"{path}[]")


def _kubectl(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002 - subprocess' own name
    return subprocess.run(["kubectl", *arguments], input=input, capture_output=True, text=True, check=False)


# --- Commands -------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser(prog="k8s", description="The manifests of k8s/.")
    parser.add_argument("--root", type=Path, default=MANIFESTS, help="their folder")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (
        ("render", "print what would be applied"),
        ("validate", "check every object against its schema"),
        ("dry-run", "ask the API server of KUBECONFIG"),
    ):
        command = commands.add_parser(name, help=told)
        if name != "validate":
            command.add_argument("overlays", nargs="*", metavar="OVERLAY", help="default: all")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "validate":
            return _told(validate(asked.root))
        chosen = [_overlay(asked.root, name) for name in asked.overlays or overlays(asked.root)]
        if asked.command == "render":
            print("---\n".join(render(folder) for folder in chosen), end="")
            return 0
        found = dry_run(
            (folder.name, manifest) for folder in chosen for manifest in objects_of(render(folder))
        )
    except ManifestsError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    for line in found.not_served:
        print(f"NOT ASKED  {line}")
    for refused in found.refused:
        print(f"REFUSED    {refused}")
    print(f"{len(found.accepted)} objects accepted, {len(found.refused)} refused")
    return 1 if found.refused else 0


def _overlay(root: Path, name: str) -> Path:
    if name not in overlays(root):
        raise ManifestsError(f"there is no overlay {name}, only {', '.join(overlays(root))}")
    return root / "overlays" / name


def _told(report: Report) -> int:
    for line in report.not_checked:
        print(f"NOT CHECKED  {line}")
    for violation in report.violations:
        print(violation)
    print(f"{report.checked} objects checked, {len(report.violations)} violations")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())

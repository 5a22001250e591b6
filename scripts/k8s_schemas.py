"""What is wrong with a Kubernetes object, as strictly as an API server with `fieldValidation=Strict` would say it.

Built-in kinds are held against Kubernetes' own schemas (package kubernetes-validate), other kinds against the
CustomResourceDefinitions in given folders. Of what an API server checks beyond schemas, nothing is checked here.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator

OLDEST: Final = "1.30"
"""The oldest Kubernetes that the manifests are for; they are held against it and against the newest known."""
_BESIDE_THE_REPOSITORY: Final = Path(__file__).parents[2] / "shared" / "crds"
_MOST_CHARACTERS: Final = 240
_METADATA: Final = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "namespace": {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "labels": {
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "maxLength": 63,
                "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
            },
        },
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def upstream_crds() -> Path:
    """The folder with the upstream CRD files: `CRD_SCHEMAS`, else `../shared/crds` beside the repository."""
    return Path(os.environ.get("CRD_SCHEMAS", _BESIDE_THE_REPOSITORY))


def violations(manifest: Mapping[str, Any], *, crds: Sequence[Path]) -> list[str] | None:
    """What is wrong with an object, one line each; empty when it is valid, None where no schema is known.

    Args:
        manifest: The object.
        crds: Folders with CRD files, for kinds that Kubernetes itself does not have.
    """
    found = _built_in_violations(manifest)
    if found is not None:
        return found
    path = _crd_of(manifest, crds)
    return None if path is None else crd_violations(manifest, path)


def crd_violations(manifest: Mapping[str, Any], path: Path) -> list[str]:
    """What is wrong with an object by a CRD file, one line each.

    Raises:
        LookupError: The file defines no such kind.
    """
    group, _, version = str(manifest.get("apiVersion")).partition("/")
    schema = _strict_schema(path, group, version, str(manifest.get("kind")))
    return _lines(Draft202012Validator(schema).iter_errors(manifest))


def _built_in_violations(manifest: Mapping[str, Any]) -> list[str] | None:
    from kubernetes_validate.utils import latest_version

    kind, api_version = str(manifest.get("kind")), str(manifest.get("apiVersion"))
    found: list[str] = []
    for version in (OLDEST, latest_version()):
        validator = _built_in_validator(kind, api_version, version)
        if validator is None:
            if version == OLDEST:
                return None
            return [*found, f"$: Kubernetes {version} has no {api_version} {kind} any more"]
        found += [line for line in _lines(validator.iter_errors(manifest)) if line not in found]
    metadata = manifest.get("metadata")
    if not (isinstance(metadata, Mapping) and ("name" in metadata or "generateName" in metadata)):
        found.append("$.metadata: 'name' is a required property")
    return found


@cache
def _built_in_validator(kind: str, api_version: str, version: str) -> Validator | None:
    from kubernetes_validate.utils import schema_contents

    # rbac.authorization.k8s.io/v1 is rbac-v1 there.
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    try:
        schema = schema_contents(f"{_folder(version)}/{kind.lower()}-{short}.json", version)
    except FileNotFoundError:
        return None
    stated = schema["properties"]["apiVersion"].get("enum")
    if stated is not None and api_version not in stated:
        return None  # another group whose name begins alike
    return Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> Any:
    from kubernetes_validate.utils import schema_contents
    from referencing import Registry, Resource

    registry: Any = Registry()
    contents = schema_contents(f"{_folder(version)}/_definitions.json", version)
    return (Resource.from_contents(contents) @ registry).crawl()


def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version if version.count('.') > 1 else version + '.0'}-local-strict"


def _crd_of(manifest: Mapping[str, Any], folders: Sequence[Path]) -> Path | None:
    # Parsing all files to find one takes many times as long.
    group = f" group: {str(manifest.get('apiVersion')).partition('/')[0]}\n"
    kind = f" kind: {manifest.get('kind')}\n"
    paths = (path for folder in folders for path in sorted(folder.glob("*.yaml")))
    return next((path for path in paths if group in _text(path) and kind in _text(path)), None)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _strict_schema(path: Path, group: str, version: str, kind: str) -> dict[str, Any]:
    # The pure-Python loader needs a minute for some of these files.
    for crd in yaml.load_all(path.read_bytes(), Loader=yaml.CSafeLoader):
        if crd and (crd["spec"]["group"], crd["spec"]["names"]["kind"]) == (group, kind):
            for served in crd["spec"]["versions"]:
                if served["name"] == version:
                    schema = _strict(served["schema"]["openAPIV3Schema"])
                    schema["properties"] = schema.get("properties", {}) | {
                        "apiVersion": {"const": f"{group}/{version}"},
                        "kind": {"const": kind},
                        "metadata": _METADATA,
                    }
                    return schema
    raise LookupError(f"{path.name} defines no {kind} of {group}/{version}")


def _strict(node: Mapping[str, Any]) -> dict[str, Any]:
    """A structural OpenAPI schema as JSON Schema in which an undeclared field is an error."""
    schema = {key: value for key, value in node.items() if key not in {"nullable", "format", "default"}}
    if node.get("x-kubernetes-int-or-string"):
        schema["type"] = ["integer", "string"]
    if "properties" in node:
        schema["properties"] = {name: _strict(child) for name, child in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _strict(node["additionalProperties"])
    elif node.get("type") == "object" and not node.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    if isinstance(node.get("items"), dict):
        schema["items"] = _strict(node["items"])
    if node.get("nullable"):
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def _lines(errors: Iterable[ValidationError]) -> list[str]:
    return sorted(_line(error) for error in errors)


def _line(error: ValidationError) -> str:
    # Of alternatives, what is wrong with the one that fits best says more than that none fits.
    told = (best_match(error.context) if error.context else None) or error
    message = told.message if len(told.message) <= _MOST_CHARACTERS else f"{told.message[:_MOST_CHARACTERS]}…"
    return f"{told.json_path}: {message}"


def flattened(documents: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The objects of YAML documents; those of a `List` one by one."""
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from flattened(document.get("items") or [])
        elif document:
            yield document

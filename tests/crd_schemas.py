"""Checks a manifest as strictly as an API server with `fieldValidation=Strict` would.

The upstream CRD files are looked for in the folder named by `CRD_SCHEMAS`, else in `../shared/crds`
beside the repository. Without them the tests that need them skip.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

_BESIDE_THE_REPOSITORY = Path(__file__).parents[2] / "shared" / "crds"
_METADATA = {
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


def violations(manifest: Mapping[str, Any], *, crd: str) -> list[str]:
    """What is wrong with `manifest` by the CRD file `crd`, one line each; empty when it is valid.

    Skips the calling test where the CRD files are not at hand.
    """
    path = Path(os.environ.get("CRD_SCHEMAS", _BESIDE_THE_REPOSITORY)) / crd
    if not path.is_file():
        pytest.skip(
            f"NOT CHECKED against upstream: no {path.name}; set CRD_SCHEMAS to a folder that holds it"
        )
    group, _, version = str(manifest.get("apiVersion")).partition("/")
    schema = _strict_schema(path, group, version, str(manifest.get("kind")))
    return [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(manifest)
    ]


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

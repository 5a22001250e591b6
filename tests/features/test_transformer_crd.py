"""The CRD of FeatureTransformers, as far as no API server is needed to judge it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from platform_assets.features import transformer_spec
from platform_assets.features.transformer_crd import crd
from platform_assets.features.transformer_spec import (
    FeatureTransformer,
    TransformerSpec,
    transformer_of_object,
)
from scripts.crds import FILE, main, written
from tests.features.transformer_objects import RIGHT, WRONG, transformer, with_metadata


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema within a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from nodes(schema[name], f"{path}[]")


@pytest.fixture(scope="module")
def spec_schema() -> dict[str, Any]:
    """Of section `spec`."""
    (version,) = crd()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_the_file_is_what_the_models_say(capsys):
    """Nobody has changed one of them alone."""
    assert main(["--check"]) == 0
    assert yaml.safe_load(FILE.read_text()) == crd()


def test_a_file_that_somebody_changed_is_told_and_written_anew(tmp_path: Path, capsys):
    """`--check` fails and leaves it; without it the file is what the models say."""
    changed = tmp_path / "featuretransformers.yaml"
    changed.write_text(FILE.read_text().replace("default: 30", "default: 31"))

    assert main(["--check", "--file", str(changed)]) == 1
    assert "run make crds" in capsys.readouterr().err
    assert "default: 31" in changed.read_text()

    assert main(["--file", str(changed)]) == 0
    assert changed.read_text() == written()


def test_every_field_of_the_models_is_described(spec_schema):
    """So that `kubectl explain` says what it is."""
    silent = [
        path for path, node in nodes(spec_schema) if not path.endswith("[]") and not node.get("description")
    ]
    assert silent == []


def test_the_schema_is_structural(spec_schema):
    """Each node has one type, or is an integer or text; nothing of JSON Schema that clusters do not know is left."""
    known = {
        "description", "type", "enum", "default", "properties", "required", "items", "additionalProperties",
        "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "anyOf",
        "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-validations",
    }  # fmt: skip
    for path, node in nodes(spec_schema):
        assert set(node) <= known, path
        assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path


def test_what_an_api_server_must_bound_is_bounded(spec_schema):
    """Texts, lists and maps have a greatest size: else it takes the rules to cost too much."""
    for path, node in nodes(spec_schema):
        bound = {"string": "maxLength", "array": "maxItems"}.get(node.get("type", ""))
        if bound and "enum" not in node:
            assert bound in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_the_schema_has_the_fields_of_the_reference(spec_schema):
    """Manifests that name a source, a type and days are still understood."""
    fields = spec_schema["properties"]
    assert fields["transformerType"]["enum"] == ["woe", "zscore", "lag"]
    assert fields["windowDays"] | {"description": ""} == {
        "description": "", "type": "integer", "minimum": 1, "maximum": 36500, "default": 30,
    }  # fmt: skip
    assert {"inputSource", "transformerType"} <= set(spec_schema["required"])


def test_columns_are_printed():
    """`kubectl get ft` tells type, days, source, whether it is registered, and its newest version."""
    (version,) = crd()["spec"]["versions"]
    shown = [each["name"] for each in version["additionalPrinterColumns"] if not each.get("priority")]
    assert shown == ["Type", "Days", "Source", "Registered", "Newest", "Age"]


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_read(name: str):
    """By the models."""
    assert transformer_of_object(RIGHT[name]).spec.normalised()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(name: str):
    """By the models."""
    with pytest.raises(ValidationError):
        transformer_of_object(WRONG[name])


def test_every_rule_has_an_object_that_it_refuses():
    """Each sentence of a validator is met by one of the wrong ones."""
    source = Path(transformer_spec.__file__).read_text()
    said = set()
    for each in WRONG.values():
        with pytest.raises(ValidationError) as refused:
            transformer_of_object(each)
        said |= {error["msg"] for error in refused.value.errors() if error["type"] == "value_error"}
    sentences = source.count("raise ValueError(")
    met = [
        line
        for line in (
            "remove this section, or change transformerType",
            "weights of evidence are fitted to one",
            "reads none; remove it",
            "looks along the history of an entity",
            "needs timestampColumn",
            "counts days or rows",
            "specialValues: a value stands twice",
            "columns: a name stands twice",
            "it cannot be transformed, too",
            "too; name another column",
            "is not among columns",
            "two columns have features of one name",
            "already; give another name",
            "is none of asset, package",
            "nothing follows s3://",
            "asset:// is followed by the name of a dataset",
            "is no name: small letters",
            "is none to Kubernetes; write it as",
            "is none to Kubernetes; use 63 letters",
        )
        if any(line in each for each in said)
    ]
    assert len(met) == sentences


def test_what_a_cluster_adds_is_not_read():
    """An object as `kubectl get -o yaml` writes it is a file like any other."""
    sent = with_metadata(
        uid="0a1b", resourceVersion="12", generation=3, creationTimestamp="2026-11-29T12:00:00Z", namespace="risk",
        managedFields=[{"manager": "kubectl", "operation": "Apply"}], ownerReferences=[], finalizers=[],
    ) | {"status": {"observedGeneration": 3}}  # fmt: skip
    assert transformer_of_object(sent) == transformer_of_object(transformer())


def test_what_means_the_same_is_the_same():
    """Defaults written out, numbers as text, what the type does not read: none of it is another transformer."""
    least = TransformerSpec.model_validate(transformer()["spec"])
    for same in (
        transformer(woe={}),
        transformer(windowDays=7),
        transformer(woe={"event": "1"}),
        transformer(woe={"maxBins": 10.0}),
        transformer(outputNames={"Income": "Income_woe"}),
    ):
        assert TransformerSpec.model_validate(same["spec"]).normalised() == least.normalised()
    assert (
        TransformerSpec.model_validate(transformer(woe={"event": 0})["spec"]).normalised()
        != least.normalised()
    )


def test_a_description_is_an_annotation():
    """And is no part of what it does."""
    told = with_metadata(annotations={"platform-assets/description": "Of loans."})
    found = FeatureTransformer.model_validate(told)
    assert found.description == "Of loans."
    assert found.spec.normalised() == transformer_of_object(transformer()).spec.normalised()

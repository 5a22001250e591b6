"""The InferenceService of a release, checked against KServe's own CRD."""

import copy

import pytest
import yaml

from platform_assets.serving.inference_service import ServingError, inference_service
from platform_assets.yaml_writer import to_yaml
from tests.crd_schemas import violations

CRD = "kserve-inferenceservices.yaml"
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def make_manifest(*, deployment=None, **changes):
    """The manifest of a small release, with `changes` to its arguments and to its deployment section."""
    arguments = {
        "line": "reviews_sentiment",
        "release_id": HASH,
        "model_version": "3",
        "source_commit": "0b1c2d3e+dirty",
        "data_version": HASH,
        "model_uri": "s3://platform/models/dev/reviews_sentiment/" + HASH,
        "deployment": {"min_replicas": 1, "max_replicas": 4, "cpu": 2, "memory": "2Gi", "gpu": 0}
        | (deployment or {}),
        "model_format": "huggingface",
    }
    return inference_service(**(arguments | changes))


@pytest.mark.parametrize(
    "deployment", [{}, {"gpu": 1, "cpu": "500m"}, {"cpu": 0.5, "min_replicas": 4, "memory": "1500M"}]
)
def test_manifest_is_valid_by_the_upstream_crd(deployment):
    """KServe would accept the manifest, fields checked strictly, after its journey through YAML."""
    assert violations(yaml.safe_load(to_yaml(make_manifest(deployment=deployment))), crd=CRD) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "predictor", "model", "storageUrl"), "s3://bucket"),
        (("spec", "predictor", "replicas"), 2),
        (("spec", "predictor", "minReplicas"), "1"),
        (("spec", "predictor", "model", "resources", "limits", "memory"), "2 gigabytes"),
        (("metadata", "labels", "platform-assets/line"), "not a label"),
        (("metadata", "team"), "reviews"),
        (("kind",), "InferenceServices"),
    ],
)
def test_validation_sees_each_injected_fault(path, value):
    """An undeclared field, a wrong type, a bad quantity or an illegal label does not slip through."""
    manifest = copy.deepcopy(make_manifest())
    node = manifest
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    if path == ("kind",):
        violations(make_manifest(), crd=CRD)  # skips without the CRD files

        with pytest.raises(LookupError):
            violations(manifest, crd=CRD)
    else:
        assert len(violations(manifest, crd=CRD)) == 1


def test_predictor_has_the_replicas_and_resources_of_the_deployment_section():
    """Replicas, model format, storage URI and resources arrive where KServe reads them."""
    predictor = make_manifest(deployment={"gpu": 1})["spec"]["predictor"]
    quantities = {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "1"}

    assert predictor == {
        "minReplicas": 1,
        "maxReplicas": 4,
        "model": {
            "modelFormat": {"name": "huggingface"},
            "storageUri": "s3://platform/models/dev/reviews_sentiment/" + HASH,
            "resources": {"requests": quantities, "limits": quantities},
        },
    }


def test_provenance_stands_in_the_metadata():
    """Line, release, model version, commit and data version can be read off the object."""
    metadata = make_manifest()["metadata"]

    assert metadata["name"] == "reviews-sentiment"
    assert metadata["labels"]["platform-assets/line"] == "reviews_sentiment"
    assert metadata["labels"]["platform-assets/model-version"] == "3"
    assert metadata["annotations"] == {
        "serving.kserve.io/deploymentMode": "Standard",
        "platform-assets/release-id": HASH,
        "platform-assets/source-commit": "0b1c2d3e+dirty",
        "platform-assets/data-version": HASH,
    }


def test_yaml_is_deterministic_and_free_of_anchors():
    """Equal releases give equal text, which a person can read without following aliases."""
    text = to_yaml(make_manifest(deployment={"gpu": 1}))

    assert text == to_yaml(make_manifest(deployment={"gpu": 1}))
    assert text.startswith("apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n")
    assert "&" not in text
    assert yaml.safe_load(text) == make_manifest(deployment={"gpu": 1})


@pytest.mark.parametrize("field", ["min_replicas", "max_replicas", "cpu", "memory", "gpu"])
def test_missing_deployment_field_is_named(field):
    """A deployment section without one of its fields is an error that names the field."""
    with pytest.raises(ServingError, match=f"deployment.{field} is missing"):
        make_manifest(deployment={field: None})


@pytest.mark.parametrize(("low", "high"), [(0, 4), (3, 2), (-1, 1)])
def test_impossible_replicas_are_refused(low, high):
    """Standard mode cannot scale to zero, and the minimum cannot exceed the maximum."""
    with pytest.raises(ServingError, match="min_replicas"):
        make_manifest(deployment={"min_replicas": low, "max_replicas": high})


@pytest.mark.parametrize("line", ["Reviews", "_reviews", "reviews_", "3d_scans", "a" * 54, ""])
def test_line_that_cannot_name_an_object_is_refused(line):
    """A line whose name is no DNS label, or too long for KServe's suffix, is refused."""
    with pytest.raises(ServingError, match="cannot name a Kubernetes object"):
        make_manifest(line=line)


def test_illegal_model_version_label_is_refused():
    """A model version that is no label value is refused, instead of by the API server later."""
    with pytest.raises(ServingError, match="not a legal Kubernetes label"):
        make_manifest(model_version="3+dirty")

"""A saved network as validation and serving load it: whatever it is asked by, the answer is the same."""

import base64
import json

import numpy as np
import pytest

from platform_assets.models.errors import InstanceError
from platform_assets.tasks.image_classification.model_spec import ImageFormSpec
from platform_assets.tasks.image_classification.recipe import ImageTrainingConfig, build_classifier
from platform_assets.tasks.image_classification.trainer import ImageTrainer
from tests.tasks.image_classification.dicom.builders import chest, chest_file, dataset, written
from tests.tasks.image_classification.images import features_of, image_rows

FORM = ImageFormSpec(image_size=64, fit="crop")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    """A tiny network that was trained on nothing, as good as any to compare answers of."""
    import torch

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    build_classifier(ImageTrainingConfig(widths=(8, 16), depths=(1, 1), embedding_size=8)).save(folder)
    ImageTrainer().complete(folder, FORM.model_dump(), {})
    return ImageTrainer().load(folder)


@pytest.fixture(scope="module")
def images():
    """Five of them, of several shapes."""
    return [chest(seed, side=80 + seed, rows=90) for seed in range(5)]


@pytest.fixture(scope="module")
def asked(images):
    """The same as instances."""
    pytest.importorskip("pydicom", reason="no pydicom: install the extra `imaging`")
    return [instance(chest_file(image=image)) for image in images]


def instance(content: bytes) -> dict[str, str]:
    """A file as JSON has it."""
    return {"dicom": base64.b64encode(content).decode()}


def test_rows_features_and_files_have_one_score(scorer, images, asked):
    """An image is answered alike as a row of the dataset, as its features, and as a file that somebody asks about."""
    rows = image_rows(images)
    expected = scorer.score_rows(rows)
    assert expected.shape == (5,)
    assert len(set(expected.round(6))) == 5
    assert ((expected > 0) & (expected < 1)).all()
    assert np.array_equal(scorer.score_features(features_of(rows, FORM)), expected)
    assert np.array_equal(scorer.score_instances(asked), expected)
    chosen = np.array([False, True, False, True, True])
    assert scorer.score_rows(rows, chosen) == pytest.approx(expected[chosen], abs=1e-6)


def test_a_small_network_answers_on_one_thread(scorer, images):
    """Whatever others compute on, before and after."""
    import torch

    seen = []
    handle = scorer.model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        scorer.score_rows(image_rows(images))
        assert (seen, torch.get_num_threads()) == ([1], 3)
    finally:
        handle.remove()
        torch.set_num_threads(before)


def test_what_is_watched_is_what_features_have(scorer, images, asked):
    """Brightness and contrast of a file are those by which the reference profile is made."""
    features = features_of(image_rows(images), FORM).select(["brightness", "contrast"]).to_pylist()
    assert scorer.watched(asked) == features


def test_negatives_are_turned_once(scorer, images):
    """A file whose high values are dark is answered as the positive of it."""
    pytest.importorskip("pydicom", reason="no pydicom: install the extra `imaging`")
    made = dataset(image=(4095 - images[0]).astype(np.uint16))
    made.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(
        scorer.score_instances([instance(written(made))]), scorer.score_rows(image_rows(images[:1]))
    )


def test_nothing_is_answered_with_nothing(scorer):
    """No rows, no instances, no scores."""
    assert scorer.score_instances([]).shape == (0,)
    assert scorer.watched([]) == []
    assert scorer.score_features(features_of(image_rows([chest()]), FORM).slice(0, 0)).shape == (0,)


@pytest.mark.parametrize(
    "odd", [7, None, "AAAA", [], {}, {"dicom": 7}, {"dicom": None}, {"image": "AAAA"}, {"dicom": ["AAAA"]}]
)
def test_what_is_no_image_is_refused_by_its_place(scorer, asked, odd):
    """What to give is told."""
    for ask in (scorer.score_instances, scorer.watched):
        with pytest.raises(InstanceError, match="instance 2: is no image; give an object"):
            ask([asked[0], odd])


@pytest.mark.parametrize("odd", ["AAA", "A A=", "…", "AAAA\n", "=AAA"])
def test_what_is_no_base64_is_refused_by_its_place(scorer, asked, odd):
    """And nothing of it is repeated."""
    with pytest.raises(InstanceError, match="instance 2: dicom is no Base64") as refused:
        scorer.score_instances([asked[0], {"dicom": odd}])
    assert odd not in str(refused.value)


def _without_pixels(made):
    del made.PixelData


def _colours(made):
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "RGB"


def _too_many(made):
    made.Rows = made.Columns = 65535


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (lambda: b"", "dicom.image.not_dicom"),
        (lambda: b"\x89PNG" + bytes(500), "dicom.image.not_dicom"),
        (lambda: chest_file()[:-100], "dicom.image.truncated"),
        (lambda: chest_file(_without_pixels), "dicom.image.decodes"),
        (lambda: chest_file(_colours), "dicom.image.decodes"),
        (lambda: chest_file(_too_many), "dicom.image.decodes"),
    ],
)
def test_a_file_that_the_gate_cannot_read_is_refused_by_its_place(scorer, asked, content, rule):
    """The rule that it breaks is told, and nothing that it holds."""
    with pytest.raises(
        InstanceError, match="instance 2: dicom is no file with an image that can be read"
    ) as refused:
        scorer.score_instances([asked[0], instance(content())])
    assert f"({rule})" in str(refused.value)
    assert "P-0001" not in str(refused.value)


def test_a_file_beyond_the_limits_is_refused_before_it_is_decoded(scorer):
    """By the length of its text alone."""
    with pytest.raises(
        InstanceError, match=r"instance 1: dicom is longer than a file of .*dicom.image.too_large"
    ):
        scorer.score_instances([{"dicom": "A" * ((128 << 20) // 3 * 4 + 8)}])


def test_the_folder_says_how_images_are_read(scorer, tmp_path):
    """Form, channels and threshold stand beside the weights, as JSON."""
    folder = tmp_path / "model"
    folder.mkdir()
    scorer.model.save(folder)
    ImageTrainer().complete(folder, FORM.model_dump(), {})
    assert json.loads((folder / "image.json").read_bytes()) == {
        "channels": {"local_contrast_px": 17, "mirrors": True},
        "form": FORM.model_dump(),
        "threshold": 0.5,
    }

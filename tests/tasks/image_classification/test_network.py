"""The network makes its own channels, and is the same after it was saved."""

import json

import numpy as np
import pytest

from platform_assets.models.errors import TrainingError
from platform_assets.tasks.image_classification.image_form import formed
from platform_assets.tasks.image_classification.model_spec import ResNetParameters
from platform_assets.tasks.image_classification.recipe import (
    ImageTrainingConfig,
    build_classifier,
    image_tensors,
)
from tests.tasks.image_classification.images import SMALL, disc, features_of, image_rows

TINY = {"widths": (8, 16), "depths": (1, 1), "embedding_size": 8}


@pytest.fixture(scope="module")
def pixels():
    """Four images as a tensor, uint8 (4, 1, 64, 64)."""
    (tensor,) = image_tensors([formed(disc(at % 2, at), SMALL) for at in range(4)], "cpu")
    return tensor


def build(**changed):
    """A tiny network, ready to score."""
    import torch

    torch.manual_seed(0)
    return build_classifier(ImageTrainingConfig(**(TINY | changed))).eval()


def test_channels_follow_their_definition(pixels):
    """The z-score of each image, and the local contrast over the neighbours that there are, as plain loops have them."""
    channels = build(local_contrast_px=5).channels(pixels).numpy()
    assert channels.shape == (4, 2, 64, 64)
    for image, (z_score, contrast) in zip(pixels[:, 0].numpy() / 255, channels, strict=True):
        assert z_score == pytest.approx((image - image.mean()) / image.std(), abs=1e-3)
        for row, column in [(0, 0), (0, 63), (31, 2), (63, 40), (30, 30)]:
            near = image[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            expected = (image[row, column] - near.mean()) / (near.std() + 0.03)
            assert contrast[row, column] == pytest.approx(expected, abs=2e-3)


def test_a_plain_image_has_plain_channels():
    """Nothing is divided by nothing."""
    (plain,) = image_tensors([np.full((64, 64), 77, np.uint8)], "cpu")
    channels = build().channels(plain).numpy()
    assert np.isfinite(channels).all()
    assert np.abs(channels).max() < 0.1


@pytest.mark.parametrize(("px", "channels"), [(None, 1), (17, 2)])
def test_the_second_channel_is_asked_for(pixels, px, channels):
    """Without a neighbourhood there is the image alone."""
    network = build(local_contrast_px=px)
    assert network.resnet.config.num_channels == channels
    assert network.channels(pixels).shape[1] == channels


def test_bytes_and_shares_are_one(pixels):
    """What training hands over, float32 from 0 to 1, is answered as the bytes are."""
    import torch

    network = build()
    with torch.inference_mode():
        assert torch.equal(network(pixels), network(pixels.float() / 255))


def test_a_mirror_image_is_answered_alike(pixels):
    """A network that was trained with mirror images takes the mean over both; another one does not."""
    import torch

    with torch.inference_mode():
        both, one = build(), build(augment_flip=False)
        assert both(pixels.flip(-1)).numpy() == pytest.approx(both(pixels).numpy(), abs=1e-5)
        assert np.abs(one(pixels.flip(-1)).numpy() - one(pixels).numpy()).max() > 1e-4
        mean = (one(pixels) + one(pixels.flip(-1))) / 2
        assert both(pixels).numpy() == pytest.approx(mean.numpy(), abs=1e-5)


def test_a_saved_network_answers_the_same(pixels, tmp_path):
    """Also through transformers alone, which reads the folder as its own; what is taken off a logit is taken off."""
    import torch
    from transformers import ResNetForImageClassification

    from platform_assets.tasks.image_classification.network import ImageClassifier

    network = build()
    network.save(tmp_path)
    with torch.inference_mode():
        expected = network(pixels)
        assert torch.equal(ImageClassifier.load(tmp_path)(pixels), expected)
        network.mirrors = False
        resnet = ResNetForImageClassification.from_pretrained(tmp_path)
        plain = resnet(network.channels(pixels)).logits
        assert plain.numpy() == pytest.approx(network(pixels).numpy(), abs=1e-5)
        network.mirrors = True
        network.save(tmp_path, prior_shift=0.7)
        shifted = ImageClassifier.load(tmp_path)(pixels)
        assert (expected - shifted).numpy() == pytest.approx(np.array([[0, 0.7]] * 4), abs=1e-5)


def test_answers_are_told_apart_where_precision_is_halved(pixels):
    """Their last layer is not halved: a threshold can lie between any two scores."""
    import torch

    network = build()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        logits = network(pixels)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_dropout_is_drawn_in_training_only(pixels):
    """Answers do not depend on chance."""
    import torch

    network = build(dropout=0.9)
    with torch.inference_mode():
        assert torch.equal(network(pixels), network(pixels))
        network.train()
        torch.manual_seed(1)
        first = network(pixels)
        assert not torch.equal(first, network(pixels))


def test_resnet_50_takes_a_step(tmp_path):
    """The reference's network, named by the folder that it was saved in, gets a head of two classes and learns.

    Its three channels are those of grey images in turns.
    """
    from transformers import ResNetConfig, ResNetForImageClassification

    from platform_assets.models.checkpoints import FolderCheckpoints
    from platform_assets.tasks.image_classification.trainer import ImageTrainer

    pretrained = ResNetForImageClassification(
        ResNetConfig(num_labels=1000)
    )  # whose defaults are those of ResNet-50
    assert sum(each.numel() for each in pretrained.parameters()) == 25_557_032
    pretrained.save_pretrained(tmp_path / "resnet-50")
    config = ImageTrainingConfig(
        **ResNetParameters(
            model_name=str(tmp_path / "resnet-50"), epochs=1, batch_size=4, learning_rate=1e-4
        ).model_dump(),
        model_location=str(tmp_path / "resnet-50"),
        threads=1,
    )
    rows = features_of(image_rows([disc(at % 2, at) for at in range(4)]))
    result = ImageTrainer().fit(
        rows, config, output=tmp_path / "model", checkpoints=FolderCheckpoints(tmp_path / "checkpoints")
    )

    assert result.steps == 1
    saved = json.loads((tmp_path / "model" / "config.json").read_bytes())
    assert (saved["num_channels"], saved["depths"]) == (3, [3, 4, 6, 3])
    assert weights_of(tmp_path / "model")["classifier.1.weight"].shape == (2, 2048)
    before, after = (
        weights_of(tmp_path / folder)["resnet.encoder.stages.3.layers.2.layer.2.convolution.weight"]
        for folder in ("resnet-50", "model")
    )
    assert 0 < np.abs(after - before).max() < 1e-3


def weights_of(folder):
    """Every tensor of a folder."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/no/such/folder", "no ResNet can be loaded"),
        ("no-such-organisation/no-such-model", "no ResNet can be loaded"),
    ],
)
def test_a_network_that_cannot_be_loaded_is_an_error(location, expected):
    """Its name is told, and what to give."""
    with pytest.raises(TrainingError, match=f"^model_name {location}: {expected}"):
        build_classifier(ImageTrainingConfig(model_location=location))


def test_another_kind_of_network_is_an_error(tmp_path):
    """What it is, and what is needed."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(TrainingError, match="is a bert, and a ResNet is needed"):
        build_classifier(ImageTrainingConfig(model_location=str(tmp_path)))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"widths": (8, 16), "depths": (1,)}, "widths and depths must be as many"),
        ({"widths": (8, 18), "depths": (1, 1), "layer_type": "bottleneck"}, "must be multiples of 4"),
        ({"local_contrast_px": 16}, "local_contrast_px must be odd"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(changed, expected):
    """Before anything is built."""
    with pytest.raises(ValueError, match=expected):
        ResNetParameters(**changed)

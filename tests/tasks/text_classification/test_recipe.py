"""What texts bring to the training loop: which rows, which encoder, and how fast each layer learns."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.errors import TrainingError
from platform_assets.tasks.text_classification.recipe import token_lists
from tests.models.processes import train, weights

LAYERS = 6


def test_lower_layers_learn_more_slowly(trained, training_config, encoder):
    """With a layer decay of one half, each layer moves about half as far as the one above it."""
    before, after = weights_of_encoder(encoder), weights(trained[0].output)
    moved = [
        np.abs(after[name] - before[name]).mean()
        for name in (f"encoder.layer.{layer}.output.dense.weight" for layer in range(LAYERS))
    ]
    ratios = [lower / upper for lower, upper in pairwise(moved)]
    assert ratios == pytest.approx([training_config.layer_decay] * (LAYERS - 1), rel=0.35)


def test_frozen_embeddings_stay(trained, make_tokens, training_config, encoder, tmp_path):
    """Frozen embeddings are bit for bit those of the encoder; free ones are not."""
    before = weights_of_encoder(encoder)
    free = train(
        make_tokens(14),
        training_config.model_copy(update={"freeze_embeddings": False}),
        output=tmp_path / "model",
        checkpoints=FolderCheckpoints(tmp_path),
    )
    name = "embeddings.word_embeddings.weight"
    assert np.array_equal(weights(trained[0].output)[name], before[name])
    assert not np.array_equal(weights(free.output)[name], before[name])


def weights_of_encoder(folder: str) -> dict[str, np.ndarray]:
    """Every tensor of the encoder before training."""
    from safetensors.numpy import load_file

    return load_file(Path(folder) / "model.safetensors")


@pytest.mark.parametrize(
    ("labels", "split", "expected"),
    [
        ([0, 1, 2, -1], "train", r"2 of 4 training rows have a label outside \{0, 1\}"),
        ([0, 1, None], "train", r"1 of 3 training rows have a label outside \{0, 1\}"),
        ([0, 1], "test", "split 'train' has 0 rows"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_an_error(
    make_tokens, training_config, tmp_path, labels, split, expected
):
    """Other labels than the two, missing ones, and no row at all: the count is told before anything is loaded."""
    tokens = make_tokens(len(labels), labels=labels, split=split)
    with pytest.raises(TrainingError, match=expected):
        train(tokens, training_config, output=tmp_path / "model", checkpoints=FolderCheckpoints(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["/no/such/folder", "no-such-organisation/no-such-model"])
def test_an_encoder_that_cannot_be_loaded_is_an_error(make_tokens, training_config, tmp_path, location):
    """Neither a folder nor a model of the hub: the name is told, and what to give."""
    with pytest.raises(TrainingError, match=f"^model_name {location}: no encoder can be loaded"):
        train(
            make_tokens(2),
            training_config.model_copy(update={"model_location": location}),
            output=tmp_path / "model",
            checkpoints=FolderCheckpoints(tmp_path),
        )


def test_rows_become_arrays(make_tokens):
    """One array a row, also for a slice of a table, for a table of several pieces and for none."""
    tokens = make_tokens(9)
    expected = tokens["token_ids"].to_pylist()
    pieces = pa.concat_tables([tokens.slice(0, 4), tokens.slice(4)])
    assert [ids.tolist() for ids in token_lists(pieces)] == expected
    assert [ids.tolist() for ids in token_lists(tokens.slice(2, 3))] == expected[2:5]
    assert token_lists(tokens.slice(0, 0)) == []

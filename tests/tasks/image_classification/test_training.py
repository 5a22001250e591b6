"""Training a ResNet: it learns, ends where it was ended, is the same again, and in two processes goes on as two."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.errors import TrainingError
from platform_assets.tasks.image_classification.model_spec import ResNetModelSpec, ResNetParameters
from platform_assets.tasks.image_classification.recipe import (
    ImageTrainingConfig,
    ResNetRecipe,
    class_weights,
    pixel_arrays,
    training_rows,
)
from platform_assets.tasks.image_classification.trainer import ImageTrainer
from tests.models.processes import Stopped, result_of, start, stop_at, torchrun
from tests.tasks.image_classification.images import SMALL, disc, disc_rows, features_of, image_rows

CONFIG = ImageTrainingConfig(
    widths=(8, 16, 32),
    depths=(1, 1, 1),
    embedding_size=8,
    epochs=8,
    batch_size=8,
    learning_rate=1e-2,
    average_decay=0.8,
    mixed_precision=False,
    threads=1,
)
trainer = ImageTrainer()


def fit(rows, config=CONFIG, *, folder, **options):
    """A model of these features, in a folder of its own."""
    return trainer.fit(
        rows,
        config,
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder / "checkpoints"),
        **options,
    )


@pytest.fixture(scope="module")
def features():
    """Those of 48 images."""
    return features_of(disc_rows(48))


@pytest.fixture(scope="module")
def trained(features, tmp_path_factory):
    """What comes of them, undisturbed."""
    return fit(features, folder=tmp_path_factory.mktemp("trained"))


def test_it_learns_what_a_disc_is(trained):
    """Of images that it never saw it tells most, and the folder holds all that a scorer needs."""
    trainer.complete(trained.output, SMALL.model_dump(), {})
    scorer = trainer.load(trained.output)
    tested = features_of(disc_rows(40, seed=1))
    right = (scorer.score_features(tested) >= scorer.threshold) == tested["label"].to_numpy()
    assert right.mean() > 0.85
    assert {path.name for path in trained.output.iterdir()} == {
        "config.json",
        "model.safetensors",
        "image.json",
    }


def test_a_model_may_be_scored_after_each_epoch(features, trained, tmp_path):
    """Completed, loaded and asked while it is trained, it ends with the same weights, and answers better and better."""
    tested, losses = features_of(disc_rows(40, seed=1)), []
    labels = tested["label"].to_numpy()

    def ask(epoch, folder):
        trainer.complete(folder, SMALL.model_dump(), {})
        scores = trainer.load(folder).score_features(tested)
        losses.append(np.mean((scores - labels) ** 2))

    watched = trainer.fit_showing(
        features,
        CONFIG,
        output=tmp_path / "model",
        checkpoints=FolderCheckpoints(tmp_path / "checkpoints"),
        checkpoint_interval_seconds=20.0,
        on_progress=None,
        on_epoch=ask,
    )
    assert watched.weights_sha256 == trained.weights_sha256
    assert len(losses) == CONFIG.epochs - 1
    assert losses[-1] < losses[0]


def test_a_run_that_was_ended_comes_to_the_same_weights(features, trained, tmp_path):
    """What augmentation, dropout and the average have drawn and gathered is as if it had never been ended."""
    with pytest.raises(Stopped):
        fit(features, folder=tmp_path, on_progress=stop_at(30))
    resumed = fit(features, folder=tmp_path)
    assert resumed.resumed_at_step == 30
    assert resumed.weights_sha256 == trained.weights_sha256


def test_every_choice_is_part_of_the_weights(features, tmp_path):
    """Other amounts of augmentation, other shares of labels: other weights, and no checkpoint of the one is the other's."""
    short = CONFIG.model_copy(update={"epochs": 1})
    made = {
        str(changed): fit(
            features, short.model_copy(update=changed), folder=tmp_path / str(at)
        ).weights_sha256
        for at, changed in enumerate(
            [{}, {"augment_flip": False}, {"label_smoothing": 0.2}, {"dropout": 0.5}, {"class_balance": 1.0}]
        )
    }
    # Labels are as many of either here, so that weighing them by how rare they are changes nothing.
    assert made["{}"] == made["{'class_balance': 1.0}"]
    assert len(set(made.values())) == 4


def test_only_the_training_split_is_trained_on(features, tmp_path):
    """Rows of other splits, whatever they are, change no weight."""
    short, others = features.slice(0, 10), features_of(disc_rows(6, split="test", seed=2))
    first, second = (
        fit(rows, CONFIG.model_copy(update={"epochs": 1}), folder=tmp_path / str(rows.num_rows))
        for rows in (short, pa.concat_tables([others, short]))
    )
    assert (first.rows, second.rows) == (10, 10)
    assert first.weights_sha256 == second.weights_sha256


def test_the_rarer_label_counts_for_more_and_scores_stay_probabilities(tmp_path):
    """Of plain images, of which a fifth has label 1, a network can only learn how many: weighed or not, it says a fifth."""
    plain = [np.full((64, 64), 1000, np.uint16)] * 40
    rows = features_of(image_rows(plain, [int(at % 5 == 0) for at in range(40)]))
    told = {}
    for balance in (0.0, 1.0):
        config = CONFIG.model_copy(
            update={"class_balance": balance, "label_smoothing": 0.0, "epochs": 12, "dropout": 0.0}
        )
        result = fit(rows, config, folder=tmp_path / str(balance))
        trainer.complete(result.output, SMALL.model_dump(), {})
        told[balance] = float(trainer.load(result.output).score_features(rows)[0])
    assert told[0.0] == pytest.approx(0.2, abs=0.08)
    assert told[1.0] == pytest.approx(0.2, abs=0.08)


def test_weights_of_labels():
    """Balance 1 makes both equal in sum, 0 counts all alike, a half lies between."""
    labels = [1] * 2 + [0] * 8
    assert class_weights(labels, 0.0) == (1, 1)
    assert class_weights(labels, 1.0) == pytest.approx((10 / 16, 10 / 4))
    assert class_weights(labels, 0.5) == pytest.approx((np.sqrt(10 / 16), np.sqrt(10 / 4)))


def test_smoothed_and_weighted_losses_follow_their_formula():
    """-w_y ((1 - s/2) log p_y + s/2 log p_other), summed."""
    import torch

    recipe = ResNetRecipe(CONFIG.model_copy(update={"label_smoothing": 0.2}), (0.5, 3.0))
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    log = logits.log_softmax(dim=1)
    expected = -0.5 * (0.9 * log[0, 0] + 0.1 * log[0, 1]) - 3.0 * (0.1 * log[1, 0] + 0.9 * log[1, 1])
    assert float(recipe.loss(logits, torch.tensor([0, 1]))) == pytest.approx(float(expected))


def test_only_filters_are_decayed():
    """Biases and scales have no weight decay; every parameter is in one group."""
    recipe = ResNetRecipe(CONFIG)
    network = recipe.build()
    filters, others = recipe.parameter_groups(network)
    assert (filters["weight_decay"], others["weight_decay"]) == (CONFIG.weight_decay, 0)
    assert len(filters["params"]) + len(others["params"]) == len(list(network.parameters()))
    assert {each.ndim for each in filters["params"]} == {2, 4}


@pytest.mark.parametrize(
    ("labels", "split", "expected"),
    [
        ([0, 1, 2, -1], "train", r"2 of 4 training rows have a label outside \{0, 1\}"),
        ([0, 1, None], "train", r"1 of 3 training rows have a label outside \{0, 1\}"),
        ([1, 1], "train", "all 2 training rows have the same label"),
        ([0, 1], "test", "split 'train' has 0 rows"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_an_error(tmp_path, labels, split, expected):
    """The count is told before anything is built."""
    rows = features_of(image_rows([disc(0, 0)] * len(labels), labels, [split] * len(labels)))
    with pytest.raises(TrainingError, match=expected):
        fit(rows, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("odd", [b"", b"12", bytes(64 * 63), bytes(32 * 32), None])
def test_pixels_that_are_no_such_square_are_an_error(odd):
    """The row is named: one of another size cannot be in a batch with the others."""
    table = pa.table({"pixels": pa.array([bytes(64 * 64), odd], pa.binary())})
    with pytest.raises(TrainingError, match="row 2: column pixels has"):
        pixel_arrays(table)


def test_rows_become_arrays_without_a_copy(features):
    """Also of a slice, and of a table in pieces."""
    expected = [np.frombuffer(each, np.uint8).reshape(64, 64) for each in features["pixels"].to_pylist()]
    pieces = pa.concat_tables([features.slice(0, 5), features.slice(5)])
    assert all(map(np.array_equal, pixel_arrays(pieces), expected))
    assert np.array_equal(pixel_arrays(features.slice(7, 1))[0], expected[7])
    assert len(training_rows(features)) == 48


def test_what_is_trained_is_what_the_spec_says(tmp_path):
    """Every hyper-parameter reaches the training, and a pretrained network has an identity of its own."""
    spec = ResNetModelSpec.model_construct(
        **ResNetParameters(dropout=0.3, epochs=4).model_dump(),
        resources=type("R", (), {"gpu": 2, "mixed_precision": False})(),
    )
    config = trainer.config(spec, SMALL.model_dump())
    assert (config.dropout, config.epochs, config.gpu, config.mixed_precision) == (0.3, 4, 2, False)
    assert (config.model_location, config.threads) == (None, 1)
    assert trainer.upstream(spec, {}) == {}
    (tmp_path / "config.json").write_text("{}")
    other = spec.model_copy(update={"model_name": str(tmp_path)})
    first = trainer.upstream(other, {})
    (tmp_path / "config.json").write_text("{ }")
    assert first.keys() == {"network"}
    assert trainer.upstream(other, {}) != first
    pretrained = trainer.config(other, {})
    assert (pretrained.model_location, pretrained.threads) == (str(tmp_path), None)
    wide = spec.model_copy(update={"widths": (64, 128, 256, 512)})
    assert trainer.config(wide, {}).threads is None


TWO_PROCESSES = """
import sys, json, shutil
from pathlib import Path
import pyarrow.parquet as pq
from platform_assets.models import checkpoints
from platform_assets.tasks.image_classification.trainer import ImageTrainer

checkpoints._SAVING_COST = 0
folder, trainer = Path(sys.argv[1]), ImageTrainer()
rows = pq.read_table(folder / "rows.parquet")
config = trainer.config_type.model_validate_json((folder / "config.json").read_bytes())


class Keeping(checkpoints.FolderCheckpoints):
    saves = 0

    def save(self, write):
        super().save(write)
        Keeping.saves += 1
        if Keeping.saves == 10:
            shutil.copytree(folder / "whole", folder / "parts")

    def clear(self):
        pass


def fit(name, losses):
    return trainer.fit(
        rows, config, output=folder / f"{name}-model", checkpoints=Keeping(folder / name),
        checkpoint_interval_seconds=0, on_progress=lambda step, told: losses.update({step: told["loss"]}),
    )


losses = {}
whole = fit("whole", losses)
parts = fit("parts", {})
if losses:
    print(json.dumps({
        "losses": losses, "processes": whole.hardware.processes, "resumed_at_step": parts.resumed_at_step,
        "weights": [whole.weights_sha256, parts.weights_sha256],
    }))
"""
"""Trains, and trains once more from a checkpoint of the first time, each time in all processes."""


@pytest.mark.long
def test_two_processes_learn_and_go_on_as_they_were(features, trained, tmp_path):
    """Two processes, each with half of every batch, come to weights of their own; from their checkpoint, to the same."""
    pq.write_table(features, tmp_path / "rows.parquet")
    (tmp_path / "config.json").write_text(CONFIG.model_dump_json())
    (tmp_path / "program.py").write_text(TWO_PROCESSES)
    told = result_of(start(*torchrun(2, str(tmp_path / "program.py"), str(tmp_path))))
    assert told["processes"] == 2
    assert told["resumed_at_step"] == 10
    assert told["weights"][0] == told["weights"][1]
    assert told["weights"][0] != trained.weights_sha256
    losses = list(told["losses"].values())
    assert losses[-1] < 0.7 * losses[0]
    saved = json.loads((tmp_path / "whole-model" / "image.json").read_bytes())
    assert saved == {"channels": {"local_contrast_px": 17, "mirrors": True}}

"""Training with the real encoder on a handful of rows: repeatable, resumable, the same on two processes."""

import json
import logging
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets.features.tokens import load_tokenizer
from platform_assets.models.errors import TrainingError
from platform_assets.models.scorer import SavedClassifier
from platform_assets.models.training import TrainingConfig, token_lists, train
from tests.conftest import free_ports

ROWS = 84
LAYERS = 6
# Otherwise only a run of minutes would leave a checkpoint behind.
EAGER = """
import platform_assets.models.training as training
training._CHECKPOINT_INTERVAL_SECONDS = 0.0
training.main()
"""


@pytest.fixture(scope="module")
def tokenizer(encoder):
    """The encoder's tokenizer, 16 tokens a text."""
    return load_tokenizer(encoder, max_length=16, head_fraction=0.25)


@pytest.fixture(scope="module")
def config(encoder, tokenizer):
    """Twelve steps on the CPU in full precision, every rate large enough to show."""
    return TrainingConfig(
        model_location=encoder,
        epochs=1,
        batch_size=7,
        learning_rate=1e-3,
        head_learning_rate=1e-2,
        layer_decay=0.5,
        warmup_fraction=0.1,
        weight_decay=0.0,
        dropout=0.1,
        clip_norm=1.0,
        freeze_embeddings=True,
        seed=7,
        gpu=0,
        mixed_precision=False,
        pad_id=tokenizer.pad_id,
    )


@pytest.fixture(scope="module")
def make_tokens(tokenizer):
    """Builds a table of short texts whose opinion stands in one word."""

    def make_tokens(
        rows: int = ROWS, *, labels: list[int | None] | None = None, split: str = "train"
    ) -> pa.Table:
        random_words = random.Random(3)
        labels = labels or [row % 2 for row in range(rows)]
        texts = [
            " ".join(
                [
                    *random_words.choices(["the", "film", "was", "plot"], k=row % 9),
                    ["awful", "great"][bool(label)],
                ]
            )
            for row, label in enumerate(labels)
        ]
        return pa.table(
            {
                "token_ids": pa.array(tokenizer.encode(texts)[0], pa.list_(pa.int32())),
                "label": pa.array(labels, pa.int32()),
                "split": [split] * rows,
            }
        )

    return make_tokens


@pytest.fixture(scope="module")
def trained(make_tokens, config, tmp_path_factory):
    """An uninterrupted run, and the losses that it reported."""
    folder = tmp_path_factory.mktemp("trained")
    reported = {}
    result = train(
        make_tokens(),
        config,
        output=folder / "model",
        checkpoints=folder,
        on_progress=lambda step, metrics: reported.update({step: metrics}),
    )
    return result, reported


@pytest.fixture
def arguments(make_tokens, config, tmp_path):
    """Writes the input of a training process; returns its command-line arguments."""

    def arguments(tokens: pa.Table | None = None, settings: TrainingConfig = config) -> list[str]:
        pq.write_table(make_tokens() if tokens is None else tokens, tmp_path / "tokens.parquet")
        (tmp_path / "config.json").write_text(settings.model_dump_json())
        return [
            *("--tokens", str(tmp_path / "tokens.parquet"), "--config", str(tmp_path / "config.json")),
            *("--output", str(tmp_path / "model"), "--checkpoints", str(tmp_path / "checkpoints")),
        ]

    return arguments


def start(*command: str) -> subprocess.Popen[str]:
    """A Python process that finds the package where this one does; its log and its result are one stream."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def result_of(process: subprocess.Popen[str]) -> dict:
    """What a training process that ends well prints as its last line."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1])


def kill_at(process: subprocess.Popen[str], told: str) -> None:
    """Kill the process once it has told this."""
    assert process.stdout is not None
    with process.stdout:
        assert any(line.startswith(told) for line in process.stdout)
        process.kill()
    assert process.wait() == -9


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a model folder."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors") | load_file(folder / "head.safetensors")


def test_a_run_learns_and_reports(trained):
    """The loss falls, progress is told at the first, every tenth and the last step, and the files are there."""
    result, reported = trained
    assert list(reported) == [1, 10, 12]
    assert reported[12]["loss"] < 0.5 * reported[1]["loss"]
    assert result.final_loss == reported[12]["loss"]
    assert (result.steps, result.resumed_at_step, result.rows) == (12, 0, ROWS)
    assert {"config.json", "model.safetensors", "head.safetensors"} <= {
        path.name for path in result.output.iterdir()
    }
    assert reported[12]["rows_per_second"] > 0


def test_the_same_input_gives_the_same_weights(trained, make_tokens, config, tmp_path):
    """Repeated on a CPU, a run ends with the same bytes; another seed ends with others."""
    again = train(make_tokens(), config, output=tmp_path / "a", checkpoints=tmp_path)
    assert again.weights_sha256 == trained[0].weights_sha256
    short = make_tokens(14)
    first, second = (
        train(
            short,
            config.model_copy(update={"seed": seed}),
            output=tmp_path / str(seed),
            checkpoints=tmp_path / str(seed),
        )
        for seed in (1, 2)
    )
    assert first.weights_sha256 != second.weights_sha256


def test_a_killed_run_goes_on_where_it_was(trained, make_tokens, config, arguments, tmp_path):
    """Killed at its tenth step and started again, a run repeats no more than a step and ends with the same weights."""
    kill_at(start("-c", EAGER, *arguments()), "step 10 of 12")
    assert not (tmp_path / "model").exists()
    reported = []
    resumed = train(
        make_tokens(),
        config,
        output=tmp_path / "model",
        checkpoints=tmp_path / "checkpoints",
        on_progress=lambda step, metrics: reported.append(step),
    )
    assert resumed.resumed_at_step in {9, 10, 11}
    assert reported[0] == resumed.resumed_at_step + 1
    assert resumed.weights_sha256 == trained[0].weights_sha256
    assert resumed.final_loss == trained[0].final_loss


@pytest.mark.long
def test_a_run_survives_twenty_kills(trained, arguments):
    """Killed at any moment, also while a checkpoint is written, a run ends with the weights of an undisturbed one."""
    command = ("-c", EAGER, *arguments())
    for _ in range(20):
        process = start(*command)
        assert process.stdout is not None
        with process.stdout:
            assert any(line.startswith("training on") for line in process.stdout)
            try:
                process.wait(timeout=random.uniform(0, 1.5))
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
    assert result_of(start(*command))["weights_sha256"] == trained[0].weights_sha256


def test_two_processes_train_as_one(make_tokens, config, arguments, tmp_path):
    """Two processes of torchrun follow the loss curve of one, also where a batch holds fewer rows than processes."""
    tokens, alike = make_tokens(22), config.model_copy(update={"dropout": 0.0, "epochs": 3})
    alone = {}
    train(
        tokens,
        alike,
        output=tmp_path / "alone",
        checkpoints=tmp_path / "alone-checkpoints",
        on_progress=lambda step, metrics: alone.update({step: metrics["loss"]}),
    )
    together = result_of(
        start(
            *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_ports(1)[0])),
            *(
                "-m",
                "platform_assets.models.training",
                *arguments(tokens, alike.model_copy(update={"threads": 1})),
            ),
        )
    )
    losses = {told["step"]: told["loss"] for told in together["progress"]}
    assert list(losses) == list(alone) == [1, 10, 12]
    assert losses == pytest.approx(alone, rel=1e-2, abs=1e-4)
    ours, theirs = weights(tmp_path / "alone"), weights(tmp_path / "model")
    assert all(np.allclose(ours[name], theirs[name], atol=5e-3) for name in ours)


def test_lower_layers_learn_more_slowly(trained, config, encoder):
    """With a layer decay of one half, each layer moves about half as far as the one above it."""
    before, after = weights_of_encoder(encoder), weights(trained[0].output)
    moved = [
        np.abs(after[name] - before[name]).mean()
        for name in (f"encoder.layer.{layer}.output.dense.weight" for layer in range(LAYERS))
    ]
    ratios = [lower / upper for lower, upper in pairwise(moved)]
    assert ratios == pytest.approx([config.layer_decay] * (LAYERS - 1), rel=0.35)


def test_frozen_embeddings_stay(trained, make_tokens, config, encoder, tmp_path):
    """Frozen embeddings are bit for bit those of the encoder; free ones are not."""
    before = weights_of_encoder(encoder)
    free = train(
        make_tokens(14),
        config.model_copy(update={"freeze_embeddings": False}),
        output=tmp_path / "model",
        checkpoints=tmp_path,
    )
    name = "embeddings.word_embeddings.weight"
    assert np.array_equal(weights(trained[0].output)[name], before[name])
    assert not np.array_equal(weights(free.output)[name], before[name])


def weights_of_encoder(folder: str) -> dict[str, np.ndarray]:
    """Every tensor of the encoder before training."""
    from safetensors.numpy import load_file

    return load_file(Path(folder) / "model.safetensors")


def test_a_loss_that_is_no_number_ends_the_run(make_tokens, config, tmp_path):
    """A run that diverges is an error that says where, and leaves no model."""
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+ of 4; lower learning_rate"):
        train(
            make_tokens(28),
            config.model_copy(update={"learning_rate": 1e30}),
            output=tmp_path / "model",
            checkpoints=tmp_path,
        )
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("labels", "split", "expected"),
    [
        ([0, 1, 2, -1], "train", r"2 of 4 training rows have a label outside \{0, 1\}"),
        ([0, 1, None], "train", r"1 of 3 training rows have a label outside \{0, 1\}"),
        ([0, 1], "test", "split 'train' has 0 rows"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_an_error(make_tokens, config, tmp_path, labels, split, expected):
    """Other labels than the two, missing ones, and no row at all: the count is told before anything is loaded."""
    tokens = make_tokens(len(labels), labels=labels, split=split)
    with pytest.raises(TrainingError, match=expected):
        train(tokens, config, output=tmp_path / "model", checkpoints=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["/no/such/folder", "no-such-organisation/no-such-model"])
def test_an_encoder_that_cannot_be_loaded_is_an_error(make_tokens, config, tmp_path, location):
    """Neither a folder nor a model of the hub: the name is told, and what to give."""
    with pytest.raises(TrainingError, match=f"^model_name {location}: no encoder can be loaded"):
        train(
            make_tokens(2),
            config.model_copy(update={"model_location": location}),
            output=tmp_path / "model",
            checkpoints=tmp_path,
        )


def test_a_gpu_that_is_not_there_costs_a_warning(make_tokens, config, tmp_path, caplog):
    """A spec that asks for a GPU runs on the CPU of a machine that has none, and says so once."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with caplog.at_level(logging.WARNING, logger="platform_assets"):
        result = train(
            make_tokens(7),
            config.model_copy(update={"gpu": 1}),
            output=tmp_path / "model",
            checkpoints=tmp_path,
        )
    assert result.hardware.device == "cpu"
    (warning,) = [
        record.getMessage() for record in caplog.records if record.name.startswith("platform_assets")
    ]
    assert warning == "the spec asks for 1 GPU and this machine has none: running on the CPU"


@pytest.fixture(scope="module")
def classifier(trained, tokenizer):
    """The trained model with its tokenizer, as validation and serving load it."""
    folder = trained[0].output
    tokenizer.tokenizer.save_pretrained(folder)
    (folder / "tokenization.json").write_text('{"max_length": 16, "head_fraction": 0.25}')
    return SavedClassifier.load(folder)


def test_a_score_does_not_depend_on_its_neighbours(classifier, make_tokens):
    """Whatever the order and the size of the batches, each row keeps its score."""
    from platform_assets.models.training import score

    ids = token_lists(make_tokens(40))
    order = np.random.default_rng(5).permutation(len(ids))
    settings = {"pad_id": classifier.tokenizer.pad_id, "hardware": classifier.hardware}
    expected = score(ids, classifier.model, **settings)
    assert expected.shape == (40,)
    assert ((expected > 0) & (expected < 1)).all()
    for batch_rows in (1, 7, 64):
        shuffled = score([ids[row] for row in order], classifier.model, batch_rows=batch_rows, **settings)
        assert shuffled == pytest.approx(expected[order], abs=1e-5)


def test_a_saved_model_scores_texts(classifier):
    """The trained model tells great from awful, whole texts as their tokens, and nothing for nothing."""
    scores = classifier.score_texts(["the film was great", "the film was awful"])
    assert scores[0] > 0.5 > scores[1]
    assert classifier.score_texts([]).shape == (0,)


def test_rows_become_arrays(make_tokens):
    """One array a row, also for a slice of a table, for a table of several pieces and for none."""
    tokens = make_tokens(9)
    expected = tokens["token_ids"].to_pylist()
    pieces = pa.concat_tables([tokens.slice(0, 4), tokens.slice(4)])
    assert [ids.tolist() for ids in token_lists(pieces)] == expected
    assert [ids.tolist() for ids in token_lists(tokens.slice(2, 3))] == expected[2:5]
    assert token_lists(tokens.slice(0, 0)) == []

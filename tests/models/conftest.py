"""What tests of training share: the real encoder on a handful of rows, and processes that can be killed."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.features.tokens import load_tokenizer
from platform_assets.models.checkpoints import FolderCheckpoints
from platform_assets.models.training import TrainingConfig, train

ROWS = 84

PROCESS = "platform_assets.models.training_process"
# Otherwise only a run of minutes would leave a checkpoint behind.
EAGER = f"""
import platform_assets.models.checkpoints as checkpoints
from {PROCESS} import main

checkpoints._SAVING_COST = 0
main()
"""


@pytest.fixture(scope="session")
def tokenizer(encoder):
    """The encoder's tokenizer, 16 tokens a text."""
    return load_tokenizer(encoder, max_length=16, head_fraction=0.25)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def trained(make_tokens, config, tmp_path_factory):
    """An uninterrupted run, and the losses that it reported."""
    folder = tmp_path_factory.mktemp("trained")
    reported = {}
    result = train(
        make_tokens(),
        config,
        output=folder / "model",
        checkpoints=FolderCheckpoints(folder),
        on_progress=lambda step, metrics: reported.update({step: metrics}),
    )
    return result, reported


def start(*command: str, **variables: str) -> subprocess.Popen[str]:
    """A Python process that finds the package where this one does; its log and its result are one stream."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**variables),
    )


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds the package where this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables


def result_of(process: subprocess.Popen[str]) -> dict:
    """What a training process that ends well prints as its last line; with its log as `log`."""
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1]) | {"log": output}


def wait_until(process: subprocess.Popen[str], told: str) -> None:
    """Read a process's log until it tells this."""
    assert process.stdout is not None
    assert any(line.startswith(told) for line in process.stdout)


def kill_at(process: subprocess.Popen[str], told: str) -> None:
    """Kill the process once it has told this."""
    assert process.stdout is not None
    with process.stdout:
        wait_until(process, told)
        process.kill()
    assert process.wait() == -9


def torchrun(processes: int, *command: str) -> tuple[str, ...]:
    """The arguments of a Python that starts a command in several processes, as torchrun does."""
    return ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *command)


class Stopped(BaseException):
    """Ends a training from outside."""


def stop_at(step: int):
    """A listener that ends the training at this step."""

    def stop(now: int, metrics: dict[str, float]) -> None:
        if now == step:
            raise Stopped

    return stop


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a model folder."""
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors") | load_file(folder / "head.safetensors")


def assert_alike(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    """Two models are the same but for the order in which numbers were added up."""
    assert ours.keys() == theirs.keys()
    apart = {
        name: float(np.abs(ours[name] - theirs[name]).max())
        for name in ours
        if not np.allclose(ours[name], theirs[name], atol=5e-3)
    }
    assert apart == {}

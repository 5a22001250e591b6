"""Where images and their labels lie: a folder, a zip archive, objects below a prefix, or a phantom.

| URI | reads |
|---|---|
| `xrays/`, `xrays.zip` | files of this machine, and the table of labels among them |
| `objects://datasets/dev/chest/2026` | the objects below this key of the platform's store |
| `phantom://chest?n=2000&seed=7` | synthetic X-rays and their labels, made as they are read |
"""

import glob
import hashlib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import rfc8785

from platform_assets.datasets.errors import DatasetError
from platform_assets.datasets.ingestion import Surroundings
from platform_assets.tasks.image_classification.dicom.files import (
    SourceFiles,
    content_hash,
    open_files,
    open_objects,
)
from platform_assets.tasks.image_classification.dicom.rules import GateRules
from platform_assets.tasks.image_classification.labels import Labels, labels_of, read_labels
from platform_assets.tasks.image_classification.phantom.request import SCHEME as _PHANTOM
from platform_assets.tasks.image_classification.phantom.source import open_phantom
from resources.object_store import ObjectStoreError

SYNTHETIC: Final = "phantom"
"""Name of the source whose X-rays are of nobody, and of no other; a card says so before anything else."""
_OBJECTS: Final = "objects"
_MOST_LABEL_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What was read from where, as `NamedSource` has it."""

    uri: str
    name: str
    sha256: str
    suffix: str = ".parquet"
    """The rows that the gate makes have types."""


@dataclass(frozen=True, slots=True)
class OpenSource:
    """Images that can be read, and their labels."""

    uri: str
    name: str
    """What its rows are called."""
    files: SourceFiles
    labels: Callable[[], Labels]
    """Reads them; those of a phantom take a second."""
    labels_hash: str
    identity: str | None = None
    """Of the whole, where it is known without reading."""

    def source(self, files_hash: str) -> ImageSource:
        """The source by its hash.

        Args:
            files_hash: What `content_hash` gives of its files.
        """
        whole = self.identity or hashlib.sha256(rfc8785.dumps([files_hash, self.labels_hash])).hexdigest()
        return ImageSource(self.uri, self.name, whole)

    def hashed(self) -> str:
        """SHA-256 of the whole; reads every file of which it is not known."""
        if self.identity is not None:
            return self.identity
        files = ((file, self.files.sha256(at)) for at, file in enumerate(self.files.files))
        return self.source(content_hash(files)).sha256


def name_of(uri: str) -> str:
    """What the rows of a source are called."""
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme == _PHANTOM:
        return _PHANTOM
    if scheme:
        return uri.strip("/").rpartition("/")[2]
    path = Path(uri)
    # Of an archive the ending is none of the name; in a folder's name a dot is a dot.
    return path.absolute().name if path.is_dir() else path.stem


@contextmanager
def open_source(
    uri: str, rules: GateRules, surroundings: Surroundings, *, labels: str
) -> Iterator[OpenSource]:
    """The images behind a URI.

    Args:
        uri: As the spec has it.
        rules: What is asked of its files, bounds among it.
        surroundings: The store of `objects://`, the cache of `phantom://`.
        labels: Name of the table of labels within the source.

    Raises:
        DatasetError: nothing lies there, it cannot be trusted, or it has no labels.
    """
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme == _PHANTOM:
        phantom = open_phantom(uri, rules.limits, cache=surroundings.cache)
        yield OpenSource(
            uri,
            name_of(uri),
            phantom.files,
            lambda: labels_of(phantom.labels(), uri),
            labels_hash="",
            identity=phantom.identity,
        )
    elif scheme == _OBJECTS:
        prefix = uri.removeprefix(f"{_OBJECTS}://").strip("/")
        content = _object(surroundings, f"{prefix}/{labels}", uri)
        # Its own name is left out, whatever the contract ignores.
        ignore = (*rules.ignore, _pattern(labels))
        files = open_objects(surroundings.objects, prefix, rules.limits, ignore=ignore)
        yield _with_labels(uri, name_of(uri), files, content, labels)
    elif scheme:
        raise DatasetError(
            f"{uri}: images are read from a folder, a zip archive, objects://<prefix> or phantom://chest; fetch them first"
        )
    else:
        path = Path(uri)
        with open_files(path, rules.limits, ignore=(*rules.ignore, _pattern(labels))) as files:
            yield _with_labels(uri, name_of(uri), files, _beside(path, labels), labels)


def _pattern(labels: str) -> str:
    """What leaves the table of labels out of the files."""
    return glob.escape(PurePosixPath(labels).name)


def _with_labels(uri: str, name: str, files: SourceFiles, content: bytes, labels: str) -> OpenSource:
    if name == SYNTHETIC:
        raise DatasetError(
            f"{uri}: files that are called {SYNTHETIC} cannot be told from synthetic ones, and cards would say that these "
            "are; give them another name"
        )
    return OpenSource(
        uri,
        name,
        files,
        lambda: read_labels(content, f"{uri}/{labels}"),
        labels_hash=hashlib.sha256(content).hexdigest(),
    )


def _beside(path: Path, labels: str) -> bytes:
    """The table of labels of a folder or an archive."""
    place = f"{path}: the table of labels {labels}"
    try:
        if path.is_dir():
            return (path / labels).read_bytes()
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(labels).file_size > _MOST_LABEL_BYTES:
                raise DatasetError(f"{place} is larger than {_MOST_LABEL_BYTES:,} bytes; give it as Parquet")
            return archive.read(labels)
    except (FileNotFoundError, KeyError):
        raise DatasetError(
            f"{place} is not there; put it beside the images, or name it by `labels`"
        ) from None
    # zipfile's words for an entry with a password, and for one of a later format: RuntimeError, NotImplementedError.
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as problem:
        raise DatasetError(f"{place} cannot be read ({type(problem).__name__})") from None


def _object(surroundings: Surroundings, key: str, uri: str) -> bytes:
    try:
        return surroundings.objects.get(key)
    except ObjectStoreError as problem:
        raise DatasetError(f"{uri}: the table of labels {key} cannot be read: {problem}") from None

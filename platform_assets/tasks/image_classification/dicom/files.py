"""The files of a source, in sorted order and read one at a time: a folder, a zip archive, or objects below a prefix.

Listing reads names and sizes. What cannot be read is still listed, with the rule that it breaks, so that one bad file
takes no other down and none goes missing.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import rfc8785

from platform_assets.tasks.image_classification.dicom.archives import UNPACKABLE, open_archive
from platform_assets.tasks.image_classification.dicom.errors import RefusedSourceError
from platform_assets.tasks.image_classification.dicom.limits import Limits
from resources.object_store import (
    ObjectDamagedError,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
)

NOT_A_FILE: Final = "dicom.image.not_a_file"
TOO_LARGE: Final = "dicom.image.too_large"
UNREADABLE: Final = "dicom.image.unreadable"
_CHUNK_BYTES: Final = 1 << 20
_NO_NAME: Final = "surrogateescape"


class FileProblemError(Exception):
    """One file cannot be read; carries the rule that it breaks and never leaves this package."""

    def __init__(self, rule: str, tags: tuple[str, ...] = ()) -> None:
        self.rule, self.tags = rule, tags
        super().__init__(rule)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source."""

    name: str
    """Its path within the source, with `/`; may hold what identifies a person."""
    size_bytes: int
    """As its folder, archive or store has it."""
    rule: str | None = None
    """The rule that it breaks before it is read."""


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """All files of one source."""

    files: tuple[SourceFile, ...]
    """Sorted by the bytes of their names, each name once."""
    ignored: int
    """How many were left out by name."""
    _read: Callable[[int], bytes]
    _hash: Callable[[int], str | None]

    def read(self, at: int) -> bytes:
        """The bytes of the file at this position, no more of them than were listed.

        Raises:
            FileProblemError: They cannot be had, or are too many.
        """
        if rule := self.files[at].rule:
            raise FileProblemError(rule)
        return self._read(at)

    def sha256(self, at: int) -> str | None:
        """SHA-256 of a file that is not read as a whole; None where nothing can be read of it."""
        return self._hash(at)


def content_hash(files: Iterable[tuple[SourceFile, str | None]]) -> str:
    """SHA-256 over the sorted list of names, sizes and SHA-256: the identity of a source, wherever it lies."""
    whole = hashlib.sha256()
    for file, sha256 in files:
        name = file.name.encode("utf-8", _NO_NAME).decode("latin-1")
        whole.update(rfc8785.dumps([name, file.size_bytes, sha256]) + b"\n")
    return whole.hexdigest()


@contextmanager
def open_files(path: Path, limits: Limits, *, ignore: Sequence[str] = ()) -> Iterator[SourceFiles]:
    """The files of a folder or a zip archive, or one file.

    Args:
        path: Of this machine.
        limits: Bounds.
        ignore: Patterns of names that are left out, e.g. `*.csv`, matched against the last part of each.

    Raises:
        RefusedSourceError: There is nothing at `path`, nothing in it, or an archive that is not to be trusted.
    """
    if path.is_dir():
        yield _not_empty(_folder(path, limits, ignore), str(path))
    elif not path.exists():
        raise RefusedSourceError(f"{path}: does not exist; give a folder, a zip archive or a DICOM file")
    elif path.is_file() and _is_archive(path):
        archive, entries = open_archive(path, limits)
        with archive:
            yield _not_empty(_archive(archive, entries, limits, ignore), str(path))
    else:
        path = path.resolve()  # whoever names a link means the file
        yield _of_folder(path.parent, [_found(path.name, path.stat(), limits)], 0, limits)


def open_objects(
    store: ObjectStore, prefix: str, limits: Limits, *, ignore: Sequence[str] = ()
) -> SourceFiles:
    """The objects below a prefix of a store, named without it.

    Raises:
        RefusedSourceError: There is none.
    """
    keys = list(store.list(prefix))
    kept = sorted(key for key in keys if not _is_ignored(key, ignore))
    infos = {key: store.info(key) for key in kept}
    files = tuple(
        SourceFile(
            name=key.removeprefix(f"{prefix}/"),
            size_bytes=infos[key].size_bytes,
            rule=TOO_LARGE if infos[key].size_bytes > limits.file_bytes else None,
        )
        for key in kept
    )

    def read(at: int) -> bytes:
        try:
            return store.get(kept[at])
        except (ObjectMissingError, ObjectDamagedError):
            raise FileProblemError(UNREADABLE) from None
        except ObjectStoreError:
            # No fault of the file: it would be rejected, and stay so, since nothing about it changes when the store is back.
            # The key is not told, as files may be named by patients.
            raise RefusedSourceError(
                f"prefix {prefix}: the store did not give all its files; see to it that it answers, and run again"
            ) from None

    return _not_empty(
        SourceFiles(files, len(keys) - len(kept), read, lambda at: infos[kept[at]].sha256), f"prefix {prefix}"
    )


def _not_empty(found: SourceFiles, name: str) -> SourceFiles:
    if not found.files:
        raise RefusedSourceError(
            f"{name}: holds no file to judge; give the folder, archive or prefix of the images"
        )
    return found


def _is_ignored(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatchcase(last, pattern) for pattern in patterns)


def _is_archive(path: Path) -> bool:
    """Whether a file says that it is one: DICOM files begin with 128 bytes of anything, so what follows those decides."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[:2] == b"PK" and start[128:] != b"DICM"


def _folder(root: Path, limits: Limits, ignore: Sequence[str]) -> SourceFiles:
    found: list[SourceFile] = []
    ignored = 0
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with _entries(root, below) as entries:
            for entry in entries:
                name = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif _is_ignored(name, ignore):
                    ignored += 1
                elif len(found) >= limits.files:
                    raise RefusedSourceError(
                        f"{root}: holds more than {limits.files:,} files; split it, or raise limits.files"
                    )
                else:
                    found.append(_found(name, entry.stat(follow_symlinks=False), limits))
    return _of_folder(root, sorted(found, key=lambda each: os.fsencode(each.name)), ignored, limits)


@contextmanager
def _entries(root: Path, below: str) -> "Iterator[Iterator[os.DirEntry[str]]]":
    try:
        with os.scandir(root / below) as entries:
            yield entries
    except OSError as problem:
        raise RefusedSourceError(
            f"{root}: a folder in it cannot be read ({type(problem).__name__}); see to its permissions, and that "
            "nobody changes it"
        ) from None


def _found(name: str, status: os.stat_result, limits: Limits) -> SourceFile:
    if not stat.S_ISREG(status.st_mode):
        return SourceFile(name, 0, NOT_A_FILE)
    return SourceFile(name, status.st_size, TOO_LARGE if status.st_size > limits.file_bytes else None)


def _of_folder(root: Path, files: Sequence[SourceFile], ignored: int, limits: Limits) -> SourceFiles:
    def opened(at: int) -> int:
        # A link, a pipe or a device that came into its place since it was listed is not followed and not waited for.
        descriptor = os.open(
            root / files[at].name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileProblemError(NOT_A_FILE)
        return descriptor

    def read(at: int) -> bytes:
        try:
            with open(opened(at), "rb", buffering=0) as file:
                content = file.read(limits.file_bytes + 1)
        except OSError:
            raise FileProblemError(UNREADABLE) from None
        if content is None or len(content) > limits.file_bytes:
            raise FileProblemError(TOO_LARGE)
        return content

    def hashed(at: int) -> str | None:
        if files[at].rule == NOT_A_FILE:
            return None
        try:
            with open(opened(at), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, FileProblemError):
            return None

    return SourceFiles(tuple(files), ignored, read, hashed)


def _archive(
    archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], limits: Limits, ignore: Sequence[str]
) -> SourceFiles:
    kept = [entry for entry in entries if not _is_ignored(entry.filename, ignore)]
    files = tuple(
        SourceFile(
            entry.filename, entry.file_size, TOO_LARGE if entry.file_size > limits.file_bytes else None
        )
        for entry in kept
    )

    def read(at: int) -> bytes:
        entry = kept[at]
        if entry.compress_type not in UNPACKABLE:
            raise FileProblemError(UNREADABLE)
        try:
            with archive.open(entry) as file:
                content = file.read(entry.file_size + 1)
        except Exception:  # noqa: BLE001 - a wrong check sum, a password, a method of another tool: zipfile raises many
            raise FileProblemError(UNREADABLE) from None
        if len(content) != entry.file_size:
            raise FileProblemError(UNREADABLE)
        return content

    def hashed(at: int) -> str | None:
        if kept[at].compress_type not in UNPACKABLE:
            return None
        whole = hashlib.sha256()
        try:
            with archive.open(kept[at]) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    whole.update(chunk)
        except Exception:  # noqa: BLE001 - likewise
            return None
        return whole.hexdigest()

    return SourceFiles(files, len(entries) - len(kept), read, hashed)

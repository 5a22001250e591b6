"""A file that appears whole or not at all, and a folder beside it for what is needed on the way.

Both have names that follow from the target, and one lock holds for them: whoever has it knows that what lies there is
of a run that was killed, and removes it. The kernel frees the lock when a process dies, however it does.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from platform_assets.features.errors import FeatureError
from resources.outages import outage_of

_OWN: Final = ".platform-assets-own-"
"""What names of folders begin with that belong to no target."""
_LOCK: Final = ".lock"
"""What names of their locks end with, which lie beside them."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_STEP: Final = 1000
_LINGER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Output:
    """A target that is being written."""

    target: Path
    incoming: Path
    """Where to write what is to lie at the target."""
    scratch: Path
    """A folder for what is needed on the way; made by whoever needs it."""


@contextmanager
def whole_output(target: Path, *, scratch: Path | None = None) -> Iterator[Output]:
    """Where to write: it gets to the target when the block ends well, and is gone otherwise.

    What a killed run of the same target left is removed first.

    Args:
        target: An ordinary file, or none yet; in a folder that exists.
        scratch: The folder under which the scratch is to lie; the target's own if None.

    Raises:
        FeatureError: the folder is missing or may not be written to, the target is no ordinary file, or another run
            writes it.
        DiskFullError: the disk has become full.
    """
    target = target.resolve()
    _refuse_target(target)
    if scratch is not None:
        _refuse_no_folder(scratch)
    incoming = target.with_name(f".{target.name}.incoming")
    # In a folder that others use, too, the name of the file would not tell two targets apart.
    key = hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
    workplace = (scratch or target.parent).resolve() / f".platform-assets-{key}.scratch"
    with _locked(incoming, target) as descriptor:
        try:
            _remove(workplace)
            os.ftruncate(descriptor, 0)
            yield Output(target, incoming, workplace)
            os.fsync(descriptor)
            _remove(workplace)
        except BaseException as problem:
            _remove(workplace)
            # Last: as soon as it is gone, another run may begin.
            incoming.unlink()
            if isinstance(problem, OSError) and (full := outage_of(problem)):
                raise full from problem
            raise
        incoming.replace(target)
        _sync_folder(target.parent)


@contextmanager
def own_scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder for what is needed on the way, where there is no target; gone in the end.

    What killed ones left in the same place is removed first: nobody holds the lock on it any more.

    Args:
        parent: The folder under which it is to lie; that of temporary files if None.

    Raises:
        FeatureError: that folder is missing, or may not be written to.
        DiskFullError: the disk has become full.
    """
    parent = (Path(tempfile.gettempdir()) if parent is None else parent).resolve()
    _refuse_no_folder(parent)
    for left in {each.name.removesuffix(_LOCK) for each in parent.glob(f"{_OWN}*")}:
        with suppress(FeatureError, OSError), _locked(parent / f"{left}{_LOCK}", parent / left):
            _end_scratch(parent / left)
    folder, lock = _locked_folder(parent)
    try:
        yield folder
    except OSError as problem:
        raise outage_of(problem) or problem from problem
    finally:
        try:
            _end_scratch(folder)
        finally:
            os.close(lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder, and a descriptor that has its lock: a file, as NFS locks no folders between machines."""
    while True:
        folder = parent / f"{_OWN}{uuid4().hex}"
        file = parent / f"{folder.name}{_LOCK}"
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Until it was locked, another run may have taken it for one that was left.
                if _is_still(file, lock):
                    folder.mkdir(mode=0o700)
                    return folder, lock
            except OSError:
                file.unlink(missing_ok=True)
                os.close(lock)
                raise
        except OSError as problem:
            raise outage_of(problem) or FeatureError(
                f"{parent}: may not be written to ({problem.strerror}); name another folder"
            ) from None
        os.close(lock)


def _end_scratch(folder: Path) -> None:
    """Remove a folder and its lock, which whoever calls this has."""
    try:
        _remove(folder)
    finally:
        # Last: as soon as it is gone, nobody knows whose the folder is.
        folder.with_name(f"{folder.name}{_LOCK}").unlink(missing_ok=True)


def _refuse_no_folder(scratch: Path) -> None:
    if not scratch.is_dir():
        raise FeatureError(f"{scratch}: no such folder; make it, or name another as scratch")


def refuse_overwriting(target: Path, read: Iterable[Path], *, folder: Path | None = None) -> None:
    """Refuse a target that is read.

    Args:
        target: What is to be written.
        read: Files that are read.
        folder: All files of it are read.

    Raises:
        FeatureError: it is one of the files, by whatever name, or would lie among those of the folder.
    """
    for file in read:
        if target.exists() and file.exists() and target.samefile(file):
            raise FeatureError(f"{target}: is read and cannot be written at the same time; name another file")
    if folder is not None and target.resolve().parent == folder.resolve():
        raise FeatureError(
            f"{target}: lies in the folder whose files are the input, and would be part of it next time; name another"
        )


def refuse_full_disk(needs: Sequence[tuple[Path, int, str]]) -> None:
    """Refuse to begin what there is no room for.

    Args:
        needs: Folder, bytes that are to be written to it, and what they are; folders of one disk are added up.

    Raises:
        FeatureError: a disk has less; the message says how much is needed, what is there and where.
    """
    by_disk: dict[int, list[tuple[Path, int, str]]] = {}
    for need in needs:
        by_disk.setdefault(need[0].stat().st_dev, []).append(need)
    for on_disk in by_disk.values():
        needed, free = sum(count for _, count, _ in on_disk), shutil.disk_usage(on_disk[0][0]).free
        if needed > free:
            told = " and ".join(
                f"{shown_bytes(count)} in {folder} for {what}" for folder, count, what in on_disk
            )
            raise FeatureError(
                f"not enough space: about {told} are needed, and {shown_bytes(free)} are free there; free some, or name "
                "a folder on another disk (--output, --scratch). Nothing was written"
            )


def shown_bytes(count: float) -> str:
    """As people write it: 1.5 GB."""
    for unit in _UNITS:
        if count < _STEP or unit == _UNITS[-1]:
            break
        count /= _STEP
    return f"{count:.0f} {unit}" if unit == _UNITS[0] else f"{count:.1f} {unit}"


def _refuse_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise FeatureError(f"{target}: its folder does not exist; make it, or name another")
    if target.exists() and not target.is_file():
        raise FeatureError(f"{target}: is no ordinary file; name a file, which is written anew")


@contextmanager
def _locked(file: Path, target: Path) -> Iterator[int]:
    """A descriptor of this file, which nobody else has; made where it is not there."""
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except PermissionError:
            raise FeatureError(f"{target.parent}: may not be written to; name another folder") from None
        except OSError as problem:
            raise outage_of(problem) or FeatureError(
                f"{target}: cannot be made there ({problem.strerror}); name another file"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FeatureError(
                    f"{target}: another run is writing it; wait for that one, or name another file"
                ) from None
            if _is_still(file, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether what was opened lies there still: whoever had it before may have moved it to its target meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    return False


def _remove(folder: Path) -> None:
    """Again and again for a while: workers of a run that was killed may write to it a little longer than that run."""
    deadline = time.monotonic() + _LINGER_SECONDS
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as problem:
            if problem.errno not in {errno.ENOTEMPTY, errno.ENOENT} or time.monotonic() > deadline:
                raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Whether a zip archive can be trusted, told from its directory alone; nothing is unpacked to find out.

Python 3.11 has no check for entries that overlap, by which a small archive stands for petabytes (D. Fifield, "A better
zip bomb", 2019); it has one for nothing else here either. What an archive calls an entry is never a place on a disk.
"""

import re
import stat
import struct
import unicodedata
import zipfile
from pathlib import Path
from typing import BinaryIO, Final

from platform_assets.tasks.image_classification.dicom.errors import RefusedSourceError
from platform_assets.tasks.image_classification.dicom.limits import Limits

_END: Final = b"PK\x05\x06"
_END_FORM: Final = struct.Struct("<4s4H2LH")
_END64: Final = b"PK\x06\x06"
_END64_FORM: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_FORM: Final = struct.Struct("<4sLQL")
_LONGEST_COMMENT: Final = 1 << 16
_LOCAL_FORM: Final = struct.Struct("<4s5H3L2H")
_SMALL: Final = 1 << 20
UNPACKABLE: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Methods that give no more bytes at once than were asked for; zipfile lets bzip2 and LZMA give all that there are."""
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def open_archive(path: Path, limits: Limits) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """The archive, open, and its files, sorted by name.

    Raises:
        RefusedSourceError: It is no zip archive, or no honest tool has made it; the message names the entry by its number.
    """
    try:
        with path.open("rb") as file:
            _refuse_large_directory(path, file, limits)
        archive = zipfile.ZipFile(path)
    # zipfile's word for an archive of a later format, or of several volumes, is NotImplementedError.
    except (OSError, zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as problem:
        raise _refused(path, f"is no archive that can be read ({type(problem).__name__})") from None
    try:
        return archive, _checked(path, archive, limits)
    except BaseException:
        archive.close()
        raise


def _refused(path: Path, problem: str) -> RefusedSourceError:
    return RefusedSourceError(
        f"{path}: {problem}; nothing of it was read. Unpack it where that does no harm, look at it, and give the folder"
    )


def _refuse_large_directory(path: Path, file: BinaryIO, limits: Limits) -> None:
    """The directory is read as a whole, so its size is bounded before that."""
    size = file.seek(0, 2)
    start = file.seek(max(0, size - _END_FORM.size - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0:
        raise zipfile.BadZipFile
    _, _, _, _, entries, directory, _, _ = _END_FORM.unpack_from(tail, at)
    locator = start + at - _LOCATOR_FORM.size
    if locator >= 0:
        file.seek(locator)
        sign, _, offset, _ = _LOCATOR_FORM.unpack(file.read(_LOCATOR_FORM.size))
        if sign == b"PK\x06\x07" and offset + _END64_FORM.size <= size:
            file.seek(offset)
            fields = _END64_FORM.unpack(file.read(_END64_FORM.size))
            if fields[0] == _END64:
                entries, directory = max(entries, fields[7]), max(directory, fields[8])
    if directory > limits.directory_bytes or directory > size:
        raise _refused(
            path, f"has a directory of {directory:,} bytes; at most {limits.directory_bytes:,} are read"
        )
    if entries > limits.files:
        raise _refused(path, f"holds {entries:,} entries; at most {limits.files:,} are read")


def _checked(path: Path, archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > limits.files:
        raise _refused(path, f"holds {len(entries):,} entries; at most {limits.files:,} are read")
    seen: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        if problem := _problem(entry, seen, limits):
            raise _refused(path, f"entry {number:,} {problem}")
    _refuse_overlaps(path, archive, entries)
    unpacked, packed = (
        sum(getattr(each, size) for each in entries) for size in ("file_size", "compress_size")
    )
    if unpacked > _SMALL and unpacked > limits.archive_ratio * max(1, packed):
        raise _refused(path, f"unpacks to more than {limits.archive_ratio} times its size")
    return sorted(
        (each for each in entries if not each.is_dir()),
        key=lambda each: each.filename.encode("utf-8", "surrogateescape"),
    )


def _problem(entry: zipfile.ZipInfo, seen: set[str], limits: Limits) -> str | None:
    """What is wrong with an entry as its directory describes it; adds its name to those that were seen."""
    name = entry.orig_filename.replace("\\", "/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    plain = unicodedata.normalize("NFC", name).rstrip("/")
    if _CONTROL.search(name) or not plain:
        return "has a name that is none"
    if name.startswith("/") or _DRIVE.match(name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "leads out of the archive"
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        return "is no plain file"
    if plain in seen:
        return "has the name of an earlier one"
    if entry.file_size > _SMALL and entry.file_size > limits.archive_ratio * max(1, entry.compress_size):
        return f"unpacks to more than {limits.archive_ratio} times its size"
    seen.add(plain)
    return None


def _refuse_overlaps(path: Path, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Each entry ends before the next begins, the last before the directory."""
    in_order = sorted(entries, key=lambda each: each.header_offset)
    ends = [*(each.header_offset for each in in_order), archive.start_dir][1:]
    with path.open("rb") as file:
        for entry, following in zip(in_order, ends, strict=True):
            file.seek(max(0, entry.header_offset))
            local = file.read(_LOCAL_FORM.size)
            if entry.header_offset < 0 or len(local) < _LOCAL_FORM.size:
                raise _refused(path, "has entries where it has no bytes")
            name_bytes, extra_bytes = _LOCAL_FORM.unpack(local)[-2:]
            end = entry.header_offset + _LOCAL_FORM.size + name_bytes + extra_bytes + entry.compress_size
            if end > following:
                raise _refused(path, "has entries that overlap")

"""The files of a folder, an archive and a store: in order, one at a time, each bad one by itself."""

import hashlib
import os
import random
import struct
import zipfile

import pytest

from platform_assets.tasks.image_classification.dicom.errors import RefusedSourceError
from platform_assets.tasks.image_classification.dicom.files import (
    FileProblemError,
    content_hash,
    open_files,
    open_objects,
)
from platform_assets.tasks.image_classification.dicom.limits import Limits
from resources.object_store import LocalObjectStore, ObjectStoreError

FILES = {"b/2.dcm": b"two", "b/1.dcm": b"one", "a.dcm": b"a" * 1000, "b-c.dcm": b""}
LIMITS = Limits(file_bytes=2000)


def _folder(root, files=FILES):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _archive(path, files=FILES, *, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _store(root):
    store = LocalObjectStore(root)
    for name, content in FILES.items():
        store.put(f"raw/x/{name}", content, gdpr_class="sensitive", retention_days=1, source_commit="c")
    return store


def _all(source):
    """Name and content of every file, or the rule that it breaks."""
    found = []
    for at, file in enumerate(source.files):
        try:
            found.append((file.name, source.read(at)))
        except FileProblemError as problem:
            found.append((file.name, problem.rule))
    return found


def _identity(source):
    return content_hash(
        (file, hashlib.sha256(content).hexdigest())
        for file, (_, content) in zip(source.files, _all(source), strict=True)
    )


def test_a_folder_an_archive_and_a_prefix_of_the_same_files_are_the_same(tmp_path):
    """The same names in the order of their bytes, the same contents, the same identity."""
    expected = [(name, FILES[name]) for name in sorted(FILES)]
    store = open_objects(_store(tmp_path / "store"), "raw/x", LIMITS)
    with (
        open_files(_folder(tmp_path / "folder"), LIMITS) as folder,
        open_files(_archive(tmp_path / "files.zip"), LIMITS) as archive,
    ):
        assert _all(folder) == _all(archive) == _all(store) == expected
        assert _identity(folder) == _identity(archive) == _identity(store)


def test_the_identity_follows_names_sizes_and_contents(tmp_path):
    """A file that is renamed, changed, added or gone makes another source; the order of writing makes none."""
    variants = [
        FILES,
        dict(reversed(FILES.items())),
        FILES | {"a.dcm": b"b" * 1000},
        FILES | {"new.dcm": b""},
        {name: content for name, content in FILES.items() if name != "b-c.dcm"},
    ]
    identities = []
    for at, files in enumerate(variants):
        with open_files(_folder(tmp_path / str(at), files), LIMITS) as source:
            identities.append(_identity(source))

    assert identities[0] == identities[1]
    assert len(set(identities)) == len(variants) - 1


def test_what_is_no_plain_file_is_listed_and_not_followed(tmp_path):
    """Links to files and to folders, pipes: none is opened, and all others are read."""
    (tmp_path / "secret").write_bytes(b"secret")
    root = _folder(tmp_path / "files")
    (root / "link.dcm").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.dcm")
    with open_files(root, LIMITS) as source:
        found = dict(_all(source))

    assert {name: found[name] for name in ("link.dcm", "folder", "pipe.dcm")} == dict.fromkeys(
        ("link.dcm", "folder", "pipe.dcm"), "dicom.image.not_a_file"
    )
    assert {name: found[name] for name in FILES} == FILES


def test_a_link_that_takes_the_place_of_a_listed_file_is_not_followed(tmp_path):
    """Between listing and reading."""
    root = _folder(tmp_path / "files")
    with open_files(root, LIMITS) as source:
        (tmp_path / "secret").write_bytes(b"secret")
        (root / "a.dcm").unlink()
        (root / "a.dcm").symlink_to(tmp_path / "secret")

        assert dict(_all(source))["a.dcm"] == "dicom.image.unreadable"
        assert source.sha256(0) is None


def test_a_file_that_is_too_large_is_not_read_and_still_known(tmp_path):
    """In a folder and in an archive: the others are read, and its SHA-256 is that of its bytes."""
    files = FILES | {"large.dcm": random.Random(1).randbytes(3000)}
    with (
        open_files(_folder(tmp_path / "folder", files), LIMITS) as folder,
        open_files(_archive(tmp_path / "files.zip", files), LIMITS) as archive,
    ):
        for source in (folder, archive):
            assert dict(_all(source)) == FILES | {"large.dcm": "dicom.image.too_large"}
            at = [file.name for file in source.files].index("large.dcm")
            assert source.sha256(at) == hashlib.sha256(files["large.dcm"]).hexdigest()


def test_a_file_that_grows_after_it_was_listed_is_not_read_beyond_the_bound(tmp_path):
    """Nobody has looked at how large it has become."""
    root = _folder(tmp_path / "files")
    with open_files(root, LIMITS) as source:
        (root / "a.dcm").write_bytes(b"x" * 5000)

        assert dict(_all(source))["a.dcm"] == "dicom.image.too_large"


def test_files_are_left_out_by_name_and_counted(tmp_path):
    """A table of labels beside the images is none of them."""
    root = _folder(tmp_path / "files", FILES | {"labels.csv": b"x", "b/notes.csv": b"x"})
    with open_files(root, LIMITS, ignore=("*.csv",)) as source:
        assert (dict(_all(source)), source.ignored) == (FILES, 2)


def test_an_object_that_is_damaged_takes_no_other_down(tmp_path):
    """It is unreadable, and keeps its place."""
    store = _store(tmp_path)
    (tmp_path / "data" / "raw" / "x" / "a.dcm").write_bytes(b"other")
    found = dict(_all(open_objects(store, "raw/x", LIMITS)))

    assert found == FILES | {"a.dcm": "dicom.image.unreadable"}


def test_a_store_that_does_not_answer_is_no_fault_of_a_file(tmp_path):
    """Or files that are sound would be rejected, and nobody would look at them again."""

    class Gone(LocalObjectStore):
        def get(self, key):
            raise ObjectStoreError(f"object {key} cannot be read: the line is cut")

    _store(tmp_path)
    source = open_objects(Gone(tmp_path), "raw/x", LIMITS)
    with pytest.raises(
        RefusedSourceError, match="prefix raw/x: the store did not give all its files"
    ) as refused:
        source.read(0)
    assert "a.dcm" not in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere", "empty", "empty.zip"])
def test_a_source_without_files_is_refused(tmp_path, name):
    """In one sentence."""
    (tmp_path / "empty").mkdir()
    _archive(tmp_path / "empty.zip", {})
    with (
        pytest.raises(RefusedSourceError, match=r"does not exist|holds no file"),
        open_files(tmp_path / name, LIMITS),
    ):
        pass


def test_a_prefix_without_objects_is_refused(tmp_path):
    """In one sentence, too."""
    with pytest.raises(RefusedSourceError, match="holds no file"):
        open_objects(LocalObjectStore(tmp_path), "raw", LIMITS)


def _info(name, *, kind=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = kind << 16
    return info


def _named(path, stored, wanted):
    """An archive in which an entry has a name that no library writes."""
    assert len(stored) == len(wanted)
    content = _archive(path, {stored: b"x"}).read_bytes().replace(stored.encode(), wanted.encode())
    path.write_bytes(content)


def _twice(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.dcm", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.dcm", b"2")


def _overlapping(path):
    """Both entries of the directory lead to the bytes of the first, as in the bombs of D. Fifield."""
    content = bytearray(_archive(path, {"a.dcm": b"x" * 50, "b.dcm": b"x" * 50}).read_bytes())
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = struct.pack("<L", 0)
    path.write_bytes(content)


def _past_the_end(path):
    content = bytearray(_archive(path, {"a.dcm": b"x" * 50}, how=zipfile.ZIP_STORED).read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 20 : entry + 28] = struct.pack("<2L", 5000, 5000)
    path.write_bytes(content)


def _claims(path):
    content = bytearray(_archive(path).read_bytes())
    end = content.rindex(b"PK\5\6")
    content[end + 12 : end + 16] = struct.pack("<L", 0xFFFFFFF0)
    path.write_bytes(content)


HOSTILE = {
    "a path out of it": (lambda path: _archive(path, {"../x.dcm": b"x"}), "leads out"),
    "a path out of it further down": (lambda path: _archive(path, {"a/../../x.dcm": b"x"}), "leads out"),
    "a path out of it for Windows": (lambda path: _named(path, "aa-bb-x.dcm", "..\\..\\x.dcm"), "leads out"),
    "an absolute path": (lambda path: _archive(path, {"/etc/x.dcm": b"x"}), "absolute"),
    "a drive": (lambda path: _archive(path, {"C:/x.dcm": b"x"}), "absolute"),
    "a share": (lambda path: _named(path, "a-server-x", "\\\\server\\x"), "absolute"),
    "a NUL in a name": (lambda path: _named(path, "x.dcm-y", "x.dcm\0y"), "name that is none"),
    "a link": (lambda path: _archive(path, {_info("x.dcm", kind=0o120777): b"/etc/passwd"}), "symbolic link"),
    "a device": (lambda path: _archive(path, {_info("x.dcm", kind=0o020666): b""}), "no plain file"),
    "one name twice": (_twice, "earlier one"),
    "a bomb": (lambda path: _archive(path, {"x.dcm": b"\0" * (4 << 20)}), "times its size"),
    "entries that overlap": (_overlapping, "overlap"),
    "an entry over the directory": (_past_the_end, "overlap"),
    "too many entries": (lambda path: _archive(path, {str(at): b"" for at in range(40)}), "40 entries"),
    "a directory that claims more": (_claims, "directory|no archive"),
    "no archive": (lambda path: path.write_bytes(b"PK\3\4" + b"x" * 500), "no archive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_that_no_honest_tool_makes_is_refused_as_a_whole(tmp_path, name):
    """Before anything of it is read; the sentence holds no name of an entry."""
    make, reason = HOSTILE[name]
    make(tmp_path / "files.zip")
    with (
        pytest.raises(RefusedSourceError, match=reason) as refused,
        open_files(tmp_path / "files.zip", Limits(files=30)),
    ):
        pass

    assert "x.dcm" not in str(refused.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["files.zip"]


def test_an_entry_that_cannot_be_read_takes_no_other_down(tmp_path):
    """A wrong check sum, a password, and a size that is not what comes out."""
    path = _archive(tmp_path / "files.zip", how=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\3\4", content.index(b"one") - 60)
    content[content.index(b"one")] = ord("x")
    entry = content.index(b"a.dcm", content.index(b"PK\1\2")) - 46
    content[entry + 8] |= 1
    assert at
    path.write_bytes(content)
    with open_files(path, LIMITS) as source:
        found = dict(_all(source))

    assert found == FILES | {"b/1.dcm": "dicom.image.unreadable", "a.dcm": "dicom.image.unreadable"}

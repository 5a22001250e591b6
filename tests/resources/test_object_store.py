"""Object stores: what every adapter promises, and what the local folder does when it is killed."""

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.object_store import LocalObjectStore, ObjectStore, ObjectStoreError

KEY = "models/dev/reviews_sentiment/3f2a91c04b7e5d68/model.json"


def put(store: ObjectStore, key: str = KEY, content: bytes | Path = b"weights", **changes: object):
    """Store an object that carries all it must, but for `changes`."""
    carried = {"gdpr_class": "internal", "retention_days": 30, "source_commit": "0c0ffee"}
    return store.put(key, content, **(carried | changes))


class ObjectStoreContract:
    """What every adapter promises. A subclass provides the fixtures `store` and `spoil`."""

    def test_an_object_comes_back_with_what_it_carries(self, store):
        """Bytes, hash, size, class, retention and commit are those that were put."""
        info = put(store, content=b"weights", gdpr_class="personal")
        assert store.get(KEY) == b"weights"
        assert store.info(KEY) == info
        assert info.sha256 == hashlib.sha256(b"weights").hexdigest()
        assert info.model_dump(by_alias=True) == {
            "gdpr-class": "personal",
            "retention-days": 30,
            "source-commit": "0c0ffee",
            "sha256": info.sha256,
            "size-bytes": 7,
        }
        assert store.exists(KEY)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
    @given(content=st.binary(max_size=300))
    def test_any_bytes_come_back(self, store, tmp_path, content):
        """Whatever the bytes, and whether they are given themselves or as a file."""
        put(store, content=content)
        assert store.get(KEY) == content
        file = tmp_path / "file"
        file.write_bytes(content)
        assert put(store, content=file).sha256 == hashlib.sha256(content).hexdigest()
        assert store.get(KEY) == content

    def test_a_key_holds_the_last_object_put(self, store):
        """Putting again replaces the bytes and what they carry."""
        put(store, content=b"first")
        put(store, content=b"second", gdpr_class="public")
        assert store.get(KEY) == b"second"
        assert store.info(KEY).gdpr_class == "public"

    def test_keys_are_listed_below_their_prefix_in_order(self, store):
        """A prefix is whole path segments; an object's metadata is no object."""
        keys = [
            f"models/dev/line/{version}/{name}"
            for version in ("1", "10", "2")
            for name in ("b", "a", "a.json")
        ]
        for key in keys:
            put(store, key)
        assert list(store.list("models")) == sorted(keys)
        assert list(store.list("models/dev/line/1")) == [
            f"models/dev/line/1/{name}" for name in ("a", "a.json", "b")
        ]
        assert list(store.list("models/dev/lin")) == []
        assert not store.exists("models/dev/line")

    def test_a_folder_holds_the_objects_below_a_prefix(self, store):
        """Libraries that load folders find each object under its name, and nothing else."""
        put(store, "models/dev/line/1/config.json", b"{}")
        put(store, "models/dev/line/1/onnx/model.onnx", b"graph")
        put(store, "models/dev/line/2/config.json", b"[]")
        folder = store.folder("models/dev/line/1")
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert found == {"config.json": b"{}", "onnx/model.onnx": b"graph"}

    def test_what_is_not_there_is_named(self, store):
        """Reading, describing or loading an unknown key is an error with the key."""
        for read in (store.get, store.info, store.folder):
            with pytest.raises(ObjectStoreError, match="models/none"):
                read("models/none")
        assert not store.exists("models/none")
        assert list(store.list("models/none")) == []

    def test_damage_is_seen(self, store, spoil):
        """Bytes that are not those that were put are never handed out."""
        put(store)
        spoil(KEY)
        with pytest.raises(ObjectStoreError, match=f"object {KEY} is damaged"):
            store.get(KEY)
        with pytest.raises(ObjectStoreError, match=f"object {KEY} is damaged"):
            store.folder(KEY.rpartition("/")[0])

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/etc/passwd",
            "../outside",
            "models/../../outside",
            "models/./a",
            "models//a",
            "models/",
            "a\\b",
            "models/.hidden",
            "models/a b",
            "models/naïve",
            "models/a\n",
            "models/a\0",
            "C:/a",
        ],
    )
    def test_keys_that_lead_elsewhere_are_refused(self, store, key):
        """A key is a plain relative path; neither reading nor writing leaves the store."""
        for use in (
            lambda: put(store, key),
            lambda: store.get(key),
            lambda: store.exists(key),
            lambda: store.uri(key),
        ):
            with pytest.raises(ObjectStoreError, match="is not a plain relative path"):
                use()

    @pytest.mark.parametrize(
        "changes",
        [
            {"gdpr_class": "secret"},
            {"gdpr_class": ""},
            {"gdpr_class": None},
            {"retention_days": 0},
            {"retention_days": -1},
            {"source_commit": ""},
        ],
    )
    def test_an_object_must_carry_what_policies_ask_for(self, store, changes):
        """An unknown class, no retention or no commit: refused with the key, and nothing is stored."""
        with pytest.raises(ObjectStoreError, match=KEY):
            put(store, **changes)
        assert not store.exists(KEY)

    def test_a_file_that_is_not_there_is_refused(self, store, tmp_path):
        """Offering a missing file is an error that names it, and nothing is stored."""
        with pytest.raises(ObjectStoreError, match=r"nothing\.bin"):
            put(store, content=tmp_path / "nothing.bin")
        assert not store.exists(KEY)

    def test_an_object_and_a_folder_cannot_share_a_name(self, store):
        """A key below an object's key, or above it, is refused: a folder of the two could not exist."""
        put(store, "models/dev/line")
        put(store, "models/dev/other/1")
        for key in ("models/dev/line/1", "models/dev/other"):
            with pytest.raises(ObjectStoreError, match=key):
                put(store, key)
        assert list(store.list("models")) == ["models/dev/line", "models/dev/other/1"]

    def test_readers_see_one_whole_object_or_none(self, store):
        """While a key is written again and again, a reader gets the bytes of one put, never a mixture."""
        versions = [bytes([number]) * 50_000 for number in range(40)]
        put(store, content=versions[0])
        done = threading.Event()
        seen, wrong = set(), []

        def read() -> None:
            while not done.is_set():
                try:
                    seen.add(store.get(KEY))
                except ObjectStoreError as problem:
                    if "does not exist" not in str(problem):
                        wrong.append(problem)
                except Exception as problem:  # noqa: BLE001 - the point is that there is none
                    wrong.append(problem)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for version in versions:
            put(store, content=version)
        done.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert seen <= {*versions}


class TestLocalObjectStore(ObjectStoreContract):
    """A folder of this machine."""

    @pytest.fixture
    def store(self, tmp_path):
        """An empty folder."""
        return LocalObjectStore(tmp_path / "store")

    @pytest.fixture
    def spoil(self, tmp_path):
        """Changes a byte of an object behind the store's back."""

        def spoil(key: str) -> None:
            path = tmp_path / "store" / "data" / key
            path.write_bytes(b"W" + path.read_bytes()[1:])

        return spoil

    def test_unreadable_metadata_is_damage(self, store, tmp_path):
        """An object whose description is garbled is damaged, whoever asks."""
        put(store)
        (tmp_path / "store" / "metadata" / f"{KEY}.json").write_text("{")
        for read in (store.get, store.info):
            with pytest.raises(ObjectStoreError, match=f"object {KEY} is damaged"):
                read(KEY)

    def test_an_object_without_metadata_does_not_exist(self, store, tmp_path):
        """A writer that died before its last act has stored nothing, and a sweep clears it away."""
        put(store)
        (tmp_path / "store" / "metadata" / f"{KEY}.json").unlink()
        assert not store.exists(KEY)
        assert list(store.list("models")) == []
        assert store.sweep() == 1
        assert store.sweep() == 0

    def test_a_refused_object_leaves_nothing_behind(self, store, tmp_path):
        """Errors clean up after themselves."""
        with pytest.raises(ObjectStoreError):
            put(store, retention_days=0)
        assert [
            path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.name != ".lock"
        ] == []

    def test_a_sweep_spares_writers_that_live(self, store, tmp_path):
        """What a living process is writing stays; what a dead one left goes."""
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        incoming = tmp_path / "store" / "incoming"
        for pid in (os.getpid(), dead.pid):
            (incoming / f"{pid}-0123").write_bytes(b"half")
        put(store)
        assert store.sweep() == 1
        assert [path.name for path in incoming.iterdir()] == [f"{os.getpid()}-0123"]
        assert store.get(KEY) == b"weights"

    @pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.long)])
    def test_killed_writers_leave_whole_objects(self, store, tmp_path, kills):
        """Killed at any moment: what was reported is there, everything listed is whole, a sweep leaves no rest."""
        root = tmp_path / "store"
        reported: list[str] = []
        for number in range(kills):
            with subprocess.Popen(
                [sys.executable, Path(__file__).with_name("putter.py"), root, str(1000 * number)],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            ) as process:
                reported.append(process.stdout.readline().strip())
                try:
                    process.wait(timeout=random.uniform(0, 0.05))
                except subprocess.TimeoutExpired:
                    process.kill()
                reported += process.stdout.read().split()
            process.wait()
            store.sweep()
            listed = list(store.list("models"))
            assert {*reported} <= {*listed}
            store.folder("models")
            assert list((root / "incoming").iterdir()) == []
            kept = {
                path.relative_to(root / "data").as_posix()
                for path in (root / "data").rglob("*")
                if path.is_file()
            }
            assert kept == {*listed}

"""Object stores: what every adapter promises, and what the local folder does when it is killed."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.object_store import LocalObjectStore, ObjectMissingError, ObjectStore, ObjectStoreError
from resources.policed_object_store import AccessDeniedError, PolicedObjectStore
from resources.policy_engine import RegoEngine
from resources.s3_object_store import S3ObjectStore
from resources.settings import Principal, PrincipalLabels
from tests.servers import free_ports

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
            "stored-at": info.stored_at,
            "legal-hold": False,
            "region": None,
        }
        assert store.exists(KEY)

    @settings(
        # The store may hold what an earlier example put; and each adapter is a run of its own.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
        max_examples=20,
    )
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

    def test_an_object_may_be_bound_to_a_region(self, store):
        """The region is carried, and a name that is none is refused."""
        assert put(store, region="cn-shanghai").region == "cn-shanghai"
        assert store.info(KEY).region == "cn-shanghai"
        with pytest.raises(ObjectStoreError, match="region"):
            put(store, region="Shanghai, China")

    def test_an_object_says_when_it_was_stored(self, store):
        """Retention counts from the last put; a legal hold does not make an object younger."""
        before = datetime.now(UTC)
        stored_at = put(store).stored_at
        assert before <= stored_at <= datetime.now(UTC)
        assert store.set_legal_hold(KEY, held=True).stored_at == stored_at
        assert store.info(KEY).stored_at == stored_at
        store.set_legal_hold(KEY, held=False)
        assert put(store).stored_at > stored_at

    def test_a_deleted_object_is_gone(self, store):
        """Neither found, listed nor loaded; its neighbours stay, and its key and folder are free again."""
        put(store, "models/dev/line/1/a")
        put(store, "models/dev/line/2/a")
        store.delete("models/dev/line/1/a")
        assert not store.exists("models/dev/line/1/a")
        assert list(store.list("models")) == ["models/dev/line/2/a"]
        for use in (store.get, store.info, store.delete):
            with pytest.raises(ObjectMissingError, match="models/dev/line/1/a"):
                use("models/dev/line/1/a")
        put(store, "models/dev/line/1")
        assert store.get("models/dev/line/1") == b"weights"

    def test_a_folder_forgets_what_was_deleted(self, store):
        """A folder that was handed out before holds no deleted and no outdated object afterwards."""
        for name in ("a", "b/c", "d"):
            put(store, f"models/dev/line/1/{name}")
        store.folder("models/dev/line/1")
        store.delete("models/dev/line/1/b/c")
        put(store, "models/dev/line/1/d", b"new")
        folder = store.folder("models/dev/line/1")
        assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == {
            "a": b"weights",
            "d": b"new",
        }

    def test_a_legal_hold_keeps_an_object_as_it_is(self, store):
        """Under hold it is neither deleted nor overwritten, whatever its retention; lifted, it is again."""
        put(store, gdpr_class="personal", region="cn-shanghai")
        held = store.set_legal_hold(KEY, held=True)
        assert held.legal_hold
        assert store.info(KEY) == held
        assert (held.gdpr_class, held.region) == ("personal", "cn-shanghai")
        with pytest.raises(ObjectStoreError, match=f"object {KEY} is under legal hold and cannot be deleted"):
            store.delete(KEY)
        with pytest.raises(
            ObjectStoreError, match=f"object {KEY} is under legal hold and cannot be overwritten"
        ):
            put(store, content=b"other")
        assert store.get(KEY) == b"weights"
        assert not store.set_legal_hold(KEY, held=False).legal_hold
        store.delete(KEY)
        assert not store.exists(KEY)
        with pytest.raises(ObjectMissingError, match=KEY):
            store.set_legal_hold(KEY, held=True)

    def test_concurrent_readers_load_whole_folders(self, store):
        """Threads that ask for the same folder at once each find every object whole."""
        contents = {f"models/dev/line/1/{number}": bytes([number]) * 300_000 for number in range(5)}
        for key, content in contents.items():
            put(store, key, content)

        def load(_: int) -> dict[str, bytes]:
            folder = store.folder("models/dev/line/1")
            return {f"models/dev/line/1/{path.name}": path.read_bytes() for path in folder.iterdir()}

        with ThreadPoolExecutor(4) as pool:
            assert all(found == contents for found in pool.map(load, range(8)))

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
        assert list(store.list()) == sorted(keys)
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
            lambda: store.delete(key),
            lambda: store.set_legal_hold(key, held=True),
            lambda: store.folder(key),
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

    def test_readers_see_one_whole_object(self, store):
        """While a key is written again and again, a reader always gets the bytes of one put, never a mixture."""
        versions = [bytes([number]) * 50_000 for number in range(40)]
        put(store, content=versions[0])
        done = threading.Event()
        seen, wrong = set(), []

        def read() -> None:
            while not done.is_set():
                try:
                    seen.add(store.get(KEY))
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

    @pytest.fixture
    def denials(self):
        """What was told of denials: method, path and reasons."""
        return []

    @pytest.fixture
    def as_principal(self, store, denials):
        """Opens the store in the name of a principal, under the platform's policy."""
        engine = RegoEngine()

        def as_principal(env="dev", region=None, **principal) -> PolicedObjectStore:
            labels = PrincipalLabels(env=env, region=region)
            return PolicedObjectStore(
                store,
                engine,
                Principal(user="ada", labels=labels, **principal),
                on_denial=lambda request, decision: denials.append(
                    (request["method"], request["path"], decision.reasons)
                ),
            )

        return as_principal

    def test_the_default_principal_does_what_a_run_does(self, as_principal, denials):
        """Reading, writing, holding and deleting in the own environment pass through the policy."""
        store = as_principal()
        info = put(store)
        put(store, content=b"again", gdpr_class="personal")
        assert store.get(KEY) == b"again"
        assert store.info(KEY) != info
        assert store.exists(KEY)
        assert not store.exists(f"{KEY}.json")
        assert list(store.list()) == list(store.list("models")) == list(store.list("models/dev")) == [KEY]
        assert (store.folder("models/dev") / KEY.removeprefix("models/dev/")).read_bytes() == b"again"
        assert store.uri(KEY).endswith(KEY)
        assert store.set_legal_hold(KEY, held=True).legal_hold
        store.set_legal_hold(KEY, held=False)
        store.delete(KEY)
        with pytest.raises(ObjectMissingError):
            store.get(KEY)
        assert store.sweep() == 0
        assert denials == []

    def test_every_access_asks(self, store, as_principal, denials):
        """What another environment holds can neither be read, listed, addressed, written nor deleted."""
        put(store)
        stranger = as_principal(env="prod")
        accesses = {
            "GET": [
                lambda: stranger.get(KEY),
                lambda: stranger.list("models/dev"),
                lambda: stranger.folder("models/dev"),
            ],
            "HEAD": [lambda: stranger.info(KEY), lambda: stranger.exists(KEY), lambda: stranger.uri(KEY)],
            "PUT": [lambda: put(stranger), lambda: stranger.set_legal_hold(KEY, held=True)],
            "DELETE": [lambda: stranger.delete(KEY)],
        }
        for method, uses in accesses.items():
            for use in uses:
                with pytest.raises(
                    AccessDeniedError, match=f"ada may not {method} object models/dev.*label env"
                ):
                    use()
                assert denials.pop()[::2] == (method, ("label env prod does not match dev",))
        assert denials == []
        assert list(stranger.list()) == []
        assert store.get(KEY) == b"weights"

    def test_what_is_not_there_is_not_told_to_whom_may_not_read(self, as_principal):
        """Outside the own environment a missing object is denied as a present one is."""
        for use in (as_principal(env="prod").exists, as_principal(groups=()).get):
            with pytest.raises(AccessDeniedError):
                use(KEY)

    def test_sensitive_objects_are_for_privacy_alone(self, store, as_principal):
        """Engineers get neither the object nor a folder that holds it; privacy gets nothing else."""
        put(store, gdpr_class="internal")
        secret = KEY.replace("model.json", "patients.json")
        put(store, secret, gdpr_class="sensitive")
        engineer, privacy = as_principal(), as_principal(groups=("privacy",))
        assert engineer.get(KEY) == privacy.get(secret) == b"weights"
        for denied in (
            lambda: engineer.get(secret),
            lambda: engineer.folder(KEY.rpartition("/")[0]),
            lambda: privacy.get(KEY),
        ):
            with pytest.raises(AccessDeniedError, match="not in group"):
                denied()
        both = as_principal(groups=("ml-engineers", "privacy"))
        assert len(list(both.folder(KEY.rpartition("/")[0]).iterdir())) == 2

    def test_only_trainer_and_retention_write_and_delete(self, store, as_principal):
        """Readers cannot put, hold or delete; each of the two roles can."""
        reader = as_principal(roles=())
        for role in ("trainer", "retention"):
            writer = as_principal(roles=(role,), groups=())
            put(writer)
            with pytest.raises(AccessDeniedError, match="neither role trainer nor role retention"):
                put(reader, content=b"other")
            with pytest.raises(AccessDeniedError, match="role"):
                reader.delete(KEY)
            with pytest.raises(AccessDeniedError, match="role"):
                reader.set_legal_hold(KEY, held=True)
            assert reader.get(KEY) == b"weights"
            writer.delete(KEY)

    def test_an_object_stays_in_its_region(self, store, as_principal):
        """Neither readers nor writers of another region get at it, and a new object cannot claim one."""
        put(store, region="cn-shanghai")
        assert as_principal(region="cn-shanghai").get(KEY) == b"weights"
        elsewhere = as_principal(region="eu-west")
        for denied in (
            lambda: elsewhere.get(KEY),
            lambda: elsewhere.delete(KEY),
            lambda: put(elsewhere, content=b"taken over"),
            lambda: put(elsewhere, f"{KEY}.new", region="cn-shanghai"),
        ):
            with pytest.raises(AccessDeniedError, match="label region eu-west does not match cn-shanghai"):
                denied()
        assert store.get(KEY) == b"weights"


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

    @pytest.mark.parametrize("came_as_far_as", ["the metadata", "the bytes"])
    def test_a_replacement_that_was_killed_leaves_the_old_or_the_new(self, store, tmp_path, came_as_far_as):
        """Between its two renames a kill costs nothing: the bytes tell which object is there."""
        old = put(store, content=b"old", gdpr_class="personal")
        other = LocalObjectStore(tmp_path / "other")
        new = put(other, content=b"new", gdpr_class="public")
        (tmp_path / "other" / "metadata" / f"{KEY}.json").rename(store._pending_of(KEY))
        if came_as_far_as == "the bytes":
            (tmp_path / "other" / "data" / KEY).rename(tmp_path / "store" / "data" / KEY)
        expected, content = (new, b"new") if came_as_far_as == "the bytes" else (old, b"old")
        assert store.info(KEY) == expected
        assert store.get(KEY) == content
        assert store.sweep() == 0

    def test_objects_of_earlier_versions_are_read(self, store, tmp_path):
        """Metadata without the time, the hold and the region: the time is that of the file."""
        put(store)
        described = tmp_path / "store" / "metadata" / f"{KEY}.json"
        carried = json.loads(described.read_bytes())
        for name in ("stored-at", "legal-hold", "region"):
            del carried[name]
        described.write_text(json.dumps(carried))
        os.utime(tmp_path / "store" / "data" / KEY, (1_700_000_000, 1_700_000_000))
        info = store.info(KEY)
        assert info.stored_at == datetime.fromtimestamp(1_700_000_000, UTC)
        assert (info.legal_hold, info.region) == (False, None)
        assert store.get(KEY) == b"weights"

    @pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.long)])
    def test_killed_writers_leave_whole_objects(self, store, tmp_path, kills):
        """Killed at any moment: what was reported is there, what was replaced too, and a sweep leaves no rest."""
        root = tmp_path / "store"
        put(store, "models/dev/line/latest")
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
            store.get("models/dev/line/latest")
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


class TestS3ObjectStore(ObjectStoreContract):
    """A prefix of a bucket on a real S3 server."""

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, s3_endpoint):
        """The plain client, to act behind the store's back; its buckets are of this class alone."""
        boto3 = pytest.importorskip("boto3", reason="NO BOTO3: install the extra `dev` to test the S3 store")
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "secret"}
        client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="objects")
        client.create_bucket(Bucket="versioned")
        client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
        return client

    @pytest.fixture
    def open_store(self, client, s3_endpoint, tmp_path, monkeypatch):
        """Opens the store of an address, with credentials from the environment."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        return partial(S3ObjectStore, endpoint=s3_endpoint, region="us-east-1", cache=tmp_path / "cache")

    @pytest.fixture
    def root(self):
        """A prefix that nothing lies below."""
        return f"assets/{uuid4().hex}"

    @pytest.fixture
    def store(self, open_store, root):
        """An empty prefix of a bucket."""
        return open_store(f"s3://objects/{root}")

    @pytest.fixture
    def spoil(self, client, root):
        """Changes a byte of an object behind the store's back."""

        def spoil(key: str) -> None:
            found = client.get_object(Bucket="objects", Key=f"{root}/{key}")
            content = b"W" + found["Body"].read()[1:]
            client.put_object(Bucket="objects", Key=f"{root}/{key}", Body=content, Metadata=found["Metadata"])

        return spoil

    def test_what_an_object_carries_is_its_metadata(self, store, client, root):
        """`x-amz-meta-…` headers, and tags where a policy of the server looks."""
        info = put(store, region="cn-shanghai", retention_days=1)
        found = client.head_object(Bucket="objects", Key=f"{root}/{KEY}")
        assert found["Metadata"] == {
            "gdpr-class": "internal",
            "retention-days": "1",
            "source-commit": "0c0ffee",
            "sha256": info.sha256,
            "size-bytes": "7",
            "stored-at": info.stored_at.isoformat().replace("+00:00", "Z"),
            "legal-hold": "false",
            "region": "cn-shanghai",
        }
        store.set_legal_hold(KEY, held=True)
        tags = client.get_object_tagging(Bucket="objects", Key=f"{root}/{KEY}")["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {
            "gdpr-class": "internal",
            "region": "cn-shanghai",
        }

    def test_a_large_file_goes_up_in_parts(self, store, client, root, tmp_path):
        """It comes back whole, with all that it carries."""
        file = tmp_path / "weights"
        file.write_bytes(random.Random(0).randbytes(20 << 20))
        info = put(store, content=file, gdpr_class="personal")
        assert client.head_object(Bucket="objects", Key=f"{root}/{KEY}")["ETag"].strip('"').endswith("-3")
        assert store.info(KEY) == info
        assert store.set_legal_hold(KEY, held=True).sha256 == info.sha256
        assert (store.folder("models") / KEY.removeprefix("models/")).read_bytes() == file.read_bytes()

    def test_objects_without_our_metadata_do_not_exist(self, store, client, root):
        """What others put into the bucket is neither listed, read nor deleted."""
        for name in (KEY, f"{KEY} copy", "models/.keep"):
            client.put_object(Bucket="objects", Key=f"{root}/{name}", Body=b"stranger")
        assert not store.exists(KEY)
        assert list(store.list("models")) == []
        for use in (store.get, store.info, store.delete):
            with pytest.raises(ObjectMissingError, match=KEY):
                use(KEY)

    def test_garbled_metadata_is_damage(self, store, client, root):
        """Metadata that is not what a put writes is damage, whoever asks."""
        client.put_object(
            Bucket="objects", Key=f"{root}/{KEY}", Body=b"weights", Metadata={"gdpr-class": "internal"}
        )
        for read in (store.get, store.info):
            with pytest.raises(ObjectStoreError, match=f"object {KEY} is damaged"):
                read(KEY)

    def test_a_delete_leaves_no_version(self, open_store, client):
        """In a bucket that keeps versions, a deleted object has none left: nothing brings it back."""
        store = open_store("s3://versioned")
        put(store, content=b"first")
        put(store, content=b"second")
        put(store, f"{KEY}.sha256", b"neighbour")
        store.delete(KEY)
        left = client.list_object_versions(Bucket="versioned")
        assert [version["Key"] for version in left["Versions"]] == [f"{KEY}.sha256"]
        assert "DeleteMarkers" not in left

    def test_a_sweep_removes_what_was_overwritten(self, open_store, client):
        """Old versions, and what a killed delete left behind its marker, do not outlive the next sweep."""
        store = open_store("s3://versioned/swept")
        put(store, content=b"first")
        put(store, content=b"second")
        put(store, f"{KEY}.gone", b"third")
        client.delete_object(Bucket="versioned", Key=f"swept/{KEY}.gone")
        assert store.sweep() >= 3
        left = client.list_object_versions(Bucket="versioned", Prefix="swept/")
        assert [(each["Key"], each["IsLatest"]) for each in left["Versions"]] == [(f"swept/{KEY}", True)]
        assert "DeleteMarkers" not in left
        assert store.get(KEY) == b"second"
        store.delete(KEY)

    def test_a_folder_fetches_only_what_changed(self, store):
        """Copies whose hash fits are used again; one that was changed on this machine is fetched again."""
        put(store, "models/dev/line/1/a", b"first")
        put(store, "models/dev/line/1/b", b"second")
        folder = store.folder("models/dev/line/1")
        kept, lost = (folder / "a").stat().st_ino, (folder / "b").stat().st_ino
        (folder / "b").write_bytes(b"garble")
        store.folder("models/dev/line/1")
        assert (folder / "a").stat().st_ino == kept
        assert (folder / "b").stat().st_ino != lost
        assert (folder / "b").read_bytes() == b"second"

    def test_a_sweep_removes_copies_of_what_is_no_more(self, store, client, root):
        """What another machine deleted does not live on in this one's copies."""
        put(store, "models/dev/line/1/a")
        put(store, "models/dev/line/1/b")
        folder = store.folder("models/dev/line/1")
        client.delete_object(Bucket="objects", Key=f"{root}/models/dev/line/1/a")
        assert store.sweep() == 1
        assert [path.name for path in folder.iterdir()] == ["b"]

    def test_only_stale_uploads_are_swept(self, store, client, root, monkeypatch):
        """An upload that may still go on stays; one that was left a day ago goes."""
        client.create_multipart_upload(Bucket="objects", Key=f"{root}/{KEY}")
        assert store.sweep() == 0
        monkeypatch.setattr("resources.s3_object_store._STALE", timedelta(0))
        assert store.sweep() == 1
        assert store.sweep() == 0

    def test_a_server_that_does_not_answer_is_named(self, tmp_path, monkeypatch):
        """The error says which store and server, and which settings to look at."""
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        (port,) = free_ports(1)
        store = S3ObjectStore(
            "s3://objects", endpoint=f"http://127.0.0.1:{port}", region="us-east-1", cache=tmp_path
        )
        with pytest.raises(ObjectStoreError, match=rf"s3://objects at http.*{port}.*PLATFORM_S3_ENDPOINT"):
            store.get(KEY)

    @pytest.mark.parametrize(
        "address", ["", "s3://", "s3:///models", "bucket/prefix", "gs://bucket", "/srv/objects"]
    )
    def test_an_address_of_no_bucket_is_refused(self, address, tmp_path):
        """The address is named when the store is opened, not at the first read."""
        with pytest.raises(ObjectStoreError, match="use s3://bucket/prefix"):
            S3ObjectStore(address, endpoint=None, region="us-east-1", cache=tmp_path)

"""Checkpoints: whole or not there, never of another training, and cheap."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from platform_assets.models import checkpoints as module
from platform_assets.models.checkpoints import FolderCheckpoints, ObjectCheckpoints, TrainingState
from platform_assets.models.process_group import ProcessGroup
from resources.errors import PlatformError
from resources.object_store import LocalObjectStore, ObjectStoreError
from resources.policed_object_store import PolicedObjectStore
from resources.policy_engine import RegoEngine
from resources.s3_object_store import S3ObjectStore
from resources.settings import Principal
from tests.models.processes import Stopped, stop_at, train

PREFIX = "models/dev/reviews_small/0123456789abcdef.checkpoint"


def keep(checkpoints, content: bytes) -> None:
    """Keep these bytes."""
    checkpoints.save(lambda file: file.write_bytes(content))


class CheckpointsContract:
    """What every adapter promises. A subclass provides the fixtures `checkpoints` and `spoil`."""

    def test_nothing_is_there_at_first(self, checkpoints):
        """Nothing was kept, so nothing is found, and there is nothing to clear."""
        assert checkpoints.load() is None
        checkpoints.clear()

    def test_the_last_one_comes_back(self, checkpoints):
        """Of several that were kept the last is found, until all is cleared."""
        keep(checkpoints, b"first")
        keep(checkpoints, b"second")
        assert checkpoints.load().read_bytes() == b"second"
        checkpoints.clear()
        assert checkpoints.load() is None

    def test_one_that_could_not_be_written_leaves_the_one_before(self, checkpoints):
        """A writer that dies half way has kept nothing, and spoilt nothing."""

        def die_half_way(file: Path) -> None:
            file.write_bytes(b"sec")
            raise KeyboardInterrupt

        keep(checkpoints, b"first")
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(die_half_way)
        assert checkpoints.load().read_bytes() == b"first"

    def test_damage_is_found(self, checkpoints, spoil):
        """Bytes that are not those that were kept are an error and no checkpoint."""
        keep(checkpoints, b"first")
        spoil()
        with pytest.raises(PlatformError, match="damaged"):
            checkpoints.load()


class TestFolderCheckpoints(CheckpointsContract):
    """The folder of one machine."""

    @pytest.fixture
    def checkpoints(self, tmp_path):
        """An empty folder."""
        return FolderCheckpoints(tmp_path)

    @pytest.fixture
    def spoil(self, tmp_path):
        """Changes what is kept."""
        return lambda: next(tmp_path.glob("*.checkpoint")).write_bytes(b"other")

    def test_a_kill_between_two_leaves_one_that_is_whole(self, checkpoints, tmp_path):
        """Killed after the new file came and before the old one went: the new one counts, or else the old."""
        keep(checkpoints, b"first")
        (first,) = tmp_path.glob("*.checkpoint")
        kept = first.read_bytes()
        keep(checkpoints, b"second")
        (second,) = tmp_path.glob("*.checkpoint")
        first.write_bytes(kept)
        os.utime(first, ns=(0, 0))
        assert checkpoints.load() == second
        second.write_bytes(b"oth")
        assert checkpoints.load() == first


def policed(store) -> PolicedObjectStore:
    """The store as every process opens it: a trainer's requests are judged by the access policy."""
    return PolicedObjectStore(store, RegoEngine(), Principal(user="trainer"), on_denial=lambda *_: None)


class TestLocalObjectCheckpoints(CheckpointsContract):
    """The object store of one machine."""

    @pytest.fixture
    def checkpoints(self, tmp_path):
        """An empty store."""
        return ObjectCheckpoints(policed(LocalObjectStore(tmp_path)), PREFIX, source_commit="0c0ffee")

    @pytest.fixture
    def spoil(self, tmp_path):
        """Changes what is kept."""
        return lambda: (tmp_path / "data" / PREFIX / "checkpoint.pt").write_bytes(b"other")

    def test_it_goes_after_a_week(self, checkpoints, tmp_path):
        """The object is internal, of seven days, and says which spec it belongs to."""
        keep(checkpoints, b"first")
        info = LocalObjectStore(tmp_path).info(f"{PREFIX}/checkpoint.pt")
        assert (info.gdpr_class, info.retention_days, info.source_commit) == ("internal", 7, "0c0ffee")


class TestS3Checkpoints(CheckpointsContract):
    """A bucket of a real server."""

    @pytest.fixture
    def checkpoints(self, s3_bucket, s3_endpoint, tmp_path):
        """An empty bucket."""
        store = S3ObjectStore(
            f"s3://{s3_bucket}/objects", endpoint=s3_endpoint, region="us-east-1", cache=tmp_path
        )
        return ObjectCheckpoints(policed(store), PREFIX, source_commit="0c0ffee")

    @pytest.fixture
    def spoil(self, s3_bucket):
        """Puts other bytes under the same key, with the metadata as it was."""
        import boto3

        def spoil() -> None:
            client, key = boto3.client("s3"), f"objects/{PREFIX}/checkpoint.pt"
            metadata = client.head_object(Bucket=s3_bucket, Key=key)["Metadata"]
            client.put_object(Bucket=s3_bucket, Key=key, Body=b"other", Metadata=metadata)

        return spoil


class Part:
    """Something with a state."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, int]:
        """Its value."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take the value over."""
        self.value = state["value"]


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """The present."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    """The only clock that the module sees."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Slow(FolderCheckpoints):
    """Takes its time to save, or fails."""

    def __init__(self, folder: Path, clock: Clock, *, seconds: float) -> None:
        super().__init__(folder)
        self._clock = clock
        self._seconds = seconds
        self.failing = False

    def save(self, write) -> None:
        """Save, and be slow about it."""
        self._clock.seconds += self._seconds
        if self.failing:
            raise ObjectStoreError("the store is away")
        super().save(write)


@pytest.fixture
def make_state(clock, tmp_path):
    """Builds a state of one part, and its slow checkpoints."""

    def make_state(*, interval_seconds: float, save_seconds: float, identity: str = "this"):
        import torch

        checkpoints = Slow(tmp_path, clock, seconds=save_seconds)
        part = Part()
        state = TrainingState(
            {"part": part},
            checkpoints,
            identity=identity,
            group=ProcessGroup(0, 1, torch.device("cpu")),
            interval_seconds=interval_seconds,
        )
        return state, part, checkpoints

    return make_state


def saved_steps(state, part, clock, checkpoints, *, seconds: int) -> list[int]:
    """After which steps of a second each the state was saved; time that saving takes makes no step."""
    saved = []
    for step in range(1, seconds + 1):
        clock.seconds += 1
        part.value = step
        before = checkpoints.load()
        state.save_when_due(step)
        if checkpoints.load() != before:
            saved.append(step)
    return saved


@pytest.mark.parametrize(
    ("interval_seconds", "save_seconds", "expected"),
    [(20, 0.5, [20, 40, 60]), (20, 3, [20, 80]), (5, 0, [5, 10, 15, 20])],
)
def test_saving_costs_a_twentieth_at_most(make_state, clock, interval_seconds, save_seconds, expected):
    """The next save comes after the interval, or after twenty times what the last one took, whichever is longer."""
    state, part, checkpoints = make_state(interval_seconds=interval_seconds, save_seconds=save_seconds)
    assert saved_steps(state, part, clock, checkpoints, seconds=expected[-1]) == expected


def test_a_save_that_fails_is_tried_again(make_state, clock, caplog):
    """A store that is away for a while costs a warning and no training."""
    state, part, checkpoints = make_state(interval_seconds=10, save_seconds=0)
    checkpoints.failing = True
    assert saved_steps(state, part, clock, checkpoints, seconds=10) == []
    assert "no checkpoint after step 10" in caplog.text
    checkpoints.failing = False
    assert saved_steps(state, part, clock, checkpoints, seconds=10) == [10]


def test_a_state_comes_back_with_the_time_it_took(make_state, clock):
    """What was saved is put back whole, and seconds go on from where they were."""
    state, part, checkpoints = make_state(interval_seconds=10, save_seconds=0)
    assert state.restore() == 0
    saved_steps(state, part, clock, checkpoints, seconds=10)
    clock.seconds += 500
    later, again, _ = make_state(interval_seconds=10, save_seconds=0)
    assert later.restore() == 10
    assert again.value == 10
    clock.seconds += 2
    assert later.seconds == 12


@pytest.mark.parametrize("settled_step", [7, None])
def test_only_a_whole_state_is_saved_at_the_end(make_state, settled_step):
    """Ended between two steps, the last one is kept; ended within one, nothing is."""
    state, _, checkpoints = make_state(interval_seconds=1000, save_seconds=0)
    with pytest.raises(KeyboardInterrupt), state.kept_when_ended(lambda: settled_step):
        raise KeyboardInterrupt
    assert (checkpoints.load() is not None) == (settled_step is not None)


def test_an_error_saves_nothing(make_state):
    """A run that fails by itself would fail there again."""
    state, _, checkpoints = make_state(interval_seconds=1000, save_seconds=0)
    with pytest.raises(ValueError, match="wrong"), state.kept_when_ended(lambda: 7):
        raise ValueError("wrong")
    assert checkpoints.load() is None


def test_a_state_of_another_training_is_not_put_back(make_state, clock, caplog):
    """One warning, and the part is as it was."""
    state, part, checkpoints = make_state(interval_seconds=10, save_seconds=0)
    saved_steps(state, part, clock, checkpoints, seconds=10)
    other, untouched, _ = make_state(interval_seconds=10, save_seconds=0, identity="other")
    with caplog.at_level(logging.WARNING):
        assert other.restore() == 0
    assert untouched.value == 0
    (record,) = caplog.records
    assert "belongs to another configuration" in record.getMessage()


@pytest.fixture(scope="module")
def stopped(make_tokens, training_config, tmp_path_factory):
    """The checkpoint of a training that was ended after ten of twelve steps, as bytes."""
    folder = tmp_path_factory.mktemp("stopped")
    checkpoints = FolderCheckpoints(folder)
    with pytest.raises(Stopped):
        train(
            make_tokens(),
            training_config,
            output=folder / "model",
            checkpoints=checkpoints,
            on_progress=stop_at(10),
        )
    return checkpoints.load().read_bytes()


def test_an_ended_training_goes_on(trained, stopped, make_tokens, training_config, tmp_path):
    """It takes up where it was ended and ends with the weights of an undisturbed one."""
    checkpoints = FolderCheckpoints(tmp_path)
    keep(checkpoints, stopped)
    resumed = train(make_tokens(), training_config, output=tmp_path / "model", checkpoints=checkpoints)
    assert resumed.resumed_at_step == 10
    assert resumed.weights_sha256 == trained[0].weights_sha256


@pytest.mark.parametrize("what", ["configuration", "rows", "encoder", "garbage", "another pickle"])
def test_nothing_is_trained_on_that_does_not_belong(
    stopped, make_tokens, training_config, tmp_path, caplog, what, encoder
):
    """Another configuration, other rows, another encoder, and bytes that are no state: one warning, and a new start."""
    import torch

    checkpoints = FolderCheckpoints(tmp_path)
    tokens, settings, content = make_tokens(14), training_config, stopped
    if what == "configuration":
        tokens, settings = (
            make_tokens(),
            training_config.model_copy(update={"learning_rate": 2e-3, "epochs": 1}),
        )
    elif what == "encoder":
        from safetensors.torch import load_file, save_file

        shutil.copytree(encoder, tmp_path / "encoder")
        tensors = load_file(tmp_path / "encoder" / "model.safetensors")
        tensors["encoder.layer.0.output.dense.bias"] += 1e-3
        save_file(tensors, tmp_path / "encoder" / "model.safetensors", metadata={"format": "pt"})
        tokens, settings = (
            make_tokens(),
            training_config.model_copy(update={"model_location": str(tmp_path / "encoder")}),
        )
    elif what == "garbage":
        content = b"no state at all"
    elif what == "another pickle":
        torch.save(["no", "state"], tmp_path / "other")
        content = (tmp_path / "other").read_bytes()
    keep(checkpoints, content)
    with caplog.at_level(logging.WARNING, logger="platform_assets"), pytest.raises(Stopped):
        train(tokens, settings, output=tmp_path / "model", checkpoints=checkpoints, on_progress=stop_at(1))
    (warning,) = [record.getMessage() for record in caplog.records if "platform_assets" in record.name]
    assert warning.startswith("the checkpoint cannot be used, so training starts anew")


def test_saves_that_fail_are_tried_less_and_less_often(make_state, clock, caplog):
    """A disk that stays full for hours costs no warning every few seconds; once there is room, all is as before."""
    state, part, checkpoints = make_state(interval_seconds=10, save_seconds=0)
    checkpoints.failing = True
    assert saved_steps(state, part, clock, checkpoints, seconds=10 + 10 + 20 + 40) == []
    assert len(caplog.records) == 4
    checkpoints.failing = False
    assert saved_steps(state, part, clock, checkpoints, seconds=90) == [80, 90]


@pytest.mark.parametrize("kind", ["folder", "objects"])
def test_a_full_disk_costs_a_checkpoint_and_no_training(
    trained, small_disk, make_tokens, training_config, tmp_path, caplog, kind, monkeypatch
):
    """One clear warning, nothing half written in the way of anybody, and the weights of an undisturbed training."""
    monkeypatch.setattr(module, "_SAVING_COST", 0)
    disk = small_disk(1 << 20)
    checkpoints = FolderCheckpoints(disk / "checkpoints")
    if kind == "objects":
        store = policed(LocalObjectStore(disk / "objects"))
        checkpoints = ObjectCheckpoints(store, PREFIX, source_commit="0c0ffee")
    with caplog.at_level(logging.WARNING, logger="platform_assets"):
        result = train(
            make_tokens(),
            training_config,
            output=tmp_path / "model",
            checkpoints=checkpoints,
            checkpoint_interval_seconds=0.05,
        )
    assert result.weights_sha256 == trained[0].weights_sha256
    warnings = [record.getMessage() for record in caplog.records if "no checkpoint after" in record.message]
    assert warnings
    assert all("no space is left" in each and "free some space there" in each for each in warnings)
    assert not [path for path in disk.rglob("*") if path.is_file() and path.stat().st_size > 1000]

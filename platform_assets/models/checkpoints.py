"""The state of a training between two steps, kept so that a killed run goes on from it (docs/adr/0024).

A checkpoint is whole or it is not there. It carries the identity of what it belongs to, so that one that
is damaged, or of another configuration, is never trained on.
"""

import logging
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

from platform_assets.models.errors import TrainingError
from platform_assets.models.process_group import ProcessGroup
from resources.errors import PlatformError
from resources.object_store import ObjectMissingError, ObjectStore, sha256_of
from resources.outages import outage_of

RETENTION_DAYS: Final = 7
"""Of what a training leaves in the object store until it is over."""
_CHECKPOINT_FILE: Final = "checkpoint.pt"
_SUFFIX: Final = ".checkpoint"
_SAVING_COST: Final = 20
"""Between two saves lies at least so many times what the last one took: saving costs 5 % at most."""
_MOST_DOUBLINGS: Final = 5
"""Of the time between two saves while they fail one after the other."""

log = logging.getLogger(__name__)


class Checkpoints(Protocol):
    """Keeps the newest checkpoint of one training."""

    def save(self, write: Callable[[Path], None]) -> None:
        """Keep the file that `write` makes, in place of the one before; killed on the way, keep the one before."""
        ...

    def load(self) -> Path | None:
        """The file that was kept last, to be read only; None where there is none.

        Raises:
            PlatformError: its bytes are not those that were kept, or cannot be had.
        """
        ...

    def clear(self) -> None:
        """Keep nothing any more."""
        ...


class FolderCheckpoints:
    """A folder of this machine. The file's name is its own hash, so that one rename keeps both."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, write: Callable[[Path], None]) -> None:
        """See `Checkpoints.save`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        incoming = self._folder / "incoming"
        try:
            write(incoming)
            kept = self._folder / f"{sha256_of(incoming)}{_SUFFIX}"
            incoming.replace(kept)
        except BaseException:
            # On a full disk, half a checkpoint takes the place that the model will need.
            incoming.unlink(missing_ok=True)
            raise
        for earlier in self._found():
            if earlier != kept:
                earlier.unlink(missing_ok=True)

    def load(self) -> Path | None:
        """See `Checkpoints.load`."""
        found = self._found()
        for file in sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            if sha256_of(file) == file.stem:
                return file
        if found:
            raise TrainingError(f"the checkpoint in {self._folder} is damaged")
        return None

    def clear(self) -> None:
        """See `Checkpoints.clear`."""
        for file in [*self._found(), self._folder / "incoming"]:
            file.unlink(missing_ok=True)

    def _found(self) -> list[Path]:
        return list(self._folder.glob(f"*{_SUFFIX}"))


class ObjectCheckpoints:
    """An object, which outlives the pod that wrote it."""

    def __init__(self, store: ObjectStore, prefix: str, *, source_commit: str) -> None:
        """Touches nothing yet.

        Args:
            store: keeps the object.
            prefix: `models/<env>/<line>/<version>.checkpoint`; the object lies below it.
            source_commit: of the spec that is trained.
        """
        self._store = store
        self._prefix = prefix
        self._key = f"{prefix}/{_CHECKPOINT_FILE}"
        self._source_commit = source_commit

    def save(self, write: Callable[[Path], None]) -> None:
        """See `Checkpoints.save`."""
        with TemporaryDirectory(prefix="checkpoint-") as folder:
            file = Path(folder, _CHECKPOINT_FILE)
            write(file)
            self._store.put(
                self._key,
                file,
                gdpr_class="internal",
                retention_days=RETENTION_DAYS,
                source_commit=self._source_commit,
            )

    def load(self) -> Path | None:
        """See `Checkpoints.load`."""
        if not self._store.exists(self._key):
            return None
        return self._store.folder(self._prefix) / _CHECKPOINT_FILE

    def clear(self) -> None:
        """See `Checkpoints.clear`."""
        with suppress(ObjectMissingError):
            self._store.delete(self._key)


class TrainingState:
    """All that a step changes: read and put back as a whole, and saved as often as is worth it."""

    def __init__(
        self,
        parts: Mapping[str, Any],
        checkpoints: Checkpoints,
        *,
        identity: str,
        group: ProcessGroup,
        interval_seconds: float,
    ) -> None:
        """Reads nothing yet.

        Args:
            parts: model, optimizer and the like, by name: whatever has `state_dict` and `load_state_dict`.
            checkpoints: where the state is kept.
            identity: of everything that decides what the weights become.
            group: the processes that hold the same state. The first one saves it, and all of them read it.
            interval_seconds: shortest time between two saves.
        """
        self._parts = parts
        self._checkpoints = checkpoints
        self._identity = identity
        self._group = group
        self._interval_seconds = interval_seconds
        self._began = time.monotonic()
        self._next_save = self._began + interval_seconds
        self._saved_step = 0
        self._failures = 0

    @property
    def seconds(self) -> float:
        """Spent on training, before this process and in it."""
        return time.monotonic() - self._began

    def restore(self) -> int:
        """Put the kept state back, if there is one that fits; the step that it was taken after, or 0."""
        state = self._read()
        step = int(state["step"]) if state else 0
        # One that saw another state would train on in another place, and nobody would notice.
        if not self._group.agrees_on(step):
            log.warning("the processes do not find the same checkpoint: training starts anew")
            state = None
        self._began = time.monotonic()
        if state is None:
            return 0
        for name, part in self._parts.items():
            # A gradient scaler has no state where precision was not halved.
            if state[name]:
                part.load_state_dict(state[name])
        self._began -= float(state["seconds"])
        self._saved_step = step
        return step

    def save_when_due(self, step: int) -> None:
        """Save, in the first process, unless it has just done so."""
        if self._group.rank == 0 and time.monotonic() >= self._next_save:
            self._save(step)

    @contextmanager
    def kept_when_ended(self, settled_step: Callable[[], int | None]) -> Iterator[None]:
        """Save once more where this process is ended from outside.

        Args:
            settled_step: the step that all parts stand at; None where they were ended in the middle of one.
        """
        try:
            yield
        except Exception:
            raise
        except BaseException:
            # Whoever ends a process gives it some seconds, and what it has learnt is worth keeping.
            step = settled_step()
            if self._group.rank == 0 and step is not None and step > self._saved_step:
                self._save(step)
            raise

    def _save(self, step: int) -> None:
        """Keep the state after this step; where that fails, training goes on with the one before."""
        import torch

        began = time.monotonic()
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"identity": self._identity, "step": step, "seconds": self.seconds}

        def write(file: Path) -> None:
            # Into an open file: by a path, torch tells a full disk as an error of its own about positions.
            with file.open("wb") as sink:
                torch.save(state, sink)

        try:
            self._checkpoints.save(write)
        except (PlatformError, OSError, RuntimeError) as problem:
            # A checkpoint saves time if something happens. Without one, nothing is lost yet.
            self._failures += 1
            log.warning(
                "no checkpoint after step %s, the next one is tried later: %s",
                step,
                outage_of(problem) or problem,
            )
        else:
            self._failures = 0
            self._saved_step = step
        took_seconds = time.monotonic() - began
        pause_seconds = max(self._interval_seconds, _SAVING_COST * took_seconds)
        self._next_save = time.monotonic() + pause_seconds * 2 ** min(
            max(0, self._failures - 1), _MOST_DOUBLINGS
        )

    def _read(self) -> dict[str, Any] | None:
        import torch

        try:
            file = self._checkpoints.load()
            if file is None:
                return None
            state: dict[str, Any] = torch.load(file, map_location=self._group.device, weights_only=True)
            if state["identity"] != self._identity:
                raise TrainingError(f"{file} belongs to another configuration")
        except (
            *(PlatformError, OSError, pickle.UnpicklingError),
            *(RuntimeError, EOFError, LookupError, TypeError, ValueError),
        ) as problem:
            reason = " ".join(str(problem).split())[:300]
            log.warning("the checkpoint cannot be used, so training starts anew: %s", reason)
            return None
        return state

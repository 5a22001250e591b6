"""How a task trains: from features to a folder that holds a whole model."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, JsonValue

from platform_assets.models.checkpoints import Checkpoints
from platform_assets.models.hardware import Hardware
from platform_assets.models.scorer import Scorer
from platform_assets.models.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

S_contra = TypeVar("S_contra", bound=ModelSpec, contravariant=True)
C = TypeVar("C", bound="TrainingConfig")
C_contra = TypeVar("C_contra", bound="TrainingConfig", contravariant=True)

ProgressCallback = Callable[[int, dict[str, float]], None]
"""Called with (optimizer step, metrics): loss, learning_rate, rows_per_second."""

EpochCallback = Callable[[int, Path], None]
"""Called with (epoch, folder): the number of an epoch that is over, from 1, and the model's files as `Trainer.fit` would
leave them if it ended there. The folder is the caller's until it returns, and goes then."""


class TrainingConfig(BaseModel):
    """What a process that trains is told; each task's has the rest. It travels as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    gpu: int = 0
    mixed_precision: bool = True
    threads: int | None = None
    """CPU threads of each process; None for its share of all that it may use."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What training tells about itself. `output` holds the model's files."""

    output: Path
    weights_sha256: str
    steps: int
    resumed_at_step: int
    final_loss: float
    train_seconds: float
    rows: int
    hardware: Hardware


class Trainer(Protocol[S_contra, C]):
    """How a task trains and answers. Equal features and equal configuration give an equal model on a CPU."""

    @property
    def code(self) -> str:
        """Version of the code that trains."""
        ...

    @property
    def description(self) -> str:
        """What the model is, for people."""
        ...

    @property
    def kinds(self) -> Collection[str]:
        """What it is trained with, as Dagster shows it."""
        ...

    @property
    def fields(self) -> Collection[str]:
        """Fields of the spec that decide; one run may change each of them."""
        ...

    @property
    def config_type(self) -> type[C]:
        """What `fit` is told."""
        ...

    def upstream(self, spec: S_contra, recipe: Mapping[str, JsonValue]) -> Mapping[str, str]:
        """Identity of what a model of this spec starts from besides the features of this recipe, by name."""
        ...

    def config(self, spec: S_contra, recipe: Mapping[str, JsonValue]) -> C:
        """How a model of this spec is trained on features of this recipe.

        Raises:
            PlatformError: what it starts from is not there.
        """
        ...

    def fit(
        self,
        rows: "pa.Table",
        config: C,
        *,
        output: Path,
        checkpoints: Checkpoints,
        checkpoint_interval_seconds: float,
        on_progress: ProgressCallback | None,
    ) -> TrainingResult:
        """Train on the rows of split `train`.

        Args:
            rows: Features, columns `label` and `split` among them.
            config: How.
            output: Folder to be filled with the model's files; it appears whole or not at all.
            checkpoints: Keeps this model's checkpoint, for a training that may take long. A killed run that is
                started again with the same input goes on from there and ends with the same weights.
            checkpoint_interval_seconds: Shortest time between two checkpoints.
            on_progress: Told of progress.

        Raises:
            TrainingError: the rows cannot be trained on.
        """
        ...

    def complete(self, output: Path, recipe: Mapping[str, JsonValue], state: Mapping[str, bytes]) -> None:
        """Add what a scorer needs beside the weights: the recipe and fitted state of the features."""
        ...

    def load(self, folder: Path, *, gpu: int = 0, mixed_precision: bool = False) -> Scorer:
        """The model saved in `folder`, on a GPU where one is asked for and present. Runs no code of the files."""
        ...


@runtime_checkable
class ShowsEpochs(Protocol[C_contra]):
    """A trainer that trains in epochs, and can show after each what the model has come to."""

    def fit_showing(
        self,
        rows: "pa.Table",
        config: C_contra,
        *,
        output: Path,
        checkpoints: Checkpoints,
        checkpoint_interval_seconds: float,
        on_progress: ProgressCallback | None,
        on_epoch: EpochCallback | None,
    ) -> TrainingResult:
        """As `Trainer.fit`, and with the same result.

        Args:
            rows: See there.
            config: See there.
            output: See there.
            checkpoints: See there.
            checkpoint_interval_seconds: See there.
            on_progress: See there.
            on_epoch: Is shown the model after each epoch but the last, whose model is the result. Of a training that goes
                on from a checkpoint, epochs that were over before are not shown again.
        """
        ...


AnyTrainer = Trainer[Any, Any]

"""Training a network by steps, in this process or together with others.

    result = train(recipe, rows, config, output=folder, checkpoints=FolderCheckpoints(folder), …)

What is trained is the task's: a `TorchRecipe` brings rows, their form as tensors, the network and how fast each
parameter learns. What makes it fast where nothing else is: batches of rows of similar size, half precision where the
hardware has it. Where a recipe asks for an average of its weights over the steps (Polyak & Juditsky 1992), that is what
is saved.

Symbols: N rows, B rows in a global batch, W processes. Every process builds the same batches and takes every W-th row
of each.
"""

import hashlib
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from platform_assets.models.batches import batches_of
from platform_assets.models.checkpoints import Checkpoints, TrainingState
from platform_assets.models.errors import TrainingError
from platform_assets.models.hardware import Hardware, autocast, detect_hardware
from platform_assets.models.hyper_parameters import HyperParameters
from platform_assets.models.process_group import ProcessGroup
from platform_assets.models.progress import Progress
from platform_assets.models.trainer import (
    EpochCallback,
    ProgressCallback,
    TrainingConfig,
    TrainingResult,
)

_AVERAGED: Final = 4
"""An average reaches back over at most one in so many steps: of its start, e^-4 = 2 % are left at the end."""

log = logging.getLogger(__name__)

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class StepConfig(TrainingConfig, HyperParameters):
    """How a network is trained by steps, and what the hardware is asked for."""


class TorchRecipe(Protocol[R_contra]):
    """What a task brings to the loop; R is a row in whatever form suits it."""

    def sizes(self, rows: Sequence[R_contra]) -> NDArray[np.int64]:
        """How much work each row is, such as the length of a sequence; shape (N,). Rows of similar size share a batch."""
        ...

    def build(self) -> Any:
        """The network as it is before the first step; parameters that do not learn need no gradient.

        Raises:
            TrainingError: what it starts from cannot be loaded.
        """
        ...

    def parameter_groups(self, network: Any) -> list[dict[str, Any]]:
        """The learning parameters in torch's groups, each with `lr` and `weight_decay`."""
        ...

    def tensors(self, rows: Sequence[R_contra], device: Any) -> tuple[tuple[Any, ...], Any]:
        """What the network is called with for these rows, and their labels."""
        ...

    def loss(self, outputs: Any, labels: Any) -> Any:
        """The sum of the rows' losses, in float32."""
        ...

    def identity(self, rows: Sequence[R_contra]) -> Iterable[bytes]:
        """All that decides what the weights become, besides the network's first state."""
        ...

    def save(self, network: Any, folder: Path) -> Sequence[str]:
        """Write the network's files into `folder`; returns the names of those with weights."""
        ...


def train(
    recipe: TorchRecipe[R],
    rows: Sequence[R],
    config: StepConfig,
    *,
    output: Path,
    checkpoints: Checkpoints,
    checkpoint_interval_seconds: float = 20.0,
    on_progress: ProgressCallback | None = None,
    on_epoch: EpochCallback | None = None,
) -> TrainingResult:
    """Train the recipe's network on all rows; equal input gives equal weights on a CPU, whoever looks on.

    Args:
        recipe: What is trained, and how its rows become tensors.
        rows: To train on; at least one.
        config: How weights move, and on what hardware.
        output: folder to be filled with the network's files; it appears whole or not at all.
        checkpoints: keeps this model's checkpoint. A killed run that is started again with the same
            input continues from there and ends with the same weights.
        checkpoint_interval_seconds: shortest time between two checkpoints.
        on_progress: called at the first step, every ten steps or more, and at the last step.
        on_epoch: is shown the network that would be kept, after each epoch but the last; in the first process.

    Raises:
        TrainingError: no rows, a network that cannot be loaded, or a loss that is not finite.
    """
    import torch

    if not rows:
        raise TrainingError("split 'train' has 0 rows; check train_rows and split in the spec")
    hardware = _prepare_hardware(config)
    group = ProcessGroup.join(hardware.device)
    hardware = replace(hardware, processes=group.size)
    if min(len(rows), config.batch_size) < group.size:
        log.warning(
            "a batch of %s rows leaves some of the %s processes without any: raise batch_size, or ask for less",
            min(len(rows), config.batch_size), group.size,
        )  # fmt: skip
    torch.manual_seed(config.seed)
    network = recipe.build()
    identity = _identity(recipe.identity(rows), network)
    sizes = recipe.sizes(rows)
    steps_per_epoch = math.ceil(len(rows) / config.batch_size)
    total_steps = steps_per_epoch * config.epochs
    learner = _Learner(recipe, network.to(group.device), config, total_steps, hardware, group)
    state = TrainingState(
        learner.parts, checkpoints, identity=identity, group=group, interval_seconds=checkpoint_interval_seconds
    )  # fmt: skip
    first_step = state.restore()
    log.info(
        "training on %s rows: %s steps of %s on %s in %s%s",
        f"{len(rows):,}", total_steps, config.batch_size, hardware.name, hardware.precision,
        f"; goes on after step {first_step}" if first_step else "",
    )  # fmt: skip
    progress = Progress(
        total_steps, config.epochs * int(sizes.sum()), on_progress if group.rank == 0 else None
    )
    loss = math.nan
    batches = batches_of(sizes, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed)
    with state.kept_when_ended(lambda: learner.settled_step):
        for step, batch in enumerate(batches, start=1):
            progress.work(int(sizes[batch].sum()))
            if step <= first_step:
                continue
            part = learner.learn([rows[row] for row in batch], step)
            if progress.due(step):
                loss = _finite(group.mean(part), step, total_steps)
                progress.report(step, loss, learner.rate, len(batch), seconds=state.seconds)
            if step < total_steps:
                state.save_when_due(step)
                if on_epoch and group.rank == 0 and step % steps_per_epoch == 0:
                    _show(recipe, learner.result, output, step // steps_per_epoch, on_epoch)
    seconds = state.seconds
    weights = _saved(recipe, learner.result, output) if group.rank == 0 else ""
    group.leave()
    return TrainingResult(
        output=output,
        weights_sha256=weights,
        steps=total_steps,
        resumed_at_step=first_step,
        final_loss=loss,
        train_seconds=seconds,
        rows=len(rows),
        hardware=hardware,
    )


def _prepare_hardware(config: StepConfig) -> Hardware:
    import torch

    hardware = detect_hardware(gpu=config.gpu, mixed_precision=config.mixed_precision, threads=config.threads)
    torch.set_num_threads(hardware.threads)
    if hardware.device == "cpu":
        torch.use_deterministic_algorithms(mode=True)
        # By default that also fills whatever is allocated, a sixth of a step, so that reading it before it is written shows.
        torch.utils.deterministic.fill_uninitialized_memory = False
    return hardware


def _schedule(config: HyperParameters, total_steps: int) -> Callable[[int], float]:
    """What the highest rate is multiplied by at each step, counted from 0."""
    warmup = max(1, round(total_steps * config.warmup_fraction))

    def factor(step: int) -> float:
        left = min(1.0, max(0.0, (total_steps - step) / max(1, total_steps - warmup)))
        if config.schedule == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return min((step + 1) / warmup, left)

    return factor


def _average(network: Any, decay: float, total_steps: int) -> Any:
    """A copy of the network that follows it slowly, buffers such as running means of layers too.

    It begins as the network after the first step. Where steps are few, it follows faster: of 0.99 and 100 steps, more
    than a third of what is kept would be what nothing has been learnt by.
    """
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    decay = min(decay, max(0.0, 1 - _AVERAGED / total_steps))
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _finite(loss: float, step: int, total_steps: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} at step {step} of {total_steps}; lower learning_rate or clip_norm"
        )
    return loss


class _Learner(Generic[R]):
    """A network and all that moves it, one step at a time."""

    def __init__(
        self,
        recipe: TorchRecipe[R],
        network: Any,
        config: StepConfig,
        total_steps: int,
        hardware: Hardware,
        group: ProcessGroup,
    ) -> None:
        import torch

        self._recipe = recipe
        self._network = network.train()
        self._average = _average(network, config.average_decay, total_steps) if config.average_decay else None
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(recipe.parameter_groups(network), fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, _schedule(config, total_steps))
        self._scaler = torch.amp.GradScaler(enabled=hardware.precision == "float16")
        self._config = config
        self._hardware = hardware
        self._group = group
        self.settled_step: int | None = None
        """The step that all parts stand at; None while some of them have moved on and others have not."""

    @property
    def parts(self) -> dict[str, Any]:
        """All that a step changes."""
        return {
            "model": self._network,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "scaler": self._scaler,
            **({} if self._average is None else {"average": self._average}),
        }

    @property
    def result(self) -> Any:
        """The network that is kept."""
        return self._network if self._average is None else self._average.module

    @property
    def rate(self) -> float:
        """The next step's learning rate of the last group."""
        return float(self._schedule.get_last_lr()[-1])

    def learn(self, batch: list[R], step: int) -> Any:
        """Take one step on a global batch; this process's part of the loss."""
        import torch

        group = self._group
        # What a step draws follows from its number: a run that goes on draws the same, each process its own.
        drawn = np.random.SeedSequence((self._config.seed, step, group.rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(drawn[0]))
        mine = batch[group.rank :: group.size]
        # A batch of fewer rows than processes leaves some without any: those take a row of no weight.
        weight = group.size / len(batch) if mine else 0.0
        inputs, labels = self._recipe.tensors(mine or batch[:1], group.device)
        with autocast(self._hardware):
            outputs = self._network(*inputs)
        # Averaging gradients over W processes divides by W: this sum is the mean over the global batch.
        loss = self._recipe.loss(outputs, labels) * weight
        self._scaler.scale(loss).backward()
        group.average_gradients(self._parameters)
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        self.settled_step = None
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._network)
        self.settled_step = step
        self._optimizer.zero_grad(set_to_none=True)
        return loss


def _identity(parts: Iterable[bytes], network: Any) -> str:
    """Of everything that decides what the weights become, whichever machine computes them."""
    import torch

    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _show(recipe: TorchRecipe[R], network: Any, output: Path, epoch: int, on_epoch: EpochCallback) -> None:
    """Let somebody see the network's folder; whatever he draws, and on how many threads, training goes on as before."""
    import torch

    shown, threads = output.with_name(output.name + ".epoch"), torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            _saved(recipe, network, shown)
            on_epoch(epoch, shown)
    finally:
        torch.set_num_threads(threads)
        shutil.rmtree(shown, ignore_errors=True)


def _saved(recipe: TorchRecipe[R], network: Any, output: Path) -> str:
    """Write the network's folder and return the hash of its weights."""
    incoming = output.with_name(output.name + ".incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.rmtree(output, ignore_errors=True)
    incoming.mkdir(parents=True)
    digest = hashlib.sha256()
    for name in recipe.save(network, incoming):
        digest.update((incoming / name).read_bytes())
    incoming.replace(output)
    return digest.hexdigest()

"""Fine-tuning a text encoder, in this process or together with others.

    result = train(tokens, config, output=folder, checkpoints=FolderCheckpoints(folder))

What makes it fast where nothing else is: batches of similar length padded to the longest text in them,
frozen embeddings, half precision where the hardware has it, no dropout inside the encoder for short runs.

Symbols: N rows, B rows in a global batch, L tokens in the longest text of a batch, H hidden size,
W processes. Every process builds the same batches and takes every W-th row of each.
"""

import hashlib
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platform_assets.models.batches import Row, batches_of, padded
from platform_assets.models.checkpoints import Checkpoints, TrainingState
from platform_assets.models.errors import TrainingError
from platform_assets.models.hyper_parameters import HyperParameters
from platform_assets.models.world import World, processes_of_this_machine

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_PROGRESS_INTERVAL_SECONDS = 10.0
_MINIMUM_REPORT_STEPS = 10
_OPERATIONS_PER_SECOND = {
    ("cpu", False): 4.5e10,
    ("cpu", True): 1e11,
    ("cuda", False): 1e13,
    ("cuda", True): 4e13,
}
"""By device and whether precision is halved; of one CPU thread, or of one GPU. Good for an announcement, no more."""
_REPORTS = 100
_LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")

ProgressCallback = Callable[[int, dict[str, float]], None]
"""Called with (optimizer step, metrics): loss, learning_rate, rows_per_second."""


class TrainingConfig(HyperParameters):
    """Hyper-parameters, the encoder to start from, and what the hardware is asked for."""

    model_location: str
    """A folder or a Hugging Face id."""
    gpu: int = 0
    mixed_precision: bool = True
    pad_id: int = 0
    threads: int | None = None
    """CPU threads of each process; None for its share of all that it may use."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where and in which precision it runs; recorded as lineage."""

    device: str
    precision: str
    """`float32`, `bfloat16` or `float16`: the type of the encoder's matrix products."""
    threads: int
    """Of each process."""
    name: str
    processes: int = 1
    """How many trained together."""


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


def train(
    tokens: "pa.Table",
    config: TrainingConfig,
    *,
    output: Path,
    checkpoints: Checkpoints,
    checkpoint_interval_seconds: float = 20.0,
    on_progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Fine-tune on the rows of split `train`; equal input gives equal weights on a CPU.

    Args:
        tokens: columns token_ids (list of int32), label (0 or 1), split.
        config: hyper-parameters and the encoder to start from.
        output: folder to be filled with config.json, model.safetensors and head.safetensors; it appears
            whole or not at all.
        checkpoints: keeps this model's checkpoint. A killed run that is started again with the same
            input continues from there and ends with the same weights.
        checkpoint_interval_seconds: shortest time between two checkpoints.
        on_progress: called at the first step, every ten steps or more, and at the last step.

    Raises:
        TrainingError: no rows, a label outside {0, 1}, an encoder that cannot be loaded, or a loss that
            is not finite.
    """
    import torch

    rows = _training_rows(tokens)
    hardware = _prepare_hardware(config)
    world = World.join(hardware.device)
    hardware = replace(hardware, processes=world.size)
    if min(len(rows), config.batch_size) < world.size:
        log.warning(
            "a batch of %s rows leaves some of the %s processes without any: raise batch_size, or ask for less",
            min(len(rows), config.batch_size), world.size,
        )  # fmt: skip
    torch.manual_seed(config.seed)
    model = build_classifier(config.model_location, dropout=config.dropout)
    identity = _identity(rows, config, model)
    total_steps = math.ceil(len(rows) / config.batch_size) * config.epochs
    learner = _Learner(model.to(world.device), config, total_steps, hardware, world)
    state = TrainingState(
        learner.parts, checkpoints, identity=identity, world=world, interval_seconds=checkpoint_interval_seconds
    )  # fmt: skip
    first_step = state.restore()
    seconds_in_all = estimate_seconds(
        config.epochs * sum(len(ids) for ids, _ in rows), learner.trained_parameters, hardware
    )
    log.info(
        "training on %s rows: %s steps of %s on %s in %s, roughly %.0f minutes in all%s",
        f"{len(rows):,}", total_steps, config.batch_size, hardware.name, hardware.precision,
        max(1.0, seconds_in_all / 60), f"; goes on after step {first_step}" if first_step else "",
    )  # fmt: skip
    reporter = _Reporter(total_steps, on_progress if world.rank == 0 else None)
    loss = math.nan
    batches = batches_of(rows, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed)
    with state.kept_when_ended(lambda: learner.settled_step):
        for step, batch in enumerate(batches, start=1):
            if step <= first_step:
                continue
            part = learner.learn([rows[row] for row in batch], step)
            if reporter.due(step):
                loss = _finite(world.mean(part), step, total_steps)
                reporter.report(step, loss, learner.rate, len(batch))
            if step < total_steps:
                state.save_when_due(step)
    seconds = state.seconds
    weights = _save_model(model, config, output) if world.rank == 0 else ""
    world.leave()
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


def build_classifier(location: str, *, dropout: float) -> Any:
    """A `TextClassifier` on the encoder at `location`, its head freshly initialised.

    Raises:
        TrainingError: no encoder can be loaded from there.
    """
    from transformers import AutoConfig, AutoModel

    from platform_assets.models.classifier import TextClassifier

    try:
        encoder_config = AutoConfig.from_pretrained(location)
        # One short epoch gains nothing from noise inside the encoder, and drawing it costs a seventh of a step.
        for name in ("attention_probs_dropout_prob", "hidden_dropout_prob", "attention_dropout", "dropout"):
            if hasattr(encoder_config, name):
                setattr(encoder_config, name, 0.0)
        encoder = AutoModel.from_pretrained(location, config=encoder_config)
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise TrainingError(
            f"model_name {location}: no encoder can be loaded ({reason}); name a folder or a Hugging Face id"
        ) from problem
    return TextClassifier(encoder, dropout=dropout)


def score(
    token_ids: "list[NDArray[np.int32]]",
    model: Any,
    *,
    pad_id: int,
    hardware: Hardware,
    batch_rows: int = 32,
    label: str = "scoring",
) -> "NDArray[np.float64]":
    """Probability of label 1 for each row, shape (N,), in the order given.

    Rows are scored in batches of similar length.
    """
    import torch

    order = np.argsort([-len(ids) for ids in token_ids], kind="stable")
    scores = np.empty(len(token_ids))
    device = next(model.parameters()).device
    model.eval()
    told = time.monotonic()
    with torch.inference_mode(), _autocast(hardware):
        for start in range(0, len(order), batch_rows):
            chosen = order[start : start + batch_rows]
            ids, mask, _ = padded([(token_ids[row], 0) for row in chosen], pad_id, device)
            scores[chosen] = model(ids, mask).float().softmax(dim=1)[:, 1].double().cpu().numpy()
            if time.monotonic() - told > _PROGRESS_INTERVAL_SECONDS:
                told = time.monotonic()
                log.info("%s: %s of %s rows", label, f"{start + len(chosen):,}", f"{len(order):,}")
    return scores


def detect_hardware(*, gpu: int, mixed_precision: bool, threads: int | None = None) -> Hardware:
    """The device and precision a spec's wishes come to on this machine.

    A spec that asks for a GPU where there is none runs on the CPU, with one warning.
    """
    import torch

    threads = threads or max(1, len(os.sched_getaffinity(0)) // processes_of_this_machine())
    if gpu and torch.cuda.is_available():
        precision = "float32"
        if mixed_precision:
            precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return Hardware("cuda", precision, threads, torch.cuda.get_device_name())
    if gpu:
        log.warning("the spec asks for %s GPU and this machine has none: running on the CPU", gpu)
    precision = "bfloat16" if mixed_precision and _cpu_multiplies_bfloat16() else "float32"
    return Hardware("cpu", precision, threads, f"CPU with {threads} threads")


def usable_gpus(gpu: int) -> int:
    """How many of the GPUs that a spec asks for this machine has; fewer cost a warning."""
    if gpu <= 1:
        return gpu
    import torch

    usable = min(gpu, int(torch.cuda.device_count()))
    # Of none at all, whoever trains on the CPU instead warns.
    if 0 < usable < gpu:
        log.warning("the spec asks for %s GPUs and this machine has %s: training on those", gpu, usable)
    return usable


def estimate_seconds(tokens: int, parameters: int, hardware: Hardware) -> float:
    """A rough training time: six operations for each token and parameter (Kaplan et al. 2020), at measured rates.

    Args:
        tokens: trained on, over all epochs.
        parameters: that are trained.
        hardware: where.
    """
    rate = _OPERATIONS_PER_SECOND[hardware.device, hardware.precision != "float32"]
    return 6 * tokens * parameters / rate / (hardware.threads if hardware.device == "cpu" else 1)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has bfloat16 products; emulated ones are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _prepare_hardware(config: TrainingConfig) -> Hardware:
    import torch

    hardware = detect_hardware(gpu=config.gpu, mixed_precision=config.mixed_precision, threads=config.threads)
    torch.set_num_threads(hardware.threads)
    if hardware.device == "cpu":
        torch.use_deterministic_algorithms(mode=True)
    return hardware


def _autocast(hardware: Hardware) -> Any:
    import torch

    if hardware.precision == "float32":
        return nullcontext()
    return torch.autocast(hardware.device, getattr(torch, hardware.precision))


def _training_rows(tokens: "pa.Table") -> list[Row]:
    import pyarrow.compute as pc

    chosen = tokens.filter(pc.equal(tokens["split"], "train"))
    labels = chosen["label"].to_numpy()
    if not len(labels):
        raise TrainingError("split 'train' has 0 rows; check train_rows and split in the spec")
    if not np.isin(labels, (0, 1)).all():
        raise TrainingError(
            f"{int((~np.isin(labels, (0, 1))).sum())} of {len(labels)} training rows have a label outside {{0, 1}}"
        )
    return list(zip(token_lists(chosen), labels.tolist(), strict=True))


def token_lists(tokens: "pa.Table") -> "list[NDArray[np.int32]]":
    """Column token_ids as one array per row, without a copy per token."""
    column = tokens["token_ids"].combine_chunks()
    values = column.flatten().to_numpy()
    lengths = column.value_lengths().to_numpy()
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _parameter_groups(model: Any, config: TrainingConfig) -> list[dict[str, Any]]:
    """One group per learning rate and decay: lower layers learn more slowly, vectors are not decayed."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    numbers = {name: int(found.group(1)) for name, _ in named if (found := _LAYER_NUMBER.search(name))}
    top = max(numbers.values(), default=0)
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in named:
        if not name.startswith("encoder."):
            rate = config.head_learning_rate
        elif name in numbers:
            rate = config.learning_rate * config.layer_decay ** (top - numbers[name])
        elif "embeddings" in name:
            rate = config.learning_rate * config.layer_decay ** (top + 1)
        else:
            rate = config.learning_rate
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()
    ]


def _linear_schedule(total_steps: int, warmup_fraction: float) -> Callable[[int], float]:
    warmup = max(1, round(total_steps * warmup_fraction))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, max(0.0, (total_steps - step) / max(1, total_steps - warmup)))

    return factor


def _finite(loss: float, step: int, total_steps: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} at step {step} of {total_steps}; lower learning_rate or clip_norm"
        )
    return loss


class _Learner:
    """A model and all that moves it, one step at a time."""

    def __init__(
        self, model: Any, config: TrainingConfig, total_steps: int, hardware: Hardware, world: World
    ) -> None:
        import torch

        if config.freeze_embeddings:
            for name, parameter in model.encoder.named_parameters():
                if name.startswith("embeddings."):
                    parameter.requires_grad = False
        self._model = model.train()
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(_parameter_groups(model, config), fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, _linear_schedule(total_steps, config.warmup_fraction)
        )
        self._scaler = torch.amp.GradScaler(enabled=hardware.precision == "float16")
        self._config = config
        self._hardware = hardware
        self._world = world
        self.settled_step: int | None = None
        """The step that all parts stand at; None while some of them have moved on and others have not."""

    @property
    def parts(self) -> dict[str, Any]:
        """All that a step changes."""
        return {
            "model": self._model,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "scaler": self._scaler,
        }

    @property
    def trained_parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self._parameters)

    @property
    def rate(self) -> float:
        """The next step's learning rate of the head."""
        return float(self._schedule.get_last_lr()[-1])

    def learn(self, batch: list[Row], step: int) -> Any:
        """Take one step on a global batch; this process's part of the loss."""
        import torch

        world = self._world
        # What a step draws follows from its number: a run that goes on draws the same, each process its own.
        drawn = np.random.SeedSequence((self._config.seed, step, world.rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(drawn[0]))
        mine = batch[world.rank :: world.size]
        # A batch of fewer rows than processes leaves some without any: those take a row of no weight.
        weight = world.size / len(batch) if mine else 0.0
        ids, mask, labels = padded(mine or batch[:1], self._config.pad_id, world.device)
        with _autocast(self._hardware):
            logits = self._model(ids, mask)
        # Averaging gradients over W processes divides by W: this sum is the mean over the global batch.
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum") * weight
        self._scaler.scale(loss).backward()
        world.average_gradients(self._parameters)
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        self.settled_step = None
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self.settled_step = step
        self._optimizer.zero_grad(set_to_none=True)
        return loss


def _identity(rows: list[Row], config: TrainingConfig, model: Any) -> str:
    """Of everything that decides what the weights become, whichever machine computes them."""
    import torch

    elsewhere = {"model_location", "threads", "gpu", "mixed_precision"}
    digest = hashlib.sha256(config.model_dump_json(exclude=elsewhere).encode())
    digest.update(np.array([(len(ids), label) for ids, label in rows], dtype=np.int64).tobytes())
    for ids, _ in rows:
        digest.update(ids.tobytes())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class _Reporter:
    """Tells progress at the first step, at about a hundred steps between, and at the last."""

    def __init__(self, total_steps: int, callback: ProgressCallback | None) -> None:
        self._total = total_steps
        self._callback = callback
        self._every = max(_MINIMUM_REPORT_STEPS, total_steps // _REPORTS)
        self._began: tuple[float, int] | None = None

    def due(self, step: int) -> bool:
        return self._began is None or step % self._every == 0 or step == self._total

    def report(self, step: int, loss: float, learning_rate: float, batch_rows: int) -> None:
        now = time.monotonic()
        measured = {"loss": loss, "learning_rate": learning_rate}
        told = f"step {step} of {self._total}: loss {loss:.4f}"
        if self._began is None:
            # The first step also pays for warming up; rates count from its end.
            self._began = (now, step)
        elif step > self._began[1]:
            seconds_per_step = (now - self._began[0]) / (step - self._began[1])
            measured["rows_per_second"] = batch_rows / seconds_per_step
            told += f", {measured['rows_per_second']:.1f} rows/s, {seconds_per_step * (self._total - step):.0f} s left"
        log.info(told)
        if self._callback:
            self._callback(step, measured)


def _save_model(model: Any, config: TrainingConfig, output: Path) -> str:
    """Write the model's folder and return the hash of its weights."""
    incoming = output.with_name(output.name + ".incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.rmtree(output, ignore_errors=True)
    model.save(incoming, pad_id=config.pad_id)
    digest = hashlib.sha256()
    for name in ("model.safetensors", "head.safetensors"):
        digest.update((incoming / name).read_bytes())
    incoming.replace(output)
    return digest.hexdigest()

"""Fine-tuning a text encoder: one module for a function call, `python -m`, and `torchrun`.

    result = train(tokens, config, output=folder, checkpoints=folder)
    python -m platform_assets.models.training --tokens tokens.parquet --config config.json --output folder
    torchrun --nproc-per-node 2 -m platform_assets.models.training …

What makes it fast where nothing else is: batches of similar length padded to the longest text in them,
frozen embeddings, half precision where the hardware has it, no dropout inside the encoder for short runs.

Symbols: N rows, B rows in a global batch, L tokens in the longest text of a batch, H hidden size,
W processes. Every process builds the same batches and takes every W-th row of each.
"""

import argparse
import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platform_assets.models.errors import TrainingError
from platform_assets.models.hyper_parameters import HyperParameters

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"
_CHECKPOINT_INTERVAL_SECONDS = 20.0
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
_BUCKET_BATCHES = 32
_PAD_MULTIPLE = 8
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
    """CPU threads; None for all that this process may use."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where and in which precision it runs; recorded as lineage."""

    device: str
    precision: str
    """`float32`, `bfloat16` or `float16`: the type of the encoder's matrix products."""
    threads: int
    name: str


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
    checkpoints: Path,
    on_progress: ProgressCallback | None = None,
) -> TrainingResult:
    """Fine-tune on the rows of split `train`; equal input gives equal weights on a CPU.

    Args:
        tokens: columns token_ids (list of int32), label (0 or 1), split.
        config: hyper-parameters and the encoder to start from.
        output: folder to be filled with config.json, model.safetensors and head.safetensors; it appears
            whole or not at all.
        checkpoints: folder of this model's checkpoint. A killed run that is started again with the same
            input continues from there and ends with the same weights.
        on_progress: called at the first step, every ten steps or more, and at the last step.

    Raises:
        TrainingError: no rows, a label outside {0, 1}, an encoder that cannot be loaded, or a loss that
            is not finite.
    """
    import torch

    rows = _training_rows(tokens)
    hardware = _prepare_hardware(config)
    world = _World.join(hardware.device)
    torch.manual_seed(config.seed)
    model = build_classifier(config.model_location, dropout=config.dropout).to(world.device)
    if config.freeze_embeddings:
        for name, parameter in model.encoder.named_parameters():
            if name.startswith("embeddings."):
                parameter.requires_grad = False
    optimizer = torch.optim.AdamW(_parameter_groups(model, config), fused=True)
    steps_per_epoch = math.ceil(len(rows) / config.batch_size)
    total_steps = steps_per_epoch * config.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, _linear_schedule(total_steps, config.warmup_fraction)
    )
    scaler = torch.amp.GradScaler(enabled=hardware.precision == "float16")
    checkpoint = _Checkpoint(checkpoints / CHECKPOINT_FILE, model, optimizer, schedule, scaler)
    first_step, seconds_before = checkpoint.restore(world.device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tokens_in_all = config.epochs * sum(len(ids) for ids, _ in rows)
    seconds_in_all = estimate_seconds(
        tokens_in_all, sum(parameter.numel() for parameter in parameters), hardware
    )
    log.info(
        "training on %s rows: %s steps of %s on %s in %s, roughly %.0f minutes in all%s",
        f"{len(rows):,}", total_steps, config.batch_size, hardware.name, hardware.precision,
        max(1.0, seconds_in_all / 60), f"; goes on after step {first_step}" if first_step else "",
    )  # fmt: skip
    reporter = _Reporter(total_steps, on_progress if world.rank == 0 else None)
    started = time.monotonic()
    saved_at = started
    loss_value = math.nan
    model.train()
    for step, batch in enumerate(_batches(rows, config), start=1):
        if step <= first_step:
            continue
        mine = batch[world.rank :: world.size]
        # A batch of fewer rows than processes leaves some without any: those take a row of no weight.
        weight = world.size / len(batch) if len(mine) else 0.0
        ids, mask, labels = _padded(
            [rows[row] for row in mine] or [rows[batch[0]]], config.pad_id, world.device
        )
        with _autocast(hardware):
            logits = model(ids, mask)
        # Averaging gradients over W processes divides by W: this sum is the mean over the global batch.
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum") * weight
        scaler.scale(loss).backward()
        world.average_gradients(parameters)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if reporter.due(step):
            loss_value = world.mean(loss)
            if not math.isfinite(loss_value):
                raise TrainingError(
                    f"the loss is {loss_value} at step {step} of {total_steps}; lower learning_rate or clip_norm"
                )
            reporter.report(step, loss_value, schedule.get_last_lr()[-1], len(batch))
        if (
            world.rank == 0
            and step < total_steps
            and time.monotonic() - saved_at > _CHECKPOINT_INTERVAL_SECONDS
        ):
            checkpoint.save(step, seconds_before + time.monotonic() - started)
            saved_at = time.monotonic()
    seconds = seconds_before + time.monotonic() - started
    weights = _save_model(model, config, output) if world.rank == 0 else ""
    world.leave()
    return TrainingResult(
        output=output,
        weights_sha256=weights,
        steps=total_steps,
        resumed_at_step=first_step,
        final_loss=loss_value,
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
            ids, mask, _ = _padded([(token_ids[row], 0) for row in chosen], pad_id, device)
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

    threads = threads or len(os.sched_getaffinity(0))
    if gpu and torch.cuda.is_available():
        precision = "float32"
        if mixed_precision:
            precision = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return Hardware("cuda", precision, threads, torch.cuda.get_device_name())
    if gpu:
        log.warning("the spec asks for %s GPU and this machine has none: running on the CPU", gpu)
    precision = "bfloat16" if mixed_precision and _cpu_multiplies_bfloat16() else "float32"
    return Hardware("cpu", precision, threads, f"CPU with {threads} threads")


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


Row = tuple["NDArray[np.int32]", int]


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


def _batches(rows: list[Row], config: TrainingConfig) -> Iterator["NDArray[np.int64]"]:
    """Row numbers of every batch of every epoch: shuffled, then grouped by length within large chunks."""
    lengths = np.array([len(ids) for ids, _ in rows])
    for epoch in range(config.epochs):
        random = np.random.default_rng((config.seed, epoch))
        shuffled = random.permutation(len(rows))
        chunk = config.batch_size * _BUCKET_BATCHES
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(shuffled), chunk):
            part = shuffled[start : start + chunk]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[at : at + config.batch_size] for at in range(0, len(part), config.batch_size)]
        for number in random.permutation(len(batches)):
            yield batches[number]


def _padded(rows: list[Row], pad_id: int, device: Any) -> tuple[Any, Any, Any]:
    """Token ids (B, L), mask (B, L) and labels (B,), L rounded up to a multiple of 8."""
    import torch

    longest = max((len(ids) for ids, _ in rows), default=1)
    width = -(-longest // _PAD_MULTIPLE) * _PAD_MULTIPLE
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for at, (tokens, _) in enumerate(rows):
        ids[at, : len(tokens)] = tokens
        mask[at, : len(tokens)] = 1
    labels = np.array([label for _, label in rows], dtype=np.int64)
    return tuple(torch.from_numpy(array).to(device) for array in (ids, mask, labels))


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


class _Checkpoint:
    """State between two steps, written to a temporary file and renamed: it is whole or it is not there."""

    def __init__(self, path: Path, model: Any, optimizer: Any, schedule: Any, scaler: Any) -> None:
        self._path = path
        self._parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}

    def save(self, step: int, seconds: float) -> None:
        import torch

        self._path.parent.mkdir(parents=True, exist_ok=True)
        incoming = self._path.with_suffix(".incoming")
        state = {name: part.state_dict() for name, part in self._parts.items()}
        random = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
        torch.save({**state, "random": random, "step": step, "seconds": seconds}, incoming)
        incoming.replace(self._path)

    def restore(self, device: Any) -> tuple[int, float]:
        """Load the state, if there is any; returns the step it was taken after and the seconds spent."""
        import torch

        if not self._path.exists():
            return 0, 0.0
        state = torch.load(self._path, map_location=device, weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all([generator.cpu() for generator in state["random"]["cuda"]])
        return int(state["step"]), float(state["seconds"])


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


@dataclass(frozen=True, slots=True)
class _World:
    """The processes that train together; alone, every operation is the identity."""

    rank: int
    size: int
    device: Any

    @classmethod
    def join(cls, device: str) -> "_World":
        import torch

        size = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        if size > 1:
            torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        if device == "cuda":
            return cls(rank, size, torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))
        return cls(rank, size, torch.device("cpu"))

    def average_gradients(self, parameters: list[Any]) -> None:
        if self.size == 1:
            return
        import torch

        # One flat buffer: a reduction per tensor would wait for the network a hundred times a step.
        present = [parameter for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([parameter.grad.reshape(-1) for parameter in present])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        offset = 0
        for parameter in present:
            parameter.grad.copy_(flat[offset : offset + parameter.numel()].view_as(parameter))
            offset += parameter.numel()

    def mean(self, value: Any) -> float:
        import torch

        value = value.detach().clone()
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return float(value) / self.size

    def leave(self) -> None:
        if self.size > 1:
            import torch

            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


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


def main() -> None:
    """Entry point of `python -m` and `torchrun`."""
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description="Fine-tune a text encoder.")
    parser.add_argument("--tokens", type=Path, required=True, help="Parquet file: token_ids, label, split")
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file with the fields of TrainingConfig"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the model's files")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for the checkpoint")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    losses: list[dict[str, float]] = []
    result = train(
        pq.read_table(arguments.tokens),
        TrainingConfig.model_validate_json(arguments.config.read_bytes()),
        output=arguments.output,
        checkpoints=arguments.checkpoints,
        on_progress=lambda step, metrics: losses.append({"step": step, **metrics}),
    )
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps({**asdict(result), "output": str(result.output), "progress": losses}))  # noqa: T201 - the result


if __name__ == "__main__":
    main()

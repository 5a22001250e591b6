"""On which device and in which precision something runs here."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform_assets.models.process_group import processes_of_this_machine
from platform_assets.processors import available_cpus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where and in which precision it runs; recorded as lineage."""

    device: str
    precision: str
    """`float32`, `bfloat16` or `float16`: the type of the network's matrix products."""
    threads: int
    """Of each process."""
    name: str
    processes: int = 1
    """How many trained together."""


def detect_hardware(*, gpu: int, mixed_precision: bool, threads: int | None = None) -> Hardware:
    """The device and precision a spec's wishes come to on this machine.

    A spec that asks for a GPU where there is none runs on the CPU, with one warning.
    """
    import torch

    threads = threads or max(1, available_cpus() // processes_of_this_machine())
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


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has bfloat16 products; emulated ones are slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Within, torch computes on so many threads of the CPU; as before where None."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(hardware: Hardware) -> Any:
    """A context in which torch computes in the hardware's precision."""
    import torch

    if hardware.precision == "float32":
        return nullcontext()
    return torch.autocast(hardware.device, getattr(torch, hardware.precision))

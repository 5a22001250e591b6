"""The processes that train one model together."""

import os
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among them; alone, every operation is the identity."""

    rank: int
    size: int
    device: Any

    @classmethod
    def join(cls, device: str) -> Self:
        """The group that the launcher's environment describes: gloo between CPUs, nccl between GPUs."""
        import torch

        size = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        chosen = torch.device("cpu")
        if device == "cuda":
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            # What names no device, such as a barrier, would otherwise meet on the first GPU.
            torch.cuda.set_device(chosen)
        if size > 1:
            torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(rank, size, chosen)

    def average_gradients(self, parameters: list[Any]) -> None:
        """Put the mean over all processes in the place of each gradient."""
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
        """The mean of a scalar tensor over all processes."""
        value = value.detach().clone()
        if self.size > 1:
            import torch

            torch.distributed.all_reduce(value)
        return float(value) / self.size

    def agrees_on(self, value: int) -> bool:
        """Whether all processes came with this value."""
        if self.size == 1:
            return True
        import torch

        extremes = torch.tensor([value, -value], device=self.device)
        torch.distributed.all_reduce(extremes, torch.distributed.ReduceOp.MIN)
        return bool((extremes == torch.tensor([value, -value], device=self.device)).all())

    def leave(self) -> None:
        """Wait for all, and part."""
        if self.size > 1:
            import torch

            torch.distributed.barrier()
            torch.distributed.destroy_process_group()


def processes_of_this_machine() -> int:
    """How many processes of the group share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

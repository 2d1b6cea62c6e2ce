"""The processes that train one network together, as torchrun starts them, and their devices."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from deepfreak.errors import BackendError


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """One of the processes that train together: number `rank` of `count`, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def together(self, network: nn.Module) -> nn.Module:
        """Return `network` so that its gradients become the mean over all processes."""
        return network if self.count == 1 else DistributedDataParallel(network)

    def total(self, numbers: Tensor) -> Tensor:
        """Return the sum of `numbers` over all processes, in all of them."""
        if self.count == 1:
            return numbers
        summed = numbers.clone()
        distributed.all_reduce(summed)
        return summed

    def copy_buffers(self, network: nn.Module) -> None:
        """Copy the first process's running means and variances to all others."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)


@contextmanager
def processes(device: str | None = None) -> Iterator[Processes]:
    """Join the processes that torchrun started with this one, if it did.

    `device` is such as "cpu" or "cuda"; by default a GPU where torch finds one. Each process of a
    machine takes the GPU of its local rank; without GPUs they talk through gloo. Raises
    `BackendError` if there is no such device.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError(
            f"expected a GPU for the device {kind!r}, found none that torch can use: "
            "install a CUDA build of torch or use the device cpu"
        )
    if count == 1:
        yield Processes(rank=0, count=1, device=torch.device(kind))
        return
    if kind == "cuda":
        kind = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(kind)
    distributed.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
    try:
        yield Processes(rank=distributed.get_rank(), count=count, device=torch.device(kind))
    finally:
        distributed.destroy_process_group()

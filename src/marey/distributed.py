"""One process or many: the only module that touches torch.distributed.

`torchrun --nproc-per-node 4 -m marey train ...` starts the same story in four processes; without
torchrun every function here does the obvious thing for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Rank:
    """This process among all: number, count, and its number on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0


@contextmanager
def group(device: torch.device) -> Iterator[Rank]:
    """Joins the process group that torchrun announces, and leaves it at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Rank()
        return
    rank = Rank(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(rank.local)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield rank
    finally:
        dist.destroy_process_group()


def wrap(method: nn.Module, rank: Rank, device: torch.device) -> nn.Module:
    """The module whose `forward` averages gradients over all processes."""
    if rank.world == 1 or not any(p.requires_grad for p in method.parameters()):
        return method
    return DistributedDataParallel(
        method, device_ids=[rank.local] if device.type == "cuda" else None
    )


def barrier() -> None:
    """Waits for the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()

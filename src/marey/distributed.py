"""One process or many: the only module that touches torch.distributed.

`torchrun --nproc-per-node 4 -m marey train ...` starts the same story in four processes; without
torchrun every function here does the obvious thing for one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
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


def is_first() -> bool:
    """Whether this process writes and talks; true without torchrun. Needs no group."""
    return os.environ.get("RANK", "0") == "0"


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


def shuffle(rows: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Rows (B, ...) dealt anew over the processes, and the way back for what is made of them.

    Of a single process the rows stay as they are.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows, lambda made: made
    everyone = gather(rows)
    order = torch.randperm(len(everyone), device=rows.device)
    dist.broadcast(order, 0)
    mine = slice(dist.get_rank() * len(rows), (dist.get_rank() + 1) * len(rows))

    def back(made: Tensor) -> Tensor:
        return gather(made)[order.argsort()][mine]

    return everyone[order[mine]], back


def gather(rows: Tensor) -> Tensor:
    """(B, ...) of this process to (world * B, ...) of all, in their order, without gradient."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def wrap(method: nn.Module, rank: Rank, device: torch.device) -> nn.Module:
    """The module whose `forward` averages gradients over all processes."""
    if rank.world == 1 or not any(p.requires_grad for p in method.parameters()):
        return method
    return DistributedDataParallel(
        method,
        device_ids=[rank.local] if device.type == "cuda" else None,
        # each process keeps its own running statistics, and queues are filled alike on all
        broadcast_buffers=False,
    )


def barrier() -> None:
    """Waits for the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()

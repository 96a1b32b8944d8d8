"""One step of MCL on this process's share of a batch; run by torchrun from test_mcl.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from marey import distributed
from marey.methods import build
from marey.methods.mcl import Mcl
from marey.recipes import mcl_tiny
from marey.types import Batch


def still_norms(method: Mcl) -> Mcl:
    """Statistics of BatchNorm that do not depend on the batch, so that batches can be split."""
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    return method


def batch_of(tensors: dict[str, Tensor], part: slice) -> Batch:
    inputs = tensors["inputs"][part]
    b, v, t = inputs.shape[:3]
    return Batch(
        inputs=inputs,
        cached=False,
        index=torch.arange(t).expand(b, v, t),
        valid=torch.ones(b, v, t, dtype=torch.bool),
        lengths=torch.full((b,), 60),
        group=torch.full((b,), -1),
        videos=[str(i) for i in range(b)],
        progress=0.5,
        extra={name: tensors[name][part] for name in ("motion", "order")},
    )


def step(
    tensors: dict[str, Tensor], parts: list[slice], rank: distributed.Rank
) -> dict[str, Tensor]:
    """Gradients, queue and slow network after one step over the parts of the batch, in turn."""
    recipe = mcl_tiny()
    recipe = replace(recipe, method=replace(recipe.method, queue=64))
    method = build(recipe).double()
    assert isinstance(method, Mcl)
    wrapped = distributed.wrap(still_norms(method.train()), rank, torch.device("cpu"))
    for part in parts:
        (wrapped(batch_of(tensors, part)).loss / len(parts)).backward()
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.1)
    optimizer.step()
    method.after_step()
    result = {f"grad.{k}": p.grad for k, p in method.named_parameters() if p.grad is not None}
    return result | {
        k: t for k, t in method.state_dict().items() if k.startswith(("queue", "slow"))
    }


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    tensors = load_file(folder / "batch.safetensors")
    with distributed.group(torch.device("cpu")) as rank:
        each = len(tensors["inputs"]) // rank.world
        part = slice(rank.rank * each, (rank.rank + 1) * each)
        result = step(tensors, [part], rank)
        save_file(
            {k: t.contiguous() for k, t in result.items()}, folder / f"{rank.rank}.safetensors"
        )


if __name__ == "__main__":
    main()

"""The sequence contrastive loss with its gradient, time and memory over B and T.

python benchmarks/losses.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

import harness
from baselines.dense_loss import dense_loss
from marey.bench.speed_cases import OURS, Case, Desk, Measured, Row, Way
from marey.bench.speed_memory import peak
from marey.losses.sequence import sequence_contrastive_loss

LOSSES = {"marey": sequence_contrastive_loss, "dense": dense_loss}
USUAL = "the usual way: one (2 B T, 2 B T) table"


def cases(desk: Desk) -> Measured:
    sizes = ((2, 40), (4, 80)) if desk.quick else ((1, 240), (2, 80), (8, 80), (8, 240))
    for videos, frames in sizes:
        what = f"{videos} videos x 2 x {frames} frames"
        reach = 20 if (videos, frames) == (8, 240) else None
        inputs = sample(videos, frames)
        yield Case(
            "losses",
            f"sequence contrast, {what}",
            "ms",
            {
                OURS: Way(partial(both_ways, "marey", *inputs)),
                USUAL: Way(partial(both_ways, "dense", *inputs), reach=reach),
            },
            rounds=desk.rounds,
        )
        ours, usual = (
            peak("losses:prepare", loss=loss, videos=videos, frames=frames).added for loss in LOSSES
        )
        yield Row("losses", f"peak memory of it, {what}", "MB", ours, USUAL, usual)


def sample(videos: int, frames: int, dimension: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (B, 2, T, D), frames and valid (B, 2, T), a few of them padded."""
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(videos, 2, frames, dimension, generator=generator), dim=-1)
    steps = torch.randint(1, 4, (videos, 2, frames), generator=generator)
    valid = torch.arange(frames).expand(videos, 2, frames) < frames - frames // 10
    return z, steps.cumsum(-1), valid


def both_ways(loss: str, z: Tensor, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient."""
    z = z.clone().requires_grad_()
    value = LOSSES[loss](z, frames, valid)
    value.backward()
    assert z.grad is not None
    return value.detach(), z.grad


def prepare(loss: str, videos: int, frames: int) -> Callable[[], object]:
    """For `peak`, which is to measure neither what torch loads at first nor the inputs."""
    both_ways(loss, *sample(1, 4))
    return partial(both_ways, loss, *sample(videos, frames))


if __name__ == "__main__":
    harness.main(__doc__, {"losses": cases})

"""The sequence contrastive loss over one matrix of all frames of all views of all videos."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_loss(
    embeddings: Tensor,
    frames: Tensor,
    valid: Tensor,
    variance: float = 10.0,
    temperature: float = 0.1,
) -> Tensor:
    """As `marey.losses.sequence.sequence_contrastive_loss`, by (2 B T, 2 B T) tables and a mask."""
    videos, views, length, _ = embeddings.shape
    z, times, counted = embeddings.flatten(0, 2), frames.flatten().float(), valid.flatten()
    video = torch.arange(videos).repeat_interleave(views * length)
    view = torch.arange(views).repeat_interleave(length).repeat(videos)
    compared = (video[:, None] == video) & (view[:, None] != view) & counted
    near = -((times[:, None] - times) ** 2) / (2 * variance)
    prior = near.masked_fill(~compared, -torch.inf).softmax(1)
    close = torch.exp(z @ z.T / temperature) * compared
    prediction = close / close.sum(1, keepdim=True)
    divergence = torch.xlogy(prior, prior) - prior * torch.log(prediction + 1e-6)
    return divergence.sum(1)[counted].mean()

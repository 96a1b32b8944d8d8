"""Losses between two views of one video, frame by frame."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from marey.errors import ShapeError

Negatives = Literal["single_noself", "single", "batch_noself"]


def sequence_contrastive_loss(
    embeddings: Tensor,
    frames: Tensor,
    valid: Tensor,
    *,
    variance: float = 10.0,
    temperature: float = 0.1,
    negatives: Negatives = "single_noself",
    floor: float = 1e-6,
) -> Tensor:
    """Sequence contrastive loss of CARL (Chen et al., CVPR 2022, equations 1-3).

    For frame i of one view at time s_i and frame j of the other at time r_j::

        p_ij = softmax_j( -(s_i - r_j)^2 / (2 variance) )      the prior: near in time
        q_ij = softmax_j( z_i . z_j / temperature )            the prediction: near in space
        loss = mean over valid frames i of KL(p_i || q_i), in both directions

    Times are compared within a video only, so the work is block-diagonal: (B, 2, T, T) numbers,
    not (2 B T)^2. As in the released code the logarithm is of q + 1e-6, which bounds what a frame
    that is far off can contribute; here q comes from log space, so that nothing overflows.
    Computed in float32 whatever the inputs' type.

    Args:
        embeddings: (B, 2, T, D), unit norm.
        frames: (B, 2, T) times in frames.
        valid: (B, 2, T) bool; masked frames count on neither side.
        negatives: over which frames q is normalised: "single_noself", the other view of the same
            video (the paper's default); "single", both views of the same video; "batch_noself",
            the frames of all videos of the batch except the own view. The last is quadratic in B.
        floor: what is added to q inside the logarithm.

    Returns: scalar; 0 where no frame is valid.
    Raises ShapeError unless there are exactly two views of equal length.
    """
    if embeddings.ndim != 4 or embeddings.shape[1] != 2:
        raise ShapeError(f"embeddings must be (B, 2, T, D), not {tuple(embeddings.shape)}")
    if frames.shape != embeddings.shape[:3] or valid.shape != embeddings.shape[:3]:
        raise ShapeError("frames and valid must have the first three axes of embeddings")
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    with torch.autocast(z.device.type, enabled=False):  # in bf16 a frame's neighbours would tie
        return _divergence(
            z, frames.to(z.dtype), valid.bool(), variance, temperature, negatives, floor
        )


def _divergence(
    z: Tensor,
    times: Tensor,
    valid: Tensor,
    variance: float,
    temperature: float,
    negatives: Negatives,
    floor: float,
) -> Tensor:
    other, other_times, other_valid = z.flip(1), times.flip(1), valid.flip(1)

    # a frame whose other view is all padding has nothing to be near to, and does not count
    counted = valid & other_valid.any(-1, keepdim=True)
    compared = other_valid[..., None, :] | ~counted[..., None]
    closeness = -((times[..., :, None] - other_times[..., None, :]) ** 2) / (2 * variance)
    p = F.softmax(closeness.masked_fill(~compared, -torch.inf), -1)

    logits = z @ other.transpose(-1, -2) / temperature
    logits = logits.masked_fill(~compared, -torch.inf)
    log_sum = logits.logsumexp(-1)
    if negatives == "single":
        own = z @ z.transpose(-1, -2) / temperature
        own = own.masked_fill(~valid[..., None, :], -torch.inf)
        log_sum = torch.logaddexp(log_sum, own.logsumexp(-1))
    elif negatives == "batch_noself":
        log_sum = torch.logaddexp(log_sum, _other_videos(z, valid, temperature))
    log_q = logits - log_sum[..., None]
    # with frames that are not compared p is 0, and log q only has to be finite
    log_q = (log_q.exp() + floor).log() if floor > 0 else log_q.masked_fill(~compared, 0.0)

    divergence: Tensor = -(torch.special.entr(p) + p * log_q).sum(-1)
    return divergence.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def _other_videos(z: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """(B, 2, T) log of the summed exponentials of a frame against all other videos' frames."""
    batch, views, length, _ = z.shape
    flat = z.flatten(0, 2)
    video = torch.arange(batch, device=z.device).repeat_interleave(views * length)
    allowed = (video[:, None] != video[None, :]) & valid.flatten()
    logits = (flat @ flat.T / temperature).masked_fill(~allowed, -torch.inf)
    return logits.logsumexp(-1).view(batch, views, length)

"""Cycles between two videos of one action (TCC).

Dwibedi, Aytar, Tompson, Sermanet, Zisserman: Temporal Cycle-Consistency Learning, CVPR 2019,
arXiv 1904.07846.
"""

from __future__ import annotations

import torch
from torch import Tensor

from marey.errors import ShapeError
from marey.losses.pairs import squared_distances


def cycle_back(
    embeddings: Tensor, times: Tensor, valid: Tensor, pairs: Tensor, *, temperature: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Where the frames of a video come back to, by way of another video (section 3).

    For frame i of video u, with similarity s(a, b) = -|a - b|^2 / D / temperature::

        v~ = sum_j softmax_j(s(u_i, v_j)) v_j           the soft nearest neighbour in video v
        beta_k = softmax_k(s(v~, u_k))                  and its nearest frames back in u
        mu = sum_k beta_k t_k,   sigma^2 = sum_k beta_k (t_k - mu)^2

    Args:
        embeddings: (B, T, D).
        times: (B, T) t, in what unit one likes.
        valid: (B, T) bool; masked frames are no one's neighbours.
        pairs: (P, 2) int64, u and v.

    Returns: (P, T) mu and sigma^2 in float32 at least; what they say of masked frames, or where
    all of v is masked, has no meaning, but is finite.
    Raises ShapeError.
    """
    if embeddings.ndim != 3 or not times.shape == valid.shape == embeddings.shape[:2]:
        raise ShapeError(
            f"embeddings (B, T, D) of {tuple(embeddings.shape)} do not fit times of "
            f"{tuple(times.shape)} and valid of {tuple(valid.shape)}"
        )
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    scale = z.shape[-1] * temperature
    first, second = pairs.unbind(1)
    # finite, for a video that is all padding would be no numbers else
    hidden = torch.finfo(z.dtype).min
    with torch.autocast(z.device.type, enabled=False):
        u, v = z[first], z[second]
        there = (-squared_distances(u, v) / scale).masked_fill(~valid[second, None], hidden)
        neighbour = there.softmax(-1) @ v
        back = (-squared_distances(neighbour, u) / scale).masked_fill(~valid[first, None], hidden)
        beta = back.softmax(-1)
        t = times[first].to(z.dtype)
        mean = (beta * t[:, None]).sum(-1)
        variance = (beta * (t[:, None] - mean[..., None]) ** 2).sum(-1)
    return mean, variance


def cycle_back_regression(
    embeddings: Tensor,
    times: Tensor,
    valid: Tensor,
    pairs: Tensor,
    *,
    temperature: float = 0.1,
    variance_weight: float = 0.001,
    floor: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Cycle-back regression with variance (section 3), mean over frames and pairs::

        loss = (t_i - mu)^2 / sigma^2 + lambda log sigma^2

    As in the release, the logarithm is of sigma^2; lambda is `variance_weight`. A frame that comes
    back to a single frame has no variance: `floor` is added to it, so that certainty is worth no
    more than being sure to a thousandth of the video.

    Args: as for `cycle_back`; times in shares of the whole video's length.

    Returns: two scalars, the loss and, for the log and without gradient, the mean of |t_i - mu|;
    0 where no frame has a cycle.
    Raises ShapeError.
    """
    mean, variance = cycle_back(embeddings, times, valid, pairs, temperature=temperature)
    first, second = pairs.unbind(1)
    counted = valid[first] & valid[second].any(-1, keepdim=True)
    number = counted.sum().clamp(min=1)
    variance = variance + floor
    error = times[first].to(mean.dtype) - mean
    loss = error**2 / variance + variance_weight * variance.log()
    missed = error.detach().abs().masked_fill(~counted, 0.0).sum() / number
    return loss.masked_fill(~counted, 0.0).sum() / number, missed

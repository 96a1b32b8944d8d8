"""Losses of MCL, between a query clip and three keys, and between its gradient and its motion.

Li, Zhang, Qiu, Yao, Liu, Mei: Motion-Focused Contrastive Learning of Video Representations, ICCV
2021, arXiv 2201.04029. Numbers agree with the authors' release. Keys come from the momentum
encoder and carry no gradient. Everything is computed in float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.errors import ConfigError, ShapeError


def inter_loss(query: Tensor, keys: Tensor, queue: Tensor, *, temperature: float = 0.1) -> Tensor:
    """InfoNCE of the query against each key, other videos' keys as negatives (section 3.3).

    Mean over keys k and videos of -log(exp(q.k/t) / (exp(q.k/t) + sum over the queue of
    exp(q.n/t))). The sum over the queue is shared by the keys.

    query: (B, D), unit norm.  keys: (K, B, D), unit norm; clips of the query's own video.
    queue: (N, D) keys of other videos, before this step's keys enter it.

    Returns a scalar. Raises ShapeError.
    """
    query, keys = _precise(query), _keys(query, keys)
    positive = torch.einsum("bd,kbd->kb", query, keys) / temperature
    negative = torch.logsumexp(query @ queue.to(query.dtype).T / temperature, 1)
    return F.softplus(negative - positive).mean()


def intra_loss(query: Tensor, keys: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Contrast within the video: the same clip against each other clip (section 3.3).

    query: (B, D).  keys: (K, B, D), the first of the same clip, the others of other clips.

    Returns a scalar: the mean over videos and other clips of the two-way InfoNCE. Raises
    ShapeError for less than two keys.
    """
    keys = _keys(query, keys)
    if len(keys) < 2:
        raise ShapeError("intra-video contrast needs a key of the same clip and one of another")
    similarity = torch.einsum("bd,kbd->kb", _precise(query), keys) / temperature
    return F.softplus(similarity[1:] - similarity[0]).mean()


def order_loss(
    query: Tensor, keys: Tensor, order: Tensor, classifier: Callable[[Tensor], Tensor]
) -> Tensor:
    """Cross-entropy of telling whether the query comes before the other clips (section 3.3).

    query: (B, D), unit norm.  keys: (2, B, D), the other clips in the order of time.
    order: (B,) int64, 1 where the query comes first.
    classifier: (B, 3 D) to (B, 2).

    Returns a scalar. Raises ShapeError.
    """
    keys = _keys(query, keys)
    if len(keys) != 2:
        raise ShapeError(f"the order of clips is told from 2 keys, not {len(keys)}")
    return F.cross_entropy(classifier(torch.cat([_precise(query), *keys], 1)), order)


class GradientAlignment(NamedTuple):
    """How well the gradient follows the motion.

    spatiotemporal, spatial, temporal: (B,) cosine similarities, 0..1.  loss: scalar.
    """

    spatiotemporal: Tensor
    spatial: Tensor
    temporal: Tensor
    loss: Tensor


def gradient_alignment(gradient: Tensor, motion: Tensor) -> GradientAlignment:
    """Motion-focused feature learning: the gradient must look where there is motion (section 3.4).

    With G the gradient of (query . same-clip key) at the last convolution, the weight of channel c
    in a slice is the spatial mean of G_c, and the map P = ReLU(sum_c weight_c G_c). P and the ST
    map M are compared slice by slice (weighted by the softmax over slices of the sum of M), as
    means over time, and as sums over space.

    gradient: (B, C, S, h, w), with its graph: the loss reaches the weights through it.
    motion: (B, S, h, w), >= 0.

    Returns the similarities and the sum over the three of the mean of (1 - similarity). A map of
    zeros has similarity 0. Raises ShapeError.
    """
    if gradient.ndim != 5 or motion.shape != gradient.shape[:1] + gradient.shape[2:]:
        raise ShapeError(
            f"a gradient (B, C, S, h, w) of {tuple(gradient.shape)} does not fit "
            f"motion maps (B, S, h, w) of {tuple(motion.shape)}"
        )
    gradient, motion = _precise(gradient), _precise(motion).flatten(2)
    # Similarities do not depend on the gradient's scale, but its square would leave float32.
    scale = gradient.detach().abs().amax((1, 2, 3, 4), keepdim=True)
    gradient = gradient / scale.clamp_min(torch.finfo(gradient.dtype).tiny)
    weight = gradient.mean((3, 4), keepdim=True)
    response = F.relu((weight * gradient).sum(1)).flatten(2)  # (B, S, h * w)
    slices = _cosine(response, motion)
    importance = torch.softmax(motion.sum(2), 1)
    spatiotemporal = (slices * importance).sum(1)
    spatial = _cosine(response.mean(1), motion.mean(1))
    temporal = _cosine(response.sum(2), motion.sum(2))
    loss = 3 - (spatiotemporal + spatial + temporal).mean()
    return GradientAlignment(spatiotemporal, spatial, temporal, loss)


class Queue(nn.Module):
    """The most recent keys of other videos, at first random ones (section 3.3).

    Both buffers belong to the checkpoint, and stay equal on all ranks where each enqueues the
    keys of all.

    vectors: (size, dimension), unit norm.  pointer: where the next key goes.
    """

    vectors: Tensor
    pointer: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("vectors", F.normalize(torch.randn(size, dimension), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest entries by keys (K, B, D): all videos of one key, then the next.

        Raises ConfigError where a step brings more keys than the queue holds.
        """
        flat = keys.flatten(0, -2).to(self.vectors.dtype)
        size = len(self.vectors)
        if len(flat) > size:
            raise ConfigError(
                f"a step brings {len(flat)} keys, more than the queue of {size} holds; "
                "make the queue longer"
            )
        places = (self.pointer + torch.arange(len(flat), device=flat.device)) % size
        self.vectors.index_copy_(0, places, flat)
        self.pointer.add_(len(flat)).remainder_(size)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (F.normalize(a, dim=-1) * F.normalize(b, dim=-1)).sum(-1)


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _keys(query: Tensor, keys: Tensor) -> Tensor:
    """The keys without gradient, in the query's precision, once they are known to fit it."""
    if keys.ndim != 3 or query.shape != keys.shape[1:]:
        raise ShapeError(
            f"keys (K, B, D) of {tuple(keys.shape)} do not fit "
            f"a query (B, D) of {tuple(query.shape)}"
        )
    return keys.detach().to(_precise(query).dtype)

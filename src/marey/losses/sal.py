"""Are three frames of a video in order (Shuffle and Learn)?

Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order
Verification, ECCV 2016, arXiv 1603.08561.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from marey.errors import ShapeError


def gather_tuples(embeddings: Tensor, places: Tensor) -> Tensor:
    """(B, K, 3 D), the embeddings (B, T, D) at `places` (B, K, 3) one after the other.

    Raises ShapeError.
    """
    if embeddings.ndim != 3 or places.ndim != 3 or len(places) != len(embeddings):
        raise ShapeError(
            f"places (B, K, 3) of {tuple(places.shape)} do not fit embeddings (B, T, D) of "
            f"{tuple(embeddings.shape)}"
        )
    batch = torch.arange(len(places), device=places.device)[:, None, None]
    return embeddings[batch, places].flatten(2)


def order_verification(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of telling tuples in order from others (section 3), in float32 at least.

    logits: (B, K, 2).  labels: (B, K) int64, 1 in order, 0 not, -1 no tuple, which does not count.

    Returns a scalar: the mean over tuples, 0 where there is none. Raises ShapeError.
    """
    if logits.shape != (*labels.shape, 2):
        raise ShapeError(
            f"logits must be (B, K, 2) for labels of {tuple(labels.shape)}, "
            f"not {tuple(logits.shape)}"
        )
    precise = logits if logits.dtype == torch.float64 else logits.float()
    total = F.cross_entropy(
        precise.flatten(0, -2), labels.flatten(), ignore_index=-1, reduction="sum"
    )
    return total / (labels >= 0).sum().clamp(min=1)

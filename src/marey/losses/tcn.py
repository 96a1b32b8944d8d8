"""Neighbouring frames against frames further away (TCN, from a single view).

Sermanet, Lynch, Chebotar, Hsu, Jang, Schaal, Levine: Time-Contrastive Networks, ICRA 2018, arXiv
1704.06888; n-pairs loss by Sohn, NIPS 2016.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from marey.errors import ShapeError


def n_pairs(embeddings: Tensor, valid: Tensor, *, regularisation: float = 0.002) -> Tensor:
    """N-pairs loss over the pairs of frames of each video.

    Rows 2k and 2k + 1 of a video are an anchor a_k and its positive p_k; the positives of the
    video's other pairs are its negatives::

        loss = mean_k -log softmax_k(a_k . p_l)_l + lambda / 4 (mean |a|^2 + mean |p|^2)

    Args:
        embeddings: (B, T, D), T even, not normalised.
        valid: (B, T) bool; a pair counts where both are valid.
        regularisation: lambda.

    Returns: scalar in float32 at least, the mean over all pairs; 0 where there is none.
    Raises ShapeError.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] % 2 or valid.shape != embeddings.shape[:2]:
        raise ShapeError(
            f"embeddings (B, T, D) of {tuple(embeddings.shape)}, T even, do not fit valid of "
            f"{tuple(valid.shape)}"
        )
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    anchors, positives = z[:, 0::2], z[:, 1::2]
    counted = valid[:, 0::2] & valid[:, 1::2]
    number = counted.sum().clamp(min=1)
    with torch.autocast(z.device.type, enabled=False):
        similarity = anchors @ positives.transpose(-1, -2)
        similarity = similarity.masked_fill(~counted[:, None], torch.finfo(z.dtype).min)
        own = -F.log_softmax(similarity, -1).diagonal(dim1=1, dim2=2)
        size = anchors.square().sum(-1) + positives.square().sum(-1)
        loss = own + 0.25 * regularisation * size
    return loss.masked_fill(~counted, 0.0).sum() / number

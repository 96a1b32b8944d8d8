"""A contrast between videos of one action, along their alignment.

The contrast within a video (`marey.losses.sequence`) leaves videos of other people and cameras
wherever they fall. Here a frame shall find its counterparts in another video. Which ones these are
is asked of the embeddings themselves, by soft time warping, held to the share of the video that has
passed as far as that is trusted.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marey.errors import ShapeError

_FAINT = -700.0  # near the least exponent of float64: beyond it NumPy's exp takes six times as long


def between_videos_loss(
    embeddings: Tensor,
    progress: Tensor,
    valid: Tensor,
    pairs: Tensor,
    *,
    clock: float = 1.0,
    width: float = 0.06,
    reach: float = 0.1,
    temperature: float = 0.1,
    gamma: float = 0.05,
    floor: float = 1e-6,
) -> Tensor:
    """Contrast of the frames of two videos against a Gaussian around their alignment.

    For frame i of a view of video u, at the share s_i of u, and frame j of a view of v, at r_j::

        c_ij = 1 - z_i . z_j + clock |s_i - r_j|        what it costs to match them
        a_ij                                            the share of soft time warping's paths under
                                                        c (gamma) that pass through (i, j), per i
        m_i  = sum_j a_ij r_j                           where in v the counterpart of i is
        p_ij = softmax_j(-(r_j - m_i)^2 / (2 width^2))
        q_ij = softmax_j(z_i . z_j / temperature)
        loss = mean over valid frames i with some |s_i - r_j| < reach of KL(p_i || q_i)

    No gradient flows through the alignment. As in `sequence_contrastive_loss`, the logarithm is of
    q + floor.

    Args:
        embeddings: (B, 2, T, D), unit norm.
        progress: (B, 2, T), shares of the videos, 0..1, not decreasing.
        valid: (B, 2, T) bool, True for the first frames of each view, at least one, then False.
        pairs: (P, 2) int64, u and v. The first view of u is compared with the second of v, and the
            second with the first.
        clock: 0 trusts the embeddings alone; much makes the alignment that of a clock.

    Returns: scalar; 0 where no frame has a counterpart. Raises ShapeError.
    """
    if embeddings.ndim != 4 or embeddings.shape[1] != 2:
        raise ShapeError(f"embeddings must be (B, 2, T, D), not {tuple(embeddings.shape)}")
    if progress.shape != embeddings.shape[:3] or valid.shape != embeddings.shape[:3]:
        raise ShapeError("progress and valid must have the first three axes of embeddings")
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    first, second = pairs.unbind(1)

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        """(2P, ...) views of u and, beside each, the other view of v."""
        u, v = (x.index_select(0, videos) for videos in (first, second))
        return u.flatten(0, 1), v.flip(1).flatten(0, 1)

    with torch.autocast(z.device.type, enabled=False):
        u, v = both(z)
        times, others = both(progress.to(z.dtype))
        known, compared = both(valid.bool())
        likeness = u @ v.transpose(-1, -2)
        apart = (times[:, :, None] - others[:, None, :]).abs()
        cost = 1 - likeness.detach() + clock * apart
        path = _share_of_paths(cost, known.sum(-1), compared.sum(-1), gamma)
        counterpart = (path @ others[..., None]) / path.sum(-1, keepdim=True).clamp(min=floor)

        hidden = ~compared[:, None, :]
        near = -((others[:, None, :] - counterpart) ** 2) / (2 * width**2)
        log_p = near.masked_fill(hidden, -torch.inf).log_softmax(-1)
        log_q = (likeness / temperature).masked_fill(hidden, -torch.inf).log_softmax(-1)
        log_q = torch.logaddexp(log_q, log_q.new_tensor(floor).log())
        divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True)
        divergence = divergence.masked_fill(hidden, 0.0).sum(-1)
        counted = known & (apart.masked_fill(hidden, torch.inf).amin(-1) < reach)
        return divergence.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def _share_of_paths(cost: Tensor, rows: Tensor, columns: Tensor, gamma: float) -> Tensor:
    """(P, N, M) share of soft time warping's paths that pass through each cell of (P, N, M) costs.

    The gradient of `marey.losses.lav.soft_dtw` by its costs (Cuturi and Blondel, algorithm 2), an
    anti-diagonal of all tables at a time. In NumPy, for it needs no gradient itself, and hundreds
    of small steps keep threads and devices waiting for one another.
    """
    c = cost.detach().to("cpu", torch.float64).numpy() / gamma
    p, n, m = c.shape
    last_row, last_column = rows.cpu().numpy() - 1, columns.cpu().numpy() - 1
    count = n + m - 1
    row, column = np.indices((n, m))

    # By anti-diagonals, so that each is one block: the cells (i, j) lie at table[i + j, i].
    table = np.empty((count, n, p))
    table[row + column, row] = c.transpose(1, 2, 0)
    diagonals = [(d, max(0, d - m + 1), min(n, d + 1)) for d in range(count)]

    # best[i + j + 2, i + 1]: the soft cost of the paths from the start to (i, j), itself included
    best = np.full((count + 2, n + 1, p), np.inf)
    best[0, 0] = 0.0
    arrive = np.full((count + 2, n + 1, p), -np.inf)  # arrive[i + j, i]: the same without (i, j)
    for d, low, high in diagonals:
        here, above = slice(low + 1, high + 1), slice(low, high)
        ways = np.stack((best[d, above], best[d + 1, here], best[d + 1, above]))
        least = ways.min(0)
        soft = np.log(np.exp(np.maximum(least - ways, _FAINT)).sum(0))
        arrive[d, above] = least - soft
        best[d + 2, here] = table[d, above] + arrive[d, above]

    share = np.zeros((count + 2, n + 1, p))
    share[last_row + last_column, last_row, np.arange(p)] = 1.0
    for d, low, high in reversed(diagonals):
        here, below = slice(low, high), slice(low + 1, high + 1)
        for later, at in ((d + 2, below), (d + 1, below), (d + 1, here)):
            step = np.maximum(arrive[later, at] - best[d + 2, below], _FAINT)
            share[d, here] += share[later, at] * np.exp(step)
    return torch.from_numpy(share[row + column, row].transpose(2, 0, 1).copy()).to(cost)

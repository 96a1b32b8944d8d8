"""Soft time warping between two videos, and a force that keeps each of them spread out (LAV).

Haresh, Kumar, Coskun, Syed, Konin, Zia, Tran: Learning by Aligning Videos in Time, CVPR 2021,
arXiv 2103.17260. Soft time warping is Cuturi and Blondel's, ICML 2017, arXiv 1703.01541.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from marey.errors import ShapeError
from marey.losses.pairs import squared_distances

_FAR = 1e10  # cost of a path that leaves the table; infinity would make its gradient no number


def soft_dtw(
    cost: Tensor, gamma: float, rows: Tensor | None = None, columns: Tensor | None = None
) -> Tensor:
    """Soft dynamic time warping (Cuturi and Blondel, equation 4), a batch at a time.

    With softmin(x) = -gamma log sum exp(-x / gamma)::

        r_ij = cost_ij + softmin(r_i-1,j-1, r_i-1,j, r_i,j-1)

    An anti-diagonal of all tables is computed at once, so there are N + M - 1 steps.

    Args:
        cost: (P, N, M).
        gamma: softness, > 0; towards 0 it becomes the cost of the best path.
        rows: (P,) int64, how many rows of each table count, from 1; None = all of them. The rest
            has no influence and gets no gradient, but must be finite.
        columns: the same of its columns.

    Returns: (P,) r at the last row and column.
    Raises ShapeError.
    """
    if cost.ndim != 3 or 0 in cost.shape[1:]:
        raise ShapeError(f"cost must be (P, N, M), not {tuple(cost.shape)}")
    p, n, m = cost.shape
    row = torch.arange(n, device=cost.device)
    column = torch.arange(n + m - 1, device=cost.device)[:, None] - row
    inside = (column >= 0) & (column < m)
    skewed = cost[:, row.expand_as(column), column.clamp(0, m - 1)]  # (P, N + M - 1, N)
    # place i + 1 of a diagonal is row i; place 0 is the border, where the path's start costs 0
    last = cost.new_full((p, n + 1), _FAR)
    before = last.clone()
    before[:, 0] = 0.0
    reached = []
    for step in range(n + m - 1):
        ways = torch.stack((before[:, :-1], last[:, :-1], last[:, 1:]))
        r = skewed[:, step] - gamma * torch.logsumexp(-ways / gamma, 0)
        r = torch.where(inside[step], r, _FAR)
        reached.append(r)
        before, last = last, F.pad(r, (1, 0), value=_FAR)
    i = torch.full((p,), n - 1, device=cost.device) if rows is None else rows - 1
    j = torch.full((p,), m - 1, device=cost.device) if columns is None else columns - 1
    return torch.stack(reached)[i + j, torch.arange(p, device=cost.device), i]


def contrastive_idm(
    embeddings: Tensor,
    frames: Tensor,
    valid: Tensor,
    lengths: Tensor,
    *,
    sigma: float = 10.0,
    margin: float = 2.0,
) -> Tensor:
    """Contrastive inverse difference moment of each video (section 3).

    With D_ij = |z_i - z_j|^2 and W_ij = 1 + (s_i - s_j)^2, s in shares of the video's length as in
    the release (the paper: in frames)::

        sum_ij  W_ij max(0, margin - D_ij)   where i and j are more than sigma frames apart
                D_ij                         elsewhere

    Args:
        embeddings: (B, T, D), unit norm.
        frames: (B, T) times in frames.  valid: (B, T) bool.  lengths: (B,) frames of the videos.

    Returns: (B,) in float32 at least.
    Raises ShapeError.
    """
    if embeddings.ndim != 3 or not frames.shape == valid.shape == embeddings.shape[:2]:
        raise ShapeError(
            f"embeddings (B, T, D) of {tuple(embeddings.shape)} do not fit frames of "
            f"{tuple(frames.shape)} and valid of {tuple(valid.shape)}"
        )
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    with torch.autocast(z.device.type, enabled=False):
        distance = squared_distances(z, z)
    apart = (frames[:, :, None] - frames[:, None, :]).abs().to(z.dtype)
    weight = 1 + (apart / lengths[:, None, None]) ** 2
    moment = torch.where(apart > sigma, weight * F.relu(margin - distance), distance)
    return moment.masked_fill(~(valid[:, :, None] & valid[:, None, :]), 0.0).sum((1, 2))


def alignment_costs(
    embeddings: Tensor, valid: Tensor, pairs: Tensor, *, gamma: float = 0.1
) -> Tensor:
    """(P,) soft time warping of the squared distances between the two videos of each pair.

    embeddings: (B, T, D).  valid: (B, T) bool, True for the first frames of each video, at least
    one, then False.  pairs: (P, 2) int64.  Computed in float32 at least.
    """
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    first, second = pairs.unbind(1)
    counts = valid.sum(-1)
    with torch.autocast(z.device.type, enabled=False):
        cost = squared_distances(z[first], z[second])
        return soft_dtw(cost, gamma, counts[first], counts[second])


def lav_loss(
    embeddings: Tensor,
    frames: Tensor,
    valid: Tensor,
    lengths: Tensor,
    pairs: Tensor,
    *,
    gamma: float = 0.1,
    alpha: float = 0.5,
    sigma: float = 10.0,
    margin: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """The two parts of LAV's loss (section 3), which is their sum, each per frame of the view.

    For a pair of videos of T frames each, soft_dtw / T and alpha (idm_u + idm_v) / T, as in the
    release; where padding makes videos of different lengths, T is their mean. Means over pairs.

    Args: as for `contrastive_idm` and `alignment_costs`.

    Returns: two scalars, alignment and regularisation.
    Raises ShapeError.
    """
    first, second = pairs.unbind(1)
    moments = contrastive_idm(embeddings, frames, valid, lengths, sigma=sigma, margin=margin)
    alignment = alignment_costs(embeddings, valid, pairs, gamma=gamma)
    counts = valid.sum(-1)
    size = (counts[first] + counts[second]) / 2
    apart = alpha * (moments[first] + moments[second])
    return (alignment / size).mean(), (apart / size).mean()

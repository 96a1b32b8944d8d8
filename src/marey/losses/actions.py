"""A contrast between videos of different actions, where these are known."""

from __future__ import annotations

import torch
from torch import Tensor

from marey.errors import ShapeError


def between_actions_loss(
    embeddings: Tensor, valid: Tensor, group: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Contrast of each frame's own video against the videos of other actions.

    For frame i of a view, with N the frames of the other view of its video, and O those of all
    videos of another action::

        q_i  = sum_N exp(z_i . z_j / temperature) / sum_(N and O) exp(z_i . z_j / temperature)
        loss = mean over valid frames i with some O of -log q_i

    Which frame of its own video is near is left to `marey.losses.sequence`: here any will do, and
    a frame of another action will not. Computed in float32 whatever the inputs' type.

    Args:
        embeddings: (B, 2, T, D), unit norm.
        valid: (B, 2, T) bool; masked frames count on neither side.
        group: (B,) int64, equal where videos show the same action, -1 where that is not known:
            such a video is compared with none.

    Returns: scalar; 0 where no two videos are known to show different actions. Raises ShapeError.
    """
    if embeddings.ndim != 4 or embeddings.shape[1] != 2:
        raise ShapeError(f"embeddings must be (B, 2, T, D), not {tuple(embeddings.shape)}")
    if valid.shape != embeddings.shape[:3] or group.shape != embeddings.shape[:1]:
        raise ShapeError("valid must be (B, 2, T), and group (B,), as the embeddings are")
    z = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    with torch.autocast(z.device.type, enabled=False):
        # at most 1 of a frame, so that nothing overflows
        rows = z.flatten(0, 2)
        likeness = ((rows @ rows.T - 1) / temperature).exp()
        # all views in a row, 2 b and 2 b + 1 of video b: which one a frame belongs to, and what
        # each frame has in common with each of them
        view = torch.arange(2 * len(z), device=z.device)
        of = view.repeat_interleave(z.shape[2])
        there = valid.flatten().to(z.dtype)
        shared = likeness @ ((of[:, None] == view) * there[:, None])
        action = group.repeat_interleave(2)
        strangers = (action[:, None] != action) & (action >= 0)[:, None] & (action >= 0)
        own = shared.gather(1, (of ^ 1)[:, None])[:, 0]
        others = (shared * strangers[of]).sum(1)
        counted = valid.flatten().bool() & (own > 0) & (others > 0)
        share = others.masked_fill(~counted, 0.0) / own.masked_fill(~counted, 1.0)
        return share.log1p().sum() / counted.sum().clamp(min=1)

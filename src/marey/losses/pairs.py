"""Which videos of a batch are compared with which, and how far apart their frames are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from marey.errors import ConfigError


def pairs_of_one_action(group: Tensor, videos: Sequence[str]) -> Tensor:
    """(P, 2) int64 places in the batch of all ordered pairs of different videos of one action.

    group: (B,), equal where videos show the same action; all videos of which that is not known,
        -1, count as one action.
    videos: B names; two views of one video are no pair.
    """
    groups = group.tolist()
    pairs = [
        (a, b)
        for a, b in permutations(range(len(groups)), 2)
        if groups[a] == groups[b] and videos[a] != videos[b]
    ]
    return torch.tensor(pairs, dtype=torch.int64, device=group.device).view(-1, 2)


def same_action(group: Tensor, videos: Sequence[str]) -> Tensor:
    """What `pairs_of_one_action` gives. Raises ConfigError where there is no pair."""
    pairs = pairs_of_one_action(group, videos)
    if not len(pairs):
        raise ConfigError(
            "This method compares different videos of one action, and a step held no two "
            f"({', '.join(videos)}); give --data.together 2 or more, a column `action` in the "
            "table of videos or one folder per action, and at least two videos of every action."
        )
    return pairs


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(..., T, S) squared Euclidean distances of the rows of (..., T, D) and (..., S, D)."""
    lengths = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :]
    return (lengths - 2 * a @ b.transpose(-1, -2)).clamp(min=0)

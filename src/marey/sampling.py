"""Which frames of a video a view holds."""

from __future__ import annotations

import math

import numpy as np

from marey.errors import ConfigError
from marey.types import I64, Bool


def two_blocks(
    frames: int, length: int, rng: np.random.Generator, *, stretch: float, overlap: float
) -> list[tuple[I64, Bool]]:
    """Frame numbers of two overlapping views (CARL, Chen et al., CVPR 2022, section 3.1).

    Each view draws `length` frames without replacement, in order, from a block of
    alpha * length frames, alpha ~ U(1, stretch). The second block starts within
    (1 - overlap) * length frames of the first, as in the released code. A video shorter than
    `length` gives all its frames to both views, padded at the end.

    Returns two pairs (index (length,) int64, valid (length,) bool).
    Raises ConfigError for an empty video or settings out of range.
    """
    if frames < 1 or length < 1 or stretch < 1 or not 0 <= overlap <= 1:
        raise ConfigError(
            f"cannot take views of {length} frames from {frames} "
            f"(stretch {stretch} must be >= 1, overlap {overlap} within 0..1)"
        )
    if frames <= length:
        index = np.minimum(np.arange(length), frames - 1).astype(np.int64)
        valid = np.arange(length) < frames
        return [(index, valid), (index.copy(), valid.copy())]
    blocks = [min(frames, math.ceil(rng.uniform(1, stretch) * length)) for _ in range(2)]
    first = int(rng.integers(0, frames - blocks[0] + 1))
    reach = int((1 - overlap) * length)
    last = frames - blocks[1]
    second = int(rng.integers(min(last, max(0, first - reach)), min(last, first + reach) + 1))
    picks = [
        start + np.sort(rng.choice(block, length, replace=False)).astype(np.int64)
        for start, block in zip((first, second), blocks, strict=True)
    ]
    return [(index, np.ones(length, bool)) for index in picks]


def schedule(videos: int, per_step: int, step: int, seed: int) -> I64:
    """Which videos make up a step: (per_step,) positions, epoch after epoch in new orders.

    A function of the step alone, so that a resumed training sees what it would have seen; each
    video comes once per epoch, and an epoch may end within a step.
    """
    at = np.arange(step * per_step, (step + 1) * per_step)
    orders = {
        e: np.random.default_rng([seed, e]).permutation(videos)
        for e in np.unique(at // videos).tolist()
    }
    return np.array([orders[i // videos][i % videos] for i in at], dtype=np.int64)

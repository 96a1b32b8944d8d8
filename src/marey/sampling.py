"""Which frames of a video a view holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ConfigError
from marey.types import I64, Bool

_SHORTEST = 12  # frames that a cut leaves of a video; fewer hardly show what moves


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


def two_cuts(
    frames: int,
    length: int,
    rng: np.random.Generator,
    *,
    stretch: float,
    cut: float,
    overlap: float,
) -> list[tuple[I64, Bool]]:
    """Frame numbers of two views, as `two_blocks`, that leave out ends of short videos too.

    A block has alpha * length frames, alpha ~ U(1, stretch), and at most a share ~ U(cut, 1) of the
    video (though twelve frames, if there are so many). A block of less than `length` frames gives
    all it has, padded at the end.

    Returns two pairs (index (length,) int64, valid (length,) bool).
    Raises ConfigError for an empty video or settings out of range.
    """
    if frames < 1 or length < 1 or stretch < 1 or not (0 <= overlap <= 1 and 0 < cut <= 1):
        raise ConfigError(
            f"cannot take views of {length} frames from {frames} (stretch {stretch} must be >= 1, "
            f"cut {cut} and overlap {overlap} within 0..1)"
        )
    reach = int((1 - overlap) * length)
    views: list[tuple[I64, Bool]] = []
    low, high = 0, frames  # where a block may start, as far as it then fits in
    for _ in range(2):
        most = max(min(frames, _SHORTEST), int(frames * rng.uniform(cut, 1)))
        block = min(most, math.ceil(rng.uniform(1, stretch) * length))
        last = frames - block
        start = int(rng.integers(min(last, low), min(last, high) + 1))
        low, high = max(0, start - reach), start + reach
        views.append(_padded(start + rng.choice(block, min(length, block), replace=False), length))
    return views


def random_frames(frames: int, length: int, rng: np.random.Generator) -> tuple[I64, Bool]:
    """Frame numbers of a view of the whole video: `length` of them, sorted, none twice.

    As TCC (Dwibedi et al., CVPR 2019) samples videos. A shorter video gives all its frames, padded
    at the end. Returns index (length,) int64 and valid (length,) bool.
    Raises ConfigError for an empty video or view.
    """
    if frames < 1 or length < 1:
        raise ConfigError(f"cannot take a view of {length} frames from {frames}")
    return _padded(rng.choice(frames, min(length, frames), replace=False), length)


def frame_pairs(
    frames: int, length: int, rng: np.random.Generator, *, window: int, stretch: float
) -> tuple[I64, Bool]:
    """Frame numbers of a view of length / 2 pairs (single-view TCN, Sermanet et al., ICRA 2018).

    Places 2k and 2k + 1 hold an anchor and its positive, which follows it within `window` frames
    and comes before the next anchor; so where pairs lie close together, positives are nearer still.
    All lie in a block of `stretch` * length frames. A video that is too short gives fewer pairs,
    padded at the end; a single frame makes no pair, but is in the view.

    Returns index (length,) int64, increasing where valid (length,) bool.
    Raises ConfigError for an empty video, an odd length, or settings out of range.
    """
    if frames < 1 or length < 2 or length % 2 or window < 1 or stretch < 1:
        raise ConfigError(
            f"cannot take pairs of frames for a view of {length} frames from {frames} "
            f"(length must be even, window {window} and stretch {stretch} at least 1)"
        )
    if frames == 1:
        return _padded(np.zeros(1), length)
    block = min(frames, math.ceil(stretch * length))
    start = int(rng.integers(0, frames - block + 1))
    count = min(length, block) // 2
    # drawn from a block without the positives, then spread, so that each anchor is followed by one
    anchors = np.sort(rng.choice(block - count, count, replace=False)) + np.arange(count)
    room = np.diff(anchors, append=block) - 1
    positives = anchors + rng.integers(1, np.minimum(window, room) + 1)
    return _padded(start + np.stack((anchors, positives), 1).ravel(), length)


def order_tuples(
    frames: int, count: int, rng: np.random.Generator, *, ordered: float
) -> tuple[I64, I64]:
    """Tuples of three frames, in order or not (Shuffle and Learn, Misra et al., ECCV 2016).

    Of five frames a < b < c < d < e, (b, c, d) is in order; (b, a, d) and (b, e, d) are not; and
    each of them reversed counts as it did. So outer frames give nothing away: all is in the middle.

    frames: places of a view to draw from.  ordered: share of tuples that are in order.
    Returns (count, 3) int64 places and (count,) int64 labels: 1 in order, 0 not, and -1, no tuple
    at all, where there are fewer than five frames.
    """
    places = np.zeros((count, 3), np.int64)
    if frames < 5:
        return places, np.full(count, -1, np.int64)
    labels = (rng.random(count) < ordered).astype(np.int64)
    for tuple_, label in zip(places, labels, strict=True):
        a, b, c, d, e = np.sort(rng.choice(frames, 5, replace=False))
        middle = c if label else (a, e)[rng.integers(2)]
        tuple_[:] = (b, middle, d) if rng.random() < 0.5 else (d, middle, b)
    return places, labels


def _padded(chosen: NDArray[Any], length: int) -> tuple[I64, Bool]:
    """The chosen frames in order, the last of them repeated up to `length`, and which are real."""
    index = np.sort(chosen).astype(np.int64)
    padding = length - len(index)
    return np.pad(index, (0, padding), mode="edge"), np.arange(length) < len(index)


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


def schedule_together(groups: I64, per_step: int, step: int, seed: int, together: int) -> I64:
    """Which videos make up a step, as `schedule`, but in runs of `together` videos of one group.

    groups: (videos,) the group of each video; -1 is a group like any other.
    per_step: slots of a step on all processes, a multiple of `together`: slots r * together to
        (r + 1) * together - 1 are one run.

    A function of (seed, step). The videos of a run are different ones, except in a group that has
    fewer than `together`, whose run repeats them. Within a group all videos come equally often; in
    e epochs a group of n fills e * n slots, give or take one run.
    """
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # random fractions of a run, so that small groups do not all wait for the same epochs
    ahead = np.random.default_rng(seed).integers(together, size=len(sizes))

    def begun(epoch: int) -> I64:  # runs of each group before an epoch
        return np.asarray((epoch * sizes + ahead) // together)

    first, last = step * per_step // together, (step + 1) * per_step // together
    epoch = first * together // len(groups)
    while begun(epoch).sum() > first:
        epoch -= 1
    runs: list[I64] = []
    while begun(epoch).sum() < last:
        before, counts = begun(epoch), begun(epoch + 1) - begun(epoch)
        group = np.repeat(np.arange(len(sizes)), counts)
        number = np.arange(len(group)) + np.repeat(before - np.cumsum(counts) + counts, counts)
        order = np.random.default_rng([seed, epoch]).permutation(len(group))
        start = int(before.sum())
        for i in order[max(0, first - start) : last - start]:
            members = np.flatnonzero(group_of == group[i])
            runs.append(members[_run(len(members), together, int(number[i]), (seed, group[i]))])
        epoch += 1
    return np.concatenate(runs)


def _run(size: int, together: int, number: int, seed: tuple[int, int]) -> I64:
    """(together,) places of a run, of an endless row of runs in a group of that size.

    One order of the group is gone through round and round until a run ends where it ends, so that
    no run meets the border between two orders and holds a video twice; then comes another order.
    """
    period = size // math.gcd(size, together)
    order = np.random.default_rng([*seed, number // period]).permutation(size)
    return np.asarray(order[(number % period * together + np.arange(together)) % size])

"""How well embeddings of frames tell where in an action each frame is.

The protocol of CARL (Chen et al., CVPR 2022, section 5.1) as released, for the videos of one
action; average the numbers over actions. Every argument `embeddings`, `train` or `val` is a list
with one (N, D) array per video, `labels` one (N,) array of phase numbers per video, from 0 and
not decreasing. All functions raise ShapeError where these do not fit one another, and return nan
where the data cannot answer, as each of them says.

The matrices are small, and threads that wait for one another made these functions up to fifty
times slower on a busy machine: linear algebra is held to one thread.

A clock, the embedding t/n, scores well on trimmed videos. Show it beside any number, and compute
every number again on videos that lost their ends (`shift`).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import r2_score
from threadpoolctl import threadpool_limits

from marey import alignment
from marey.errors import ConfigError, ShapeError
from marey.types import F64, I64

Array = NDArray[np.floating[Any]]


def phase_classification(
    train: Sequence[Array],
    train_labels: Sequence[I64],
    val: Sequence[Array],
    val_labels: Sequence[I64],
    *,
    fraction: float = 1.0,
) -> float:
    """Accuracy, 0..1, over all frames of `val` of a multinomial logistic regression (C = 1).

    fraction: of the training videos, the first so many are used, at least one. Frames of a phase
        that does not occur in these count as wrong.

    nan where the training frames used have fewer than two phases.
    """
    used = _check_probe(train, train_labels, val, val_labels, fraction)
    x, y = np.concatenate(train[:used]), np.concatenate(train_labels[:used])
    phases = len(np.unique(y))
    if phases < 2:
        return float("nan")
    # scikit-learn gives two classes one weight vector, penalised twice as hard as the softmax's two
    strength = 2.0 if phases == 2 else 1.0
    centre = x.mean(axis=0)  # leaves the solution where it is, and makes it quicker to reach
    with threadpool_limits(1), warnings.catch_warnings():
        # the accuracy has settled long before the last digits of the weights
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=strength, max_iter=2000).fit(x - centre, y)
        return float(model.score(np.concatenate(val) - centre, np.concatenate(val_labels)))


def progression(
    train: Sequence[Array],
    train_labels: Sequence[I64],
    val: Sequence[Array],
    val_labels: Sequence[I64],
    *,
    fraction: float = 1.0,
) -> float:
    """Mean R^2, up to 1, of linear regressions to the time that is left to each phase boundary.

    For the end of phase k the target of a frame is (frame - last frame of phase k) / N. A video in
    which that end does not occur, because it starts later or stops earlier, is left out for k; a
    boundary that no training or no validation video has is left out of the mean.

    fraction: as in `phase_classification`.  nan where no boundary is left.
    """
    used = _check_probe(train, train_labels, val, val_labels, fraction)
    scores = []
    for phase in range(max(int(labels[-1]) for labels in val_labels)):
        fit = _until_end(train[:used], train_labels[:used], phase)
        held_out = _until_end(val, val_labels, phase)
        if fit and held_out:
            with threadpool_limits(1):
                guess = LinearRegression().fit(*fit).predict(held_out[0])
            scores.append(float(r2_score(held_out[1], guess)))
    return float(np.mean(scores)) if scores else float("nan")


def _until_end(
    embeddings: Sequence[Array], labels: Sequence[I64], phase: int
) -> tuple[Array, F64] | None:
    """Frames of the videos in which the phase ends, and their distance from there."""
    rows, targets = [], []
    for x, y in zip(embeddings, labels, strict=True):
        after = int(np.searchsorted(y, phase, side="right"))
        if 0 < after < len(y):
            rows.append(x)
            targets.append((np.arange(len(y)) - (after - 1)) / len(y))
    return (np.concatenate(rows), np.concatenate(targets)) if rows else None


def kendalls_tau(embeddings: Sequence[Array], *, stride: int = 2) -> float:
    """Mean Kendall's tau-b, -1..1, of time against the time of the nearest frame elsewhere.

    For every ordered pair of videos: each `stride`-th frame of one, its nearest neighbour
    (Euclidean) among each `stride`-th frame of the other; 1 where the matches never go back.

    A pair without a tau (one frame, or all frames matched to the same one) is left out, as in the
    release.  nan where no pair is left, and so for a single video.
    """
    _check(embeddings)
    taus = []
    with threadpool_limits(1):
        for own, distance, videos in _distances(embeddings, stride):
            matches = [distance[:, other].argmin(axis=1) for other in videos if other != own]
            taus.append(_tau(np.array(matches, np.int64).reshape(-1, len(distance))))
    every = np.concatenate(taus)
    kept = every[~np.isnan(every)]
    return float(kept.mean()) if len(kept) else float("nan")


def _tau(matches: I64) -> F64:
    """Kendall's tau-b of each row of (P, n) against 0 ... n-1: (P,), nan where a row is constant.

    All pairs that lie `lag` apart at a time: for the few dozen steps of a video, and all rows at
    once, that is much faster than sorting.
    """
    n = matches.shape[1]
    up = np.zeros(len(matches), np.int64)
    down = np.zeros(len(matches), np.int64)
    for lag in range(1, n):
        up += np.count_nonzero(matches[:, lag:] > matches[:, :-lag], axis=1)
        down += np.count_nonzero(matches[:, lag:] < matches[:, :-lag], axis=1)
    pairs = n * (n - 1) / 2
    untied = np.where(up + down > 0, up + down, np.nan)
    tau: F64 = (up - down) / np.sqrt(pairs * untied)
    return tau


def average_precision_at_k(
    embeddings: Sequence[Array], labels: Sequence[I64], k: int, *, stride: int = 2
) -> float:
    """Share, 0..1, of the k nearest frames of all other videos that have the query's phase.

    Queries and candidates are each `stride`-th frame; squared Euclidean distance; mean over the
    queries of a video, then over videos. All candidates count where there are fewer than k.

    nan for a single video.  Raises ConfigError for k < 1.
    """
    _check(embeddings, labels)
    if k < 1:
        raise ConfigError(f"precision at k needs k of at least 1, not {k}")
    if len(embeddings) < 2:
        return float("nan")
    phase = np.concatenate([y[::stride] for y in labels])
    precisions = []
    with threadpool_limits(1):
        for own, distance, _ in _distances(embeddings, stride):
            count = min(k, len(phase) - len(distance))
            distance[:, own] = np.inf
            near = np.argpartition(distance, count - 1, axis=1)[:, :count]
            precisions.append(float((phase[near] == phase[own, None]).mean()))
    return float(np.mean(precisions))


def _distances(
    embeddings: Sequence[Array], stride: int
) -> Iterator[tuple[slice, Array, list[slice]]]:
    """Video by video: its columns, its distances to all frames, and every video's columns.

    Of each squared distance |q|^2 - 2 q.c + |c|^2 the first term is left out: it is the same for
    all candidates of a frame.
    """
    strided = [x[::stride] for x in embeddings]
    rows = np.concatenate(strided, dtype=np.result_type(np.float32, *strided))
    rows -= rows.mean(axis=0)  # or the squares drown the differences in single precision
    norms = np.einsum("nd,nd->n", rows, rows)
    ends = list(itertools.accumulate(map(len, strided)))
    videos = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    columns = -2 * rows.T
    for own in videos:
        distance = rows[own] @ columns
        distance += norms
        yield own, distance, videos


def alignment_error(
    embeddings: Sequence[Array],
    progress: Sequence[F64],
    *,
    matcher: Literal["nearest", "dtw"] = "dtw",
    pairs: int | None = 1000,
    seed: int = 0,
) -> float:
    """Mean |progress of a frame - progress of its match in another video|, in phases.

    progress: (N,) per video, from `phase_progress`.
    matcher: how frames find their match by squared Euclidean distance, `marey.alignment.nearest` or
        `marey.alignment.dtw`.
    pairs: at most so many ordered pairs of videos, drawn with the seed; None = all.

    nan for a single video.  Raises ConfigError for another matcher.
    """
    _check(embeddings, progress)
    if matcher not in ("nearest", "dtw"):
        raise ConfigError(f"there is no matcher {matcher!r}; use nearest or dtw")
    find = alignment.dtw if matcher == "dtw" else alignment.nearest
    n = len(embeddings)
    if n < 2:
        return float("nan")
    chosen: I64 = np.arange(n * (n - 1))
    if pairs is not None and pairs < len(chosen):
        chosen = np.random.default_rng(seed).choice(len(chosen), pairs, replace=False)
    errors = []
    with threadpool_limits(1):
        for i, j in zip(*divmod(chosen, n - 1), strict=True):
            other = j + (j >= i)  # the j-th of the videos that are not i
            found = find(embeddings[i], embeddings[other], metric="sqeuclidean")
            there = progress[other][alignment.match(found)]
            errors.append(float(np.abs(progress[i] - there).mean()))
    return float(np.mean(errors))


def phase_progress(boundaries: Sequence[int], frames: int) -> F64:
    """Time counted in phases, (frames,) float64: from k to k + 1 linearly inside phase k.

    boundaries: the frames at which phases 1, 2, ... start.  Raises ShapeError unless they rise
    strictly between 0 and `frames`.
    """
    edges = np.array([0, *boundaries, frames])
    if (np.diff(edges) <= 0).any():
        raise ShapeError(
            f"phase boundaries must rise and lie inside the {frames} frames, not {list(boundaries)}"
        )
    progress: F64 = np.interp(np.arange(frames), edges, np.arange(len(edges)))
    return progress


def shift(frames: int, rng: np.random.Generator, *, most: float = 0.35, least: int = 12) -> slice:
    """The part that is left of a video that lost up to `most` of its frames at either end.

    At least `least` frames stay, or all of a shorter video.
    """
    lost = rng.uniform(0.0, most, 2) * frames
    spare = max(0, frames - least)
    lost *= spare / max(spare, lost.sum(), 1.0)
    head, tail = np.floor(lost).astype(int)
    return slice(int(head), int(frames - tail))


def _check_probe(
    train: Sequence[Array],
    train_labels: Sequence[I64],
    val: Sequence[Array],
    val_labels: Sequence[I64],
    fraction: float,
) -> int:
    """The number of training videos to use."""
    _check(train, train_labels)
    _check(val, val_labels)
    if train[0].shape[1] != val[0].shape[1]:
        raise ShapeError(
            "training and validation embeddings must be of one dimension, not "
            f"{train[0].shape[1]} and {val[0].shape[1]}"
        )
    return max(1, int(fraction * len(train)))


def _check(embeddings: Sequence[Array], per_frame: Sequence[NDArray[Any]] | None = None) -> None:
    """One (N, D) array per video, of one D; one value per frame."""
    if not embeddings:
        raise ShapeError("there is no video to score")
    for video, x in enumerate(embeddings):
        if x.ndim != 2 or 0 in x.shape or x.shape[1] != embeddings[0].shape[1]:
            raise ShapeError(
                f"embeddings must be (N, D) with one D for all videos, but video {video} is "
                f"{x.shape} and the first {embeddings[0].shape}"
            )
        if not np.isfinite(x).all():
            raise ShapeError(f"the embedding of video {video} has a value that is not finite")
    if per_frame is None:
        return
    if len(per_frame) != len(embeddings):
        raise ShapeError(
            f"{len(embeddings)} videos need as many label arrays, not {len(per_frame)}"
        )
    for video, (x, values) in enumerate(zip(embeddings, per_frame, strict=True)):
        if values.shape != (len(x),):
            raise ShapeError(f"video {video} has {len(x)} frames, but labels of {values.shape}")
        if (np.diff(values) < 0).any():
            raise ShapeError(f"the phases of video {video} must not go back in time")

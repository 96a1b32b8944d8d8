"""One linear layer on fixed vectors, however many of them there are.

Learned in small batches, so that the vectors may lie on the disk (`numpy.memmap`): millions of
frames, as of FineGym, or the videos of Kinetics.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from marey.errors import ShapeError
from marey.types import F64, I64

Array = NDArray[np.floating[Any]]

EPOCHS = 30
LEAST_STEPS = 500
"""Steps that few vectors are learned for, in as many epochs as that takes."""
RATE = 0.01
_CHUNK = 4096


def linear_accuracy(
    train: Array,
    train_labels: I64,
    test: Array,
    test_labels: I64,
    *,
    batch: int = 4096,
    seed: int = 0,
    where: torch.device | None = None,
) -> float:
    """Share, 0..1, of the test vectors that a softmax regression names right.

    The layer starts from zero and sees vectors standardised to the mean and spread of the training
    vectors; Adam at 0.01, falling to 0 along a cosine, 30 epochs and at least 500 steps, no weight
    decay. A label that no training vector has counts as wrong. At most `batch` vectors are held in
    memory at a time.

    Args:
        train, test: (N, D) and (M, D), in memory or mapped from a file.
        train_labels, test_labels: (N,) and (M,) int64, any numbers.
        seed: of the order in which batches come.

    nan where the training vectors have fewer than two labels. Raises ShapeError where vectors and
    labels do not fit one another, or a training vector is not finite.
    """
    for vectors, labels in ((train, train_labels), (test, test_labels)):
        if vectors.ndim != 2 or not len(vectors) or labels.shape != (len(vectors),):
            raise ShapeError(f"vectors must be (N, D) with labels (N,), not {vectors.shape}")
    if train.shape[1] != test.shape[1]:
        raise ShapeError(
            f"vectors to learn from and to test must be of one length, not {train.shape[1]} and "
            f"{test.shape[1]}"
        )
    classes, y = np.unique(train_labels, return_inverse=True)
    if len(classes) < 2:
        return float("nan")
    where = where or torch.device("cpu")
    mean, spread = _moments(train)

    def take(vectors: Array, rows: I64 | slice) -> torch.Tensor:
        standard = (np.asarray(vectors[rows], np.float32) - mean) / spread
        return torch.from_numpy(standard.astype(np.float32)).to(where)

    layer = nn.Linear(train.shape[1], len(classes)).to(where)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), RATE)
    per_epoch = math.ceil(len(train) / batch)
    total = max(EPOCHS * per_epoch, LEAST_STEPS)
    for step in range(total):
        if step % per_epoch == 0:
            order = np.random.default_rng([seed, step // per_epoch]).permutation(len(train))
        at = step % per_epoch * batch
        rows = np.sort(order[at : at + batch])  # in the order in which they lie on the disk
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / total))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(layer(take(train, rows)), torch.from_numpy(y[rows]).to(where)).backward()
        optimizer.step()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(test), batch):
            part = slice(start, start + batch)
            named = classes[layer(take(test, part)).argmax(1).cpu().numpy()]
            right += int((named == test_labels[part]).sum())
    return right / len(test)


def _moments(vectors: Array) -> tuple[F64, F64]:
    """(D,) mean and standard deviation, 1 where nothing varies, in one pass over the vectors."""
    # about the first vector, or the squares drown a spread that is small beside the mean
    origin = np.asarray(vectors[0], np.float64)
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for start in range(0, len(vectors), _CHUNK):
        rows = np.asarray(vectors[start : start + _CHUNK], np.float64) - origin
        total += rows.sum(0)
        squares += (rows**2).sum(0)
    if not np.isfinite(squares).all():
        raise ShapeError("a vector to learn from has a value that is not finite")
    mean = total / len(vectors)
    spread = np.sqrt(np.maximum(squares / len(vectors) - mean**2, 0))
    return origin + mean, np.where(spread > 0, spread, 1)

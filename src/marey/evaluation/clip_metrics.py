"""How well one vector per video tells which action the video shows.

Four questions to the same vectors, all answered from the training videos: a linear support vector
machine, as MCL was published with (Li et al., ICCV 2021); a linear layer, as is usual for large
corpora; the nearest neighbours; and retrieval. `chance` answers them without a look at the videos.

Linear algebra is held to one thread, as in `marey.evaluation.frames`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from marey.errors import ShapeError
from marey.evaluation.linear import linear_accuracy
from marey.types import F64, I64, Bool

Array = NDArray[np.floating[Any]]

NEIGHBOURS = 5
TEMPERATURE = 0.07
RANKS = (1, 5, 10, 20, 50)

_SPARE = 16  # found in float32 beside those that are asked for: rounding may change places
_BLOCK = 2**24  # numbers in memory at a time
_CHUNK = 4096


def score_clips(
    train: Array, train_labels: Sequence[str], test: Array, test_labels: Sequence[str]
) -> dict[str, float]:
    """All metrics of the (N, F) vectors of N training videos and the (M, F) of M test videos.

    Shares of the test videos, 0..1:

    - `svm`: named right by a linear SVM as in MCL's release: squared hinge, one against the rest,
      C = 1, no bias, the vectors as they are, neither standardised nor of unit norm;
    - `linear`: named right by a softmax regression (C = 1) on vectors standardised to the mean and
      spread of the training videos;
    - `knn`: named right by the 5 training videos of largest cosine similarity s, whose votes weigh
      exp(s / 0.07) (Wu et al., CVPR 2018);
    - `r1` ... `r50`: whose k most similar training videos (cosine; all, where there are fewer)
      hold one of their action.

    A test video of an action that no training video shows counts as wrong. `svm` and `linear` are
    nan where the training videos show a single action. Raises ShapeError where vectors and labels
    do not fit one another, or a vector is not finite.
    """
    _check(train, train_labels)
    _check(test, test_labels)
    if train.shape[1] != test.shape[1]:
        raise ShapeError(
            f"vectors of training and test videos must be of one length, not {train.shape[1]} and "
            f"{test.shape[1]}"
        )
    y, truth = _numbered(train_labels, test_labels)
    found = {"svm": float("nan"), "linear": float("nan")}
    with threadpool_limits(1), warnings.catch_warnings():
        # the accuracy has settled long before the last digits of the weights
        warnings.simplefilter("ignore", ConvergenceWarning)
        if y.max() > 0:
            svm = LinearSVC(C=1.0, dual=False, fit_intercept=False).fit(train, y)
            layer = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
            found["svm"] = float((svm.predict(test) == truth).mean())
            found["linear"] = float((layer.fit(train, y).predict(test) == truth).mean())
        order, similarity = most_similar(train, test, max(*RANKS, NEIGHBOURS))
    votes = np.zeros((len(test), y.max() + 1))
    weights = np.exp(similarity[:, :NEIGHBOURS] / TEMPERATURE)
    np.add.at(votes, (np.arange(len(test))[:, None], y[order[:, :NEIGHBOURS]]), weights)
    found["knn"] = float((votes.argmax(1) == truth).mean())
    hits: Bool = y[order] == truth[:, None]
    return found | {f"r{k}": float(hits[:, :k].any(1).mean()) for k in RANKS}


def most_similar(train: Array, test: Array, count: int) -> tuple[I64, F64]:
    """The training vectors of largest cosine similarity to each test vector, the largest first.

    They are sought in blocks of float32, so that memory does not grow with N x M, and then put in
    order in float64; of equal ones the first come first. Vectors are compared about their
    mean: those of an untrained network differ in digits that float32 would not keep otherwise.

    train: (N, F).  test: (M, F).  count: K at most; N, where there are fewer.
    Returns (M, K) places among the N and (M, K) similarities.
    """
    taken, count = min(count + _SPARE, len(train)), min(count, len(train))
    chunks = [slice(at, at + _CHUNK) for at in range(0, len(train), _CHUNK)]
    mean = sum(_unit(train[chunk]).sum(0) for chunk in chunks) / len(train)
    gallery, along = np.empty(train.shape, np.float32), np.empty(len(train), np.float32)
    for chunk in chunks:
        about = _unit(train[chunk]) - mean
        gallery[chunk], along[chunk] = about, about @ mean
    order, similarity = np.zeros((len(test), count), np.int64), np.zeros((len(test), count))
    size = max(1, _BLOCK // max(len(train), taken * train.shape[1]))
    for start in range(0, len(test), size):
        block = slice(start, start + size)
        asked = _unit(test[block])
        # less what is the same for all of the gallery
        far = -((asked - mean).astype(np.float32) @ gallery.T + along)
        places = np.argpartition(far, taken - 1, axis=1)[:, :taken]
        edge = np.take_along_axis(far, places, 1).max(1, keepdims=True)
        tied = (far <= edge).sum(1) > taken  # more than can be taken: the first of them
        places[tied] = np.argsort(far[tied], axis=1, kind="stable")[:, :taken]
        places.sort(axis=1)
        found = np.einsum("mf,mkf->mk", asked, _unit(train[places]))
        best = np.argsort(-found, axis=1, kind="stable")[:, :count]
        order[block] = np.take_along_axis(places, best, 1)
        similarity[block] = np.take_along_axis(found, best, 1)
    return order, similarity


def score_linear(
    train: Array, train_labels: Sequence[str], test: Array, test_labels: Sequence[str]
) -> dict[str, float]:
    """Of `score_clips` the linear layer alone, for corpora as large as Kinetics.

    The layer is learned in small batches (`marey.evaluation.linear`), not to the last digit.
    Raises ShapeError as `score_clips` does.
    """
    _check(train, train_labels)
    _check(test, test_labels)
    y, truth = _numbered(train_labels, test_labels)
    return {"linear": linear_accuracy(train, y, test, truth)}


def chance(train_labels: Sequence[str], test_labels: Sequence[str]) -> dict[str, float]:
    """What the metrics of `score_clips` are, in expectation, without a look at the videos.

    Classifiers always name the most frequent action of the training videos; retrieval returns them
    in random order.
    """
    y, truth = _numbered(train_labels, test_labels)
    counts = np.bincount(y)
    guessed = float((truth == counts.argmax()).mean())
    same = np.where(truth < 0, 0, counts[truth])  # training videos that show the query's action
    found = dict.fromkeys(("svm", "linear", "knn"), guessed)
    for k in RANKS:
        found[f"r{k}"] = float(hypergeom.sf(0, len(y), same, min(k, len(y))).mean())
    return found


def _numbered(train_labels: Sequence[str], test_labels: Sequence[str]) -> tuple[I64, I64]:
    """Actions by their place among the training videos' actions, -1 where it is not there."""
    actions, y = np.unique(np.asarray(train_labels), return_inverse=True)
    place = {action: i for i, action in enumerate(actions.tolist())}
    return y, np.array([place.get(label, -1) for label in test_labels], np.int64)


def _unit(vectors: Array) -> F64:
    rows = vectors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: F64 = rows / np.where(norms > 0, norms, 1)
    return unit


def _check(vectors: Array, labels: Sequence[str]) -> None:
    if vectors.ndim != 2 or 0 in vectors.shape or len(labels) != len(vectors):
        raise ShapeError(
            f"vectors must be (N, F) with N labels, not {vectors.shape} with {len(labels)}"
        )
    if not np.isfinite(vectors).all():
        raise ShapeError("a vector has a value that is not finite")

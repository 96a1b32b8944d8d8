"""Which moment of one video is which moment of another: nearest neighbours and time warping.

Dynamic time warping walks from corner to corner of the table of distances, by one row, one column
or both at a time, along the path of least total distance D(i, j) = c(i, j) + min(D(i-1, j-1),
D(i-1, j), D(i, j-1)) (Sakoe and Chiba, 1978). Three things make it fast and exact in plain numpy:

- A row follows from the row above without a loop over its columns. With m(j) the cheaper of the
  two cells above and S the running sum of c along the row, D(j) = S(j) + min over k <= j of
  (m(k) - S(k-1)): one running sum, one running minimum.
- Distances are whole numbers of tiny units, so that no sum is ever rounded: the order in which
  things are added does not matter, equal frames tie exactly, and dtw(a, b) costs what dtw(b, a)
  does. Among paths of equal total the shortest wins, the one with most diagonal steps.
- Only a band of rows is in memory. On the way back a band is computed again from the row above it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marey.errors import ConfigError, ShapeError
from marey.types import F32, F64, I64, Alignment

Array = NDArray[np.floating[Any]]
Metric = Literal["cosine", "sqeuclidean"]

_BAND = 1 << 20  # cells of a band, of which two float64 tables exist: 16 MB


def nearest(a: Array, b: Array, *, metric: Metric = "cosine") -> Alignment:
    """For every row of the query a (N, D), the row of the reference b (M, D) at least distance.

    The earliest row wins a tie. Returns an Alignment with K = N, its cost in the metric. Raises
    ShapeError for arrays that are not (N, D) and (M, D), empty, or not finite; ConfigError for
    another metric.
    """
    left, right, largest = _factors(a, b, metric)
    units = 2.0 ** (32 - math.frexp(largest)[1])
    left *= units
    rows = max(1, _BAND // len(right))
    matches, total = [], 0.0
    for start in range(0, len(left), rows):
        distance = left[start : start + rows] @ right.T
        np.rint(distance, out=distance)  # as in `dtw_path`, so that equal frames tie
        matches.append(distance.argmin(axis=1))
        total += float(distance.min(axis=1).sum())
    path = np.stack([np.arange(len(left)), np.concatenate(matches)])
    return Alignment(path, total / units / len(left), "nearest")


def dtw(a: Array, b: Array, *, metric: Metric = "cosine") -> Alignment:
    """Dynamic time warping of the query a (N, D) onto the whole of the reference b (M, D).

    The path leads from (0, 0) to (N-1, M-1), K < N + M; its cost is in the metric. Raises
    ShapeError and ConfigError as `nearest` does.
    """
    total, path = dtw_path(a, b, metric=metric)
    return Alignment(path, total / path.shape[1], "dtw")


def subsequence(a: Array, b: Array) -> Alignment:
    """Where in b (M, D) the whole of a (N, D) happens: time warping with free start and end in b.

    The path covers rows 0 to N-1 of a; the earliest end wins a tie. Raises ShapeError as `nearest`.
    """
    total, path = dtw_path(a, b, free_ends=True)
    return Alignment(path, total / path.shape[1], "subsequence")


def dtw_path(
    a: Array,
    b: Array,
    *,
    metric: Metric = "cosine",
    free_ends: bool = False,
    rows: int | None = None,
) -> tuple[float, I64]:
    """Total distance along the path of least total distance, and the path (2, K).

    metric: distance of two rows, 1 - cosine similarity or squared Euclidean, rounded to 1e-9 of the
        largest possible one, or 1e-6 at 10,000 x 10,000, to leave room for the sums.
    free_ends: the path may start and end in any row of b, and costs nothing outside.
    rows: of a, computed at a time. Nothing but memory and speed depends on it.

    Takes O(N M D) time and O(M sqrt(N)) memory. Raises ShapeError and ConfigError as `nearest`.
    """
    left, right, largest = _factors(a, b, metric)
    n, m = len(left), len(right)
    # a cell costs its distance in units times `length`, and 1 for the step; sums stay below 2**53
    bits = (n + m).bit_length()
    length = 2.0**bits
    units = 2.0 ** (min(32, 52 - 2 * bits) - math.frexp(largest)[1])
    left *= units
    rows = rows or max(_BAND // m, math.isqrt(n), 1)
    above = np.zeros(m + 1) if free_ends else np.full(m + 1, np.inf)
    above[0] = 0.0
    table = np.empty(0)
    starts, edges = range(0, n, rows), []
    for start in starts:
        edges.append(above)
        table = _accumulate(above, left[start : start + rows], right, length)
        above = table[-1].copy()
    j = int(above[1:].argmin()) if free_ends else m - 1
    total = float(above[j + 1])

    path = []
    for start, above in zip(reversed(starts), reversed(edges), strict=True):
        if start != starts[-1]:
            table = _accumulate(above[: j + 2], left[start : start + rows], right[: j + 1], length)
        i = len(table) - 2
        while i >= 0:
            path.append((start + i, j))
            # table[i + 1, j + 1] is this cell
            diagonal, up, back = table[i, j], table[i, j + 1], table[i + 1, j]
            if diagonal <= up and diagonal <= back:
                i, j = i - 1, j - 1
            elif up <= back:
                i -= 1
            else:
                j -= 1
    return total // length / units, np.array(path[::-1], np.int64).T


def _accumulate(above: F64, left: F64, right: F64, length: float) -> F64:
    """Least total cost of reaching each cell of a band: (1 + rows, 1 + columns) float64.

    above: (1 + columns,) the totals of the row before; column 0 is outside.
    """
    along = left @ right.T
    np.rint(along, out=along)
    along *= length
    along += 1
    np.cumsum(along, axis=1, out=along)
    table = np.empty((len(left) + 1, len(right) + 1))
    table[0] = above
    table[1:, 0] = np.inf
    for previous, row, walk in zip(table, table[1:, 1:], along, strict=False):
        np.minimum(previous[:-1], previous[1:], out=row)
        row[1:] -= walk[:-1]
        np.fmin.accumulate(row, out=row)  # twice as fast as minimum, which looks out for nan
        row += walk
    return table


def match(alignment: Alignment) -> I64:
    """One reference row for every query row (N,): the middle one of those on the path.

    Non-decreasing for an alignment by time warping.
    """
    rows, reference = alignment.path
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    last = np.append(first[1:], len(rows)) - 1
    middle: I64 = (reference[first] + reference[last]) // 2
    return middle


def alignability(a: Array, b: Array) -> float:
    """Whether two videos belong together at all: the motion they share beyond chance, 0..1.

    Along the path of least squared distance, both videos centred on their own mean so that looks
    drop out, r = 1 - sum |x - y|^2 / (sum |x|^2 + sum |y|^2) is the share of motion in common.
    Time warping finds some between any two videos. Chance is therefore the mean r of a against b
    rotated by a quarter, a half and three quarters of its length, and the score
    (r - chance) / (1 - chance), or 0 where that is negative or a video stands still.

    Costs four time warpings. Not quite the same both ways. Raises ShapeError as `nearest` does.
    """
    x, y = (_unit(side) for side in _pair(a, b))
    x -= x.mean(axis=0)
    y -= y.mean(axis=0)
    found = _shared_motion(x, y)
    starts = (len(y) * quarters // 4 for quarters in (1, 2, 3))
    chance = sum((_shared_motion(x, np.roll(y, -start, axis=0)) for start in starts), 0.0) / 3
    return max(0.0, (found - chance) / (1 - chance)) if chance < 1 else 0.0


def _shared_motion(a: F64, b: F64) -> float:
    total, (i, j) = dtw_path(a, b, metric="sqeuclidean")
    moves = np.square(a[i]).sum() + np.square(b[j]).sum()
    # what is left of a still after subtracting its mean is rounding
    return 1.0 - total / float(moves) if moves > 1e-12 * len(i) else 0.0


def similarity(a: Array, b: Array, *, limit: int | None = None) -> F32:
    """Cosine similarity of every row of a (N, D) with every row of b (M, D): (N, M) float32.

    limit: for display, average blocks of equal size (the last may be smaller) so that neither side
        is longer than this. Raises ShapeError as `nearest` does.
    """
    a, b = _pair(a, b)
    # the mean of a block of products is the product of the means: the full table never exists
    x, y = (_shorten(_unit(side), limit or len(side)).astype(np.float32) for side in (a, b))
    table: F32 = x @ y.T
    return table.clip(-1.0, 1.0, out=table)


def _shorten(rows: F64, limit: int) -> F64:
    size = -(-len(rows) // limit)
    starts = np.arange(0, len(rows), size)
    mean: F64 = np.add.reduceat(rows, starts) / np.diff(starts, append=len(rows))[:, None]
    return mean


def _factors(a: Array, b: Array, metric: Metric) -> tuple[F64, F64, float]:
    """left (N, .) and right (M, .) whose product is the distances, and the largest possible one."""
    a, b = _pair(a, b)
    if metric == "cosine":
        left, right = _unit(a, 1), _unit(b, 1)
        np.negative(left[:, :-1], out=left[:, :-1])
        left[:, -1] = right[:, -1] = 1.0
        return left, right, 2.0
    if metric != "sqeuclidean":
        raise ConfigError(f"there is no metric {metric!r}; use cosine or sqeuclidean")
    centre = b.mean(axis=0, dtype=np.float64)  # far from it squares would drown the differences
    x, y = a - centre, b - centre
    xx, yy = (np.einsum("nd,nd->n", rows, rows)[:, None] for rows in (x, y))
    largest = (math.sqrt(xx.max()) + math.sqrt(yy.max())) ** 2 or 1.0
    return np.hstack([-2 * x, xx, xx**0]), np.hstack([y, yy**0, yy]), largest


def _pair(a: Array, b: Array) -> tuple[Array, Array]:
    for name, rows in (("query", a), ("reference", b)):
        if rows.ndim != 2 or 0 in rows.shape:
            raise ShapeError(f"the {name} must be (rows, D) and not empty, but it is {rows.shape}")
        if not np.isfinite(rows).all():
            raise ShapeError(f"the {name} has a value that is not a finite number; embed it again")
    if a.shape[1] != b.shape[1]:
        raise ShapeError(
            f"query and reference must be of one dimension, not {a.shape[1]} and {b.shape[1]}; "
            "embed both with the same model"
        )
    return a, b


def _unit(rows: Array, spare: int = 0) -> F64:
    """Rows of unit norm and `spare` empty columns; a row of zeros stays, similar to nothing."""
    unit = np.empty((len(rows), rows.shape[1] + spare))
    norm = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    np.divide(rows, np.where(norm > 0, norm, 1.0)[:, None], out=unit[:, : rows.shape[1]])
    return unit

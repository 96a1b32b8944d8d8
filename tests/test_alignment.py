"""Alignment against slow obvious twins, and by its properties."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marey import alignment
from marey.errors import ConfigError, ShapeError

some = settings(max_examples=60, deadline=None)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two short videos of small whole numbers: their squared distances tie often, and exactly."""
    d = draw(st.integers(1, 3))
    values = st.integers(-2, 2).map(float)
    return tuple(
        draw(arrays(np.float64, (draw(st.integers(1, 12)), d), elements=values)) for _ in "ab"
    )


def random_pair(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)), rng.normal(size=(m, 5))


def squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a[:, None] - b[None]) ** 2).sum(axis=2)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    table = np.zeros((len(a), len(b)))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            norms = math.sqrt(x @ x) * math.sqrt(y @ y)
            table[i, j] = 1 - (x @ y / norms if norms else 0.0)
    return table


def slow_dtw(distance: np.ndarray, free_ends: bool) -> tuple[float, int]:
    """Least total and, among the paths of that total, the fewest steps."""
    n, m = distance.shape
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i in range(n):
        for j in range(m):
            before = [best[p] for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in best]
            if (i, j) == (0, 0) or (free_ends and i == 0):
                before.append((0.0, 0))
            total, steps = min(before)
            best[i, j] = (total + distance[i, j], steps + 1)
    ends = [best[n - 1, j] for j in range(m)] if free_ends else [best[n - 1, m - 1]]
    return min(ends)


def check_path(path: np.ndarray, n: int, m: int, free_ends: bool = False) -> None:
    assert path.dtype == np.int64
    assert path[0, 0] == 0
    assert path[0, -1] == n - 1
    if not free_ends:
        assert path[1, 0] == 0
        assert path[1, -1] == m - 1
    steps = {tuple(step) for step in np.diff(path).T}
    assert steps <= {(1, 1), (1, 0), (0, 1)}


@some
@given(pairs(), st.booleans())
def test_total_steps_and_path_are_those_of_the_slow_loop(pair, free_ends):
    a, b = pair
    distance = squares(a, b)
    total, path = alignment.dtw_path(a, b, metric="sqeuclidean", free_ends=free_ends)
    assert (total, path.shape[1]) == slow_dtw(distance, free_ends)
    assert distance[path[0], path[1]].sum() == total
    check_path(path, len(a), len(b), free_ends)


@some
@given(st.integers(0, 1000), st.integers(1, 15), st.integers(1, 15), st.booleans())
def test_cosine_is_that_of_the_slow_loop(seed, n, m, free_ends):
    a, b = random_pair(seed, n, m)
    distance = cosines(a, b)
    found = alignment.subsequence(a, b) if free_ends else alignment.dtw(a, b)
    total, steps = slow_dtw(distance, free_ends)
    assert found.cost == pytest.approx(total / steps, abs=1e-8)
    assert found.cost == pytest.approx(distance[found.path[0], found.path[1]].mean(), abs=1e-8)
    assert found.method == ("subsequence" if free_ends else "dtw")
    check_path(found.path, n, m, free_ends)


@some
@given(pairs())
def test_cost_is_the_same_both_ways(pair):
    a, b = pair
    there, path = alignment.dtw_path(a, b, metric="sqeuclidean")
    back, reverse = alignment.dtw_path(b, a, metric="sqeuclidean")
    assert there == back
    assert path.shape == reverse.shape
    assert alignment.dtw(a, b).cost == pytest.approx(alignment.dtw(b, a).cost, abs=1e-8)


@some
@given(pairs())
def test_a_video_matches_itself_on_the_diagonal(pair):
    a = pair[0]
    total, path = alignment.dtw_path(a, a, metric="sqeuclidean")
    assert total == 0
    np.testing.assert_array_equal(path, np.stack([np.arange(len(a))] * 2))


def test_a_still_stays_on_the_diagonal_where_all_frames_tie():
    still = np.repeat(np.random.default_rng(0).normal(size=(1, 128)), 37, axis=0)
    found = alignment.dtw(still.astype(np.float32), still.astype(np.float32))
    assert found.cost == 0
    np.testing.assert_array_equal(found.path, np.stack([np.arange(37)] * 2))


@some
@given(pairs(), st.integers(1, 14), st.booleans())
def test_the_height_of_a_band_does_not_matter(pair, rows, free_ends):
    a, b = pair
    total, path = alignment.dtw_path(a, b, metric="sqeuclidean", free_ends=free_ends)
    banded = alignment.dtw_path(a, b, metric="sqeuclidean", free_ends=free_ends, rows=rows)
    assert banded[0] == total
    np.testing.assert_array_equal(banded[1], path)


@some
@given(st.integers(0, 1000), st.integers(0, 20), st.integers(1, 20))
def test_an_exact_excerpt_is_found(seed, start, length):
    b = np.random.default_rng(seed).normal(size=(40, 6))
    found = alignment.subsequence(b[start : start + length], b)
    assert found.cost == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(alignment.match(found), np.arange(start, start + length))


def test_far_from_the_origin_differences_still_count():
    a, b = random_pair(3, 20, 30)
    total, path = alignment.dtw_path(a, b, metric="sqeuclidean")
    far, far_path = alignment.dtw_path(a + 1e4, b + 1e4, metric="sqeuclidean")
    assert far == pytest.approx(total, rel=1e-7)
    np.testing.assert_array_equal(far_path, path)


def test_long_videos_never_hold_the_table_of_distances():
    a, b = random_pair(0, 3000, 3000)
    tracemalloc.start()
    found = alignment.dtw(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    check_path(found.path, 3000, 3000)
    assert peak < 3000 * 3000 * 8 / 2


def test_reference_values(shared: Path):
    golden = np.load(shared / "golden" / "dtw.npz")
    total, path = alignment.dtw_path(golden["a"], golden["b"], metric="sqeuclidean")
    assert total == pytest.approx(float(golden["cost"]), rel=1e-8)
    np.testing.assert_array_equal(path, golden["path"])


@some
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20))
def test_nearest_is_that_of_the_slow_loop(seed, n, m):
    a, b = random_pair(seed, n, m)
    distance = cosines(a, b)
    found = alignment.nearest(a, b)
    np.testing.assert_array_equal(found.path, [np.arange(n), distance.argmin(axis=1)])
    assert found.cost == pytest.approx(distance.min(axis=1).mean())


def test_nearest_takes_the_first_of_equal_frames_in_any_band(monkeypatch):
    rng = np.random.default_rng(1)
    b = np.repeat(rng.normal(size=(10, 128)).astype(np.float32), 7, axis=0)
    expected = np.repeat(np.arange(10) * 7, 7)
    np.testing.assert_array_equal(alignment.nearest(b, b).path[1], expected)
    monkeypatch.setattr(alignment, "_BAND", 3 * len(b))
    np.testing.assert_array_equal(alignment.nearest(b, b).path[1], expected)


@some
@given(pairs())
def test_match_gives_every_row_the_middle_of_its_matches(pair):
    found = alignment.dtw(*pair)
    matches = alignment.match(found)
    rows, reference = found.path
    middles = [int(np.median(reference[rows == row])) for row in range(len(pair[0]))]
    np.testing.assert_array_equal(matches, middles)
    assert (np.diff(matches) >= 0).all()


def test_match_leaves_nearest_neighbours_alone():
    found = alignment.nearest(*random_pair(0, 30, 20))
    np.testing.assert_array_equal(alignment.match(found), found.path[1])


@some
@given(st.integers(1, 23), st.integers(1, 23), st.integers(1, 25))
def test_similarity_averages_blocks(n, m, limit):
    a, b = random_pair(n, n, m)
    full = alignment.similarity(a, b)
    assert full.dtype == np.float32
    np.testing.assert_allclose(full, 1 - cosines(a, b), atol=1e-6)
    high, wide = math.ceil(n / limit), math.ceil(m / limit)
    blocks = [
        [full[i : i + high, j : j + wide].mean() for j in range(0, m, wide)]
        for i in range(0, n, high)
    ]
    small = alignment.similarity(a, b, limit=limit)
    assert max(small.shape) <= limit
    np.testing.assert_allclose(small, blocks, atol=1e-6)


def moves(seed: int, frames: int) -> np.ndarray:
    """A smooth walk through places of its own, at a pace that changes."""
    rng = np.random.default_rng(seed)
    corners = np.random.default_rng(seed).normal(size=(8, 6))
    pace = np.sort(np.concatenate([[0, 7], rng.uniform(0, 7, frames - 2)]))
    return np.stack([np.interp(pace, np.arange(8), c) for c in corners.T], axis=1)


def test_alignability_tells_the_same_motion_from_another():
    rng = np.random.default_rng(0)
    same, other = [], []
    for seed in range(20):
        a = moves(seed, 60)
        again = a[np.sort(rng.choice(60, 45))] + rng.normal(0, 0.1, (45, 6))
        same.append(alignment.alignability(a, again))
        other.append(alignment.alignability(a, moves(seed + 100, 50)))
    assert min(same) > max(other)
    assert np.mean(other) < 0.3
    assert np.mean(same) > 0.8


@some
@given(st.integers(0, 1000), st.integers(1, 15), st.integers(1, 15))
def test_alignability_is_a_share(seed, n, m):
    a, b = random_pair(seed, n, m)
    assert 0 <= alignment.alignability(a, b) <= 1
    assert alignment.alignability(a, a) == (pytest.approx(1) if n > 1 else 0)


def test_alignability_does_not_depend_on_looks():
    a = moves(0, 40)
    one, other = (np.hstack([a, np.full((40, 1), looks)]) for looks in (30.0, -30.0))
    assert alignment.dtw(one, other).cost > 1.9
    assert alignment.alignability(one, other) > 0.9


def test_a_still_belongs_to_nothing():
    still = np.repeat(np.random.default_rng(0).normal(size=(1, 32)), 30, axis=0)
    assert alignment.alignability(still, still) == 0
    assert alignment.alignability(still, random_pair(0, 20, 20)[0] @ np.ones((5, 32))) == 0


def test_a_row_of_zeros_is_similar_to_nothing():
    a, b = np.zeros((2, 3)), np.ones((4, 3))
    assert (alignment.similarity(a, b) == 0).all()
    assert alignment.dtw(a, b).cost == 1


ROWS = np.ones((4, 3))
HOLE = np.array([[0.0, np.nan, 1.0]])


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.ones((0, 3)), ROWS, "query must be"),
        (ROWS, np.ones((4, 0)), "reference must be"),
        (ROWS[0], ROWS, "query must be"),
        (ROWS, np.ones((4, 2)), "one dimension, not 3 and 2"),
        (HOLE, ROWS, "query has a value"),
        (ROWS, HOLE, "reference has a value"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        alignment.nearest,
        alignment.dtw,
        alignment.subsequence,
        alignment.similarity,
        alignment.alignability,
    ],
)
def test_arrays_that_cannot_be_aligned_are_refused(function, a, b, words):
    with pytest.raises(ShapeError, match=words):
        function(a, b)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ConfigError, match="no metric 'manhattan'"):
        alignment.dtw_path(ROWS, ROWS, metric="manhattan")  # type: ignore[arg-type]

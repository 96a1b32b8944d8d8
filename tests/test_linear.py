"""A linear layer on vectors that may lie on the disk, against the solver that needs them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from marey.errors import ShapeError
from marey.evaluation import linear
from marey.evaluation.clip_metrics import score_clips, score_linear
from marey.evaluation.linear import linear_accuracy


def clouds(seed: int, number: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping clouds, far from the origin, of numbers of very different size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, number) * 7 + 2
    centres = np.random.default_rng(9).normal(size=(3, 6))
    rows = centres[(labels - 2) // 7] + spread * rng.normal(size=(number, 6))
    return ((rows + 5) * [1e-3, 1, 1, 10, 100, 1]).astype(np.float32), labels


def test_it_finds_what_the_exact_solver_finds() -> None:
    train, y = clouds(0, 1500)
    test, truth = clouds(1, 1500)
    scale = StandardScaler().fit(train)
    exact = LogisticRegression(C=1e6).fit(scale.transform(train), y)
    expected = exact.score(scale.transform(test), truth)
    assert 0.5 < expected < 0.95
    assert linear_accuracy(train, y, test, truth) == pytest.approx(expected, abs=0.015)
    assert linear_accuracy(train, y, test, truth, batch=100) == pytest.approx(expected, abs=0.03)


def test_it_reads_from_the_disk_and_depends_on_the_seed_alone(tmp_path: Path) -> None:
    train, y = clouds(0, 300)
    test, truth = clouds(1, 300)
    np.save(tmp_path / "rows.npy", train)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    one, two = (linear_accuracy(rows, y, test, truth, batch=64) for rows in (train, mapped))
    assert one == two


def test_labels_that_were_never_seen_count_as_wrong() -> None:
    train, y = clouds(0, 400, spread=0.1)
    test, truth = clouds(1, 400, spread=0.1)
    assert linear_accuracy(train, y, test, truth) == 1
    truth[:100] = 4
    assert linear_accuracy(train, y, test, truth) == 0.75
    assert np.isnan(linear_accuracy(train, y * 0, test, truth))


def test_vectors_must_fit() -> None:
    train, y = clouds(0, 10)
    for bad in (
        (train[:0], y[:0], train, y),
        (train, y[:9], train, y),
        (train, y, train[:, :3], y),
        (train[0], y, train, y),
        (train * np.nan, y, train, y),
    ):
        with pytest.raises(ShapeError):
            linear_accuracy(*bad)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (11, 3), elements=st.floats(-100, 100, width=32)), st.integers(1, 12))
def test_moments_do_not_depend_on_how_they_are_read(rows: np.ndarray, chunk: int) -> None:
    old, linear._CHUNK = linear._CHUNK, chunk
    try:
        mean, spread = linear._moments(rows)
    finally:
        linear._CHUNK = old
    np.testing.assert_allclose(mean, rows.mean(0, dtype=np.float64), atol=1e-6)
    varies = rows.std(0, dtype=np.float64) > 1e-3
    np.testing.assert_allclose(spread[varies], rows.std(0, dtype=np.float64)[varies], rtol=1e-3)
    assert (spread > 0).all()


def test_of_clips_the_layer_alone() -> None:
    train, y = clouds(0, 600)
    test, truth = clouds(1, 600)
    known, asked = [f"action {i}" for i in y], [f"action {i}" for i in truth]
    found = score_linear(train, known, test, asked)
    assert set(found) == {"linear"}
    assert found["linear"] == pytest.approx(
        score_clips(train, known, test, asked)["linear"], abs=0.02
    )
    assert score_linear(train, known, test, ["x", *asked[1:]])["linear"] <= found["linear"]

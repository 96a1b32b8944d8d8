"""Which frames views hold, by property."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.errors import ConfigError
from marey.sampling import schedule, two_blocks


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 100),
    st.floats(1, 3),
    st.floats(0, 1),
    st.integers(0, 10**6),
)
def test_views_hold_true_frame_times_in_order(
    frames: int, length: int, stretch: float, overlap: float, seed: int
) -> None:
    views = two_blocks(
        frames, length, np.random.default_rng(seed), stretch=stretch, overlap=overlap
    )
    assert len(views) == 2
    for index, valid in views:
        assert index.shape == valid.shape == (length,)
        assert valid.sum() == min(frames, length)
        real = index[valid]
        assert (np.diff(real) > 0).all()  # sorted, without replacement
        assert real.min() >= 0
        assert real.max() < frames
        assert (index[~valid] == frames - 1).all()
        assert real.max() - real.min() < max(length * stretch + 1, length)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_blocks_without_stretch_overlap_as_asked(length: int, seed: int) -> None:
    (first, _), (second, _) = two_blocks(
        length * 6, length, np.random.default_rng(seed), stretch=1, overlap=0.2
    )
    assert abs(int(first[0]) - int(second[0])) <= int(0.8 * length)
    assert (np.diff(first) == 1).all()


def test_every_frame_of_a_long_video_is_seen_some_day() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        for index, _ in two_blocks(50, 10, rng, stretch=1.5, overlap=0.2):
            seen |= set(index.tolist())
    assert seen == set(range(50))


def test_an_empty_video_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot take views"):
        two_blocks(0, 10, np.random.default_rng(0), stretch=1.5, overlap=0.2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000))
def test_every_video_comes_once_per_epoch(videos: int, per_step: int, seed: int) -> None:
    steps = 3 * videos
    order = np.concatenate([schedule(videos, per_step, step, seed) for step in range(steps)])
    epochs = order[: len(order) // videos * videos].reshape(-1, videos)
    assert (np.sort(epochs, axis=1) == np.arange(videos)).all()

"""Which frames views hold, by property."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.batches import plan
from marey.data import Corpus
from marey.errors import ConfigError
from marey.manifest import Entry
from marey.recipes import carl_tiny
from marey.sampling import (
    frame_pairs,
    order_tuples,
    random_frames,
    schedule,
    schedule_together,
    two_blocks,
    two_cuts,
)
from marey.types import I64, VideoInfo


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


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 100),
    st.floats(1, 3),
    st.floats(0.05, 1),
    st.floats(0, 1),
    st.integers(0, 10**6),
)
def test_cuts_hold_true_frame_times_in_order_and_stay_near_one_another(
    frames: int, length: int, stretch: float, cut: float, overlap: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    views = two_cuts(frames, length, rng, stretch=stretch, cut=cut, overlap=overlap)
    assert len(views) == 2
    for index, valid in views:
        assert index.shape == valid.shape == (length,)
        real = index[valid]
        assert min(frames, length, 12, int(np.ceil(length * stretch))) <= len(real) <= length
        assert (np.diff(real) > 0).all()
        assert 0 <= real.min() <= real.max() < frames
        assert (index[~valid] == real[-1]).all()
        assert np.ptp(real) < max(length * stretch + 1, length)


def test_cuts_leave_out_the_ends_of_short_videos() -> None:
    rng = np.random.default_rng(0)
    views = [
        index[valid]
        for _ in range(200)
        for index, valid in two_cuts(30, 40, rng, stretch=1.5, cut=0.5, overlap=0.2)
    ]
    late = np.mean([view[0] > 0 for view in views])
    soon = np.mean([view[-1] < 29 for view in views])
    assert late > 0.7
    assert soon > 0.7
    assert min(len(view) for view in views) >= 14


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


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 10**6))
def test_random_frames_come_from_the_whole_video(frames: int, length: int, seed: int) -> None:
    index, valid = random_frames(frames, length, np.random.default_rng(seed))
    assert index.shape == valid.shape == (length,)
    assert valid.sum() == min(frames, length)
    assert (np.diff(valid.astype(int)) <= 0).all()  # padded at the end
    assert (np.diff(index[valid]) > 0).all()
    assert index.min() >= 0
    assert index.max() < frames
    assert (index[~valid] == index[valid][-1]).all()


def test_random_frames_reach_every_frame_alike() -> None:
    rng = np.random.default_rng(0)
    seen = np.bincount(np.concatenate([random_frames(20, 5, rng)[0] for _ in range(2000)]))
    assert abs(seen - 500).max() < 100


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 9),
    st.floats(1, 5),
    st.integers(0, 10**6),
)
def test_positives_follow_their_anchors_closely(
    frames: int, pairs: int, window: int, stretch: float, seed: int
) -> None:
    index, valid = frame_pairs(
        frames, 2 * pairs, np.random.default_rng(seed), window=window, stretch=stretch
    )
    assert index.shape == valid.shape == (2 * pairs,)
    assert (np.diff(valid.astype(int)) <= 0).all()
    real = index[valid]
    assert (np.diff(real) > 0).all()
    assert real.min() >= 0
    assert real.max() < frames
    assert len(real) == (1 if frames == 1 else 2 * min(pairs, frames // 2))
    assert (np.diff(real)[::2] <= window).all()
    assert real[-1] - real[0] < max(2 * pairs * stretch + 1, 2)


def test_pairs_reach_every_frame_and_every_distance() -> None:
    rng = np.random.default_rng(0)
    views = [frame_pairs(40, 8, rng, window=3, stretch=2.0)[0] for _ in range(1000)]
    assert set(np.concatenate(views).tolist()) == set(range(40))
    assert {int(d) for view in views for d in np.diff(view)[::2]} == {1, 2, 3}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(1, 20), st.floats(0, 1), st.integers(0, 10**6))
def test_labels_say_whether_tuples_are_in_order(
    frames: int, count: int, ordered: float, seed: int
) -> None:
    places, labels = order_tuples(frames, count, np.random.default_rng(seed), ordered=ordered)
    assert places.shape == (count, 3)
    if frames < 5:
        assert (labels == -1).all()
        return
    assert places.min() >= 0
    assert places.max() < frames
    for (one, two, three), label in zip(places.tolist(), labels.tolist(), strict=True):
        assert len({one, two, three}) == 3
        assert label == (one < two < three or one > two > three)


def test_tuples_come_in_both_directions_and_in_the_share_asked_for() -> None:
    places, labels = order_tuples(9, 4000, np.random.default_rng(0), ordered=0.25)
    assert labels.mean() == pytest.approx(0.25, abs=0.03)
    rising = places[:, 0] < places[:, 2]
    for label in (0, 1):
        assert rising[labels == label].mean() == pytest.approx(0.5, abs=0.06)
    early = (places[:, 1] < places.min(1) + 1)[labels == 0]
    assert early.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("frames", "length"), [(0, 4), (5, 0)])
def test_views_of_nothing_are_refused(frames: int, length: int) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="cannot take"):
        random_frames(frames, length, rng)
    with pytest.raises(ConfigError, match="cannot take"):
        frame_pairs(frames, length, rng, window=5, stretch=3)


def test_pairs_need_an_even_view() -> None:
    with pytest.raises(ConfigError, match="even"):
        frame_pairs(9, 5, np.random.default_rng(0), window=5, stretch=3)


worlds = st.tuples(
    st.lists(st.integers(-1, 3), min_size=1, max_size=30),
    st.integers(1, 5),
    st.integers(0, 1000),
)


def stream(groups: I64, together: int, seed: int, runs: int, per_step: int = 1) -> I64:
    """(runs, together) videos of the first runs, `per_step` runs a step."""
    steps = [
        schedule_together(groups, per_step * together, step, seed, together)
        for step in range(-(-runs // per_step))
    ]
    return np.concatenate(steps).reshape(-1, together)[:runs]


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_a_run_shows_different_videos_of_one_group(world: tuple[list[int], int, int]) -> None:
    groups, together, seed = np.array(world[0]), *world[1:]
    for run in stream(groups, together, seed, 2 * len(groups)):
        (group,) = set(groups[run].tolist())
        assert len(set(run.tolist())) == min(together, (groups == group).sum())


@settings(max_examples=100, deadline=None)
@given(worlds, st.integers(1, 3))
def test_every_video_comes_equally_often(world: tuple[list[int], int, int], rounds: int) -> None:
    """As many runs as videos are `together` epochs, and so many times each video has come."""
    groups, together, seed = np.array(world[0]), *world[1:]
    videos = stream(groups, together, seed, rounds * len(groups))
    counts = np.bincount(videos.ravel(), minlength=len(groups))
    assert (counts == rounds * together).all()


@settings(max_examples=50, deadline=None)
@given(worlds)
def test_no_group_is_ever_an_epoch_ahead(world: tuple[list[int], int, int]) -> None:
    groups, together, seed = np.array(world[0]), *world[1:]
    shown = groups[stream(groups, together, seed, 3 * len(groups))[:, 0]]
    slack = len(set(world[0])) * together  # what groups together may be ahead by parts of a run
    for runs in range(1, len(shown)):
        for group in set(world[0]):
            size, slots = (groups == group).sum(), together * (shown[:runs] == group).sum()
            least, most = (
                (together * runs + sign * (slack + len(groups))) / len(groups) for sign in (-1, 1)
            )
            assert least * size - together <= slots <= most * size + together


@settings(max_examples=50, deadline=None)
@given(worlds, st.integers(2, 7))
def test_runs_do_not_depend_on_how_many_a_step_takes(
    world: tuple[list[int], int, int], per_step: int
) -> None:
    groups, together, seed = np.array(world[0]), *world[1:]
    one, many = (stream(groups, together, seed, 30, n) for n in (1, per_step))
    assert (one == many).all()


def test_partners_change() -> None:
    runs = stream(np.zeros(12, int), 2, 0, 300)
    assert len({tuple(sorted(run)) for run in runs.tolist()}) > 60  # of 66


def corpus(actions: str) -> Corpus:
    entries = tuple(
        Entry(f"{i}.mp4", Path(f"{i}.mp4"), action=action) for i, action in enumerate(actions)
    )
    return Corpus(entries, (VideoInfo(Path("v"), 48, 80, np.arange(50) / 25),) * len(actions), ())


def test_each_process_gets_whole_runs() -> None:
    recipe, videos = carl_tiny(), corpus("aaaabbbbb")
    recipe = replace(recipe, data=replace(recipe.data, videos=4, together=2))
    for step in range(20):
        chosen = [[v for v, _ in plan(recipe, videos, step, rank, 3)] for rank in range(3)]
        together = schedule_together(videos.groups, 12, step, recipe.seed, 2)
        assert np.concatenate(chosen).tolist() == together.tolist()
        for own in chosen:
            for a, b in zip(own[::2], own[1::2], strict=True):
                assert a != b
                assert videos.groups[a] == videos.groups[b]


def test_alone_the_schedule_knows_no_groups() -> None:
    recipe = carl_tiny()
    for step in range(5):
        chosen = [v for v, _ in plan(recipe, corpus("aabbbccccd"), step, 1, 2)]
        assert chosen == schedule(10, 16, step, recipe.seed)[8:].tolist()

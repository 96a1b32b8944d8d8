"""Clips and boxes led by motion: rules, chances, and a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.errors import ShapeError
from marey.tubelets import Box, choose_box, choose_clips, clip_index, motion_region
from marey.types import F32


def all_scores(seed: int, frames: int, span: int = 32) -> F32:
    return np.random.default_rng(seed).random(max(frames - span + 1, 1)).astype(np.float32)


def spot(rows: slice, columns: slice) -> F32:
    image = np.zeros((7, 7), np.float32)
    image[rows, columns] = 1
    return image


def covered(box: Box, region: Box) -> float:
    """Share of the region inside the box, from the four edges."""
    tall = min(box[0] + box[2], region[0] + region[2]) - max(box[0], region[0])
    wide = min(box[1] + box[3], region[1] + region[3]) - max(box[1], region[1])
    return max(tall, 0) * max(wide, 0) / (region[2] * region[3])


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 9999),
    span=st.integers(1, 40),
    more=st.integers(0, 120),
    focus=st.sampled_from([0.0, 1.0]),
)
def test_query_and_keys_are_in_different_halves(
    seed: int, span: int, more: int, focus: float
) -> None:
    frames = 2 * span + more
    scores = all_scores(seed, frames, span)
    rng = np.random.default_rng(seed)
    clips = choose_clips(rng, scores, span=span, focus=focus)
    starts = np.array([clips.query, *clips.keys])
    assert clips.keys[0] <= clips.keys[1]
    first = starts + span <= frames // 2
    second = (starts >= frames // 2) & (starts + span <= frames)
    assert all(first ^ second)
    assert first[0] == bool(clips.order)
    assert list(first[1:]) == [not first[0]] * 2
    if focus:
        for start in starts:
            half = (
                scores[frames // 2 :] if start >= frames // 2 else scores[: frames // 2 - span + 1]
            )
            assert (half > scores[start]).sum() < len(half) / 2


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 9999), frames=st.integers(1, 63))
def test_a_short_video_gives_sorted_starts(seed: int, frames: int) -> None:
    scores = all_scores(seed, frames)
    clips = choose_clips(np.random.default_rng(seed), scores)
    a, b = clips.keys
    assert 0 <= min(a, clips.query) <= max(b, clips.query) < len(scores)
    assert (clips.query <= a <= b) if clips.order else (a <= b <= clips.query)


def test_chances_of_order_and_focus() -> None:
    scores = np.zeros(200 - 31, np.float32)
    high = np.concatenate([np.arange(0, 69, 2), np.arange(100, 169, 2)])
    scores[high] = 1  # 35 of each half's 69 starts, its top 50 %
    rng = np.random.default_rng(0)
    draws = [choose_clips(rng, scores) for _ in range(4000)]
    assert np.mean([d.order for d in draws]) == pytest.approx(0.5, abs=0.03)
    low = [np.mean([s % 2 for s in (d.query, *d.keys)]) for d in draws]
    assert np.mean(low) == pytest.approx(0.3 * 34 / 69, abs=0.02)
    # one coin for the sample: without focus three starts are low together, by chance
    assert np.mean(np.array(low) == 1) == pytest.approx(0.3 * (34 / 69) ** 3, abs=0.015)
    assert {d.query for d in draws} == {*range(69), *range(100, 169)}


def test_clips_are_frame_numbers_of_the_video() -> None:
    np.testing.assert_array_equal(clip_index(3, 100), np.arange(3, 35, 2))
    padded = clip_index(0, 5, length=6, stride=2)
    np.testing.assert_array_equal(padded, [0, 2, 4, 4, 4, 4])
    assert padded.dtype == np.int64


@pytest.mark.parametrize(
    ("rows", "columns", "least"),
    [(2, 2, 0.9), (1, 4, 0.9), (1, 5, 0.8), (2, 4, 0.8), (3, 4, 0.7), (2, 6, 0.7), (2, 7, 0.0)],
)
def test_the_box_of_the_highest_cells(rows: int, columns: int, least: float) -> None:
    image = np.full((7, 7), 0.1, np.float32)
    corners = [(1, 0), (1, columns - 1), (rows, 0), (rows, columns - 1)]
    for y, x in corners:
        image[y, x] = 2
    fill = [c for c in [(1, 1), (1, 2)] if c not in corners][: 4 - len(set(corners))]
    for y, x in fill:
        image[y, x] = 1
    box, got = motion_region(image)
    assert box == pytest.approx((1 / 7, 0, rows / 7, columns / 7))
    assert got == least


def test_without_motion_any_crop_will_do() -> None:
    assert motion_region(np.zeros((7, 7)))[1] == 0
    boxes = [
        choose_box(np.random.default_rng(i), np.zeros((7, 7)), height=9, width=9) for i in range(9)
    ]
    assert len(set(boxes)) == 9


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 9999),
    height=st.integers(16, 500),
    width=st.integers(16, 500),
    top=st.integers(1, 4),
    left=st.integers(1, 4),
)
def test_a_crop_is_in_the_frame_and_of_the_size_allowed(
    seed: int, height: int, width: int, top: int, left: int
) -> None:
    image = spot(slice(top, top + 2), slice(left, left + 2))
    y, x, tall, wide = choose_box(np.random.default_rng(seed), image, height=height, width=width)
    assert min(y, x) >= 0
    assert min(tall, wide) > 0
    assert max(y + tall, x + wide) <= 1
    assert tall * wide <= 1
    assert 3 / 4 - 1e-9 <= wide * width / (tall * height) <= 4 / 3 + 1e-9
    if 0.5 < width / height < 2:
        assert tall * wide >= 0.2 - 1e-9
    if 0.75 < width / height < 4 / 3:  # else crops that are large enough may not come up
        region, least = motion_region(image)
        assert least == 0.9
        assert covered((y, x, tall, wide), region) >= 0.9 - 1e-9


def test_where_no_crop_covers_enough_the_best_is_taken() -> None:
    image = spot(slice(0, 1), slice(0, 1)) + spot(slice(6, 7), slice(0, 1))  # a whole column
    region, least = motion_region(image)
    assert region == pytest.approx((0, 0, 1, 1 / 7))
    assert least == 0.8
    small = [
        choose_box(np.random.default_rng(i), image, height=100, width=100, area=(0.2, 0.25))
        for i in range(200)
    ]
    covers = np.array([covered(box, region) for box in small])
    assert covers.max() < 0.8
    at_random = np.array(
        [
            covered(
                choose_box(
                    np.random.default_rng(i), 0 * image, height=100, width=100, area=(0.2, 0.25)
                ),
                region,
            )
            for i in range(200)
        ]
    )
    assert covers.min() > np.quantile(at_random, 0.95)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(1, 3), columns=st.integers(1, 4))
def test_choice_of_the_box_twin(seed: int, rows: int, columns: int) -> None:
    """The same draws, gone through one at a time: the first that covers enough, else the best."""
    height, width = 120, 160
    image = spot(slice(2, 2 + rows), slice(1, 1 + columns))
    region, least = motion_region(image)
    rng = np.random.default_rng(seed)
    areas = rng.uniform(0.2, 1.0, 20)
    ratios = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 20))
    sizes = []
    for area, ratio in zip(areas, ratios, strict=True):
        tall = np.sqrt(area * height * width / ratio) / height
        wide = np.sqrt(area * height * width * ratio) / width
        if tall <= 1 and wide <= 1:
            sizes.append((tall, wide))
    places = rng.random((2, len(sizes), 40))
    best, want = -1.0, None
    for i, (tall, wide) in enumerate(sizes):
        for j in range(40):
            box = (places[0, i, j] * (1 - tall), places[1, i, j] * (1 - wide), tall, wide)
            share = covered(box, region)
            if share > best and best < least:
                best, want = share, box
    got = choose_box(np.random.default_rng(seed), image, height=height, width=width)
    assert got == pytest.approx(want)


def test_bad_input_says_what_is_wrong() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ShapeError, match="at least one start"):
        choose_clips(rng, np.zeros(0, np.float32))
    with pytest.raises(ShapeError, match="rows, columns"):
        motion_region(np.zeros((1, 7, 7)))

"""Motion maps against the released values, slow twins, and what must hold of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marey import motion
from marey.augment import crop_resize
from marey.errors import ConfigError, ShapeError, StorageError, VideoError
from marey.motion import MotionMaps, boundaries, clip_scores, frame_maps, motion_maps, st_maps
from marey.types import F32, F64, Flow
from marey.video import write

BOXES = [(0.0, 0.0, 1.0, 1.0), (0.1, 0.3, 0.5, 0.45), (0.45, 0.0, 0.55, 0.6)]


def random_flow(seed: int, fields: int, height: int = 14, width: int = 21) -> F32:
    return np.random.default_rng(seed).normal(size=(fields, 2, height, width)).astype(np.float32)


def things(seed: int, fields: int, side: int = 112) -> F32:
    """Flow of two things that move over still ground, each in its own direction."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    total = np.zeros((fields, 2, side, side), np.float32)
    for _ in range(2):
        at, step = rng.uniform(0.2, 0.8, 2), rng.uniform(-0.01, 0.01, 2)
        radius, speed = rng.uniform(0.1, 0.25), rng.uniform(-4, 4, 2)
        for t in range(fields):
            near = np.hypot(y - at[0] - t * step[0], x - at[1] - t * step[1]) < radius
            total[t][:, near] = speed[:, None]
    return total


def kept(vectors: F32, *, window: int = 8, clip: int = 32, chunk: int = 7) -> MotionMaps:
    cuts = range(0, len(vectors), chunk)
    parts = [Flow(vectors[i : i + chunk], np.arange(len(vectors))[i : i + chunk]) for i in cuts]
    return motion_maps(parts, window=window, clip=clip)


def slow_boundary(fields: F32) -> F64:
    """Mean over u and v of the magnitude, one pixel at a time: (H, W)."""
    height, width = fields.shape[2:]
    out = np.zeros((height, width))
    for c in range(2):
        total = fields[:, c].astype(np.float64).sum(0)

        def at(y: int, x: int, total: F64 = total) -> float:
            return float(total[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])

        for y in range(height):
            for x in range(width):
                dx = sum(at(y + k, x + 1) - at(y + k, x - 1) for k in (-1, 0, 1))
                dy = sum(at(y + 1, x + k) - at(y - 1, x + k) for k in (-1, 0, 1))
                out[y, x] += np.hypot(dx, dy) / 2
    return out


def slow_blocks(image: F64) -> F64:
    height, width = (s // 7 for s in image.shape)
    return np.array(
        [
            [
                image[i * height : (i + 1) * height, j * width : (j + 1) * width].mean()
                for j in range(7)
            ]
            for i in range(7)
        ]
    )


def without_border(image: F64, border: int) -> F64:
    out = np.zeros_like(image)
    inner = (slice(border, image.shape[0] - border), slice(border, image.shape[1] - border))
    out[inner] = image[inner]
    return out


def test_released_values(shared: Path) -> None:
    golden = np.load(shared / "golden" / "motion_maps.npz")
    vectors = golden["flow"].astype(np.float32).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(st_maps(vectors), golden["clip_maps"], rtol=1e-5)
    maps = frame_maps(vectors)
    assert maps.shape == (8, 7, 7)
    np.testing.assert_allclose(maps, np.repeat(golden["frame_map_7x7"][None], 8, 0), rtol=1e-5)
    np.testing.assert_allclose(clip_scores(vectors, 8), [golden["clip_score"]], rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    fields=st.integers(1, 12),
    window=st.integers(1, 14),
    border=st.integers(0, 3),
)
def test_frame_maps_and_clip_scores_twin(seed: int, fields: int, window: int, border: int) -> None:
    vectors = random_flow(seed, fields)
    starts = range(max(fields - window + 1, 1))
    images = [without_border(slow_boundary(vectors[s : s + window]), border) for s in starts]
    scores = clip_scores(vectors, window, border=border)
    np.testing.assert_allclose(scores, [i.mean() for i in images], rtol=1e-4)
    maps = frame_maps(vectors, window, border=border)
    for t in range(fields):
        first = min(max(t - window // 2 + 1, 0), len(images) - 1)
        np.testing.assert_allclose(maps[t], slow_blocks(images[first]), rtol=1e-4, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), fields=st.integers(4, 11), groups=st.integers(1, 4))
def test_st_maps_twin(seed: int, fields: int, groups: int) -> None:
    vectors = random_flow(seed, fields)
    each = fields // groups
    want = [
        2 * slow_blocks(slow_boundary(vectors[g * each : (g + 1) * each])) for g in range(groups)
    ]
    np.testing.assert_allclose(st_maps(vectors, groups), want, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(u=st.floats(-20, 20), v=st.floats(-20, 20), seed=st.integers(0, 999))
def test_constant_motion_cancels(u: float, v: float, seed: int) -> None:
    camera = np.array([u, v], np.float32)[:, None, None]
    assert boundaries(np.zeros((2, 14, 14), np.float32) + camera).max() == 0
    local = random_flow(seed, 9)
    np.testing.assert_allclose(st_maps(local + camera), st_maps(local), atol=1e-3)
    np.testing.assert_allclose(frame_maps(local + camera), frame_maps(local), atol=1e-3)
    np.testing.assert_allclose(clip_scores(local + camera, 4), clip_scores(local, 4), atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), more=st.floats(1.1, 5))
def test_local_motion_counts_where_and_when_it_is(seed: int, more: float) -> None:
    vectors = things(seed, 40)
    still = vectors.copy()
    still[20:] = 0
    scores = clip_scores(still, 8)
    assert scores[0] > 0
    assert scores[-1] == 0
    np.testing.assert_allclose(clip_scores(more * vectors, 8), more * clip_scores(vectors, 8), 1e-3)
    corner = np.zeros_like(vectors)
    corner[:, :, 16:48, 64:96] = 3  # cells 1 and 2 from the top, 4 and 5 from the left
    cells = frame_maps(corner).mean(0)
    assert cells[1:3, 4:6].min() > 0
    assert cells[4:].max() == cells[:, :3].max() == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), fields=st.integers(4, 12))
def test_a_flip_acts_on_motion_as_on_pixels(seed: int, fields: int) -> None:
    vectors = random_flow(seed, fields)
    flipped = vectors[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    np.testing.assert_allclose(frame_maps(flipped), frame_maps(vectors)[..., ::-1], rtol=1e-5)
    np.testing.assert_allclose(st_maps(flipped), st_maps(vectors)[..., ::-1], rtol=1e-5)
    np.testing.assert_allclose(clip_scores(flipped, 3), clip_scores(vectors, 3), rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99),
    fields=st.integers(1, 40),
    chunk=st.integers(1, 41),
    window=st.integers(1, 9),
    clip=st.integers(9, 20),
)
def test_maps_of_a_stream_are_those_of_the_whole(
    seed: int, fields: int, chunk: int, window: int, clip: int
) -> None:
    vectors = random_flow(seed, fields, 56, 56)
    maps = kept(vectors, window=window, clip=clip, chunk=chunk)
    scale = 240 / 56  # the maps are kept in pixels of a video of short side 240
    assert maps.frames == fields + 1
    whole = frame_maps(vectors, window, border=2) * scale
    np.testing.assert_allclose(maps.maps[:fields], whole, rtol=2e-3)
    beyond = min(max(fields - window // 2 + 1, 0), max(fields - window, 0))
    first = np.clip(np.arange(fields) - window // 2 + 1, 0, max(fields - window, 0))
    same = np.flatnonzero(first == beyond)
    np.testing.assert_allclose(maps.maps[fields], whole[same[0]], rtol=2e-3)
    scores = clip_scores(vectors, clip, border=2) * scale
    assert len(maps.scores) == max(fields + 2 - clip, 1)
    np.testing.assert_allclose(maps.scores[: len(scores)], scores, rtol=1e-4)
    assert maps.scores[-1] == pytest.approx(scores[-1], rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    top=st.floats(0, 0.4),
    left=st.floats(0, 0.4),
    height=st.floats(0.45, 0.6),
    width=st.floats(0.45, 0.6),
    flip=st.booleans(),
)
def test_kept_flow_gives_the_st_map_of_any_crop(
    seed: int, top: float, left: float, height: float, width: float, flip: bool
) -> None:
    vectors, box = things(seed, 40), (top, left, height, width)
    index = np.arange(3, 35, 2)
    maps = kept(vectors)
    got, whole = maps.st_map(index, box, flip), maps.st_map(index, BOXES[0], False)
    cropped = crop_resize(torch.from_numpy(vectors[index]), box, flip, 224, flow=True)
    want = st_maps(cropped.numpy()) * (240 / 112) * (255 / 40)
    assert got.shape == (4, 7, 7)
    if want.max() < 1:  # nothing moves inside the box
        assert got.max() < 0.2 * whole.max()
    else:
        assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.9
        # what only touches the box counts less surely
        assert got.sum() == pytest.approx(
            float(want.sum()), rel=0.35, abs=float(0.05 * whole.sum())
        )


def test_kept_flow_is_true_to_the_st_map_on_average() -> None:
    correlations = []
    index = np.arange(0, 32, 2)
    for seed in range(20):
        vectors = things(seed, 33)
        maps = kept(vectors)
        for box in BOXES:
            cropped = crop_resize(torch.from_numpy(vectors[index]), box, True, 224, flow=True)
            want = st_maps(cropped.numpy())
            if want.max() > 1:
                got = maps.st_map(index, box, True)
                correlations.append(np.corrcoef(got.ravel(), want.ravel())[0, 1])
    assert np.mean(correlations) > 0.95


def test_crop_and_flip_act_on_motion_as_on_pixels(tmp_path: Path) -> None:
    """Motion of the cropped and flipped video = cropped and flipped motion of the video."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(size=(160, 240)).astype(np.float32), (0, 0), 1.5)
    thing = cv2.GaussianBlur(rng.normal(size=(40, 40)).astype(np.float32), (0, 0), 1.5)
    ground, thing = (128 + 50 * t / t.std() for t in (ground, thing))
    pixels = np.repeat(ground[None], 34, 0)
    for t in range(34):
        y, x = 60 + round(20 * np.sin(t / 5)), 70 + 2 * t
        pixels[t, y : y + 40, x : x + 40] = thing
    rgb = np.repeat(np.clip(pixels, 0, 255).astype(np.uint8)[..., None], 3, 3)
    box = (0.125, 0.25, 0.75, 0.5)
    write(tmp_path / "whole.mp4", rgb, 25)
    write(tmp_path / "part.mp4", np.ascontiguousarray(rgb[:, 20:140, 60:180][:, :, ::-1]), 25)
    whole = motion.video_motion(tmp_path / "whole.mp4")
    part = motion.video_motion(tmp_path / "part.mp4")
    index = np.arange(0, 32, 2)
    led, seen = whole.st_map(index, box, True), part.st_map(index, (0, 0, 1, 1), False)
    assert np.corrcoef(led.ravel(), seen.ravel())[0, 1] > 0.9
    wrong = whole.st_map(index, box, False)
    assert np.corrcoef(wrong.ravel(), seen.ravel())[0, 1] < 0.7


def test_real_video_keeps_its_st_maps(shared: Path) -> None:
    from marey.flow import flow
    from marey.video import stream

    path = shared / "data" / "ut-interaction" / "push" / "seq02.mp4"
    if not path.is_file():
        pytest.skip("the real videos are not beside this checkout")
    parts = list(flow(stream(path, size=112)))
    vectors, maps = np.concatenate([p.vectors for p in parts]), motion_maps(parts)
    correlations = []
    for start in range(0, len(maps.scores), 16):
        index = np.arange(start, start + 32, 2)
        for box in BOXES:
            cropped = crop_resize(torch.from_numpy(vectors[index]), box, False, 224, flow=True)
            pair = st_maps(cropped.numpy()).ravel(), maps.st_map(index, box, False).ravel()
            correlations.append(np.corrcoef(*pair)[0, 1])
    assert np.mean(correlations) > 0.95


def test_the_last_frame_and_padding_have_motion_too() -> None:
    maps = kept(things(0, 20))
    padded = np.minimum(np.arange(0, 32, 2), 20)
    assert maps.st_map(padded, BOXES[0], False).shape == (4, 7, 7)
    assert maps.clip_map(padded).shape == (7, 7)
    assert maps.st_map(padded, BOXES[0], False, groups=2, cells=5).shape == (2, 5, 5)


def test_saved_maps_come_back_and_are_small(tmp_path: Path) -> None:
    maps, path = kept(things(1, 50)), tmp_path / "deep" / "a.npz"
    maps.save(path)
    back = MotionMaps.load(path)
    for name in ("maps", "scores", "grid"):
        np.testing.assert_array_equal(getattr(back, name), getattr(maps, name))
    assert back.clip == maps.clip
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]
    assert path.stat().st_size < 3700 * maps.frames


def test_what_is_not_ours_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    maps = kept(things(1, 40))
    with monkeypatch.context() as patch:
        patch.setattr(motion, "VERSION", 3)
        maps.save(path)
    with pytest.raises(StorageError, match=r"a\.npz is from another version"):
        MotionMaps.load(path)
    maps.save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    other = [(tmp_path / name).read_bytes() for name in ("other.npz", "other.npy")]
    damaged = whole[:400] + bytes(b ^ 255 for b in whole[400:600]) + whole[600:]
    for content in (whole[:-200], whole[:100], damaged, b"", b"words", *other):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"a\.npz holds no motion maps"):
            MotionMaps.load(path)
    with pytest.raises(StorageError, match=r"none\.npz"):
        MotionMaps.load(tmp_path / "none.npz")


def test_maps_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        kept(things(1, 40)).save(tmp_path / "file" / "a.npz")


def test_bad_input_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(T, 2, H, W\)"):
        frame_maps(np.zeros((3, 14, 14), np.float32))
    with pytest.raises(ShapeError, match="7 x 7 cells"):
        frame_maps(np.zeros((3, 2, 15, 14), np.float32))
    with pytest.raises(ShapeError, match="4 groups"):
        st_maps(random_flow(0, 3))
    with pytest.raises(ShapeError, match="two frames"):
        motion_maps([])
    with pytest.raises(ConfigError, match="within a clip"):
        kept(random_flow(0, 3), window=8, clip=4)
    with pytest.raises(ShapeError, match="must be"):
        MotionMaps(
            np.zeros((5, 7, 7), np.float16),
            np.zeros(2, np.float32),
            np.zeros((4, 2, 42, 42), np.int8),
            32,
        )
    write(tmp_path / "one.mp4", np.zeros((1, 64, 64, 3), np.uint8), 25)
    with pytest.raises(VideoError, match=r"one\.mp4 has no motion"):
        motion.video_motion(tmp_path / "one.mp4")

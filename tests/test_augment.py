"""Augmentation against slow, obvious twins: Pillow, colorsys and SciPy, one frame at a time."""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from scipy.ndimage import gaussian_filter1d

from marey import augment as augmentation
from marey.augment import (
    LUMA,
    MEAN,
    STD,
    WHOLE,
    Crop,
    _augment_torch,
    augment,
    crop_resize,
    draw,
    plain,
)
from marey.config import AugmentConfig
from marey.errors import ConfigError, ShapeError
from marey.types import Draw

ALWAYS = AugmentConfig(jitter=1.0, blur=1.0, flip=1.0, area=(0.5, 1.0))
LEVEL = 1 / 255 / min(STD)  # one step of uint8 in normalised values


def clip_of(frames: int, height: int, width: int, seed: int = 0, grain: int = 0) -> torch.Tensor:
    """Moving coloured waves, with noise of up to `grain` levels: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    waves = np.sin(0.3 * x + 0.9 * t + 2 * c + seed) + np.cos(0.2 * y - 0.5 * t + c)
    noise = rng.uniform(-grain, grain, (frames, height, width, 3))
    return torch.from_numpy(np.clip(128 + 70 * waves + noise, 0, 255).astype(np.uint8))


def normalised(pixels: NDArray[np.float64]) -> torch.Tensor:
    """(H, W, 3) in 0..1 to (3, H, W) as networks want it."""
    return torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1)).float()


def blend(a: NDArray[np.float64], b: NDArray[np.float64] | float, factor: float) -> NDArray:
    return np.clip(factor * a + (1 - factor) * b, 0, 1)


def hue(pixels: NDArray[np.float64], turns: float) -> NDArray[np.float64]:
    out = np.empty_like(pixels)
    for y, x in np.ndindex(pixels.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*pixels[y, x])
        out[y, x] = colorsys.hsv_to_rgb((h + turns) % 1, s, v)
    return out


def twin(frame: NDArray[np.uint8], choice: Draw) -> torch.Tensor:
    """All but the crop, on a square frame of its final size."""
    size = len(frame)
    pixels = frame.astype(np.float64) / 255
    if choice.flip:
        pixels = pixels[:, ::-1]
    for name, amount in choice.jitter:
        luma = pixels @ LUMA
        if name == "brightness":
            pixels = blend(pixels, 0.0, amount)
        elif name == "contrast":
            pixels = blend(pixels, luma.mean(), amount)
        elif name == "saturation":
            pixels = blend(pixels, luma[..., None], amount)
        else:
            pixels = hue(pixels, amount)
    if choice.grey:
        pixels = np.repeat((pixels @ LUMA)[..., None], 3, 2)
    if choice.sigma > 0:
        for axis in (0, 1):
            sigma = choice.sigma * size / 224
            radius = math.ceil(3 * sigma)
            pixels = gaussian_filter1d(pixels, sigma, axis, mode="nearest", radius=radius)
    return normalised(pixels)


ONE_BY_ONE = {
    "nothing": Draw(),
    "flip": Draw(flip=True),
    "darker": Draw(jitter=(("brightness", 0.4),)),
    "brighter": Draw(jitter=(("brightness", 1.7),)),
    "flatter": Draw(jitter=(("contrast", 0.3),)),
    "harder": Draw(jitter=(("contrast", 1.8),)),
    "paler": Draw(jitter=(("saturation", 0.2),)),
    "richer": Draw(jitter=(("saturation", 1.8),)),
    "hue a bit": Draw(jitter=(("hue", 0.07),)),
    "hue back": Draw(jitter=(("hue", -0.2),)),
    "hue a third": Draw(jitter=(("hue", 1 / 3),)),
    "hue half a turn": Draw(jitter=(("hue", 0.5),)),
    "grey": Draw(grey=True),
    "soft": Draw(sigma=1.0),
    "softer": Draw(sigma=14.0),
    "grey and soft": Draw(grey=True, sigma=5.0),
    "one colour, too bright": Draw(jitter=(("contrast", 0.0), ("brightness", 2.5), ("hue", 0.2))),
    "flat, too bright, turned, hard": Draw(
        jitter=(("contrast", 0.2), ("brightness", 1.9), ("hue", 0.3), ("contrast", 1.8))
    ),
}


def on_cpu(clip: torch.Tensor, choice: Draw, size: int) -> torch.Tensor:
    return augment([clip], [choice], size)[0]


both_ways = pytest.mark.parametrize("way", [on_cpu, _augment_torch], ids=["cpu", "torch"])


@both_ways
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_every_change_equals_its_twin(
    name: str, way: Callable[[torch.Tensor, Draw, int], torch.Tensor]
) -> None:
    clip = clip_of(3, 33, 33, grain=60)
    got = way(clip, ONE_BY_ONE[name], 33)
    want = torch.stack([twin(frame.numpy(), ONE_BY_ONE[name]) for frame in clip])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-3)  # a twentieth of a level


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_all_changes_together_equal_their_twin(seed: int, grey: bool) -> None:
    rng = np.random.default_rng(seed)
    config = replace(ALWAYS, hue=0.5, sigma=(0.1, 20.0))
    choice = replace(draw(rng, config, height=40, width=40), grey=grey)
    clip = clip_of(2, 40, 50, seed, grain=60)
    cropped = crop_resize(clip.permute(0, 3, 1, 2), choice.box, False, 21).permute(0, 2, 3, 1)
    want = torch.stack([twin(frame.numpy(), choice) for frame in cropped])
    for way in (on_cpu, _augment_torch):
        torch.testing.assert_close(way(clip, choice, 21), want, rtol=0, atol=1e-3)


PILLOW: dict[str, tuple[Draw, Callable[[Image.Image], Image.Image]]] = {
    "brightness": (
        Draw(jitter=(("brightness", 1.4),)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    ),
    "contrast": (
        Draw(jitter=(("contrast", 1.4),)),
        lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    ),
    "saturation": (
        Draw(jitter=(("saturation", 1.4),)),
        lambda image: ImageEnhance.Color(image).enhance(1.4),
    ),
    "grey": (Draw(grey=True), lambda image: image.convert("L").convert("RGB")),
    "blur": (Draw(sigma=7.0), lambda image: image.filter(ImageFilter.GaussianBlur(2.0))),
}


@pytest.mark.parametrize("name", PILLOW)
def test_changes_mean_what_they_mean_in_pillow(name: str) -> None:
    choice, change = PILLOW[name]
    frame = clip_of(1, 64, 64)
    got = augment([frame], [choice], 64)[0, 0]
    image = change(Image.fromarray(frame[0].numpy()))
    want = normalised(np.asarray(image, np.float64) / 255)
    # it rounds every step to uint8, and its blur is three box blurs, which differ at the edges
    got, want = got[:, 8:-8, 8:-8], want[:, 8:-8, 8:-8]
    torch.testing.assert_close(got, want, rtol=0, atol=2.5 * LEVEL)
    assert (got - want).abs().mean() < LEVEL


@given(st.integers(20, 70), st.integers(20, 70), st.integers(8, 48), st.integers(0, 10**6))
@example(68, 23, 21, 762)
@settings(max_examples=30, deadline=None)
def test_crop_and_resize_equal_pillow(height: int, width: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = clip_of(1, height, width, seed, grain=40)
    top, bottom = sorted(rng.choice(height + 1, 2, replace=False).tolist())
    left, right = sorted(rng.choice(width + 1, 2, replace=False).tolist())
    box = (top / height, left / width, (bottom - top) / height, (right - left) / width)
    maps = frame.permute(0, 3, 1, 2)
    got = crop_resize(maps, box, False, size)
    want = torch.empty(3, size, size)
    for channel, plane in zip(want, frame[0].permute(2, 0, 1).float(), strict=True):
        image = Image.fromarray(plane.numpy()).crop((left, top, right, bottom))  # in floats: exact
        channel[:] = torch.from_numpy(
            np.array(image.resize((size, size), Image.Resampling.BILINEAR))
        )
    assert got.dtype == torch.uint8
    assert (got[0] - want).abs().max() <= 1.01  # rounded after each of its two directions
    # maps of floats, the path of other devices too
    floats = crop_resize(maps.float(), box, False, size)
    torch.testing.assert_close(floats[0], want, atol=1e-2, rtol=0)
    torch.testing.assert_close(crop_resize(maps.float(), box, True, size), floats.flip(-1))


def test_a_box_holds_a_pixel_at_least() -> None:
    maps = torch.arange(100.0).view(1, 1, 10, 10)
    corner = crop_resize(maps, (0.999, 0.999, 0.001, 0.001), False, 3)
    torch.testing.assert_close(corner, torch.full((1, 1, 3, 3), 99.0))


def test_the_flip_comes_after_the_crop() -> None:
    clip = clip_of(1, 32, 64)
    left = (0.0, 0.0, 1.0, 0.5)
    got = augment([clip], [Draw(box=left, flip=True)], 32)
    torch.testing.assert_close(got[0], plain(clip[:, :, :32].flip(2), 32))


def test_flow_changes_sign_under_a_flip_where_asked() -> None:
    flow = torch.randn(2, 2, 10, 12)
    box = (0.1, 0.25, 0.8, 0.5)
    straight = crop_resize(flow, box, False, 7, flow=True)
    turned = crop_resize(flow, box, True, 7, flow=True)
    torch.testing.assert_close(turned[:, 0], -straight[:, 0].flip(-1))
    torch.testing.assert_close(turned[:, 1], straight[:, 1].flip(-1))
    torch.testing.assert_close(crop_resize(flow, box, True, 7)[:, 0], straight[:, 0].flip(-1))


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_every_frame_gets_the_same_change_whatever_its_company(seed: int, frames: int) -> None:
    choice = draw(np.random.default_rng(seed), ALWAYS, height=31, width=45)
    clip = clip_of(frames, 31, 45, seed)
    padded = torch.cat([clip, clip[-1:], clip[-1:]])  # as samplers pad
    together = augment([padded], [choice], 24)[0]
    alone = torch.cat([augment([frame[None]], [choice], 24)[0] for frame in clip])
    torch.testing.assert_close(together[:frames], alone)
    torch.testing.assert_close(together[frames:], alone[-1:].expand(2, -1, -1, -1))


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("grey", [False, True])
def test_a_clip_of_many_chunks_equals_its_frames(
    chunk: int, grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clip_of(23, 60, 80)
    jitter = (("brightness", 0.7), ("contrast", 0.6), ("hue", 0.2), ("saturation", 1.4))
    choice = Draw((0.1, 0.2, 0.5, 0.5), True, jitter, 1.5, grey)
    monkeypatch.setattr(augmentation, "_PIXELS", chunk * 32 * 32)
    got = augment([clip], [choice], 32)[0]
    for i in range(23):
        torch.testing.assert_close(got[i : i + 1], augment([clip[i : i + 1]], [choice], 32)[0])


def threads_here_and_in_a_new_thread() -> tuple[int, int]:
    with ThreadPoolExecutor(1) as pool:
        return torch.get_num_threads(), pool.submit(torch.get_num_threads).result()


def test_clips_keep_their_own_draws_sizes_and_the_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(augmentation, "_PIXELS", 2 * 23 * 23)  # several chunks
    clips = [clip_of(5, 31, 47, 1), clip_of(5, 64, 33, 2), clip_of(5, 20, 20, 3)]
    rng = np.random.default_rng(3)
    draws = [draw(rng, ALWAYS, height=c.shape[1], width=c.shape[2]) for c in clips]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(augment(clips, draws, 23))
            assert threads_here_and_in_a_new_thread() == (threads, threads)
            with pytest.raises(ShapeError, match="within the frame"):
                augment(clips, [*draws[:2], Draw(box=(0.0, 0.0, 2.0, 1.0))], 23)
            assert threads_here_and_in_a_new_thread() == (threads, threads)
    finally:
        torch.set_num_threads(before)
    for clip, choice, got in zip(clips, draws, results[0], strict=True):
        torch.testing.assert_close(got, augment([clip], [choice], 23)[0])
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])


def test_strided_clips_are_read_as_they_look() -> None:
    clip = clip_of(6, 40, 60)
    choice = Draw((0.1, 0.1, 0.8, 0.8), True, (("hue", 0.1),), 1.0)
    for view in (clip[::2], clip[:, ::2, 1::2], clip.transpose(1, 2), clip[:, 3:31]):
        want = augment([view.contiguous()], [choice], 25)
        torch.testing.assert_close(augment([view], [choice], 25), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_result_is_channels_last_and_of_the_asked_type(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "_PIXELS", 2 * 17 * 17)
    clip = clip_of(3, 30, 40, grain=100)
    draws = [draw(np.random.default_rng(i), ALWAYS, height=30, width=40) for i in range(4)]
    got = augment([clip] * 4, draws, 17, dtype)
    assert got.shape == (4, 3, 3, 17, 17)
    assert got.dtype == dtype
    assert got.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got.float(), augment([clip] * 4, draws, 17), rtol=1e-2, atol=1e-2)
    assert plain(clip, 17, dtype).is_contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(augment([clip] * 4, draws, 17, dtype), got)


def test_other_devices_never_wait_for_a_value() -> None:
    clip = torch.empty(3, 20, 30, 3, dtype=torch.uint8, device="meta")
    choice = draw(np.random.default_rng(0), ALWAYS, height=20, width=30)
    assert augment([clip], [choice], 16).shape == (1, 3, 3, 16, 16)


def test_the_clip_itself_is_left_alone() -> None:
    clip = clip_of(2, 16, 16)
    copy = clip.clone()
    augment([clip], [Draw(WHOLE, False, (("brightness", 0.2),), 20.0)], 16)
    assert torch.equal(clip, copy)


def test_plain_squeezes_the_whole_frame() -> None:
    clip = clip_of(2, 40, 60, grain=30)
    torch.testing.assert_close(plain(clip, 24), augment([clip], [Draw()], 24)[0])
    image = Image.fromarray(clip[1].numpy()).resize((24, 24), Image.Resampling.BILINEAR)
    want = normalised(np.asarray(image, np.float64) / 255)
    torch.testing.assert_close(plain(clip, 24)[1], want, rtol=0, atol=1.01 * LEVEL)


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (40, 40)])
@pytest.mark.parametrize(("crop", "share"), [("first", 0), ("centre", 0.5), ("last", 1)])
def test_plain_keeps_a_square_of_the_frame(
    height: int, width: int, crop: Crop, share: float
) -> None:
    clip = clip_of(2, height, width)
    top, left = int((height - 40) * share), int((width - 40) * share)
    square = clip[:, top : top + 40, left : left + 40]
    torch.testing.assert_close(plain(clip, 24, crop=crop), plain(square, 24))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_draws_stay_in_their_ranges(height: int, width: int, seed: int) -> None:
    config = AugmentConfig(jitter=1.0, blur=1.0, brightness=1.5)
    choice = draw(np.random.default_rng(seed), config, height=height, width=width)
    pixels = np.array(choice.box) * (height, width, height, width)
    top, left, h, w = np.rint(pixels).astype(int)
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-6)
    assert h >= 1
    assert w >= 1
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    # sides are rounded to pixels: half a pixel of tolerance on each
    assert (w - 0.5) / (h + 0.5) <= 4 / 3
    assert (w + 0.5) / (h - 0.5) >= 3 / 4
    if min(height, width) / max(height, width) > 3 / 4:
        assert (h + 0.5) * (w + 0.5) >= 0.8 * height * width
    jitter = dict(choice.jitter)
    assert 0 <= jitter["brightness"] <= 2.5
    assert 0.2 <= jitter["contrast"] <= 1.8
    assert 0.2 <= jitter["saturation"] <= 1.8
    assert -0.2 <= jitter["hue"] <= 0.2
    assert 0.1 <= choice.sigma <= 2.0


def test_draws_follow_their_probabilities_and_vary_their_order() -> None:
    rng = np.random.default_rng(0)
    draws = [draw(rng, AugmentConfig(), height=128, width=128) for _ in range(3000)]
    for share, want in (
        (np.mean([d.flip for d in draws]), 0.5),
        (np.mean([len(d.jitter) == 4 for d in draws]), 0.8),
        (np.mean([d.sigma > 0 for d in draws]), 0.5),
        (np.mean([d.grey for d in draws]), 0.2),
    ):
        assert abs(share - want) < 0.04
    orders = {tuple(name for name, _ in d.jitter) for d in draws if d.jitter}
    assert orders == set(itertools.permutations(("brightness", "contrast", "saturation", "hue")))


def test_areas_and_the_logarithms_of_ratios_are_uniform() -> None:
    rng = np.random.default_rng(0)
    config = AugmentConfig(area=(0.2, 0.6))  # small enough for every ratio to fit
    boxes = np.array([draw(rng, config, height=500, width=500).box for _ in range(3000)])
    areas, logs = boxes[:, 2] * boxes[:, 3], np.log(boxes[:, 3] / boxes[:, 2])
    quarters = [0.25, 0.5, 0.75]
    np.testing.assert_allclose(np.quantile(areas, quarters), [0.3, 0.4, 0.5], atol=0.01)
    edge = math.log(4 / 3)
    np.testing.assert_allclose(np.quantile(logs, quarters), [-edge / 2, 0, edge / 2], atol=0.02)
    # and so are the places
    places = boxes[:, 0] / (1 - boxes[:, 2])
    np.testing.assert_allclose(np.quantile(places, quarters), quarters, atol=0.03)


def test_nothing_is_drawn_that_is_switched_off() -> None:
    off = AugmentConfig((1.0, 1.0), (1.0, 1.0), 0.0, 0.0, 0.8, 0.8, 0.8, 0.2, 0.0, (0.1, 2.0), 0.0)
    assert draw(np.random.default_rng(0), off, height=50, width=50) == Draw()
    only_hue = replace(off, jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0)
    names = [n for n, _ in draw(np.random.default_rng(0), only_hue, height=9, width=9).jitter]
    assert names == ["hue"]


def test_the_same_seed_draws_the_same_and_a_given_box_is_kept() -> None:
    config = AugmentConfig()
    one, two = (draw(np.random.default_rng(5), config, height=90, width=70) for _ in range(2))
    assert one == two
    box = (0.25, 0.5, 0.3, 0.2)
    assert draw(np.random.default_rng(5), config, height=90, width=70, box=box).box == box


def test_frames_too_narrow_for_any_crop_are_cut_in_the_middle() -> None:
    top, left, h, w = draw(np.random.default_rng(0), AugmentConfig(), height=400, width=30).box
    assert (top, left, h, w) == (180 / 400, 0, 40 / 400, 1)


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    clip = clip_of(2, 16, 16)
    with pytest.raises(ShapeError, match="one draw for each clip"):
        augment([clip], [Draw(), Draw()], 8)
    with pytest.raises(ShapeError, match="one draw for each clip"):
        augment([], [], 8)
    with pytest.raises(ShapeError, match="pad them"):
        augment([clip, clip[:1]], [Draw(), Draw()], 8)
    with pytest.raises(ShapeError, match="uint8"):
        augment([clip.float()], [Draw()], 8)
    with pytest.raises(ShapeError, match="uint8"):
        plain(clip.permute(0, 3, 1, 2), 8)
    with pytest.raises(ShapeError, match="pixels in it"):
        plain(clip[:0], 8)
    with pytest.raises(ShapeError, match="within the frame"):
        augment([clip], [Draw(box=(0.5, 0.0, 0.6, 1.0))], 8)
    with pytest.raises(ConfigError, match="no jitter 'sepia'"):
        augment([clip], [Draw(jitter=(("sepia", 0.5),))], 8)
    with pytest.raises(ConfigError, match="no crop 'center'"):
        plain(clip, 8, crop="center")  # type: ignore[arg-type]

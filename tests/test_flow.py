"""Flow of pictures whose motion is known."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest

from marey.errors import ConfigError, ShapeError
from marey.flow import Engine, flow
from marey.types import F32, U8, Frames

CHEAP: list[Engine] = ["dis", "farneback"]
HAS_TVL1 = hasattr(cv2, "optflow")


def texture(height: int, width: int, seed: int = 0) -> F32:
    """Smooth random grey values, 0..255."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.asarray(np.clip(128 + 60 * smooth / smooth.std(), 0, 255), np.float32)


def film(images: list[F32]) -> Frames:
    pixels = np.stack([np.repeat(np.rint(i).astype(np.uint8)[..., None], 3, 2) for i in images])
    return Frames(pixels, np.arange(len(images)), np.arange(len(images)) / 25)


def pan(ground: F32, dx: int, dy: int, count: int, height: int, width: int) -> Frames:
    """The ground moves by (dx, dy) pixels a frame under a window of height x width."""
    top, left = (max(0, d * (count - 1)) for d in (dy, dx))
    return film(
        [
            ground[top - dy * i : top - dy * i + height, left - dx * i : left - dx * i + width]
            for i in range(count)
        ]
    )


def vectors(frames: Frames, engine: Engine = "dis", size: int = 112) -> F32:
    return np.concatenate([part.vectors for part in flow([frames], engine, size=size)])


@pytest.mark.parametrize("engine", CHEAP)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (2, 1)])
def test_a_pan_is_measured(engine: Engine, dx: int, dy: int) -> None:
    field = vectors(pan(texture(140, 160), dx, dy, 4, 112, 130), engine)
    inner = field[:, :, 10:-10, 10:-10]
    assert np.abs(inner - np.array([dx, dy])[:, None, None]).mean() < 0.1


@pytest.mark.parametrize("engine", CHEAP)
def test_flat_ground_moves_with_the_camera(engine: Engine) -> None:
    ground = texture(140, 160)
    ground[:, 60:110] = 128
    field = vectors(pan(ground, 2, 0, 3, 112, 130), engine)
    inner = field[:, :, 10:-10, 10:-10]
    assert np.abs(inner - np.array([2, 0])[:, None, None]).mean() < 0.1


@pytest.mark.parametrize("engine", CHEAP)
def test_noise_is_no_motion_and_a_moving_thing_is(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    ground, thing = texture(112, 150), texture(30, 30, seed=1)
    images = []
    for i in range(3):
        image = ground.copy()
        image[40:70, 50 + 3 * i : 80 + 3 * i] = thing
        images.append(np.clip(image + rng.normal(0, 1, image.shape), 0, 255))
    field = vectors(film(images), engine)
    assert np.abs(field[:, :, :, 100:]).max() < 0.05
    assert np.median(field[:, 0, 45:65, 60:75]) == pytest.approx(3, abs=0.3)


def test_the_default_keeps_the_motion_of_a_small_fast_thing() -> None:
    images = []
    for i in range(3):
        image = texture(240, 320)
        image[80:144, 100 + 12 * i : 164 + 12 * i] = texture(64, 64, seed=1)
        images.append(cv2.GaussianBlur(image, (0, 0), 2))
    field = np.concatenate([part.vectors for part in flow([film(images)])])
    assert field.shape[2:] == (80, 107)
    assert np.median(field[:, 0, 31:44, 42:50]) == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("engine", [*CHEAP, "difference"])
@pytest.mark.parametrize(("chunk", "threads"), [(1, 1), (3, 2), (4, 1), (50, 3)])
def test_chunks_and_threads_change_nothing(engine: Engine, chunk: int, threads: int) -> None:
    whole = pan(texture(80, 90), 2, -1, 9, 60, 64)
    cuts = range(0, 9, chunk)
    parts = [
        Frames(
            whole.pixels[i : i + chunk], whole.index[i : i + chunk], whole.seconds[i : i + chunk]
        )
        for i in cuts
    ]
    fields = list(flow(parts, engine, threads=threads))
    np.testing.assert_array_equal(np.concatenate([f.index for f in fields]), np.arange(8))
    np.testing.assert_array_equal(
        np.concatenate([f.vectors for f in fields]), vectors(whole, engine)
    )


@pytest.mark.parametrize(("shape", "small"), [((224, 300), (112, 150)), ((300, 224), (150, 112))])
def test_flow_is_in_pixels_of_the_small_frame(
    shape: tuple[int, int], small: tuple[int, int]
) -> None:
    field = vectors(pan(cv2.GaussianBlur(texture(320, 320), (0, 0), 2), 4, 0, 3, *shape))
    assert field.shape == (2, 2, *small)
    assert np.median(field[:, 0]) == pytest.approx(2, abs=0.1)


def test_small_frames_are_not_enlarged() -> None:
    assert vectors(pan(texture(60, 60), 1, 0, 2, 40, 50)).shape == (1, 2, 40, 50)


def test_difference_is_the_change_of_grey() -> None:
    frames = pan(texture(60, 60), 1, 0, 3, 40, 50)
    grey = frames.pixels[..., 0].astype(np.float64)
    field = vectors(frames, "difference")
    np.testing.assert_allclose(field[:, 0], np.diff(grey, axis=0) * 20 / 255, atol=1e-5)
    assert not field[:, 1].any()


def test_one_frame_has_no_flow() -> None:
    assert list(flow([pan(texture(60, 60), 1, 0, 1, 40, 50)])) == []


@pytest.mark.skipif(HAS_TVL1, reason="opencv-contrib is installed here")
def test_tvl1_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="opencv-contrib-python-headless"):
        vectors(pan(texture(60, 60), 1, 0, 2, 40, 50), "tvl1")


@pytest.mark.skipif(not HAS_TVL1, reason="needs opencv-contrib-python-headless")
def test_tvl1_measures_and_clips() -> None:
    field = vectors(pan(texture(60, 60), 1, 0, 2, 40, 50), "tvl1")
    assert np.median(field[:, 0]) == pytest.approx(1, abs=0.1)
    assert np.abs(field).max() <= 20


def test_bad_settings_say_what_is_wrong() -> None:
    frames = pan(texture(60, 60), 1, 0, 2, 40, 50)
    with pytest.raises(ConfigError, match=", ".join(get_args(Engine))):
        list(flow([frames], "raft"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not 8 and 1"):
        list(flow([frames], size=8))
    with pytest.raises(ConfigError, match="not 80 and 0"):
        list(flow([frames], threads=0))


@pytest.mark.parametrize("shape", [(20, 50), (44, 50)])
def test_frames_must_be_large_enough_and_of_one_size(shape: tuple[int, int]) -> None:
    first = pan(texture(60, 60), 1, 0, 2, 40, 50)
    pixels: U8 = np.zeros((2, *shape, 3), np.uint8)
    chunks = [first, Frames(pixels, np.array([2, 3]), np.array([0.08, 0.12]))]
    with pytest.raises(ShapeError, match="at least 32 pixels"):
        list(flow(chunks if shape == (44, 50) else chunks[1:]))

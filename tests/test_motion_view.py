"""The film of a video's motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marey.errors import ConfigError, VideoError
from marey.motion_view import PANEL, motion_film
from marey.video import probe, read, write


def moving_square(path: Path, frames: int = 40, pan: int = 0) -> Path:
    """A bright square that goes right over textured ground, which may move too."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 120, (24, 40)), np.ones((8, 8))).astype(np.uint8)
    pixels = []
    for t in range(frames):
        frame = np.roll(ground, -pan * t, 1)[:96, :160].copy()
        frame[30:54, 20 + 2 * t : 44 + 2 * t] = 230
        pixels.append(np.repeat(frame[..., None], 3, 2))
    write(path, np.stack(pixels), 25)
    return path


def panels(film: Path) -> np.ndarray:
    """(T, 3, PANEL, width, 3): tubelets, flow, boundaries."""
    info = probe(film)
    pixels = read(film, np.arange(info.frames)).pixels
    width = round(PANEL * 160 / 96)
    starts = [8 + i * (width + 8) for i in range(3)]
    return np.stack([pixels[:, 8 : 8 + PANEL, x : x + width] for x in starts], 1)


def test_camera_motion_fills_the_flow_and_not_the_boundaries(tmp_path: Path) -> None:
    video = moving_square(tmp_path / "pan ü.mp4", pan=2)
    done = motion_film(video, tmp_path / "film.mp4", "mcl")
    assert (done.frames, probe(done.path).frames) == (40, 40)
    assert 0 < done.megabytes_a_minute < 10
    _, flow, edges = panels(done.path)[20].astype(float)
    ground = (slice(200, 270), slice(30, 450))  # below the square, above the caption
    square = (slice(60, 190), slice(150, 350))
    assert flow[ground].max(2).mean() > 60
    assert edges[ground].mean() < 0.25 * edges[square].mean()


def test_the_clips_drawn_are_framed(tmp_path: Path) -> None:
    video = moving_square(tmp_path / "a.mp4")
    one, two = (
        panels(motion_film(video, tmp_path / f"{s}.mp4", seed=s).path)[:, 0] for s in (0, 1)
    )
    assert (one != two).any()


def test_what_has_no_motion_is_said(tmp_path: Path) -> None:
    video = moving_square(tmp_path / "a.mp4", frames=1)
    with pytest.raises(VideoError, match=r"a\.mp4 has no motion"):
        motion_film(video, tmp_path / "film.mp4")
    with pytest.raises(ConfigError, match="does not look at motion"):
        motion_film(video, tmp_path / "film.mp4", "carl")
    with pytest.raises(ConfigError, match="no recipe 'mlc'"):
        motion_film(video, tmp_path / "film.mp4", "mlc")
    assert not (tmp_path / "film.mp4").exists()

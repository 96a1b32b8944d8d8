"""Where one looks from: a camera on a tripod or in a hand, never quite still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from marey.synthetic.figure import Skeleton
from marey.types import F64

_DISTANCE = 7.0
"""From camera to figure, in legs."""


@dataclass(frozen=True)
class Camera:
    """Perspective view of the world, then one affine change of the picture per frame.

    view: (3, 3), rows: right, up and towards the camera, in the axes of the world.
    scale: pixels per leg at the figure.  origin: (2,) pixel of the world's origin.
    sway: (T, 2, 3) drift, zoom, roll and shake, in pixels.
    """

    view: F64
    scale: float
    origin: F64
    sway: F64

    def project(self, points: F64) -> tuple[F64, F64]:
        """(..., 3) points of the world to (..., 2) pixels before `sway`, and (...) nearness."""
        seen = points @ self.view.T
        nearness = seen[..., 2]
        factor = self.scale * _DISTANCE / (_DISTANCE - nearness)
        return self.origin + seen[..., :2] * [1, -1] * factor[..., None], nearness

    def shoot(self, points: F64) -> tuple[F64, F64, F64]:
        """(T, N, 3) to pixels (T, N, 2), nearness (T, N) and pixels per leg (T, N), with `sway`."""
        flat, nearness = self.project(points)
        zoom = np.sqrt(np.abs(np.linalg.det(self.sway[:, :, :2])))
        factor = self.scale * _DISTANCE / (_DISTANCE - nearness) * zoom[:, None]
        return moved(flat, self.sway), nearness, factor


def moved(points: F64, sway: F64) -> F64:
    """(T, N, 2) pixels after the affine change (T, 2, 3) of every frame."""
    turned: F64 = np.einsum("tij,tnj->tni", sway[:, :, :2], points) + sway[:, None, :, 2]
    return turned


def sample_camera(
    rng: Generator, figure: Skeleton, size: tuple[int, int], fps: float, variety: float
) -> Camera:
    """A camera that has the whole figure in view, more from its side than from its front."""
    height, width = size
    side = min(size)
    yaw = np.radians(42 + variety * rng.uniform(-24, 24))
    pitch = np.radians(12 + variety * rng.uniform(-5, 6))
    mirror = -1 if rng.random() < 0.5 else 1
    c, s = np.cos(yaw), np.sin(yaw)
    flat = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    tilt = np.array(
        [[mirror, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    scale = side * (0.325 + variety * rng.uniform(-0.03, 0.02))
    across = (figure.joints @ (tilt @ flat).T)[..., 0]
    middle = (across.min() + across.max()) / 2
    slack = side * 0.05 * variety
    origin = np.array(
        [
            width / 2 - middle * scale + rng.uniform(-slack, slack),
            height / 2 + side * (0.37 + variety * rng.uniform(-0.03, 0.03)),
        ]
    )
    sway = _sway(rng, len(figure.joints), size, fps, variety)
    return Camera(tilt @ flat, scale, origin, sway)


def _sway(rng: Generator, frames: int, size: tuple[int, int], fps: float, variety: float) -> F64:
    side = min(size)
    time = np.arange(frames) / fps
    along = np.linspace(-1, 1, frames)
    held = rng.random() < 0.7
    shake = variety * held * rng.uniform(0.2, 1.0)
    rates, starts = rng.uniform(0.5, 3.5, (4, 3)), rng.uniform(0, 2 * np.pi, (4, 3))
    waves = np.sin(2 * np.pi * rates[..., None] * time + starts[..., None]).mean(1)
    zoom = 1 + 0.05 * variety * rng.uniform(-1, 1) * along + 0.004 * shake * waves[0]
    roll = np.radians(0.8 * shake * waves[1] + 1.2 * variety * held * rng.uniform(-1, 1))
    drift = side * (0.04 * variety * rng.uniform(-1, 1, (2, 1)) * along + 0.009 * shake * waves[2:])
    c, s = zoom * np.cos(roll), zoom * np.sin(roll)
    turn = np.stack([np.stack([c, -s], 1), np.stack([s, c], 1)], 1)
    centre = np.array([size[1] / 2, size[0] / 2])
    shift = centre + drift.T - turn @ centre
    return np.concatenate([turn, shift[:, :, None]], 2)

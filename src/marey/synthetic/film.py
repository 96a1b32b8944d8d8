"""From a performance to frames: figure, shadow and passers-by before a backdrop, on grainy film."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from marey.synthetic.camera import Camera, moved, sample_camera
from marey.synthetic.figure import JOINTS, Body, Skeleton
from marey.synthetic.look import Painter, sample_look
from marey.synthetic.palette import SHIFT, colour, mixed
from marey.synthetic.scene import Backdrop, sample_backdrop
from marey.types import F32, F64, U8

_BONES = (
    *(("pelvis", "waist", 0.28), ("waist", "neck", 0.3), ("neck", "head", 0.26)),
    *(("right_hip", "right_knee", 0.17), ("right_knee", "right_ankle", 0.11)),
    *(("left_hip", "left_knee", 0.17), ("left_knee", "left_ankle", 0.11)),
    *(("right_ankle", "right_toe", 0.2), ("left_ankle", "left_toe", 0.2)),
    *(("right_shoulder", "right_elbow", 0.11), ("right_elbow", "right_wrist", 0.08)),
    *(("left_shoulder", "left_elbow", 0.11), ("left_elbow", "left_wrist", 0.08)),
)


def film(
    rng: Generator, figure: Skeleton, body: Body, size: tuple[int, int], fps: float, variety: float
) -> tuple[U8, F32]:
    """Frames (T, H, W, 3) of a figure in a random place, and its joints (T, J, 2) in pixels."""
    height, width = size
    camera = sample_camera(rng, figure, size, fps, variety)
    light = np.array([rng.uniform(-0.9, 0.9), -1.0])
    painter = Painter(figure, body, sample_look(rng), camera, light / np.linalg.norm(light))
    backdrop = sample_backdrop(rng, camera, size, variety)
    shadow = _Shadow(rng, figure, camera, size, light)
    passers = [_Passer(rng, backdrop, camera, fps) for _ in range(rng.binomial(2, 0.25 * variety))]
    grain = _grain(rng, size, variety)
    pixels = np.empty((len(figure.joints), height, width, 3), np.uint8)
    for frame, (picture, sway) in enumerate(zip(pixels, camera.sway, strict=True)):
        view = sway.copy()
        view[:, 2] -= view[:, :2].sum(1) * backdrop.margin
        cv2.warpAffine(backdrop.pixels, view, (width, height), dst=picture)
        for passer in passers:
            passer.paint(picture, frame)
        shadow.paint(picture, frame)
        painter.paint(picture, frame)
        cv2.add(picture, next(grain), dst=picture, dtype=cv2.CV_8U)
    joints = moved(camera.project(figure.joints)[0], camera.sway)
    return pixels, joints.astype(np.float32)


def _grain(rng: Generator, size: tuple[int, int], variety: float) -> Iterator[NDArray[np.int8]]:
    """Noise for one frame after the other: random windows of one large sheet."""
    height, width = size
    noise = rng.normal(0, 1.0 + 3.0 * variety * rng.random(), (height + 48, width + 48, 3))
    sheet = np.rint(0.75 * noise[:, :, :1] + 0.35 * noise).astype(np.int8)
    while True:
        y, x = rng.integers(0, 49, 2)
        yield sheet[y : y + height, x : x + width]


class _Shadow:
    """The figure's bones, cast on the floor by a distant light and blurred."""

    def __init__(
        self, rng: Generator, figure: Skeleton, camera: Camera, size: tuple[int, int], light: F64
    ) -> None:
        along = 0.55 * light[0] * camera.view[0] - rng.uniform(-0.3, 0.15) * camera.view[2]
        cast = figure.joints - figure.joints[..., 1:2] * (along - [0, along[1], 0])
        cast[..., 1] = 0
        flat = moved(camera.project(cast)[0], camera.sway) / 2
        ends = np.array([[JOINTS.index(a), JOINTS.index(b)] for a, b, _ in _BONES])
        self._bones = np.rint(flat[:, ends] * 2**SHIFT).astype(np.int32)
        self._thick = [max(round(width * camera.scale / 2), 1) for _, _, width in _BONES]
        self._mask = np.zeros((size[0] // 2, size[1] // 2), np.uint8)
        self._blur = rng.uniform(0.04, 0.08) * camera.scale / 2
        self._dark = rng.uniform(0.3, 0.55)
        self._top = max(int(flat[..., 1].min() - 3 * self._blur) - 4, 0)

    def paint(self, picture: U8, frame: int) -> None:
        mask = self._mask[self._top :]
        if not len(mask):
            return
        self._mask[:] = 0
        for (a, b), thick in zip(self._bones[frame], self._thick, strict=True):
            cv2.line(self._mask, a, b, 255, thick, cv2.LINE_AA, SHIFT)
        cv2.GaussianBlur(mask, (0, 0), self._blur, dst=mask)
        floor = picture[2 * self._top :]
        keep = cv2.convertScaleAbs(mask, alpha=-self._dark, beta=255)
        keep = cv2.resize(keep, (floor.shape[1], floor.shape[0]))
        cv2.multiply(floor, cv2.merge([keep, keep, keep]), dst=floor, scale=1 / 255)


class _Passer:
    """Something small that moves by itself: a bouncing ball, a balloon or a bird."""

    def __init__(self, rng: Generator, backdrop: Backdrop, camera: Camera, fps: float) -> None:
        height, width = (side - 2 * backdrop.margin for side in backdrop.pixels.shape[:2])
        time = np.arange(len(camera.sway)) / fps
        way = float(rng.choice([-1, 1]))
        x = width * (rng.uniform(0.1, 0.9) + way * rng.uniform(0.08, 0.3) * (time - time.mean()))
        self._kind = str(rng.choice(["ball", "balloon", "bird"]))
        if self._kind == "ball":
            bounce = np.abs(np.sin(rng.uniform(3, 6) * time + rng.uniform(0, 3)))
            y = height * (rng.uniform(0.8, 0.95) - rng.uniform(0.02, 0.25) * bounce)
        elif self._kind == "balloon":
            y = height * (rng.uniform(0.4, 0.8) - rng.uniform(0.08, 0.2) * time)
            x += 0.02 * width * np.sin(2 * time)
        else:
            y = height * (rng.uniform(0.08, 0.35) + 0.03 * np.sin(3 * time))
            self._flap = np.sin(rng.uniform(14, 22) * time)
        self._path = moved(np.stack([x, y], 1)[:, None], camera.sway)[:, 0]
        self._radius = min(height, width) * rng.uniform(0.022, 0.04)
        self._tone = colour(rng, (0.5, 0.9), (0.5, 1.0))

    def paint(self, picture: U8, frame: int) -> None:
        middle, r, one = self._path[frame], self._radius, 2**SHIFT
        if self._kind == "bird":
            wings = np.array(
                [[-2, -1.2 * self._flap[frame]], [0, 0], [2, -1.2 * self._flap[frame]]]
            )
            points = np.rint((middle + r * wings) * one).astype(np.int32)
            cv2.polylines(picture, [points], False, (50, 48, 56), 1, cv2.LINE_AA, SHIFT)
            return
        x, y = np.rint(middle * one).astype(int).tolist()
        if self._kind == "balloon":
            tail = x, y + round(4 * r * one)
            cv2.line(picture, (x, y), tail, (90, 90, 90), 1, cv2.LINE_AA, SHIFT)
        shine = mixed(self._tone, (255, 255, 255), 0.5)
        cv2.circle(picture, (x, y), round(r * one), self._tone, -1, cv2.LINE_AA, SHIFT)
        glint = x - round(0.3 * r * one), y - round(0.3 * r * one)
        cv2.circle(picture, glint, round(0.3 * r * one), shine, -1, cv2.LINE_AA, SHIFT)

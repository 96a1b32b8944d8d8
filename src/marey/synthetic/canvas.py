"""The canvas on which a backdrop is painted: wall or sky above, floor in perspective below."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from marey.synthetic.camera import Camera
from marey.synthetic.palette import SHIFT, Colour, colour, hsv, mixed
from marey.types import F32, F64, U8


class Canvas:
    """Coordinates of the drawing methods: the wall's height = 1, x to the right from its left."""

    def __init__(self, rng: Generator, camera: Camera, size: tuple[int, int], margin: int) -> None:
        self.rng, self.camera, self.margin = rng, camera, margin
        self.height, self.width = size[0] + 2 * margin, size[1] + 2 * margin
        self.deep = rng.uniform(1.3, 2.6)
        foot = self._floor_point(0.0, -self.deep)[1]
        self.horizon = float(np.clip(foot, 0.4 * self.height, 0.93 * self.height))
        self.image: U8 = np.zeros((self.height, self.width, 3), np.uint8)

    def _floor_point(self, across: float, towards: float) -> F64:
        """Canvas pixel of a point on the floor, given in legs as the camera sees it."""
        flat = self.camera.view[2] * [1, 0, 1]
        flat /= np.linalg.norm(flat)
        point = towards * flat + across * self.camera.view[0]
        pixel: F64 = self.camera.project(point)[0] + self.margin
        return pixel

    def sky(self, top: Colour, bottom: Colour) -> None:
        rows = max(int(self.horizon) + 2, 2)
        share = np.linspace(0, 1, rows)[:, None, None]
        band = np.array(top) * (1 - share) + np.array(bottom) * share
        self.image[:rows] = np.broadcast_to(band, (rows, self.width, 3))[: self.height]

    def floor(self, texture: U8) -> None:
        """Lay a square texture (N, N, 3) of six legs' width over the floor, repeated."""
        n, wide, near = len(texture), 9.0, 2.0
        corners = [(-wide, -self.deep), (wide, -self.deep), (wide, near), (-wide, near)]
        target = np.array([self._floor_point(*corner) for corner in corners], np.float32)
        source = np.array([[x + wide, z + self.deep] for x, z in corners], np.float32) * n / 6
        laid = cv2.warpPerspective(
            np.tile(texture, (1, 3, 1)),
            cv2.getPerspectiveTransform(source, target),
            (self.width, self.height),
            borderMode=cv2.BORDER_REPLICATE,
        )
        self.image[int(self.horizon) :] = laid[int(self.horizon) :]

    def box(self, x: float, y: float, w: float, h: float, tone: Colour) -> None:
        corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
        self.shape(corners, tone)

    def shape(self, corners: F64, tone: Colour) -> None:
        """A polygon; y runs from 0 at the top of the wall to 1 at its foot."""
        points = np.rint(corners * self.horizon * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(self.image, [points], tone, cv2.LINE_AA, SHIFT)

    def disc(self, x: float, y: float, r: float, tone: Colour) -> None:
        one = self.horizon * 2**SHIFT
        centre = round(x * one), round(y * one)
        cv2.circle(self.image, centre, round(r * one), tone, -1, cv2.LINE_AA, SHIFT)

    @property
    def breadth(self) -> float:
        """Width of the canvas in heights of the wall."""
        return self.width / self.horizon

    def clouds(self, shape: tuple[int, int], cells: int) -> F32:
        """Smooth noise of about unit spread."""
        total = np.zeros(shape, np.float32)
        for octave in range(3):
            grid = (cells * 2**octave, cells * 2**octave)
            coarse = self.rng.normal(0, 0.6**octave, grid).astype(np.float32)
            total += cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
        return total

    def boards(self) -> U8:
        """Floor texture: planks, tiles or carpet."""
        rng, n = self.rng, 240
        kind = rng.integers(3)
        wood = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.8))
        base = wood if kind == 0 else colour(rng, (0.05, 0.4), (0.35, 0.85))
        texture: U8 = np.empty((n, n, 3), np.uint8)
        texture[:] = np.array(base)
        if kind == 0:
            for i, x in enumerate(range(0, n, 20)):
                for y in range(-(i * 37) % 80 - 80, n, 80):
                    tone = mixed(base, (40, 20, 5), rng.uniform(0, 0.35))
                    cv2.rectangle(texture, (x, y), (x + 18, y + 78), tone, -1)
        elif kind == 1:
            other = mixed(base, (250, 250, 250), rng.uniform(0.15, 0.7))
            for x in range(0, n, 40):
                for y in range(0, n, 40):
                    tone = base if (x + y) // 40 % 2 else other
                    cv2.rectangle(texture, (x, y), (x + 38, y + 38), tone, -1)
        else:
            return self.turf(base, 0.05)
        return texture

    def turf(self, tone: Colour, contrast: float) -> U8:
        """Grass, sand, asphalt, carpet: noise of one colour."""
        noise = 1 + contrast * (self.clouds((240, 240), 24) + 0.5 * self.clouds((240, 240), 4))
        texture: U8 = np.clip(noise[..., None] * np.array(tone), 0, 255).astype(np.uint8)
        return texture

    def cloud_over(self, strength: float) -> None:
        rows = int(self.horizon)
        mist = np.clip(self.clouds((rows, self.width), 3) - 0.2, 0, 1.5)[..., None] * strength
        sky = self.image[:rows]
        self.image[:rows] = np.clip(sky + mist * (255.0 - sky), 0, 255)

    def shade_corner(self) -> None:
        """Walls are darker towards the floor's edge, floors towards the wall."""
        rows = np.arange(self.height, dtype=np.float32)
        dark = 1 - 0.22 * np.exp(-np.abs(rows - self.horizon) / (0.05 * self.height))
        self.image = (self.image * dark[:, None, None]).astype(np.uint8)

    def finished(self) -> U8:
        """Softened, as out of focus, with a pool of light and darker corners."""
        soft = cv2.GaussianBlur(self.image, (0, 0), max(0.005 * self.height, 0.5))
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        spot = self.rng.uniform(0.25, 0.75, 2) * [self.width, self.height]
        away = np.hypot(x - spot[0], y - spot[1]) / self.height
        light = self.rng.uniform(1.0, 1.12) - self.rng.uniform(0.15, 0.45) * away**2
        lit: U8 = np.clip(soft * light[..., None], 0, 255).astype(np.uint8)
        return lit

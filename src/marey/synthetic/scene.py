"""Where it happens: rooms and open places, painted once per video on a canvas with a margin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from marey.synthetic.camera import Camera
from marey.synthetic.canvas import Canvas
from marey.synthetic.palette import Colour, colour, hsv, mixed
from marey.types import U8


@dataclass(frozen=True)
class Backdrop:
    """The picture behind the figure.

    pixels: (H + 2 * margin, W + 2 * margin, 3) RGB.  margin: pixels around what the camera frames.
    """

    pixels: U8
    margin: int


def sample_backdrop(
    rng: Generator, camera: Camera, size: tuple[int, int], variety: float
) -> Backdrop:
    """A room, a park, a town or a studio with the floor in the camera's perspective."""
    margin = round(0.14 * max(size))
    canvas = _Places(rng, camera, size, margin)
    kinds = [canvas.room, canvas.park, canvas.town, canvas.studio]
    busy = variety * np.array([0.45, 0.23, 0.2])
    kinds[int(rng.choice(4, p=[*busy, 1 - busy.sum()]))](variety)
    return Backdrop(canvas.finished(), margin)


class _Places(Canvas):
    """All that can be painted."""

    def room(self, variety: float) -> None:
        rng = self.rng
        wall = colour(rng, (0.08, 0.42), (0.55, 0.93))
        self.sky(mixed(wall, (20, 20, 30), 0.18), mixed(wall, (255, 250, 240), 0.12))
        self._wall(wall)
        self.floor(self.boards())
        self.box(0, 0.965, self.breadth, 0.035, mixed(wall, (255, 255, 255), 0.5))
        self.shade_corner()
        things = [self._window, self._picture, self._shelf, self._plant, self._lamp, self._door]
        count = int(rng.integers(1, 5) * variety + 0.5)
        places = (np.arange(6) + rng.uniform(0.2, 0.8, 6)) / 6 * self.breadth
        for place, thing in zip(
            rng.permutation(places)[:count], rng.permutation(6)[:count], strict=True
        ):
            things[thing](float(place))

    def park(self, variety: float) -> None:
        rng = self.rng
        dusk = rng.random() < 0.3
        top = hsv(rng.uniform(0.55, 0.64), rng.uniform(0.35, 0.7), rng.uniform(0.7, 0.95))
        low = hsv(0.08, 0.4, 1.0) if dusk else hsv(0.56, 0.15, 0.98)
        self.sky(top, low)
        self.cloud_over(0.25 * variety)
        self.disc(rng.uniform(0, self.breadth), rng.uniform(0.1, 0.5), 0.06, (255, 244, 205))
        green = rng.uniform(0.2, 0.38)
        for layer in range(3):
            tone = mixed(hsv(green, 0.5, 0.38 + 0.06 * layer), low, 0.55 - 0.22 * layer)
            self._hills(0.55 + 0.15 * layer, 0.1, tone)
        for _ in range(int(rng.integers(2, 7) * variety + 0.5)):
            self._tree(rng.uniform(0, self.breadth), green)
        ground = hsv(
            rng.choice([green, green, 0.11]), rng.uniform(0.3, 0.6), rng.uniform(0.45, 0.8)
        )
        self.floor(self.turf(ground, 0.07))

    def town(self, variety: float) -> None:
        rng = self.rng
        night = rng.random() < 0.3
        top = hsv(0.64, 0.6, 0.3) if night else hsv(0.58, rng.uniform(0.15, 0.5), 0.9)
        low = hsv(rng.uniform(0.02, 0.12), 0.35, 0.75 if night else 0.98)
        self.sky(top, low)
        self.cloud_over(0.12 * variety)
        facade = rng.random()
        for layer in range(2):
            x = -rng.uniform(0, 0.2)
            while x < self.breadth:
                w, h = rng.uniform(0.18, 0.4), rng.uniform(0.3, 0.75 - 0.2 * layer)
                tone = hsv(facade + rng.uniform(-0.06, 0.06), 0.25, rng.uniform(0.35, 0.75))
                self._house(x, w, h, mixed(tone, low, 0.5 - 0.4 * layer), night)
                x += w + rng.choice([0.0, 0.01, 0.12])
        self.floor(self.turf(hsv(rng.random(), 0.08, rng.uniform(0.4, 0.7)), 0.06))

    def studio(self, variety: float) -> None:
        rng = self.rng
        tone = colour(rng, (0.05, 0.55), (0.4, 0.9))
        self.sky(mixed(tone, (10, 10, 20), 0.4), mixed(tone, (255, 255, 255), 0.25))
        for _ in range(int(rng.integers(0, 9) * variety)):
            spot = mixed(tone, colour(rng, (0.2, 0.6), (0.7, 1.0)), 0.3)
            x, y = rng.uniform(0, [self.breadth, 0.9])
            self.disc(x, y, rng.uniform(0.03, 0.14), spot)
        cv2.GaussianBlur(self.image, (0, 0), 0.02 * self.height, dst=self.image)
        self.floor(self.turf(mixed(tone, (255, 255, 255), 0.2), 0.03))

    def _wall(self, wall: Colour) -> None:
        rng, kind = self.rng, self.rng.integers(5)
        other = mixed(wall, colour(rng, (0.1, 0.5), (0.3, 1.0)), 0.35)
        step = rng.uniform(0.08, 0.2)
        if kind == 0:  # striped paper
            for x in np.arange(0, self.breadth, step):
                self.box(x, 0, step / 2, 1, other)
        elif kind == 1:  # panelling
            self.box(0, 0.62, self.breadth, 0.38, other)
            for x in np.arange(0, self.breadth, step * 1.5):
                self.box(x, 0.65, 0.008, 0.3, mixed(other, (0, 0, 0), 0.25))
            self.box(0, 0.61, self.breadth, 0.018, mixed(other, (255, 255, 255), 0.4))
        elif kind == 2:  # bricks
            tall = step * 0.45
            for row, y in enumerate(np.arange(0, 1, tall)):
                for x in np.arange(-(row % 2) * step / 2, self.breadth, step):
                    tone = mixed(other, (30, 10, 0), rng.uniform(0, 0.2))
                    self.box(x, y, step - 0.012, tall - 0.012, tone)
        elif kind == 3:  # dotted paper
            for row, y in enumerate(np.arange(0.03, 1, step * 0.7)):
                for x in np.arange((row % 2) * step / 2, self.breadth, step):
                    self.disc(x, y, step * 0.16, other)

    def _hills(self, level: float, swing: float, tone: Colour) -> None:
        x = np.linspace(0, self.breadth, 40)
        rates, starts = self.rng.uniform(1.5, 7, 3), self.rng.uniform(0, 6, 3)
        y = level - swing * np.sin(x[:, None] * rates + starts).mean(1)
        ends = np.array([[self.breadth, 1.1], [0, 1.1]])
        self.shape(np.concatenate([np.stack([x, y], 1), ends]), tone)

    def _tree(self, x: float, green: float) -> None:
        rng = self.rng
        tall, foot = rng.uniform(0.3, 0.65), rng.uniform(0.94, 1.0)
        self.box(x - 0.014, foot - tall, 0.03, tall, hsv(0.07, 0.5, rng.uniform(0.22, 0.4)))
        leaf = hsv(green + rng.uniform(-0.08, 0.05), 0.55, rng.uniform(0.3, 0.6))
        for i in range(7):
            dx, dy = rng.normal(0, 0.06, 2)
            tone = mixed(leaf, (255, 255, 180), 0.05 * i)
            self.disc(x + dx, foot - tall + dy - 0.012 * i, rng.uniform(0.06, 0.1), tone)

    def _house(self, x: float, w: float, h: float, tone: Colour, night: bool) -> None:
        self.box(x, 1 - h, w, h, tone)
        pane = mixed(tone, (20, 30, 50), 0.35)
        for wx in np.arange(x + 0.025, x + w - 0.035, 0.055):
            for wy in np.arange(1 - h + 0.03, 0.95, 0.075):
                lit = self.rng.random() < (0.5 if night else 0.1)
                self.box(wx, wy, 0.028, 0.042, (255, 220, 140) if lit else pane)

    def _window(self, x: float) -> None:
        w, h = self.rng.uniform(0.25, 0.4), self.rng.uniform(0.35, 0.5)
        y, frame = 0.2, (238, 234, 226)
        sky = hsv(0.57, self.rng.uniform(0.15, 0.5), self.rng.uniform(0.75, 1.0))
        self.box(x - 0.02, y - 0.02, w + 0.04, h + 0.04, frame)
        self.box(x, y, w, h, sky)
        self.box(x, y + 0.7 * h, w, 0.3 * h, mixed(sky, (90, 150, 80), 0.6))
        self.box(x + w / 2 - 0.008, y, 0.016, h, frame)
        self.box(x, y + h / 2 - 0.008, w, 0.016, frame)

    def _picture(self, x: float) -> None:
        rng = self.rng
        w, h, y = *rng.uniform(0.12, 0.28, 2), rng.uniform(0.15, 0.4)
        self.box(x - 0.014, y - 0.014, w + 0.028, h + 0.028, colour(rng, (0.1, 0.6), (0.15, 0.5)))
        self.box(x, y, w, h, colour(rng, (0.1, 0.5), (0.6, 1.0)))
        self.disc(x + w * 0.6, y + h * 0.4, min(w, h) * 0.22, colour(rng, (0.5, 0.9), (0.5, 1.0)))
        self.box(x, y + 0.7 * h, w, 0.3 * h, colour(rng, (0.3, 0.8), (0.3, 0.8)))

    def _shelf(self, x: float) -> None:
        rng, w = self.rng, self.rng.uniform(0.3, 0.5)
        for y in rng.choice([0.3, 0.5, 0.7], int(rng.integers(1, 4)), replace=False):
            at = x + 0.02
            while at < x + w - 0.05:
                thick, tall = rng.uniform(0.018, 0.04), rng.uniform(0.08, 0.14)
                if rng.random() < 0.85:
                    self.box(at, y - tall, thick, tall, colour(rng, (0.3, 0.8), (0.3, 0.9)))
                at += thick + 0.002
            self.box(x, y, w, 0.02, (96, 66, 44))

    def _plant(self, x: float) -> None:
        rng = self.rng
        leaf = hsv(rng.uniform(0.24, 0.4), 0.6, rng.uniform(0.3, 0.6))
        for angle in rng.uniform(-1.1, 1.1, 9):
            tip = np.array([x + 0.22 * np.sin(angle), 0.88 - 0.3 * np.cos(angle)])
            side = 0.03 * np.array([np.cos(angle), np.sin(angle)])
            root = np.array([x, 0.88])
            middle = (tip + root) / 2
            tone = mixed(leaf, (200, 230, 120), rng.uniform(0, 0.3))
            self.shape(np.stack([root, middle - side, tip, middle + side]), tone)
        pot = np.array([[x - 0.07, 0.86], [x + 0.07, 0.86], [x + 0.05, 1.02], [x - 0.05, 1.02]])
        self.shape(pot, colour(rng, (0.2, 0.7), (0.4, 0.9)))

    def _lamp(self, x: float) -> None:
        self.box(x - 0.008, 0.4, 0.016, 0.62, (60, 54, 50))
        shade = np.array([[x - 0.06, 0.28], [x + 0.06, 0.28], [x + 0.1, 0.44], [x - 0.1, 0.44]])
        self.shape(shade, hsv(self.rng.uniform(0.08, 0.16), 0.35, 1.0))

    def _door(self, x: float) -> None:
        tone = colour(self.rng, (0.1, 0.6), (0.3, 0.9))
        self.box(x - 0.02, 0.13, 0.38, 0.87, mixed(tone, (255, 255, 255), 0.5))
        self.box(x, 0.15, 0.34, 0.85, tone)
        for y in (0.2, 0.6):
            self.box(x + 0.05, y, 0.24, 0.32, mixed(tone, (0, 0, 0), 0.12))
        self.disc(x + 0.3, 0.57, 0.014, (230, 200, 120))

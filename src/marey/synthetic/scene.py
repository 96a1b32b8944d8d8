"""What a performance looks like: clothes, room, light and camera, drawn with OpenCV.

Nothing here knows the action: everything is drawn from random numbers of its own, so that the
look of a video says nothing about what is done in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from marey.synthetic.figure import JOINTS, Body, Skeleton
from marey.types import F64, U8

Colour = tuple[float, float, float]

SHARPER = 2  # drawn at this scale and averaged down, which smooths edges and motion
SKIN: Sequence[Colour] = (
    (244, 210, 180),
    (226, 178, 140),
    (190, 136, 98),
    (140, 92, 62),
    (92, 58, 40),
)
HAIR: Sequence[Colour] = (
    (40, 28, 22),
    (84, 56, 34),
    (150, 108, 60),
    (205, 170, 110),
    (150, 150, 155),
)
MARGIN = 0.25  # of the room that lies outside the frame on either side, for the camera to move


@dataclass(frozen=True)
class Look:
    """Colours of a person and how the clothes are cut."""

    skin: Colour
    hair: Colour
    top: Colour
    stripe: Colour
    trousers: Colour
    shoes: Colour
    stripes: int
    long_sleeves: bool
    long_legs: bool


@dataclass(frozen=True)
class Camera:
    """yaw: degrees round the figure.  views: (T, 2, 3) affine maps of the room into the frame."""

    yaw: float
    height: float
    scale: float
    centre: tuple[float, float]
    views: F64
    mirrored: bool


def sample_look(rng: Generator) -> Look:
    """A random outfit."""
    return Look(
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        top=_colour(rng),
        stripe=_colour(rng),
        trousers=_colour(rng, dark=True),
        shoes=_colour(rng),
        stripes=int(rng.choice([0, 0, 2, 4])),
        long_sleeves=bool(rng.random() < 0.5),
        long_legs=bool(rng.random() < 0.7),
    )


def sample_camera(rng: Generator, frames: int, variety: float) -> Camera:
    """A hand-held camera somewhere in front of the figure."""
    clock = np.linspace(0, 1, frames)
    drift = variety * rng.uniform(-0.05, 0.05, 2) * clock[:, None]
    shake = np.cumsum(rng.normal(0, 0.0012 * variety, (frames, 2)), axis=0)
    shake -= shake.mean(0)
    zoom = 1 + variety * rng.uniform(-0.06, 0.1) * clock
    roll = np.radians(variety * rng.uniform(-2.5, 2.5))
    views = np.empty((frames, 2, 3))
    views[:, 0, 0] = views[:, 1, 1] = zoom * np.cos(roll)
    views[:, 1, 0] = zoom * np.sin(roll)
    views[:, 0, 1] = -views[:, 1, 0]
    # turns and zooms about the middle of the frame
    views[:, :, 2] = 0.5 - views[:, :, :2] @ np.array([0.5, 0.5]) + drift + shake
    return Camera(
        yaw=float(rng.uniform(-75, -15) if rng.random() < 0.7 else rng.uniform(-15, 30)),
        height=float(rng.uniform(0.05, 0.22)),
        scale=float(rng.uniform(0.31, 0.31 + 0.07 * variety)),
        centre=(float(0.5 + variety * rng.uniform(-0.06, 0.06)), float(rng.uniform(0.86, 0.9))),
        views=views,
        mirrored=bool(rng.random() < 0.5),
    )


def project(body: Skeleton, camera: Camera) -> tuple[F64, F64]:
    """Joints (T, J, 2) as shares of the room's picture, and their distance (T, J) from the eye."""
    yaw = np.radians(camera.yaw)
    x, y, z = np.moveaxis(body.joints, -1, 0)
    across = x * np.cos(yaw) - z * np.sin(yaw)
    away = -x * np.sin(yaw) - z * np.cos(yaw)
    nearer = 1 / (1 + 0.12 * away)
    left = camera.centre[0] + camera.scale * across * nearer
    top = camera.centre[1] - camera.scale * (y * nearer + camera.height * away)
    return np.stack([left, top], -1), away


def room(rng: Generator, height: int, width: int, floor: float) -> U8:
    """A random interior or field, larger than the frame by `MARGIN` on every side."""
    high, wide = (round(side * (1 + 2 * MARGIN)) for side in (height, width))
    horizon = round(high * (MARGIN + floor) / (1 + 2 * MARGIN))
    wall, ground = np.array(_colour(rng, pale=True)), np.array(_colour(rng, pale=True)) * 0.8
    picture = np.empty((high, wide, 3), np.float32)
    shade = np.linspace(rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1), wide)[None, :, None]
    picture[:horizon] = wall * shade * np.linspace(1.08, 0.92, horizon)[:, None, None]
    picture[horizon:] = ground * shade * np.linspace(0.85, 1.1, high - horizon)[:, None, None]
    canvas = picture.clip(0, 255).astype(np.uint8)

    if rng.random() < 0.5:  # tiles or boards on the floor, running to a point on the horizon
        for at in np.linspace(-2 * wide, 3 * wide, int(rng.integers(14, 40))):
            cv2.line(
                canvas, (wide // 2, horizon - high // 8), (int(at), high), _ints(ground * 0.86), 2
            )
        cv2.rectangle(canvas, (0, 0), (wide, horizon), _ints(wall), -1)
        canvas[:horizon] = picture[:horizon].clip(0, 255)
    for _ in range(int(rng.integers(2, 8))):  # pictures, windows, cupboards, plants
        colour, x, w = _colour(rng, pale=True), rng.integers(0, wide), rng.integers(8, wide // 4)
        h = rng.integers(8, high // 3)
        y = rng.integers(0, max(1, horizon - h)) if rng.random() < 0.6 else horizon - h
        if rng.random() < 0.75:
            cv2.rectangle(canvas, (int(x), int(y)), (int(x + w), int(y + h)), _ints(colour), -1)
            cv2.rectangle(
                canvas, (int(x), int(y)), (int(x + w), int(y + h)), _ints(np.array(colour) * 0.7), 2
            )
        else:
            cv2.circle(
                canvas,
                (int(x), int(y + h // 2)),
                int(min(w, h) // 2),
                _ints(colour),
                -1,
                cv2.LINE_AA,
            )
    texture = cv2.resize(
        rng.normal(0, rng.uniform(2, 9), (high // 6, wide // 6)).astype(np.float32), (wide, high)
    )
    blur = float(rng.uniform(0.4, 2.2)) * height / 320
    soft = cv2.GaussianBlur(canvas, (0, 0), max(blur, 0.3)).astype(np.float32)
    return np.clip(soft + texture[..., None], 0, 255).astype(np.uint8)


class Painter:
    """Draws one video, frame by frame.

    Args:
        size: (H, W) of the video in pixels.
    """

    def __init__(
        self, rng: Generator, size: tuple[int, int], body: Body, camera: Camera, variety: float
    ) -> None:
        self.size, self.body, self.camera = size, body, camera
        self.look = sample_look(rng)
        self.height, self.width = size[0] * SHARPER, size[1] * SHARPER
        self.room = room(rng, self.height, self.width, camera.centre[1] - 0.14)
        self.light = float(rng.uniform(0.8, 1.12))
        self.tint = 1 + variety * rng.uniform(-0.07, 0.07, 3)
        self.lit_from = -1.0 if rng.random() < 0.5 else 1.0
        self.grain = rng.normal(0, rng.uniform(1.5, 5), (4, *size, 1)).astype(np.float32)
        self.passing = self._sample_passing(rng) if rng.random() < 0.35 * variety else None

    def paint(self, frame: int, joints: F64, depth: F64) -> U8:
        """(H, W, 3) uint8. joints: (J, 2) shares of the room's frame.  depth: (J,)."""
        view = self.camera.views[frame] * [[1, 1, self.width], [1, 1, self.height]]
        offset = np.array([self.width, self.height]) * MARGIN
        placed = view.copy()
        placed[:, 2] -= view[:, :2] @ offset
        canvas = cv2.warpAffine(
            self.room, placed, (self.width, self.height), borderMode=cv2.BORDER_REFLECT
        )
        if self.passing is not None:
            at, step, radius, colour = self.passing
            cv2.circle(canvas, _ints(at + step * frame), radius, colour, -1, cv2.LINE_AA)
        points = joints * [self.width, self.height] @ view[:, :2].T + view[:, 2]
        unit = self.camera.scale * self.height * float(np.hypot(*view[0, :2]))
        self._shadow(canvas, points, unit)
        self._figure(canvas, dict(zip(JOINTS, points, strict=True)), depth, unit)
        small = cv2.resize(canvas, self.size[::-1], interpolation=cv2.INTER_AREA)
        if self.camera.mirrored:
            small = small[:, ::-1]
        lit = small * (self.light * self.tint).astype(np.float32) + self.grain[frame % 4]
        return np.clip(lit, 0, 255).astype(np.uint8)

    def _sample_passing(self, rng: Generator) -> tuple[F64, F64, int, tuple[int, int, int]]:
        """Something that drifts through the background and has nothing to do with the action."""
        start = rng.uniform([0, 0.1], [1, 0.5]) * [self.width, self.height]
        step = rng.uniform(-0.006, 0.006, 2) * [self.width, self.height * 0.3]
        return start, step, int(rng.integers(6, 18) * self.height / 320), _ints(_colour(rng))

    def _shadow(self, canvas: U8, points: F64, unit: float) -> None:
        ground = points[[JOINTS.index(n) for n in ("right_toe", "left_toe", "pelvis")]]
        bottom = float(self.camera.centre[1] * self.height)
        low = max(float(ground[:2, 1].max()), bottom - 0.15 * unit)
        centre = (float(points[:, 0].mean()), min(low, self.height - 2.0))
        axes = (float(np.ptp(points[:, 0]) * 0.45 + 0.25 * unit), 0.09 * unit)
        top, base = int(max(centre[1] - axes[1] * 2, 0)), int(centre[1] + axes[1] * 2)
        part = canvas[top : base + 1]
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.ellipse(mask, _ints((centre[0], centre[1] - top)), _ints(axes), 0, 0, 360, 110, -1)
        mask = cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.04 * unit))
        part[:] = (part * (1 - mask[..., None] / 255.0)).astype(np.uint8)

    def _figure(self, canvas: U8, at: dict[str, F64], depth: F64, unit: float) -> None:
        """Limbs from far to near, the trunk between those behind it and those before it."""
        away = dict(zip(JOINTS, depth, strict=True))
        middle = (away["neck"] + away["pelvis"]) / 2
        pieces: list[tuple[float, str]] = [(middle, "trunk"), (middle + 0.01, "head")]
        for side in ("right", "left"):
            pieces.append(((away[f"{side}_knee"] + away[f"{side}_hip"]) / 2, f"{side}_leg"))
            pieces.append(((away[f"{side}_elbow"] + away[f"{side}_wrist"]) / 2, f"{side}_arm"))
        if away["head"] < middle:
            pieces[1] = (middle - 0.01, "head")
        for _, name in sorted(pieces, reverse=True):
            if name == "trunk":
                self._trunk(canvas, at, unit)
            elif name == "head":
                self._head(canvas, at, unit)
            elif name.endswith("leg"):
                self._leg(canvas, at, name.split("_")[0], unit)
            else:
                self._arm(canvas, at, name.split("_")[0], unit)

    def _leg(self, canvas: U8, at: dict[str, F64], side: str, unit: float) -> None:
        look, girth = self.look, self.body.girth * unit
        shin = look.trousers if look.long_legs else look.skin
        ankle, toe = at[f"{side}_ankle"], at[f"{side}_toe"]
        self._limb(canvas, ankle, toe, 0.045 * unit, 0.035 * unit, look.shoes)
        self._limb(canvas, at[f"{side}_knee"], ankle, 0.062 * girth, 0.042 * girth, shin)
        self._limb(
            canvas,
            at[f"{side}_hip"],
            at[f"{side}_knee"],
            0.095 * girth,
            0.068 * girth,
            look.trousers,
        )

    def _arm(self, canvas: U8, at: dict[str, F64], side: str, unit: float) -> None:
        look, girth = self.look, self.body.girth * unit
        elbow, wrist = at[f"{side}_elbow"], at[f"{side}_wrist"]
        self._limb(canvas, wrist, wrist, 0.045 * unit, 0.045 * unit, look.skin)
        fore = look.top if look.long_sleeves else look.skin
        self._limb(canvas, elbow, wrist, 0.046 * girth, 0.034 * girth, fore)
        self._limb(canvas, at[f"{side}_shoulder"], elbow, 0.06 * girth, 0.046 * girth, look.top)

    def _trunk(self, canvas: U8, at: dict[str, F64], unit: float) -> None:
        look, girth = self.look, self.body.girth * unit
        hips = (at["right_hip"], at["left_hip"])
        shoulders = (at["right_shoulder"], at["left_shoulder"])
        self._hull(canvas, [(p, 0.1 * girth) for p in hips], look.trousers)
        outline = [(p, 0.075 * girth) for p in shoulders] + [(at["waist"], 0.13 * girth)]
        outline += [(0.75 * p + 0.25 * at["waist"], 0.085 * girth) for p in hips]
        self._hull(canvas, outline, look.top)
        across = shoulders[1] - shoulders[0]
        for k in range(look.stripes):
            share = (k + 1) / (look.stripes + 1)
            centre = (1 - share) * at["neck"] + share * at["waist"]
            ends = (centre - across * 0.4, centre + across * 0.4)
            cv2.line(
                canvas,
                _ints(ends[0]),
                _ints(ends[1]),
                _ints(look.stripe),
                max(1, int(0.035 * unit)),
                cv2.LINE_AA,
            )

    def _head(self, canvas: U8, at: dict[str, F64], unit: float) -> None:
        look, radius = self.look, self.body.head * unit * 0.95
        self._limb(canvas, at["neck"], at["head"], 0.05 * unit, 0.05 * unit, look.skin)
        up = at["head"] - at["neck"]
        up = up / max(float(np.linalg.norm(up)), 1e-6)
        cv2.circle(
            canvas,
            _ints(at["head"] + up * radius * 0.22),
            int(radius),
            _ints(look.hair),
            -1,
            cv2.LINE_AA,
        )
        cv2.circle(
            canvas,
            _ints(at["head"] - up * radius * 0.08),
            int(radius * 0.88),
            _ints(look.skin),
            -1,
            cv2.LINE_AA,
        )
        glow = np.minimum(np.array(look.skin) * 1.08, 255)
        side = np.array([self.lit_from * radius * 0.25, -radius * 0.1])
        cv2.circle(
            canvas,
            _ints(at["head"] - up * radius * 0.08 + side),
            int(radius * 0.5),
            _ints(glow),
            -1,
            cv2.LINE_AA,
        )

    def _limb(self, canvas: U8, a: F64, b: F64, wide: float, narrow: float, colour: Colour) -> None:
        """A tapered capsule, dark outside and lit along one side, so that it looks round."""
        base = np.array(colour)
        self._hull(canvas, [(a, wide), (b, narrow)], tuple(base * 0.78))
        shift = np.array([self.lit_from * 0.25 * narrow, -0.2 * narrow])
        self._hull(canvas, [(a + shift, wide * 0.68), (b + shift, narrow * 0.68)], colour)

    def _hull(self, canvas: U8, discs: Sequence[tuple[F64, float]], colour: Colour) -> None:
        """The convex hull of some discs."""
        rim = np.concatenate([point + radius * _CIRCLE for point, radius in discs])
        outline = cv2.convexHull((rim * 16).round().astype(np.int32))
        cv2.fillConvexPoly(canvas, outline, _ints(colour), cv2.LINE_AA, shift=4)


_TURN = np.linspace(0, 2 * np.pi, 13)[:-1]
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def _colour(rng: Generator, *, dark: bool = False, pale: bool = False) -> Colour:
    low, high = (25, 130) if dark else (120, 235) if pale else (30, 235)
    grey, own = rng.uniform(low, high), rng.uniform(low, high, 3)
    mixed = own if not pale else 0.6 * grey + 0.4 * own
    return float(mixed[0]), float(mixed[1]), float(mixed[2])


def _ints(values: Sequence[float] | F64) -> tuple[int, ...]:
    return tuple(round(float(value)) for value in values)
